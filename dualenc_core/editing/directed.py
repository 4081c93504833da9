"""What is known of a generator's latent space: attributes that can be read from style vectors and moved in them."""

from __future__ import annotations

import abc
import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..errors import DualEncError
from ..people.attributes import ATTRIBUTES, CHOICES, COLOURS, LENT, ZERO, Attribute, Choice, colour_traits
from ..people.estimate import Estimate
from ..people.relighting import LIGHT_TRAITS, LIGHTING, even_light, read_light, relit
from ..people.standard import Standard

Values = Mapping[str, float]
Traits = Mapping[str, float | Tensor]


class Directions(abc.ABC):
    """Attributes of a generator, and what else of a head can be set.

    Values are changes of attributes: 0 = as it is. Besides attributes they may be named ``CHOICE=OPTION`` or
    ``COLOUR=#rrggbb``; their value is how far to go there, 0..1. Traits are what heads can lend each other: they are
    set, not added.
    """

    attributes: tuple[Attribute, ...]
    choices: tuple[Choice, ...] = ()
    colours: tuple[str, ...] = ()

    @abc.abstractmethod
    def values(self, ws: Tensor) -> dict[str, Tensor]:
        """Style vectors [N,num_ws,w_dim] → an estimate [N] of every attribute."""

    @abc.abstractmethod
    def traits(self, ws: Tensor, groups: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Traits [N] of style vectors: those of some groups (`people.attributes.GROUPS`), None = all."""

    @abc.abstractmethod
    def neutral(self, ws: Tensor) -> dict[str, Tensor]:
        """Traits [N] that make an expression and light neutral."""

    def changes(self, ws: Tensor, values: Values, traits: Traits | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Traits of shapes that attributes move, before and after [N], for `motion.Motions`; none if it has none."""
        return {}

    @abc.abstractmethod
    def _moved(self, ws: Tensor, values: Values, traits: Traits, still: Collection[str]) -> Tensor: ...

    @abc.abstractmethod
    def _known_traits(self) -> Iterable[str]: ...

    def moved(self, ws: Tensor, values: Values, traits: Traits | None = None, still: Collection[str] = ()) -> Tensor:
        """Style vectors [N,num_ws,w_dim] with attributes changed, after traits are set. Raises as `check`.

        Args:
            still: traits that stay all the same: others move them, in space (`changes`).
        """
        self.check(values, traits or {})
        return self._moved(ws, {name: v for name, v in values.items() if v}, traits or {}, still)

    def check(self, values: Values, traits: Traits | None = None) -> None:
        """Raise DualEncError for names that the generator does not know and for values out of range."""
        for name, value in values.items():
            low, high, unit = self._range(name)
            if not math.isfinite(value) or not low <= value <= high:
                raise DualEncError(f"{name} is {value:g}, expected {low:g} to {high:g} ({unit})")
        known = set(self._known_traits())
        for name in traits or {}:
            if name not in known:
                raise DualEncError(f"the generator knows no trait {name!r}{_nearest(name, known)}")

    def attribute(self, name: str) -> Attribute:
        """An attribute by its name. Raises DualEncError for an unknown one."""
        found = next((a for a in self.attributes if a.name == name), None)
        if found is None:
            names = [a.name for a in self.attributes] + [f"{c.name}=…" for c in self.choices]
            raise DualEncError(f"the generator knows no attribute {name!r}{_nearest(name, names)}")
        return found

    def _range(self, name: str) -> tuple[float, float, str]:
        kind, equals, option = name.partition("=")
        if not equals:
            found = self.attribute(name)
            return found.low, found.high, found.unit
        self._setting(kind, option)
        return 0, 1, "how far to go there"

    def _setting(self, kind: str, option: str) -> Mapping[str, float]:
        """Traits that an option of a choice, or a colour, sets."""
        if kind in self.colours:
            return colour_traits(kind, option)
        found = next((c for c in self.choices if c.name == kind), None)
        if found is None:
            names = [*(c.name for c in self.choices), *self.colours]
            raise DualEncError(f"the generator knows no choice {kind!r}{_nearest(kind, names)}")
        if option not in found.options:
            raise DualEncError(f"{kind} is {option!r}, expected one of {', '.join(found.options)}")
        return found.options[option]


class PeopleDirections(Directions):
    """Of a generator whose w is a description of people (`people.standard`): exact, whatever the head.

    Style vectors that differ from row to row are read by their mean, and all move alike.
    """

    def __init__(self, standard: Standard, w_dim: int) -> None:
        self._estimate = Estimate(standard, w_dim)
        self._column = {name: i for i, name in enumerate(standard.names)}
        known = self._column.keys()
        self.attributes = tuple(a for a in ATTRIBUTES if a.traits <= known)
        self.choices = tuple(c for c in map(self._possible, CHOICES) if len(c.options) > 1)
        self.colours = tuple(
            name for name, (trait, _) in COLOURS.items() if all(f"{trait}.{axis}" in known for axis in "rgb")
        )
        self._linear = [a for a in self.attributes if a.name not in LIGHTING]
        self._light = [self._column[t] for t in LIGHT_TRAITS] if known >= set(LIGHT_TRAITS) else None

    def values(self, ws: Tensor) -> dict[str, Tensor]:
        numbers = self._numbers(ws)
        zero = np.array([ZERO.get(name, 0.0) for name in self._column])
        found = dict(zip((a.name for a in self._linear), ((numbers - zero) @ self._reading).T, strict=True))
        if self._light is not None:
            found |= read_light(numbers[:, self._light])
        return {a.name: torch.from_numpy(np.ascontiguousarray(found[a.name])) for a in self.attributes}

    def traits(self, ws: Tensor, groups: Iterable[str] | None = None) -> dict[str, Tensor]:
        groups = None if groups is None else list(groups)
        if unknown := set(groups or ()) - LENT.keys():
            raise DualEncError(f"groups are {', '.join(sorted(unknown))}, expected some of {', '.join(LENT)}")
        wanted = self._column if groups is None else [t for g in groups for t in LENT[g] if t in self._column]
        numbers = self._numbers(ws)
        return {name: torch.from_numpy(numbers[:, self._column[name]].copy()) for name in wanted}

    def neutral(self, ws: Tensor) -> dict[str, Tensor]:
        still = torch.zeros(len(ws), dtype=torch.float64)
        found = {trait: still for trait in LENT["expression"] if trait in self._column}
        if self._light is not None:
            light = even_light(self._numbers(ws)[:, self._light])
            found |= dict(zip(LIGHT_TRAITS, torch.from_numpy(light).T, strict=True))
        return found

    def spread(self, names: Sequence[str]) -> dict[str, float]:
        """A standard deviation of each trait among people; empty unless all are known."""
        if not self._column.keys() >= set(names):
            return {}
        return {name: float(self._estimate.standard.std[self._column[name]]) for name in names}

    def changes(self, ws: Tensor, values: Values, traits: Traits | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        self.check(values, traits or {})
        before, after = (torch.from_numpy(n) for n in self._before_and_after(ws, values, traits or {}))
        changed = (before != after).any(0)
        return {name: (before[:, i], after[:, i]) for name, i in self._column.items() if changed[i]}

    def _moved(self, ws: Tensor, values: Values, traits: Traits, still: Collection[str]) -> Tensor:
        before, after = self._before_and_after(ws, values, traits)
        kept = [self._column[name] for name in still if name in self._column]
        after[:, kept] = before[:, kept]
        return ws + torch.from_numpy(self._estimate.step(after - before)).to(ws)[:, None]

    def _before_and_after(self, ws: Tensor, values: Values, traits: Traits) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [N,D] of descriptions."""
        before = self._numbers(ws)
        after = before.copy()
        for name, value in traits.items():
            after[:, self._column[name]] = np.asarray(value, np.float64)
        for name, amount in values.items():
            if "=" in name:
                for trait, number in self._setting(*name.split("=", 1)).items():
                    after[:, self._column[trait]] += amount * (number - after[:, self._column[trait]])
        after = after + np.array([values.get(a.name, 0.0) for a in self._linear]) @ self._moves
        if self._light is not None and any(name in values for name in LIGHTING):
            after[:, self._light] = relit(after[:, self._light], values)
        return before, after

    def _known_traits(self) -> Iterable[str]:
        return self._column

    def _numbers(self, ws: Tensor) -> np.ndarray:
        return self._estimate(ws.detach().cpu().double().mean(1).numpy())

    def _possible(self, choice: Choice) -> Choice:
        """A choice with the options that the generator has seen."""
        options = {
            name: {t: n for t, n in traits.items() if t in self._column}
            for name, traits in choice.options.items()
            if any(t in self._column for t in traits) and all(t in self._column for t, n in traits.items() if n == 1)
        }
        return Choice(choice.name, choice.group, choice.about, options)

    @cached_property
    def _moves(self) -> np.ndarray:
        """[A,D] numbers that one unit of each linear attribute adds."""
        moves = np.zeros((len(self._linear), len(self._column)))
        for row, attribute in zip(moves, self._linear, strict=True):
            for trait, amount in attribute.moves.items():
                row[self._column[trait]] = amount
        return moves

    @cached_property
    def _reading(self) -> np.ndarray:
        """[D,A] numbers → values: the moves' inverse, so that attributes on the same traits are told apart."""
        return np.linalg.pinv(self._moves)


def _nearest(name: str, known: Iterable[str]) -> str:
    """The names that it may be, for an error."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 3, 0.5)
    near += [other for other in known if name and name in other and other not in near][:3]
    listed = near or known[:8]
    return f"; {'did you mean' if near else 'it knows'} {', '.join(listed)}?" if listed else "; it knows none"
