"""Directed heads: every attribute moves what it names by what is asked, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import Director, direct, directions_of, neutral, restyle, values_of
from dualenc_core.editing.attributes import neutral_traits, read_wishes, write_wishes
from dualenc_core.errors import CheckpointError, DualEncError, GeneratorMismatchError
from dualenc_core.inversion import stitch, visibility
from dualenc_core.people.attributes import ATTRIBUTES, CHOICES, COLOURS, GROUPS
from dualenc_core.people.donors import EXPRESSIONS, FEATURES
from dualenc_core.people.relighting import LIGHTING
from tests.known_people import number_of, people_generator, somebody


@pytest.fixture(scope="module")
def generator():
    return people_generator()


@pytest.fixture(scope="module")
def known(generator):
    return directions_of(generator)


@pytest.fixture(scope="module")
def people(generator):
    """Two heads that no w makes exactly, as encoders give them."""
    made = somebody(generator, 3, 7)
    noise = torch.randn(made.planes.shape, generator=torch.Generator().manual_seed(3))
    ws = made.ws + 0.01 * torch.randn(made.ws.shape, generator=torch.Generator().manual_seed(4))
    return made.replace(planes=made.planes + 0.1 * noise, ws=ws)


def test_all_that_people_have_can_be_directed(known):
    assert len(known.attributes) == len(ATTRIBUTES) and {a.group for a in known.attributes} == set(GROUPS)
    moved = {trait for a in ATTRIBUTES for trait in a.moves}
    assert {f"features.{f}" for f in FEATURES} | set(EXPRESSIONS) | {"age", "sex", "weight", "tinted"} <= moved
    assert [c.name for c in known.choices] == [c.name for c in CHOICES] and set(known.colours) == set(COLOURS)
    for attribute in ATTRIBUTES:
        assert attribute.low < 0 < attribute.high and attribute.about and attribute.name.isidentifier()


def test_values_are_those_of_the_person(generator):
    head = somebody(generator, 3)
    values = values_of(generator, head)
    for name, trait in (("age", "age"), ("smile", "smile"), ("gaze_yaw", "gaze.left"), ("masculinity", "sex")):
        assert float(values[name]) == pytest.approx(number_of(3, trait), abs=1e-3)


@pytest.mark.parametrize("name", [a.name for a in ATTRIBUTES])
def test_an_attribute_moves_by_what_is_asked_and_the_others_stay(known, people, name):
    attribute = known.attribute(name)
    amount = 0.2 * attribute.high
    before = known.values(people.ws)
    after = known.values(known.moved(people.ws, {name: amount}))
    for other in known.attributes:
        moved = after[other.name] - before[other.name]
        moved = (moved + 180) % 360 - 180 if other.name == "light_yaw" else moved
        scale = 1e-3 * other.high
        expected = amount if other.name == name else 0.0
        assert torch.allclose(moved, torch.full_like(moved, expected), atol=scale), other.name
    traits, kept = known.traits(known.moved(people.ws, {name: amount})), known.traits(people.ws)
    touched = {t for t in traits if not torch.allclose(traits[t], kept[t], atol=1e-3)}
    assert touched and touched <= attribute.traits


def test_planes_are_those_of_the_photo_plus_what_the_generator_changes(generator, known, people):
    values = {"skin_tone": 0.4, "hair_grey": 0.5, "light_yaw": 60.0, "hair_style=bob01": 1.0}
    edited = direct(generator, people, values)
    ws = known.moved(people.ws, values)
    expected = people.planes + generator.synthesize(ws).planes - generator.synthesize(people.ws).planes
    assert torch.allclose(edited.planes, expected, atol=1e-5) and torch.equal(edited.ws, ws)
    assert not torch.allclose(edited.planes, people.planes, atol=1e-3)
    assert edited.generator == generator.fingerprint and edited.meta["direct"]["values"] == values
    back = direct(generator, direct(generator, people, {"skin_tone": 0.4}), {"skin_tone": -0.4})
    assert torch.allclose(back.planes, people.planes, atol=1e-4)
    assert torch.equal(direct(generator, people, {"smile": 0.0}).planes, people.planes)


def test_overlays_change_alike_and_keep_their_weights(generator, people):
    head = stitch(people, somebody(generator, 9, 11), visibility(generator, people, Camera.look_at(), resolution=16))
    edited = Director(generator, head, directions_of(generator), motions=False)({"mouth_open": 0.7})
    change = edited.planes - head.planes
    assert torch.allclose(edited.overlays[0].planes - head.overlays[0].planes, change, atol=1e-5)
    assert edited.overlays[0].weight is head.overlays[0].weight and float(change.abs().max()) > 0


def test_choices_go_there_all_the_way_or_half(known, people):
    kept = known.traits(people.ws)
    whole = known.traits(known.moved(people.ws, {"hair_style=long01": 1.0}))
    assert float(whole["style.long01_512"][0]) == pytest.approx(1, abs=1e-3)
    others = [t for t in whole if t.startswith(("style.", "wig.")) and t != "style.long01_512"]
    assert len(others) > 10 and all(abs(float(whole[t][0])) < 1e-3 for t in others)
    half = known.traits(known.moved(people.ws, {"hair_style=long01": 0.5}))
    assert torch.allclose(half["style.long01_512"], (kept["style.long01_512"] + 1) / 2, atol=1e-3)
    with_glasses = known.moved(people.ws, {"glasses=oval": 1.0, "glasses_tint": 0.5})
    without = known.traits(known.moved(with_glasses, {"glasses=none": 1.0}))
    assert all(abs(float(without[f"glasses.{g}"][0])) < 1e-3 for g in ("oval", "large")) and "glasses.oval" in without
    blue = known.traits(known.moved(people.ws, {"eye_colour=blue": 1.0}))
    assert float(blue["iris.blue"][0]) == pytest.approx(1, abs=1e-3) and abs(float(blue["iris.dark"][0])) < 1e-3


def test_any_hair_colour(known, people):
    dyed = known.traits(known.moved(people.ws, {"hair_colour=#4080ff": 1.0}))
    for axis, value in zip("rgb", (0x40, 0x80, 0xFF), strict=True):
        assert float(dyed[f"hair.{axis}"][0]) == pytest.approx((value / 255) ** 1.1, abs=1e-3)
    black = known.values(known.moved(people.ws, {"hair_colour=#222222": 1.0}))
    grey = known.values(known.moved(people.ws, {"hair_colour=#9a9894": 1.0}))
    assert float(grey["hair_grey"][0]) > float(black["hair_grey"][0]) + 0.4


def test_expression_and_light_of_another_head(generator, known, people):
    other = somebody(generator, 20)
    lent = known.traits(other.ws, ["expression", "light"])
    assert len(lent) == len(EXPRESSIONS) + 2 + 30
    like = known.values(direct(generator, people[0], {}, lent).ws)
    theirs, mine = known.values(other.ws), known.values(people[:1].ws)
    for attribute in known.attributes:
        source = theirs if attribute.group in ("expression", "light") else mine
        near = 1e-3 * attribute.high
        assert torch.allclose(like[attribute.name], source[attribute.name], atol=near), attribute.name
    smiling = known.values(direct(generator, people[0], {"smile": 0.5}, lent).ws)
    assert float(smiling["smile"] - theirs["smile"]) == pytest.approx(0.5, abs=1e-3)


def test_neutral_heads_look_straight_ahead_in_even_light(generator, known, people):
    values = values_of(generator, neutral(generator, people))
    for attribute in known.attributes:
        if attribute.group == "expression":
            assert float(values[attribute.name].abs().max()) < 1e-3 * attribute.high
    assert float(values["light_yaw"].abs().max()) < 0.1 and float(values["light_softness"].min()) > 0.999
    mine = values_of(generator, people)
    assert torch.allclose(values["age"], mine["age"], atol=0.1)
    still = values_of(generator, neutral(generator, people, ["expression"]))
    assert torch.allclose(still["light_strength"], mine["light_strength"], atol=1e-3)
    with pytest.raises(DualEncError, match="groups are hair"):
        neutral_traits(known, people, ["hair"])


def test_a_generator_that_knows_less_offers_less(people):
    bare = people_generator(without="light.")
    known = directions_of(bare)
    assert not {a.name for a in known.attributes} & set(LIGHTING) and known.neutral(people.ws).keys() >= {"smile"}
    with pytest.raises(DualEncError, match="no attribute 'light_yaw'"):
        direct(bare, somebody(bare, 1), {"light_yaw": 3.0})
    bald = directions_of(people_generator(without="style."))
    options = next(c.options for c in bald.choices if c.name == "hair_style")
    assert "bob01" not in options and {"none", "wig_1"} <= options.keys()
    assert "hair_colour" not in directions_of(people_generator(without="hair.")).colours


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"smiel": 0.5}, "no attribute 'smiel'; did you mean smile"),
        ({"hair": 0.5}, "did you mean hair_grey|did you mean .*hair_"),
        ({"age": 200.0}, "age is 200, expected -60 to 60 .years."),
        ({"age": float("nan")}, "age is nan"),
        ({"hair_style=mohawk": 1.0}, "hair_style is 'mohawk', expected one of none, bob02"),
        ({"hair_style=bob01": 2.0}, "hair_style=bob01 is 2, expected 0 to 1"),
        ({"hair_colour=red": 1.0}, "hair_colour is 'red', expected #rrggbb"),
        ({"hairstyle=bob01": 1.0}, "no choice 'hairstyle'; did you mean hair_style"),
    ],
)
def test_wrong_values_are_named(generator, people, values, message):
    with pytest.raises(DualEncError, match=message):
        direct(generator, people, values)


def test_what_cannot_be_directed_says_why(generator, people, known, tiny, heads):
    with pytest.raises(DualEncError, match="names no directions"):
        direct(tiny, heads[0], {"smile": 1.0})
    with pytest.raises(GeneratorMismatchError):
        direct(generator, people.replace(generator="0123456789abcdef"), {"smile": 1.0})
    with pytest.raises(DualEncError, match="no trait 'smil'; did you mean smile"):
        direct(generator, people, {}, {"smil": 1.0})
    with pytest.raises(DualEncError, match="groups are teeth"):
        known.traits(people.ws, ["teeth"])
    narrow = people_generator()
    narrow.provenance = {"traits": ["smile"]}
    with pytest.raises(CheckpointError, match="which people"):
        directions_of(narrow)
    with pytest.raises(DualEncError, match="cannot be told apart"):
        from dualenc_core.people.estimate import Estimate
        from tests.known_people import standard

        Estimate(standard(), 64)


def test_wishes_go_through_json(known, people):
    traits = known.traits(people[:1].ws, ["light"])
    values, again = read_wishes(write_wishes({"smile": 0.5}, traits))
    assert values == {"smile": 0.5} and again.keys() == traits.keys()
    assert np.allclose(list(again.values()), [float(v) for v in traits.values()], atol=1e-5)
    assert read_wishes('{"age": 3}') == ({"age": 3}, {}) and read_wishes(" ") == ({}, {})
    for bad in ("[]", "{", '{"age": "old"}', '{"age": true}', '{"values": {}, "age": 3}', '{"values": [1]}'):
        with pytest.raises(DualEncError, match="cannot be read"):
            read_wishes(bad)


def test_restyling_with_known_planes_is_the_same(generator, people):
    ws = people.ws + 0.1
    before = generator.synthesize(people.ws).planes
    assert torch.equal(restyle(generator, people, ws, before=before).planes, restyle(generator, people, ws).planes)
