"""Hair and skin take the photo's colours before anything is refined."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.editing.attributes import directions_of
from dualenc_core.encoders.tones import TONES, fit_tones
from dualenc_core.inversion import on_backdrop

CAMERA = dc.Camera.look_at(yaw=20, pitch=2)
HAIR, SKIN = TONES
SHORT = "style.short01"


@pytest.fixture(scope="module")
def known(generator):
    return directions_of(generator)


@pytest.fixture(scope="module")
def likely(generator, known):
    """What stage one might say: brown short hair, in even light."""
    ws = generator.w_avg.expand(1, generator.config.num_ws, -1)
    return known.moved(ws, {}, {SHORT: 1.0, **known.neutral(ws)})


@pytest.fixture(scope="module")
def dark(generator, known, likely):
    """The same person with black hair and darker skin, and a photo of it with its matte."""
    ws = known.moved(likely, {"hair_colour=#0c0a0a": 1.0, "skin_tone": 0.3})
    seen = generator.render(generator.synthesize(ws), CAMERA)
    return ws, seen.image.clamp(-1, 1), seen.alpha


def away(known, ws, wanted, part):
    """How far a colour is from the wanted one."""
    a, b = (known.traits(w) for w in (ws, wanted))
    return float(torch.stack([(a[n] - b[n]).abs() for n in part]).mean())


def behind(generator, ws, wanted):
    """How far what the photo does not show is from what is there."""
    a, b = (generator.render(generator.synthesize(w), dc.Camera.look_at(yaw=180)) for w in (ws, wanted))
    return float((a.image - b.image).abs().mean())


# Small changes of skin are halved: they may as well be light.
@pytest.mark.parametrize(("part", "left"), [(HAIR, 0.25), (SKIN, 0.5)], ids=("hair", "skin"))
def test_colours_become_those_of_the_photo(generator, known, likely, dark, part, left):
    wanted, photo, matte = dark
    found = fit_tones(generator, likely, photo, CAMERA, matte)
    assert away(known, likely, wanted, part) > 0.04
    assert away(known, found, wanted, part) < left * away(known, likely, wanted, part)


def test_so_do_hidden_parts(generator, likely, dark):
    wanted, photo, matte = dark
    found = fit_tones(generator, likely, photo, CAMERA, matte)
    assert behind(generator, found, wanted) < 0.35 * behind(generator, likely, wanted)


def test_bare_skin_where_the_head_has_hair_is_no_hair(generator, known, likely, dark):
    wanted, photo, matte = dark
    # A hairline that is higher than the head's: the upper third of the face, moved up by a sixteenth.
    bare = photo.clone()
    size = photo.shape[-1]
    rows = slice(size // 4, size // 2)
    bare[:, :, rows] = photo[:, :, size // 4 + size // 16 : size // 2 + size // 16]
    found = fit_tones(generator, likely, bare, CAMERA, matte)
    assert away(known, found, wanted, HAIR) < 0.4 * away(known, likely, wanted, HAIR)


def test_light_from_behind_that_nothing_shows_is_weakened(generator, known, likely, dark):
    _, photo, matte = dark
    lit = known.moved(likely, {"light_softness": -0.4})
    lit = known.moved(lit, {"light_yaw": 180})
    found = fit_tones(generator, lit, photo, CAMERA, matte)
    softness = [float(known.values(ws)["light_softness"]) for ws in (lit, found)]
    assert softness[1] > softness[0] + 0.1


def test_what_cannot_be_told_stays(generator, likely, dark, monkeypatch):
    _, photo, matte = dark
    plain = dc.PanoHead.from_config(
        {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
    )
    ws = torch.randn(1, plain.config.num_ws, plain.config.w_dim)
    assert fit_tones(plain, ws, photo, CAMERA, matte) is ws
    # No more than the light changes where nothing is covered.
    nothing = fit_tones(generator, likely, photo, CAMERA, torch.zeros_like(matte))
    assert (nothing - likely).abs().max() < 1e-4


def test_photos_do_not_see_one_another(generator, likely, dark):
    _, photo, matte = dark
    other = photo.flip(1)
    both = fit_tones(
        generator,
        likely.expand(2, -1, -1),
        torch.cat([photo, other]),
        dc.Camera.cat([CAMERA, CAMERA]),
        matte.expand(2, -1, -1, -1),
    )
    torch.testing.assert_close(both[1:], fit_tones(generator, likely, other, CAMERA, matte))
    assert (both[0] - both[1]).abs().max() > 0.05


def test_two_encoders_with_one_stage_one_find_it_once(generator, dark):
    _, photo, matte = dark
    first, second = dc.load_encoder("demo-e1"), dc.load_encoder("demo-e2")
    assert second.same_styles(first) and not second.same_styles(None)
    picture = on_backdrop(generator, photo, matte)
    alone = second.encode(generator, picture, CAMERA, matte)
    found = dc.DualEncoder(generator, first, second).invert(picture, CAMERA, matte).occluded
    torch.testing.assert_close(found.planes, alone.planes)
    torch.testing.assert_close(found.ws, alone.ws)
