"""The fast renderer against the plain one, piece by piece."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import dualenc_core as dc
from dualenc_core.generator import PanoHead
from dualenc_core.point_weight import LabelVolume, Visibility
from dualenc_core.rendering.fast import FastField, Preset, render_rays_fast
from dualenc_core.rendering.fast.gather import gather, texel_table
from dualenc_core.rendering.fast.grid import GridTable, blocks
from dualenc_core.rendering.fast.occupancy import EMPTY_BELOW, FINE, Occupancy, density_above
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.rendering.trigrid import lookup
from dualenc_core.triplane import Overlay, Triplane
from tests.small import small_generator


@pytest.mark.parametrize(("size", "depth", "box"), [(16, 3, 1.0), (8, 1, 0.8), (32, 3, 0.8)])
def test_gather_is_the_mean_of_the_lookup(size, depth, box):
    rng = torch.Generator().manual_seed(0)
    planes = torch.randn(1, 3, 4 * depth, size, size, generator=rng)
    # Inside, on the border, and outside.
    points = (torch.rand(500, 3, generator=rng) - 0.5) * 1.6 * box
    expected = lookup(planes, points[None], depth, box).mean(1)[0]
    table = texel_table(planes[0], depth)
    assert torch.allclose(gather(table, points, size, depth, box), expected, atol=1e-5)
    coarse = gather(table.bfloat16(), points, size, depth, box)
    assert coarse.dtype == torch.float32
    assert (coarse - expected).abs().max() < 0.05


@pytest.mark.parametrize(("size", "depth", "cells"), [(16, 3, 16), (16, 3, 8), (16, 1, 32), (12, 4, 20)])
def test_a_grid_is_read_as_its_points_are(size, depth, cells):
    planes = torch.randn(1, 3, 4 * depth, size, size, generator=torch.Generator().manual_seed(0))
    grid = GridTable.of(texel_table(planes[0], depth), size, depth, cells)
    expected = lookup(planes, centres(cells, 0.8)[None], depth, 0.8).mean(1).reshape(cells, cells, cells, 4)
    block = slice(1, 3), slice(0, cells), slice(2, 7)
    assert torch.allclose(grid.block(*block), expected[block], atol=1e-5)
    everything = slice(0, cells)
    assert torch.allclose(grid.block(everything, everything, everything), expected, atol=1e-5)


def centres(cells: int, box: float) -> torch.Tensor:
    axis = ((torch.arange(cells) + 0.5) / cells - 0.5) * box
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def test_blocks_hold_everything_that_is_asked():
    asked = torch.zeros(16, 16, 16, dtype=torch.bool)
    asked[3, 2:9, 5] = asked[9:11, 15, 0] = True
    held = torch.zeros(16, 16, 16, dtype=torch.long)
    for block in blocks(asked, 512):
        assert asked[block].any()
        held[block] += 1
    assert held.max() == 1 and held[asked].all()
    assert held.sum() < 0.1 * held.numel()
    assert not list(blocks(torch.zeros_like(asked), 512))


def layered(layers: int, rng: torch.Generator) -> tuple[PanoHead, Triplane]:
    """A head whose second layer is all of it on one side, nothing on the other; the third is a bit of it everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        generator = PanoHead(small_generator()).eval()
    config = generator.config
    planes = torch.randn(layers, 1, 3, config.plane_channels, *[config.plane_size] * 2, generator=rng)
    depth = torch.full((1, 1, 8, 8), 2.7)
    seen = Visibility(dc.Camera.look_at(30.0), depth, torch.ones_like(depth), 0.0, 0.02)
    soft = LabelVolume(torch.rand(1, 1, 4, 4, 4, generator=rng), 0.8)
    overlays = tuple(Overlay(p, w) for p, w in zip(planes[1:], (seen, soft), strict=False))
    return generator, Triplane(planes[0], torch.zeros(1, 1, 8), config.plane_depth, overlays=overlays)


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_layers_are_blended_as_the_generator_does(layers):
    rng = torch.Generator().manual_seed(layers)
    generator, head = layered(layers, rng)
    box = generator.config.render.box_warp
    field = FastField.build(head, generator.decoder.net, box, torch.float32)
    points = (torch.rand(9000, 3, generator=rng) - 0.5) * box
    density, colour = generator.query(head, points[None])
    hidden = field.hidden(points)
    # Weights within 1e-4 of 0 and 1 are taken for them.
    assert torch.allclose(field.density(hidden), density[0, :, 0], atol=1e-3)
    assert torch.allclose(field.colour(hidden, torch.ones(9000)), colour[0], atol=1e-3)
    # Where only one layer counts, no other is read: neither the one below nor the one above.
    if layers == 2:
        weight = head.overlays[0].weight(points[None])[0, :, 0]
        for layer, out in ((0, weight > 1 - 1e-4), (1, weight < 1e-4)):
            assert 0.1 < out.float().mean() < 0.9
            nothing = dataclasses.replace(
                field.layers[layer], table=torch.full_like(field.layers[layer].table, torch.nan)
            )
            others = [nothing if i == layer else old for i, old in enumerate(field.layers)]
            changed = dataclasses.replace(field, layers=tuple(others))
            assert not changed.hidden(points[out]).isnan().any()
            assert changed.hidden(points[~out]).isnan().all()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cells", [16, 24])
