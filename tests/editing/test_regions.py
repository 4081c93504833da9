"""Masks on pictures → cells and volumes, on an ellipsoid whose hair is known."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import (
    half_space,
    mask_from_weight,
    mirror_mask,
    read_region,
    region_mask,
    region_volume,
    ring,
)
from dualenc_core.editing.lifting import Reading, read_cells, spread
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import visible_surface
from dualenc_core.point_weight import LabelVolume
from dualenc_core.triplane import Triplane, TriplaneMask


def replaced(region, points, hair) -> tuple[float, float]:
    """Shares of the hair's and of the face's points with a weight of at least a half."""
    inside = read_region(region, points, 1.0)[0] >= 0.5
    truth = hair(points)[0] > 0.5
    return float(inside[truth].float().mean()), float(inside[~truth].float().mean())


def test_four_views_find_the_hair_all_around(ellipsoid, painted, points, hair):
    generator, head = ellipsoid
    mask = region_mask(generator, head, painted(ring(4)), ring(4))
    assert mask.mask.shape == (1, 3, 3, 64, 64)
    assert float(mask.mask.min()) >= 0 and float(mask.mask.max()) <= 1
    found, wrong = replaced(mask, points, hair)
    assert found > 0.92 and wrong < 0.06, (found, wrong)


def test_the_volume_is_more_precise_than_cells(ellipsoid, painted, points, hair):
    generator, head = ellipsoid
    volume = region_volume(generator, head, painted(ring(4)), ring(4), size=64)
    assert isinstance(volume, LabelVolume) and volume.volume.shape == (1, 1, 64, 64, 64)
    found, wrong = replaced(volume, points, hair)
    assert found > 0.95 and wrong < 0.03, (found, wrong)
    mask = region_mask(generator, head, painted(ring(4)), ring(4))
    truth = hair(points)
    off = [(read_region(region, points, 1.0) - truth).abs().mean() for region in (volume, mask)]
    assert off[0] < 0.6 * off[1]


def test_one_frontal_view_misses_the_back(ellipsoid, painted, points, hair):
    generator, head = ellipsoid
    one = region_mask(generator, head, painted(ring(1)), ring(1), unseen="zero")
    four = region_mask(generator, head, painted(ring(4)), ring(4))
    assert replaced(one, points, hair)[0] < replaced(four, points, hair)[0] - 0.2


def test_refinement_brings_the_cells_closer_to_the_pictures(ellipsoid, painted, points, hair):
    generator, head = ellipsoid
    truth, off = hair(points), []
    for rounds in (0, 2, 8):
        mask = region_mask(generator, head, painted(ring(4)), ring(4), rounds=rounds)
        off.append(float((read_region(mask, points, 1.0) - truth).abs().mean()))
    assert off[0] > off[1] > off[2], off


def test_rendered_again_from_the_cells_the_front_mask_comes_back(ellipsoid, painted):
    generator, head = ellipsoid
    front = ring(1)
    given = painted(front)[0] > 0.5
    mask = region_mask(generator, head, painted(front), front)
    surface = visible_surface(generator, head, front, 48)
    back = (read_cells(mask.mask, surface.points, 1.0)[0] > 0.5) & (surface.alpha.flatten() > 0.5)
    back = back.reshape(48, 48)
    assert float((given & back).sum() / (given | back).sum()) > 0.8


def test_mirrored_pictures_give_the_mirrored_mask(ellipsoid, painted):
    generator, head = ellipsoid
    camera = Camera.look_at(40, 5)
    masks = painted(camera)
    masks[..., :24] = 0
    mask = region_mask(generator, head, masks, camera)
    mirrored = region_mask(generator, head, masks.flip(-1), camera.mirrored)
    assert (mirror_mask(mirrored).mask - mask.mask).abs().mean() < 2e-3
    assert (mirrored.mask - mask.mask).abs().mean() > 1e-2


def test_same_inputs_give_the_same_bits_and_progress_is_told(ellipsoid, painted):
    generator, head = ellipsoid
    told = []
    first = region_mask(generator, head, painted(ring(2)), ring(2), progress=lambda *p: told.append(p))
    second = region_mask(generator, head, painted(ring(2)), ring(2))
    assert torch.equal(first.mask, second.mask)
    assert told == [(1, 2), (2, 2)]


def test_masks_in_every_shape(ellipsoid, painted):
    generator, head = ellipsoid
    two = head.map(lambda t: t.expand(2, *t.shape[1:]))
    cameras, masks = ring(2), painted(ring(2))
    masks[..., :20] = 0
    one = region_mask(generator, head, masks, cameras).mask
    assert torch.equal(region_mask(generator, head, masks[:, None], cameras).mask, one)
    both = region_mask(generator, two, torch.stack([masks, masks.flip(-1)]), cameras).mask
    assert torch.equal(both[:1], one) and not torch.equal(both[1:], one)


def test_unseen_cells(ellipsoid, painted):
    generator, head = ellipsoid
    nearby, zero = (
        region_mask(generator, head, painted(ring(1)), ring(1), unseen=unseen).mask for unseen in ("nearby", "zero")
    )
    known = zero > 0.01
    assert torch.allclose(nearby[known], zero[known], atol=0.02)
    assert float(zero.mean()) < float(nearby.mean()) - 0.1
    # Behind the head nothing is seen from the front.
    assert float(zero[0, 1, :, :20].max()) == 0 and float(nearby[0, 1, :, :20].max()) > 0.3


def test_a_weight_in_space_as_cells(ellipsoid, points):
    generator, head = ellipsoid
    back = half_space((0, 0, -1), 0.03)
    mask = mask_from_weight(generator, head, back)
    off = (read_cells(mask.mask, points, 1.0) - back(points)[..., 0]).abs()
    assert off.mean() < 0.12
    with pytest.raises(DualEncError, match="region is empty"):
        mask_from_weight(generator, head, half_space((0, 1, 0), 0.4))


def test_bad_input(ellipsoid, painted):
    generator, head = ellipsoid
    good, front = torch.ones(1, 8, 8), ring(1)
    for masks, message in (
        (torch.zeros(1, 8, 8), "region is empty"),
        (torch.ones(2, 8, 8), r"masks have shape \(2, 8, 8\), expected \[1,h,w\]"),
        (2 * good, "masks has values from 2"),
        (torch.full((1, 8, 8), float("nan")), "masks has values from nan"),
    ):
        with pytest.raises(DualEncError, match=message):
            region_mask(generator, head, masks, front)
    with pytest.raises(GeneratorMismatchError, match="made by generator beef"):
        region_mask(generator, head.replace(generator="beef"), good, front)
    with pytest.raises(DualEncError, match="unseen 'all'"):
        region_mask(generator, head, good, front, unseen="all")
    with pytest.raises(DualEncError, match="size of the volume is 1"):
        region_volume(generator, head, good, front, size=1)
    broken = Triplane(head.planes * float("nan"), head.ws, head.depth, head.generator)
    with pytest.raises(DualEncError, match="NaN"):
        region_mask(generator, broken, good, front)
    # Where only the background is painted nothing of the head is.
    corner = torch.zeros(1, 48, 48)
    corner[:, :4, :4] = 1
    with pytest.raises(DualEncError, match="region is empty"):
        region_mask(generator, head, corner, front)


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (1, 16, 16, 16)])
def test_reading_and_falling_are_adjoint(shape):
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(200, 3, generator=rng) * 1.1 - 0.55
    reading = Reading.of(points, shape, 1.0)
    cells, values = torch.rand(shape, generator=rng), torch.rand(200, generator=rng)
    assert torch.allclose((reading.read(cells) * values).sum(), (cells * reading.fall(values)).sum(), rtol=1e-5)
    inside = points.abs().amax(1) < 0.45
    assert torch.allclose(reading.read(torch.ones(shape))[inside], torch.ones(int(inside.sum())), atol=1e-5)
    if shape[0] == 3:
        # The one way of reading and the renderer's own lookup agree; planes share alike well inside the box.
        inner = points.abs().amax(1) < 0.32
        expected = read_cells(cells[None], points[None], 1.0)[0]
        assert torch.allclose(reading.read(cells)[inner], expected[inner], atol=1e-5)


def test_spreading_keeps_what_is_known():
    rng = torch.Generator().manual_seed(0)
    for shape in ((2, 3, 16, 16), (1, 1, 12, 12, 12)):
        values, known = torch.rand(shape, generator=rng), torch.rand(shape, generator=rng) < 0.1
        filled = spread(values, known)
        assert torch.equal(filled[known], values[known])
        assert float(filled.min()) >= 0 and float(filled.max()) <= 1
        constant = spread(torch.full(shape, 0.25), known)
        assert torch.allclose(constant, torch.full(shape, 0.25), atol=1e-6)


def test_read_region_takes_both_kinds(points):
    ones = TriplaneMask(torch.ones(1, 3, 3, 8, 8))
    assert torch.allclose(read_region(ones, points, 1.0), torch.ones(1, points.shape[1]), atol=1e-5)
    assert torch.allclose(read_region(half_space((0, 0, 1), -2.0), points, 1.0), torch.ones(1, points.shape[1]))
