"""People: descriptions with the pack that makes them, traced like `procedural` heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import makehuman, rocketbox, valid
from .accessories import glasses, with_hat
from .donors import LIGHTS
from .light import Light, make_light
from .pack import Pack
from .part import Part
from .person import Person, sample_people
from .scene import Scene
from .traits import numbers

# Scenes of people that are kept; each is some 30 MB.
_KEPT = 8


@dataclass(frozen=True)
class People:
    """N people of a pack.

    Attributes:
        pack: where their meshes and textures come from.
        persons: their descriptions.
        held_out: skins come from the part of the pack that training never sees.
    """

    pack: Pack
    persons: tuple[Person, ...]
    held_out: bool = False
    _scenes: OrderedDict[int, Scene] = field(default_factory=OrderedDict, repr=False, compare=False)

    @classmethod
    def sample(cls, pack: Pack, count: int, seed: int, held_out: bool = False) -> People:
        """Random people; number i of a seed is always the same."""
        return cls(pack, tuple(sample_people(count, seed, held_out)), held_out)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: Sequence[int] | slice) -> People:
        if isinstance(index, slice):
            return People(self.pack, self.persons[index], self.held_out)
        return People(self.pack, tuple(self.persons[i] for i in index), self.held_out)

    def scene(self, index: int) -> Scene:
        """Person number ``index``, ready to be traced; the last few are kept."""
        if index not in self._scenes:
            person = self.persons[index]
            self._scenes[index] = Scene(parts_of(self.pack, person, self.held_out), light_of(self.pack, person))
            if len(self._scenes) > _KEPT:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(index)
        return self._scenes[index]

    @property
    def numbers(self) -> np.ndarray:
        """[N,D] the descriptions as `traits.numbers`."""
        return np.stack([numbers(p, light_of(self.pack, p).numbers) for p in self.persons])


def parts_of(pack: Pack, person: Person, held_out: bool = False) -> list[Part]:
    """The meshes of a person, with glasses and hat. Raises DualEncError for files that are missing or broken."""
    if person.family == 0:
        parts, eyes = valid.build(pack, person)
    elif person.family == 1:
        parts, eyes = makehuman.build(pack, person, held_out)
    else:
        parts, eyes = rocketbox.build(pack, person)
    if person.hat >= 0:
        parts = with_hat(pack, person, parts)
    if person.glasses >= 0:
        parts += glasses(pack, person, eyes)
    return parts


def light_of(pack: Pack, person: Person) -> Light:
    """The light on a person."""
    arrays = pack.arrays("light.npz")
    k = [str(name) for name in arrays["names"]].index(LIGHTS[person.light])
    turn = float(np.arctan2(person.turn[1], person.turn[0]))
    return make_light(arrays["sh"][k], arrays["latlong"][k], turn, person.level, person.key, person.warmth)
