"""People with attributes changed: what their numbers say afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from dualenc_core.errors import DualEncError
from dualenc_core.people import numbers, sample_people, trait_names
from dualenc_core.people.attributes import ATTRIBUTES, CHOICES
from dualenc_core.people.changed import changed
from dualenc_core.people.light import make_light
from dualenc_core.people.relighting import LIGHTING, read_light
from dualenc_core.people.traits import set_traits

PEOPLE = sample_people(12, 5)


def _numbers(person) -> dict[str, float]:
    return dict(zip(trait_names(), map(float, numbers(person, np.zeros(30))), strict=True))


@pytest.mark.parametrize("name", [a.name for a in ATTRIBUTES if a.name not in LIGHTING])
def test_numbers_move_by_what_is_asked(name):
    attribute = next(a for a in ATTRIBUTES if a.name == name)
    for person in PEOPLE[:3]:
        before, after = _numbers(person), _numbers(changed(person, {name: 0.1 * attribute.high}))
        for trait, value in before.items():
            wanted = value + 0.1 * attribute.high * attribute.moves.get(trait, 0.0)
            # Colours do not become negative.
            wanted = abs(max(wanted, 0.0)) if trait.startswith(("hair.", "skin.")) else wanted
            assert after[trait] == pytest.approx(wanted, abs=1e-4), trait


def test_every_trait_can_be_set_to_what_it_is():
    for person in PEOPLE:
        traits = {t: n for t, n in _numbers(person).items() if not t.startswith("light.")}
        assert _numbers(set_traits(person, traits)) == pytest.approx(_numbers(person), abs=1e-4)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.name)
def test_choices_and_colours_are_set(choice):
    for option, traits in choice.options.items():
        after = _numbers(changed(PEOPLE[1], {f"{choice.name}={option}": 1.0}))
        assert all(after[t] == pytest.approx(n, abs=1e-3) for t, n in traits.items())
    dyed = _numbers(changed(PEOPLE[1], {"hair_colour=#4080ff": 1.0}))
    assert dyed["hair.b"] == pytest.approx(1, abs=1e-3) and dyed["hair.r"] == pytest.approx(
        (0x40 / 255) ** 1.1, abs=1e-3
    )


def test_light_turns_to_the_viewers_right_and_gets_stronger_and_warmer():
    rng = np.random.default_rng(0)
    radiance = np.concatenate([np.full((1, 3), 3.0), rng.normal(size=(8, 3)) * 0.4])
    radiance[3] += 1.0

    def light(person) -> dict[str, float]:
        turn = float(np.arctan2(person.turn[1], person.turn[0]))
        made = make_light(radiance, np.ones((4, 8, 3)), turn, person.level, person.key, person.warmth)
        return {name: float(v[0]) for name, v in read_light(made.numbers[None]).items()}

    person = PEOPLE[2]
    before = light(person)
    turned = light(changed(person, {"light_yaw": 70.0}))
    assert (turned["light_yaw"] - before["light_yaw"] - 70 + 180) % 360 - 180 == pytest.approx(0, abs=3)
    strong, warm = light(changed(person, {"light_strength": 1.0})), light(changed(person, {"light_warmth": 0.5}))
    assert strong["light_strength"] - before["light_strength"] == pytest.approx(1, abs=0.02)
    assert 0.2 < warm["light_warmth"] - before["light_warmth"] < 0.7


def test_what_cannot_be_changed_is_named():
    for values in ({"smiel": 1.0}, {"light_softness": 0.1}, {"hair_style=mohawk": 1.0}, {"teeth=gold": 1.0}):
        with pytest.raises(DualEncError, match="cannot be changed by"):
            changed(PEOPLE[0], values)
    with pytest.raises(DualEncError, match="no trait smiel"):
        set_traits(PEOPLE[0], {"smiel": 1.0})
    with pytest.raises(DualEncError, match="that can be set"):
        set_traits(PEOPLE[0], {"light.key.x": 1.0})
