from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import stitch, visibility
from dualenc_core.point_weight import LabelVolume, Visibility
from dualenc_core.triplane import Overlay, Triplane, TriplaneMask


def cells(value: float | torch.Tensor, n: int = 2) -> TriplaneMask:
    return TriplaneMask(torch.zeros(n, 3, 3, 16, 16) + value)


@pytest.fixture
def random_mask() -> TriplaneMask:
    return cells(torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(2, 200, 3, generator=torch.Generator().manual_seed(5)) * 0.6 - 0.3


@pytest.fixture
def seen(tiny, heads) -> Visibility:
    return visibility(tiny, heads[0], Camera.look_at([0, 30]), resolution=24)


def test_all_zero_is_the_first_and_all_one_the_second_head(heads):
    visible, occluded = heads
    assert torch.equal(stitch(visible, occluded, cells(0.0)).planes, visible.planes)
    assert torch.equal(stitch(visible, occluded, cells(1.0)).planes, occluded.planes)


def test_equation(heads, random_mask):
    visible, occluded = heads
    result = stitch(visible, occluded, random_mask)
    weight = random_mask.mask[:, :, None].expand(-1, -1, 4, -1, -1, -1).reshape(visible.planes.shape)
    assert torch.allclose(result.planes, (1 - weight) * visible.planes + weight * occluded.planes, atol=1e-5)
    assert torch.equal(result.ws, visible.ws)
    assert not result.overlays and result.generator == visible.generator


def test_masks_partition(heads, random_mask):
    visible, occluded = heads
    other = TriplaneMask(1 - random_mask.mask)
    total = stitch(visible, occluded, random_mask).planes + stitch(visible, occluded, other).planes
    assert torch.allclose(total, visible.planes + occluded.planes, atol=1e-5)
    swapped = stitch(occluded, visible, other)
    assert torch.allclose(swapped.planes, stitch(visible, occluded, random_mask).planes, atol=1e-6)


def test_a_slice_of_the_mask_changes_only_its_channels(heads):
    visible, occluded = heads
    mask = torch.zeros(2, 3, 3, 16, 16)
    mask[:, 1, 2] = 1
    planes = stitch(visible, occluded, TriplaneMask(mask)).planes.reshape(2, 3, 4, 3, 16, 16)
    first, second = (t.planes.reshape(2, 3, 4, 3, 16, 16) for t in heads)
    assert torch.equal(planes[:, 1, :, 2], second[:, 1, :, 2])
    planes, first = planes.clone(), first.clone()
    planes[:, 1, :, 2] = first[:, 1, :, 2] = 0
    assert torch.equal(planes, first)


def test_one_mask_for_a_batch(heads):
    one = stitch(*heads, cells(0.25, 1))
    assert torch.equal(one.planes, stitch(*heads, cells(0.25, 2)).planes)


def test_by_points_blends_decoded_values(tiny, heads, seen, points):
    visible, occluded = heads
    result = stitch(visible, occluded, seen)
    weight = seen(points)
    assert weight.min() < 0.2 and weight.max() > 0.8
    for got, first, second in zip(*(tiny.query(t, points) for t in (result, visible, occluded)), strict=True):
        assert torch.allclose(got, weight * first + (1 - weight) * second, atol=1e-5)
    assert torch.equal(result.ws, visible.ws) and len(result.overlays) == 1


def test_by_points_extremes(tiny, heads, seen, points):
    visible, occluded = heads
    camera, points = Camera.look_at([0, 0]), points * 0.8  # inside the picture
    empty = Visibility(camera, torch.full((2, 1, 4, 4), 3.0), torch.zeros(2, 1, 4, 4))
    got = tiny.query(stitch(visible, occluded, empty), points)[0]
    assert torch.allclose(got, tiny.query(visible, points)[0], atol=1e-5)
    nothing = tiny.query(stitch(visible, occluded, empty.complement), points)[0]
    assert torch.allclose(nothing, tiny.query(occluded, points)[0], atol=1e-5)


def test_by_points_keeps_overlays_of_either_side(tiny, heads, seen, points):
    visible, occluded = heads
    volume = LabelVolume(torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2)))
    edit = Overlay(visible.planes.flip(-1), volume)
    edited = visible.replace(overlays=(edit,))
    weight = seen(points)
    for pair in ((edited, occluded), (occluded, edited), (visible, edited)):
        got = tiny.query(stitch(*pair, seen), points)
        for value, first, second in zip(got, *(tiny.query(t, points) for t in pair), strict=True):
            assert torch.allclose(value, weight * first + (1 - weight) * second, atol=1e-5)
        assert torch.equal(stitch(*pair, seen).ws, pair[0].ws)
    with pytest.raises(DualEncError, match="both triplanes carry overlays"):
        stitch(edited, edited, seen)