def test_cells_above_the_limit_are_those_of_single_points(layers, cells):
    rng = torch.Generator().manual_seed(layers)
    generator, head = layered(layers, rng)
    field, points = FastField.build(head, generator.decoder.net, 0.8, torch.float32), centres(cells, 0.8)
    # Weights of both signs and mostly of one: what is left out is then negative or positive. And steep surfaces, where
    # most cells are told without a lookup.
    for mean, steepness in ((-1.0, 1.0), (1.0, 1.0), (0.0, 100.0)):
        first_bias, weights = torch.randn(2, 64, generator=rng)
        first, first_bias = field.decoder.first * steepness, first_bias * steepness
        decoder = dataclasses.replace(field.decoder, first=first, first_bias=first_bias, density=weights + mean)
        some = dataclasses.replace(field, decoder=decoder)
        # About half of the cells are above the limit.
        decoder = dataclasses.replace(decoder, density_bias=-8 - some.density_at(points).median())
        some = dataclasses.replace(field, decoder=decoder)
        asked = torch.rand(cells, cells, cells, generator=rng) < 0.7
        expected = density_above(some.density_at, 0.8, asked)
        near = (some.density_at(points) - EMPTY_BELOW).abs().reshape(asked.shape) < 1e-3
        assert 0.3 < expected[asked].float().mean() < 0.7 and near.float().mean() < 0.02
        assert torch.equal(some.above(asked)[~near], expected[~near])
        assert not some.above(asked)[~asked].any()


def test_presets_only_ever_take_away_samples():
    preset = Preset(floor=0.0, most_coarse=36, most_fine=24)
    taken = [preset.options(RenderOptions(samples=n, importance=m)) for n, m in ((48, 48), (24, 0), (96, 12))]
    assert [(o.samples, o.importance) for o in taken] == [(36, 24), (24, 0), (36, 12)]
    assert Preset(floor=0.0).options(RenderOptions(samples=96, importance=7)) == RenderOptions(samples=96, importance=7)


def ball(points: torch.Tensor, radius: float = 0.3) -> torch.Tensor:
    return (radius - points.norm(dim=-1)) * 1000


