"""The light of a head, found on its own face."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import Director, directions_of
from dualenc_core.editing.light import _front, with_light
from dualenc_core.generator import PanoHead
from dualenc_core.inversion import stitch, visibility
from dualenc_core.people.relief import FEATURES
from dualenc_core.people.relighting import LIGHT_TRAITS
from dualenc_core.people.standard import Standard, styles_of
from tests.known_people import CONFIG, crowd, people_generator, somebody, standard


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    """As `people_generator`, with room for a relief."""
    torch.manual_seed(0)
    made = PanoHead(CONFIG.replace(features=FEATURES, plane_size=32)).eval().requires_grad_(False)
    made.provenance = {"note": "random", **standard().to_provenance()}
    return made


def _told(generator, index: int, lit_by: int):
    """Somebody in the light of another, with style vectors that do not say so."""
    known = directions_of(generator)
    w = somebody_of(generator, index)
    lent = known.traits(somebody_of(generator, lit_by), ["light"])
    true = known.moved(w, {}, {name: n for name, n in lent.items() if name.startswith("light.key")})
    return generator.synthesize(true).replace(ws=w), true


def somebody_of(generator, index: int) -> torch.Tensor:
    values = Standard.from_provenance(generator.provenance)(crowd()[[index]])
    return styles_of(values, generator.config.w_dim)[:, None].expand(-1, generator.config.num_ws, -1).contiguous()


@torch.no_grad()
def test_style_vectors_get_the_light_that_the_face_shows(generator):
    known = directions_of(generator)
    head, _ = _told(generator, 3, 20)
    found = with_light(generator, head, known)
    wanted, before, after = (
        _front(generator, planes)
        for planes in (head.planes, generator.synthesize(head.ws).planes, generator.synthesize(found).planes)
    )
    assert float((after - wanted).square().mean()) < 0.3 * float((before - wanted).square().mean())
    old, new = known.traits(head.ws), known.traits(found)
    moved = {name for name in old if not torch.allclose(old[name], new[name], atol=1e-3)}
    assert moved and moved <= {name for name in LIGHT_TRAITS if name[6] in "123k"}


@torch.no_grad()
def test_light_is_changed_from_there_and_nothing_else_is(generator):
    head, _ = _told(generator, 3, 20)
    known = directions_of(generator)
    found = with_light(generator, head, known)
    director = Director(generator, head, known)
    lit = director({"light_yaw": 50.0})
    assert torch.equal(lit.ws, known.moved(found, {"light_yaw": 50.0}))
    change = generator.synthesize(lit.ws).planes - generator.synthesize(found).planes
    assert torch.allclose(lit.planes, head.planes + change, atol=1e-5)
    assert torch.equal(director({"smile": 0.5}).ws, known.moved(head.ws, {"smile": 0.5}))
    assert torch.equal(director({"light_yaw": 0.0}).planes, head.planes)


@torch.no_grad()
def test_the_photos_own_tri_grid_is_looked_at(generator):
    known = directions_of(generator)
    head, _ = _told(generator, 3, 20)
    other = generator.synthesize(somebody_of(generator, 9)).replace(ws=head.ws)
    joined = stitch(head, other, visibility(generator, head, Camera.look_at(), resolution=16))
    assert torch.allclose(with_light(generator, joined, known), with_light(generator, head, known), atol=1e-5)


@torch.no_grad()
def test_heads_that_are_no_reliefs_keep_theirs():
    small = people_generator()
    head = somebody(small, 3)
    assert with_light(small, head, directions_of(small)) is head.ws


@torch.no_grad()
def test_people_without_light_keep_theirs():
    torch.manual_seed(0)
    dark = PanoHead(CONFIG.replace(features=FEATURES)).eval().requires_grad_(False)
    dark.provenance = {"note": "random", **standard("light.").to_provenance()}
    head = dark.synthesize(somebody_of(dark, 3))
    assert with_light(dark, head, directions_of(dark)) is head.ws
