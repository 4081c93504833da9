from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import complete_symmetric, mirror, mirror_mask, mirror_weight, transfer
from dualenc_core.errors import DualEncError
from dualenc_core.inversion import occlusion_mask, stitch, visibility
from dualenc_core.point_weight import LabelVolume
from dualenc_core.triplane import TriplaneMask

FLIP = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture
def stitched(tiny, heads):
    seen = visibility(tiny, heads[0], Camera.look_at([20, -30], roll=5), resolution=16)
    return stitch(heads[0], heads[1], seen)


def test_the_field_is_mirrored_exactly(tiny, heads, stitched, somewhere):
    for head in (heads[0], stitched):
        got, wanted = tiny.query(mirror(head), somewhere), tiny.query(head, somewhere * FLIP)
        for a, b in zip(got, wanted, strict=True):
            assert torch.allclose(a, b, atol=1e-5)
        assert not torch.allclose(got[0], tiny.query(head, somewhere)[0], atol=1e-2)


def test_twice_is_the_identity(stitched):
    again = mirror(mirror(stitched))
    assert torch.equal(again.planes, stitched.planes) and torch.equal(again.ws, stitched.ws)
    for a, b in zip(again.overlays, stitched.overlays, strict=True):
        assert torch.equal(a.planes, b.planes)
        assert torch.equal(a.weight.depth, b.weight.depth)
        assert torch.allclose(a.weight.camera.label, b.weight.camera.label)


def test_pictures_are_mirrored(tiny, stitched):
    camera = Camera.look_at([40, 10], [5, 0])
    one = tiny.render(mirror(stitched), camera.mirrored, 24, super_resolve=False)
    other = tiny.render(stitched, camera, 24, super_resolve=False)
    assert torch.allclose(one.alpha.flip(-1), other.alpha, atol=1e-4)
    assert torch.allclose(one.depth.flip(-1), other.depth, atol=1e-4)


def test_weights_and_masks(somewhere, heads, blob):
    volume = LabelVolume(torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(mirror_weight(volume)(somewhere), volume(somewhere * FLIP), atol=1e-6)
    cells = TriplaneMask(torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(mirror_mask(mirror_mask(cells)).mask, cells.mask)
    # A mask of cells mirrors as planes do.
    as_planes = heads[0].replace(planes=cells.channels(4).contiguous())
    assert torch.equal(mirror(as_planes).planes, mirror_mask(cells).channels(4))
    with pytest.raises(DualEncError, match="cannot be mirrored"):
        mirror_weight(None)


def test_mirrored_inputs_give_mirrored_transfers(tiny, heads):
    cells = TriplaneMask(torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(7)))
    target, reference = heads
    one = mirror(transfer(tiny, target, reference, cells, match=None))
    other = transfer(tiny, mirror(target), mirror(reference), mirror_mask(cells), match=None)
    assert torch.allclose(one.planes, other.planes, atol=1e-5)


def test_the_hidden_side_comes_from_the_shown_one(tiny, heads, somewhere):
    head = heads[0]
    hidden = torch.zeros(2, 3, 3, 16, 16)
    hidden[:, 0, :, :, 8:] = hidden[:, 1, :, :, 8:] = hidden[:, 2, 2] = 1
    result = complete_symmetric(head, TriplaneMask(hidden))
    weight = TriplaneMask(hidden).channels(4).bool()
    assert torch.equal(result.planes[weight], mirror(head).planes[weight])
    assert torch.equal(result.planes[~weight], head.planes[~weight])
    half = complete_symmetric(head, TriplaneMask(hidden), 0.5)
    middle = (head.planes + mirror(head).planes) / 2
    assert torch.allclose(half.planes[weight], middle[weight], atol=1e-5)


def test_what_both_sides_hide_stays(tiny, heads):
    head = heads[0]
    for value in (0.0, 1.0):
        assert complete_symmetric(head, TriplaneMask(torch.full((2, 3, 3, 16, 16), value))) is head
    assert complete_symmetric(head, TriplaneMask(torch.rand(2, 3, 3, 16, 16)), 0.0) is head


def test_by_the_masks_of_an_inversion(tiny, heads, stitched, somewhere):
    camera = Camera.look_at([60, 60])
    cells = complete_symmetric(heads[0], occlusion_mask(tiny, heads[0], camera, resolution=16))
    assert torch.isfinite(cells.planes).all()
    seen = visibility(tiny, heads[0], camera, resolution=16)
    for head in (heads[0], stitched):
        result = complete_symmetric(head, seen.complement)
        got, own, other = (tiny.query(h, somewhere)[1] for h in (result, head, mirror(head)))
        weight = (1 - seen(somewhere)) * seen(somewhere * FLIP)
        wanted = torch.lerp(own, other, weight)
        # Weights are baked on a grid.
        assert (got - wanted).abs().mean() < 0.1 * (other - own).abs().mean()


def test_bad_input(heads):
    mask = TriplaneMask(torch.zeros(1, 3, 3, 8, 8))
    with pytest.raises(DualEncError, match="hidden has shape"):
        complete_symmetric(heads[0], mask)
    with pytest.raises(DualEncError, match="strength is 2"):
        complete_symmetric(heads[0], TriplaneMask(torch.zeros(1, 3, 3, 16, 16)), 2.0)