@pytest.mark.parametrize("rough", [False, True])
def test_no_occupied_point_is_lost(rough):
    occupancy = Occupancy.find(ball, 1.0, rough=rough)
    points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    inside = ball(points) > -8
    assert occupancy(points)[inside].all()
    # And what is well away from it is known to be empty.
    far = points.norm(dim=-1) > 0.3 + (9 if rough else 3) * 1.75 / FINE
    assert not occupancy(points)[far].any()
    assert occupancy.share < (0.3 if rough else 0.2)
    # Where pictures are cropped nothing is looked for, and nothing else changes.
    cropped = Occupancy.find(ball, 1.0, limit=0.2, rough=rough)
    shown = (points[:, 0::2].abs() <= 0.2).all(-1)
    assert torch.equal(cropped(points)[shown], occupancy(points)[shown])
    assert cropped.share < 0.7 * occupancy.share


def test_a_sheet_two_probes_thick_is_found():
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    points[:, 2] = 0.1
    occupancy = Occupancy.find(lambda p: torch.where((p[..., 2] - 0.1).abs() < 2.0 / FINE, 50.0, -50.0), 1.0)
    assert occupancy(points).all()
    assert not Occupancy.find(lambda p: torch.full(p.shape[:-1], -50.0), 1.0).cells.any()


@pytest.mark.parametrize("outside", [False, True])
def test_along_rays_is_the_same_as_at_points(outside):
    rng = torch.Generator().manual_seed(3)
    cells = torch.rand(16, 16, 16, generator=rng) > 0.5
    occupancy = Occupancy(cells, 0.8, outside)
    origins = torch.rand(50, 3, generator=rng) * 2 - 1
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=rng), dim=-1)
    depths = torch.rand(50, 40, generator=rng) * 2
    points = origins[:, None] + depths[..., None] * directions[:, None]
    for wanted in (depths, depths[0]):
        at = origins[:, None] + wanted.expand(50, 40)[..., None] * directions[:, None]
        assert torch.equal(occupancy.along(origins, directions, wanted, limit=9.0), occupancy(at))
    # Cropped cells are left out, but not one that holds a point that is not cropped.
    cropped = (points[..., 0::2].abs() > 0.27).any(-1)
    found = occupancy.along(origins, directions, depths, limit=0.27)
    assert torch.equal(found[~cropped], occupancy(points)[~cropped])
    far = (points[..., 0::2].abs() > 0.27 + 0.8 / 16).any(-1)
    assert far.any() and not found[far].any()


def test_samples_behind_a_surface_are_not_looked_up(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    net = PanoHead(small_generator()).decoder.net
    planes = torch.randn(1, 3, 12, 8, 8, generator=generator)
    head = Triplane(planes, torch.zeros(1, 1, 8), 3)
    field = dataclasses.replace(FastField.build(head, net, 1.0, torch.float32), occupancy=Occupancy.full(1.0))
    asked = []
    hidden = FastField.hidden
    monkeypatch.setattr(FastField, "hidden", lambda self, p, *out: asked.append(p) or hidden(self, p, *out))
    origins, directions = camera_rays(dc.Camera.look_at(0.0), 8)
    counts = {}
    for bias in (-200.0, 2000.0):
        decoder = dataclasses.replace(field.decoder, density_bias=torch.tensor(bias))
        asked.clear()
        walled = dataclasses.replace(field, decoder=decoder)
        render_rays_fast(walled, origins[0], directions[0], RenderOptions(), Preset(floor=1e-6))
        counts[bias] = sum(len(points) for points in asked)
    assert 0 < counts[2000.0] < counts[-200.0] / 1.5


def test_outside_the_box_is_what_the_density_says():
    fog = Occupancy.find(lambda p: torch.full(p.shape[:-1], 3.0), 1.0)
    assert fog(torch.tensor([[0.6, 0.0, 0.0], [0.0, -9.0, 0.0]])).all()
    full = Occupancy.full(1.0)
    assert full(torch.tensor([[0.0, 0.0, 0.0]])).all()
    assert not full(torch.tensor([[0.6, 0.0, 0.0], [0.0, -0.51, 0.0], [0.0, 0.0, 9.0]])).any()
