from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from dualenc_core.rendering.trigrid import lookup, splat


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_cells_of_the_reference(golden):
    """The cell with the largest weight of every point and plane, and its weight (encoders' geometry set)."""
    v = load_file(golden / "encoders" / "geometry.safetensors")
    points = v["trigrid/points"][None]
    for plane in range(3):
        expected = v["trigrid/panohead_cells_ch_h_w_weight"][plane]
        for i in range(points.shape[1]):
            weights = splat(points[:, i : i + 1], torch.ones(1, 1, 1), 32, 3, 1.0)[0, plane, 0]
            value, index = weights.flatten().max(0)
            slab, row, column = index // 1024, index // 32 % 32, index % 32
            assert value == pytest.approx(float(expected[i, 3]), abs=1e-5)
            # channel = feature·3 + slab; ties may fall either way, so compare the weight at the named cell.
            channel, h, w = expected[i, :3].long()
            assert channel // 3 == 5
            assert weights[channel % 3, h, w] == pytest.approx(float(value), abs=1e-5), (slab, row, column)


def test_splat_is_the_adjoint_of_lookup():
    planes, points, values = rand(2, 3, 4 * 3, 8, 8), rand(2, 60, 3) * 0.3, rand(2, 60, 4)
    volume = planes.reshape(2, 3, 4, 3, 8, 8)
    left = (lookup(planes, points, 3, 1.0) * values[:, None]).sum()
    right = (splat(points, values, 8, 3, 1.0) * volume).sum()
    assert torch.allclose(left, right, rtol=1e-4)


def test_linear_functions_are_read_exactly():
    """Cell centres hold a linear function of the plane's axes; lookups between them give it back."""
    size = 16
    centre = (torch.arange(size) + 0.5) / size - 0.5
    rows, columns = torch.meshgrid(centre, centre, indexing="ij")
    planes = torch.stack([columns, rows], 0).repeat_interleave(3, 0).expand(1, 3, 6, size, size)
    points = (torch.rand(1, 40, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.6
    found = lookup(planes.contiguous(), points, 3, 1.0)
    for plane, (w, h) in enumerate(((0, 1), (0, 2), (1, 2))):
        assert torch.allclose(found[0, plane], points[0][:, [w, h]], atol=1e-5)


def test_box_warp_scales_and_outside_is_zero():
    planes, points = rand(1, 3, 6, 8, 8), rand(1, 20, 3) * 0.2
    assert torch.allclose(lookup(planes, points, 3, 1.0), lookup(planes, points * 1.4, 3, 1.4), atol=1e-5)
    assert lookup(planes, torch.full((1, 1, 3), 0.9), 3, 1.0).abs().max() == 0
    assert splat(torch.full((1, 1, 3), 0.9), torch.ones(1, 1, 1), 8, 3, 1.0).abs().max() == 0


def test_mirroring_a_trigrid_mirrors_the_field():
    planes, points = rand(1, 3, 4 * 3, 8, 8), rand(1, 30, 3) * 0.3
    volume = planes.reshape(1, 3, 4, 3, 8, 8)
    xy, xz, yz = volume.unbind(1)
    flipped = torch.stack([xy.flip(-1), xz.flip(-1), yz.flip(2)], 1).reshape(planes.shape)
    mirrored = lookup(flipped, points * torch.tensor([-1.0, 1, 1]), 3, 1.0)
    assert torch.allclose(mirrored, lookup(planes, points, 3, 1.0), atol=1e-5)