def test_by_cells_refuses_overlays(heads, seen):
    stitched = stitch(*heads, seen)
    with pytest.raises(DualEncError, match="the visible triplane carries overlays"):
        stitch(stitched, heads[1], cells(0.5))
    with pytest.raises(DualEncError, match="the occluded triplane carries overlays"):
        stitch(heads[0], stitched, cells(0.5))


def test_renders_and_survives_a_file(tiny, heads, seen, tmp_path):
    result = stitch(*heads, seen)
    loaded = Triplane.load(result.save(tmp_path / "head.safetensors"))
    camera = Camera.look_at([0, 180])
    # Not bit by bit: a loaded tensor may lie elsewhere in memory, which changes the order of sums.
    assert torch.allclose(tiny.render(result, camera).image, tiny.render(loaded, camera).image, atol=1e-5)
    assert loaded.meta["stitched"]["mode"] == "points"
    one = tiny.render(result[1], camera[1]).image
    assert torch.allclose(one, tiny.render(result, camera).image[1:], atol=1e-5)


def test_provenance(heads):
    first, second = heads[0].replace(meta={"encoder": "one"}), heads[1].replace(meta={"encoder": "two"})
    meta = stitch(first, second, cells(0.5)).meta["stitched"]
    assert (meta["mode"], meta["visible"], meta["occluded"]) == ("cells", {"encoder": "one"}, {"encoder": "two"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, o, m: (v, o.replace(generator="other"), m), "cells of two generators"),
        (lambda v, o, m: (v, o[0], m), "expected the same shape and batch"),
        (lambda v, o, m: (v, o.replace(depth=1), m), "of depth 1"),
        (lambda v, o, m: (v, o.replace(planes=o.planes * float("nan")), m), "occluded triplane has NaN"),
        (lambda v, o, m: (v.replace(planes=v.planes / 0), o, m), "visible triplane has NaN"),
        (lambda v, o, m: (v, o, TriplaneMask(m.mask[..., :8])), r"mask has shape \(2, 3, 3, 16, 8\), expected \(2, 3"),
        (lambda v, o, m: (v, o, TriplaneMask(m.mask.repeat(2, 1, 1, 1, 1))), r"mask has shape \(4"),
        (lambda v, o, m: (v, o, TriplaneMask(m.mask + 1)), "from 1.5 to 1.5, expected 0..1"),
        (lambda v, o, m: (v, o, TriplaneMask(m.mask - 1)), "from -0.5"),
        (lambda v, o, m: (v, o, TriplaneMask(m.mask * float("nan"))), "without NaN"),
        (lambda v, o, m: (v, o, m.mask), "mask is a Tensor, expected a TriplaneMask"),
        (lambda v, o, m: (v, o, LabelVolume(torch.ones(2, 1, 2, 2, 2))), "mask is a LabelVolume"),
    ],
)
def test_bad_input(heads, change, message):
    visible, occluded, mask = change(*heads, cells(0.5))
    with pytest.raises(DualEncError, match=message):
        stitch(visible, occluded, mask)


def test_mismatched_generators_have_their_own_error(heads, seen):
    with pytest.raises(GeneratorMismatchError):
        stitch(heads[0], heads[1].replace(generator="other"), seen)


def test_bad_visibility(heads, seen):
    three = seen.map(lambda t: t[[0, 0, 1]])
    with pytest.raises(DualEncError, match="of 3 views, expected 2"):
        stitch(*heads, three)
    bad = Visibility(seen.camera, seen.depth * float("nan"), seen.alpha)
    with pytest.raises(DualEncError, match="depth of the visibility"):
        stitch(*heads, bad)
