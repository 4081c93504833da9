from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import complement, dilate, erode, feather, intersection, union
from dualenc_core.editing.morphology import gaussian
from dualenc_core.errors import DualEncError
from dualenc_core.point_weight import LabelVolume, Visibility
from dualenc_core.triplane import TriplaneMask


def square(size: int = 64) -> TriplaneMask:
    cells = torch.zeros(1, 3, 3, size, size)
    cells[..., size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    return TriplaneMask(cells)


def cube(size: int = 32) -> LabelVolume:
    volume = torch.zeros(1, 1, size, size, size)
    inner = slice(size // 4, 3 * size // 4)
    volume[..., inner, inner, inner] = 1
    return LabelVolume(volume)


def test_sizes_scale_with_the_plane():
    # 8 cells of 256 are 2 of 64: a square of 32 becomes one of 36, or of 28.
    assert float(dilate(square(), 8).mask[0, 0, 0].sum()) == 36**2
    assert float(erode(square(), 8).mask[0, 0, 0].sum()) == 28**2
    assert float(dilate(square(128), 8).mask[0, 0, 0].sum()) == 72**2
    assert float(dilate(cube(), 8).volume.sum()) == 18**3
    assert float(erode(cube(), 8).volume.sum()) == 14**3


def test_slices_do_not_mix():
    mask = square()
    mask.mask[:, :, 1] = 0
    for changed in (dilate(mask, 8), feather(mask, 8)):
        assert float(changed.mask[:, :, 1].max()) == 0


def test_eroding_is_dilating_the_complement():
    rng = torch.Generator().manual_seed(0)
    mask = TriplaneMask(torch.rand(1, 3, 3, 64, 64, generator=rng))
    assert torch.allclose(erode(mask, 8).mask, 1 - dilate(complement(mask), 8).mask, atol=1e-6)


@pytest.mark.parametrize("region", [square(), cube()])
def test_feathering_keeps_sums_and_constants(region):
    values = feather(region, 8)
    values = values.mask if isinstance(region, TriplaneMask) else values.volume
    before = region.mask if isinstance(region, TriplaneMask) else region.volume
    assert torch.allclose(values.sum(), before.sum(), rtol=1e-4)
    assert values.unique().numel() > 4
    assert torch.allclose(gaussian(torch.ones(1, 1, 9, 9), 2.0), torch.ones(1, 1, 9, 9))
    assert torch.equal(feather(square(), 0).mask, square().mask)


def test_combining():
    a, b = square(), TriplaneMask(square().mask.roll(16, -1))
    assert torch.equal(union(a, b).mask, torch.maximum(a.mask, b.mask))
    assert torch.equal(intersection(a, b).mask, a.mask * b.mask)
    assert torch.equal(complement(complement(a)).mask, a.mask)
    assert torch.equal(union(cube(), cube()).volume, cube().volume)
    view = Visibility(Camera.look_at(), torch.full((1, 1, 8, 8), 2.7), torch.ones(1, 1, 8, 8))
    both = intersection(cube(64), view)
    points = torch.tensor([[[0.0, 0, 0.1], [0.0, 0, -0.2], [0.4, 0.4, 0.1]]])
    expected = cube(64)(points) * view(points)
    assert torch.allclose(both(points), expected, atol=0.1) and expected[0, 0] > 0.9 and expected[0, 1] < 0.1


def test_bad_input():
    with pytest.raises(DualEncError, match="radius is -1"):
        dilate(square(), -1)
    with pytest.raises(DualEncError, match="expected the same"):
        union(square(), square(32))
    with pytest.raises(DualEncError, match="cannot be combined"):
        union(square(), cube())
    with pytest.raises(DualEncError, match="no region"):
        union()
    with pytest.raises(DualEncError, match="expected a TriplaneMask or a LabelVolume"):
        dilate(torch.zeros(1), 1)
