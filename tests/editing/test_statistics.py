from __future__ import annotations

import pytest
import torch

from dualenc_core.editing import ball, half_space, recolour, region_statistics, transfer
from dualenc_core.editing.checks import fit_region
from dualenc_core.editing.statistics import colours_at
from dualenc_core.editing.surface import surface_in
from dualenc_core.errors import DualEncError


@pytest.fixture
def everything(heads):
    return half_space((0, 0, 1), -2.0)


def shown(generator, head, points, ws):
    return colours_at(generator, generator.query(head, points)[1][0], ws)


def test_statistics_are_those_of_the_surface(tiny, heads, everything):
    found = region_statistics(tiny, heads[0], everything, resolution=24)
    assert found.mean.shape == found.std.shape == (2, 3)
    inside = surface_in(tiny, heads[0], fit_region(everything, heads[0]), resolution=24)[1]
    colours = shown(tiny, heads[0][1], inside.points[None], heads[0].ws[1:])
    mean = (inside.weights[:, None] * colours).sum(0) / inside.weights.sum()
    assert torch.allclose(found.mean[1], mean, atol=1e-4)


def test_recolouring_moves_towards_the_reference(tiny, heads, everything):
    target, reference = heads[0][0], heads[1][0]
    wanted = region_statistics(tiny, reference, everything)

    def off(strength: float) -> float:
        found = region_statistics(tiny, recolour(tiny, target, reference, everything, strength=strength), everything)
        return float((found.mean - wanted.mean).square().sum() + (found.std - wanted.std).square().sum())

    assert off(1.0) < off(0.5) < off(0.0)
    assert off(1.0) < 0.7 * off(0.0)


def test_density_stays(tiny, heads, everything):
    target, reference = heads[0][0], heads[1][0]
    inside = surface_in(tiny, target, fit_region(everything, target))[0]
    result = recolour(tiny, target, reference, everything)
    (before, old), (after, new) = (tiny.query(head, inside.points[None]) for head in (target, result))
    assert (after - before).abs().mean() < 0.5 * before.std()
    assert (new - old).abs().mean() > 0.05 * old.std()


def test_cells_outside_stay(tiny, heads, blob):
    target, reference = heads
    result = recolour(tiny, target, reference, blob)
    outside = ~blob.channels(4).bool().expand(target.planes.shape)
    assert torch.equal(result.planes[outside], target.planes[outside])
    assert not torch.equal(result.planes, target.planes)
    assert recolour(tiny, target, reference, blob, strength=0.0) is target


def test_transferred_parts_look_as_they_did(tiny, heads, everything):
    # Under the target's last style row the reference's features look different; the fit makes up for it.
    target, reference = heads[0][0], heads[1][0]
    region = ball((0, 0, 0.2), 0.2)
    inside = surface_in(tiny, reference, region, resolution=24)[0]
    points = inside.points[None]
    wanted = shown(tiny, reference, points, reference.ws)
    off = {}
    for match in (None, "reference", "surroundings", "region"):
        head = transfer(tiny, target, reference, region, match=match, feather=0.0)
        deep = (region(points)[0, :, 0] > 0.99).nonzero()[:, 0]
        off[match] = float((shown(tiny, head, points, target.ws) - wanted)[deep].square().mean())
    assert off["reference"] < 0.7 * off[None]
    assert off["surroundings"] < off[None]


def test_bad_input(tiny, heads, everything):
    with pytest.raises(DualEncError, match="region is empty"):
        region_statistics(tiny, heads[0], ball((0.45, 0.45, 0.45), 0.01))
    with pytest.raises(DualEncError, match="strength is 3"):
        recolour(tiny, *heads, everything, strength=3)
