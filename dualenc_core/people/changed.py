"""People with attributes changed: the truth of an edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DualEncError
from .attributes import ATTRIBUTES, CHOICES, COLOURS, colour_traits
from .person import Person
from .traits import numbers, set_traits, trait_names

# Light that descriptions can be told to change, as `relighting` reads it.
_LIGHT = ("light_yaw", "light_strength", "light_warmth")


def changed(person: Person, values: Mapping[str, float]) -> Person:
    """Someone with attributes changed, as `editing.direct` is asked for; numbers may leave their usual range.

    Args:
        values: changes by name, 0 = as they are, also ``"hair_style=bob01": 1`` and ``"hair_colour=#8a3b12": 0.5``. Of
            light only its yaw, strength and warmth.

    Raises DualEncError for what a description cannot do.

    Example:
        >>> from dualenc_core.people import sample_people
        >>> from dualenc_core.people.changed import changed
        >>> someone = sample_people(1, 5)[0]
        >>> round(changed(someone, {"age": 20}).age - someone.age)
        20
    """
    moves = {a.name: a.moves for a in ATTRIBUTES}
    traits: dict[str, float] = dict(zip(trait_names(), map(float, numbers(person, np.zeros(30))), strict=True))
    before = dict(traits)
    for name, amount in values.items():
        kind, equals, option = name.partition("=")
        if equals:
            for trait, number in _setting(kind, option).items():
                traits[trait] += amount * (number - traits[trait])
        elif moves.get(name):
            for trait, step in moves[name].items():
                traits[trait] += amount * step
        elif name not in _LIGHT:
            raise DualEncError(
                f"people cannot be changed by {name!r}; expected an attribute that is not of their light"
            )
    return _lit(set_traits(person, {t: n for t, n in traits.items() if n != before[t]}), values)


def _setting(kind: str, option: str) -> Mapping[str, float]:
    if kind in COLOURS:
        return colour_traits(kind, option)
    for choice in CHOICES:
        if choice.name == kind and option in choice.options:
            return choice.options[option]
    raise DualEncError(f"people cannot be changed by {kind}={option}; see python -m dualenc_core directions")


def _lit(person: Person, values: Mapping[str, float]) -> Person:
    turn = np.radians(values.get("light_yaw", 0.0))
    c, s = np.cos(turn), np.sin(turn)
    changes: dict[str, Any] = {"turn": np.array([[c, -s], [s, c]]) @ person.turn} if turn else {}
    changes["level"] = person.level * 2 ** values.get("light_strength", 0.0)
    changes["warmth"] = person.warmth + values.get("light_warmth", 0.0)
    return dataclasses.replace(person, **changes)
