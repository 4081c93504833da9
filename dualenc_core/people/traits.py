"""A description of a person as named numbers, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..errors import DualEncError
from .donors import EXPRESSIONS, FEATURES, GLASSES, HATS, IRISES, OUTFITS, ROCKETBOX, STYLES, VALID, WIG_OWNERS
from .person import FAMILIES, LATENT_DIM, Person, people_from_latent

_COLOURS = ("skin", "hair", "frame", "hat_colour", "cloth", "stripe")
_LIGHT = ("light", "turn", "level", "key", "warmth")
# Fields that are one of several, with the names of their options; their numbers are a row of a unit matrix.
OPTIONS: dict[str, tuple[str, ...]] = {
    "family": FAMILIES,
    "donor": tuple(d.name for d in (*VALID, *ROCKETBOX)),
    "wig": WIG_OWNERS,
    "style": tuple(s.name for s in STYLES),
    "iris": IRISES,
    "glasses": GLASSES,
    "hat": HATS,
    "outfit": OUTFITS,
}
# Fields that are several amounts, with their names.
_KINDS: dict[str, tuple[str, ...]] = {
    "race": ("african", "asian", "caucasian"),
    "features": FEATURES,
    "faces": tuple(d.name for d in VALID),
    "gaze": ("left", "up"),
    "expression": EXPRESSIONS,
    "beard": ("stubble", "full", "goatee"),
}


def trait_names() -> tuple[str, ...]:
    """Names of `numbers`, in order: ``smile``, ``hair.r``, ``glasses.round_thin``, …"""
    return tuple(name for name, _ in _named(people_from_latent(np.ones((1, LATENT_DIM)))[0], np.zeros(30)))


def numbers(person: Person, light: np.ndarray) -> np.ndarray:
    """A description as a vector [D], `trait_names`; ``light`` [30] is `Light.numbers`.

    Colours are given as they look (the square root of linear), choices as 0 and 1.
    """
    return np.array([value for _, value in _named(person, light)], np.float32)


def set_traits(person: Person, traits: Mapping[str, float]) -> Person:
    """Someone with some of their `numbers` set, by `trait_names`; not those of light.

    Of a field that is one of several the option with the largest number above a half is taken, and none below that.
    Raises DualEncError for other names.
    """
    now = dict(_named(person, np.zeros(30)))
    if unknown := [name for name in traits if name not in now or name.startswith("light.")]:
        raise DualEncError(f"people have no trait {', '.join(unknown)} that can be set; see traits.trait_names")
    now |= traits
    changes: dict[str, Any] = {}
    for name in (f.name for f in fields(Person) if f.name not in _LIGHT):
        names = _names_of(name)
        if not traits.keys() & set(names):
            continue
        values = np.array([now[n] for n in names], np.float64)
        if name in OPTIONS:
            best = int(values.argmax())
            changes[name] = best if values[best] > 0.5 else -1
            if name == "donor" and person.family == 2 and best >= len(VALID):
                changes[name] -= len(VALID)
        elif name in _COLOURS:
            changes[name] = np.maximum(values, 0) ** 2
        elif name in _KINDS:
            changes[name] = values
        else:
            changes[name] = float(values[0])
    return replace(person, **changes)


def _names_of(field: str) -> list[str]:
    """Names of a field's numbers."""
    if field == "expression":
        return list(EXPRESSIONS)
    parts = OPTIONS.get(field) or _KINDS.get(field) or (tuple("rgb") if field in _COLOURS else ())
    return [f"{field}.{part}" for part in parts] or [field]


def _named(person: Person, light: np.ndarray) -> Iterator[tuple[str, float]]:
    for name in (f.name for f in fields(Person) if f.name not in _LIGHT):
        value = getattr(person, name)
        if name in OPTIONS:
            if name == "donor" and person.family == 2:
                value += len(VALID)
            for i, option in enumerate(OPTIONS[name]):
                yield f"{name}.{option}", float(i == value)
        elif name in _COLOURS:
            for axis, number in zip("rgb", np.sqrt(value), strict=True):
                yield f"{name}.{axis}", float(number)
        elif name in _KINDS:
            for option, number in zip(_KINDS[name], value, strict=True):
                yield (option if name == "expression" else f"{name}.{option}"), float(number)
        else:
            yield name, float(value)
    for i, number in enumerate(light[:27]):
        yield f"light.{i // 3}{'rgb'[i % 3]}", float(number)
    for axis, number in zip("xyz", light[27:], strict=True):
        yield f"light.key.{axis}", float(number)
