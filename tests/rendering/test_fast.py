"""The fast renderer against the plain one, piece by piece."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import dualenc_core as dc
from dualenc_core.generator import PanoHead
from dualenc_core.rendering.fast import FastField, Preset, render_rays_fast
from dualenc_core.rendering.fast.gather import gather, texel_table
from dualenc_core.rendering.fast.occupancy import FINE, Occupancy
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.rendering.trigrid import lookup
from dualenc_core.triplane import Triplane
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


def test_presets_only_ever_take_away_samples():
    preset = Preset(floor=0.0, most_coarse=36, most_fine=24)
    taken = [preset.options(RenderOptions(samples=n, importance=m)) for n, m in ((48, 48), (24, 0), (96, 12))]
    assert [(o.samples, o.importance) for o in taken] == [(36, 24), (24, 0), (36, 12)]
    assert Preset(floor=0.0).options(RenderOptions(samples=96, importance=7)) == RenderOptions(samples=96, importance=7)


def ball(points: torch.Tensor, radius: float = 0.3) -> torch.Tensor:
    return (radius - points.norm(dim=-1)) * 1000


@pytest.mark.parametrize("find", [Occupancy.find, Occupancy.rough])
def test_no_occupied_point_is_lost(find):
    occupancy = find(ball, 1.0)
    points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    inside = ball(points) > -8
    assert occupancy(points)[inside].all()
    # And what is well away from it is known to be empty.
    far = points.norm(dim=-1) > 0.3 + (3 if find == Occupancy.find else 9) * 1.75 / FINE
    assert not occupancy(points)[far].any()
    assert occupancy.share < (0.2 if find == Occupancy.find else 0.3)
    # Where pictures are cropped nothing is looked for, and nothing else changes.
    cropped = find(ball, 1.0, limit=0.2)
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
