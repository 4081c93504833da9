from __future__ import annotations

import math

import pytest
import torch

from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.export import density_grid, surface_density
from dualenc_core.rendering.marching import interval_weights
from dualenc_core.rendering.renderer import RenderOptions, crop_mask
from tests.benchmarks.meshes import SLOPE, FieldGenerator


def ramp(points: torch.Tensor) -> torch.Tensor:
    return (points * torch.tensor([1.0, 10.0, 100.0])).sum(-1)


def test_every_cell_holds_the_density_of_its_place() -> None:
    generator, triplane = FieldGenerator.build(ramp)
    grid = density_grid(generator, triplane, 20, chunk=97)
    index = torch.stack(torch.meshgrid(*(torch.arange(s) for s in grid.sigma.shape), indexing="ij"), -1)
    points = grid.origin + grid.spacing * index
    expected = surface_density(generator.config.render) - SLOPE * ramp(points)
    assert grid.spacing == pytest.approx(0.8 / 20)
    assert float((grid.sigma - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    # Symmetric, so that mirrored heads give mirrored meshes.
    assert torch.allclose(points, -points.flip(0, 1, 2), atol=1e-6)


def test_what_the_renderer_crops_is_left_out_and_all_else_is_in() -> None:
    generator, triplane = FieldGenerator.build(ramp)
    options = generator.config.render
    grid = density_grid(generator, triplane, 40)
    first = grid.origin
    last = grid.origin + grid.spacing * (torch.tensor(grid.sigma.shape) - 1)
    assert not crop_mask(torch.stack([first, last])[None], options).any()
    for axis in (0, 2):
        beyond = torch.zeros(1, 2, 3)
        beyond[0, :, axis] = torch.stack([first[axis] - grid.spacing, last[axis] + grid.spacing])
        assert crop_mask(beyond, options).all()
    assert last[1] + grid.spacing / 2 == pytest.approx(options.box_warp / 2), "y is not cropped"


def test_chunks_bound_what_is_decoded_at_once_and_change_nothing(real, monkeypatch) -> None:
    generator, triplane = real
    sizes, steps = [], []
    query = type(generator).query

    def watched(self, planes, points):
        sizes.append(points.shape[1])
        return query(self, planes, points)

    monkeypatch.setattr(type(generator), "query", watched)
    whole = density_grid(generator, triplane, 16, chunk=1 << 20)
    assert len(sizes) == 1
    parts = density_grid(generator, triplane, 16, chunk=100, progress=lambda done, total: steps.append((done, total)))
    assert max(sizes[1:]) == 100 and sum(sizes[1:]) == sizes[0]
    assert [done for done, _ in steps] == sorted({done for done, _ in steps}) and steps[-1] == (sizes[0], sizes[0])
    # Matrix products of other sizes may round the last bit differently.
    assert torch.allclose(whole.sigma, parts.sigma, rtol=0, atol=1e-5)


def test_the_surface_is_where_one_ray_step_absorbs_half() -> None:
    for options in (RenderOptions(), RenderOptions(samples=24, near=2.28, far=3.12), RenderOptions(samples=4)):
        step = (options.far - options.near) / (options.samples - 1)
        sigma = torch.full((1, 1, 2), surface_density(options), dtype=torch.float64)
        weights, _ = interval_weights(torch.tensor([[[2.5, 2.5 + step]]], dtype=torch.float64), sigma)
        assert float(weights) == pytest.approx(0.5, abs=1e-9)
    assert surface_density(RenderOptions()) == pytest.approx(1 + 47 * math.log(2) / 1.05, rel=1e-9)


def test_no_gradient_is_kept(real) -> None:
    assert not density_grid(*real, 8).sigma.requires_grad


def test_wrong_input_is_refused(real) -> None:
    generator, triplane = real
    two = triplane.replace(planes=triplane.planes.repeat(2, 1, 1, 1, 1), ws=triplane.ws.repeat(2, 1, 1))
    with pytest.raises(DualEncError, match="2 heads"):
        density_grid(generator, two, 16)
    with pytest.raises(DualEncError, match="resolution is 4"):
        density_grid(generator, triplane, 4)
    with pytest.raises(DualEncError, match="NaN"):
        density_grid(generator, triplane.replace(planes=triplane.planes * float("nan")), 16)
    with pytest.raises(GeneratorMismatchError):
        density_grid(generator, triplane.replace(generator="another"), 16)
    with pytest.raises(DualEncError, match="crops 0.1 of a box of side 0.21"):
        density_grid(*FieldGenerator.build(ramp, box=0.21), 16)
