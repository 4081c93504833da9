"""Where hair is on a head, and its colour in a photo."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.encoders.hair import hair_shares, photographed_hair, seen_by
from dualenc_core.encoders.sides import places_on, surfaces_of
from dualenc_core.encoders.tones import known_tones


@pytest.fixture(scope="module")
def shares(generator, heads):
    with torch.no_grad():
        return hair_shares(generator, heads.ws, known_tones(generator))


def test_hair_is_above_and_behind(generator, heads, shares):
    size = shares.shape[-1]
    assert float(shares.min()) >= 0 and float(shares.max()) <= 1
    middle = slice(size * 3 // 8, size * 5 // 8)
    front, back = shares[:, 0, size // 2 : size * 5 // 8, middle], shares[:, 1, middle, middle]
    assert float(back.mean()) > 0.5 > 0.2 > float(front.mean())
    planes = generator.synthesize(heads.ws, noise="const").planes
    assert torch.equal(hair_shares(generator, heads.ws, known_tones(generator), planes), shares)


@torch.no_grad()
def test_places_lie_on_the_surface(generator, heads):
    head, box = heads[0], generator.config.render.box_warp
    for side in range(5):
        places = places_on(surfaces_of(head.planes[0].unflatten(1, (-1, head.depth)), box), box)[side]
        middle = slice(head.size * 7 // 16, head.size * 9 // 16)
        along = {0: (2, 1), 1: (2, -1), 2: (0, 1), 3: (0, -1), 4: (1, 1)}[side]
        step = torch.zeros(3)
        step[along[0]] = 0.06 * along[1]
        spots = places[middle, middle].reshape(1, -1, 3)
        before, behind = (generator.query(head, spots + sign * step)[0].median() for sign in (1, -1))
        assert float(behind) > 100 > 0 > float(before)


@torch.no_grad()
def test_a_photo_tells_the_colour_of_hair_and_not_of_skin(generator, heads, shares):
    head, camera = heads[0], dc.Camera.look_at(0.0)
    seen = generator.render(head, camera)
    view = seen_by(generator, head, camera)
    found = photographed_hair(generator, head, shares[0], seen.image.clamp(-1, 1), camera, seen.alpha, view)
    green = seen.image.clamp(-1, 1).clone()
    green[:, :, :200] = torch.tensor([-0.8, 0.2, -0.8])[:, None, None]
    told = photographed_hair(generator, head, shares[0], green, camera, seen.alpha, view)
    assert torch.allclose(told.colour, torch.tensor([0.1, 0.6, 0.1]), atol=0.05) and told.bald == 0
    assert float(found.colour.max()) < 0.7 and float((found.colour - told.colour).abs().max()) > 0.1
    # Where nothing is unlike skin all of it counts: blond and brown hair is like many a skin, and bald heads are skin.
    bald = torch.full_like(green, 0.3) + 0.02 * torch.randn(green.shape, generator=torch.Generator().manual_seed(0))
    told = photographed_hair(generator, head, shares[0], bald.clamp(-1, 1), camera, seen.alpha, view)
    assert torch.allclose(told.colour, torch.full((3,), 0.65), atol=0.02) and told.bald == 1
    assert photographed_hair(generator, head, shares[0], green, camera, torch.zeros_like(seen.alpha), view) is None
    assert photographed_hair(generator, head, 0 * shares[0], green, camera, seen.alpha, view) is None
