"""Heads that can be directed: age, smile, gaze, hair, beard, glasses, light, on every side.

    known = directions_of(generator)
    older = direct(generator, head, {"age": 20, "smile": 0.6, "hair_style=bob01": 1, "light_yaw": 60})
    like_her = direct(generator, head, {}, known.traits(other.ws, ["expression", "light"]))

An edit adds what the generator makes of the change, G(w') − G(w), to tri-grids that no w makes exactly
(editing.md §3.4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead
from ..people.relighting import LIGHT_TRAITS, LIGHTING
from ..people.standard import Standard
from ..triplane import Triplane
from .directed import Directions, PeopleDirections, Traits, Values
from .direction_file import load_directions
from .light import with_light
from .motion import FaceMotions, Warper, load_motions
from .styles import restyle

# Traits of motions whose looks the generator changes beside them.
LOOKS_TOO = frozenset({"sex"})
# What `neutral` makes neutral.
NEUTRAL_GROUPS = ("expression", "light")


def directions_of(generator: PanoHead, path: str | Path | None = None) -> Directions:
    """What a generator knows of heads: from its own file, or a file of directions (`direction_file`).

    Raises DualEncError for a generator whose file says nothing, and as `load_directions`.
    """
    if path is not None:
        return load_directions(path, generator)
    if "traits" not in generator.provenance:
        raise DualEncError(
            "the generator's file names no directions, so its heads cannot be directed; use a generator of people, or "
            "make directions for it: python -m dualenc_core directions"
        )
    return PeopleDirections(Standard.from_provenance(generator.provenance), generator.config.w_dim)


@dataclass(frozen=True)
class Director:
    """Edits of the same heads, one after another; what they share is made once.

    What is a motion (expressions, gaze, the shapes of faces) moves the matter of the heads, as far as the table of
    motions knows it; what is not (age, skin, hair, beards, glasses, light) is the generator's change. Of sex both are.

    Attributes:
        generator: that made the heads.
        triplane: N heads.
        known: directions of the generator.
        motions: False leaves motions to the generator too.
    """

    generator: PanoHead
    triplane: Triplane
    known: Directions
    motions: bool = True
    _last: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, values: Values, traits: Traits | None = None) -> Triplane:
        """See `direct`."""
        traits = traits or {}
        moves = self._moves(values, traits)
        heads, warpers, ws = self._restyled(values, traits, moves.keys() - LOOKS_TOO)
        if moves:
            each = [{name: pairs[i] for name, pairs in moves.items()} for i in range(len(heads))]
            warped = zip(warpers(), self._faces, each, strict=True)
            device = heads.planes.device
            heads = Triplane.cat([warper(face.field(changes).to(device)) for warper, face, changes in warped])
        return heads.replace(ws=ws, meta={"direct": _meta(values, traits), "head": dict(self.triplane.meta)})

    def _moves(self, values: Values, traits: Traits) -> dict[str, list[tuple[float, float]]]:
        """Values of traits before and after on each head, of those that the table of motions knows."""
        changes = self.known.changes(self.triplane.ws, values, traits) if self.motions else {}
        return {
            name: list(zip(before.tolist(), after.tolist(), strict=True))
            for name, (before, after) in changes.items()
            if name in load_motions().knots
        }

    def _restyled(
        self, values: Values, traits: Traits, still: Collection[str]
    ) -> tuple[Triplane, Callable[[], list[Warper]], Tensor]:
        """The heads with what is not a motion, what warps them, and style vectors of all that is asked for."""
        lit = any(name in LIGHTING for name, value in values.items() if value) or bool(set(traits) & {*LIGHT_TRAITS})
        start, before = self._lit if lit else (self.triplane.ws, self._before)
        looks, ws = (self.known.moved(start, values, traits, kept) for kept in (still, ()))
        # While an expression moves, looks stay.
        last = self._last.get("looks")
        if last is None or last[0] is not start or not torch.equal(last[1], looks):
            same = torch.equal(looks, start)
            heads = self.triplane if same else restyle(self.generator, self.triplane, looks, before=before())
            warpers = lru_cache(1)(lambda: [Warper(self.generator, heads[i]) for i in range(len(heads))])
            last = self._last["looks"] = (start, looks, heads, warpers)
        return last[2], last[3], ws

    @cached_property
    def _faces(self) -> list[FaceMotions]:
        return [FaceMotions.of(self.generator, self.triplane[i]) for i in range(len(self.triplane))]

    @cached_property
    def _lit(self) -> tuple[Tensor, Callable[[], Tensor]]:
        """Style vectors that say what light the photo shows, and their planes: where light is changed from."""
        if not isinstance(self.known, PeopleDirections):
            return self.triplane.ws, self._before
        ws = with_light(self.generator, self.triplane, self.known)
        return (self.triplane.ws, self._before) if torch.equal(ws, self.triplane.ws) else (ws, self._planes(ws))

    @cached_property
    def _before(self) -> Callable[[], Tensor]:
        return self._planes(self.triplane.ws)

    def _planes(self, ws: Tensor) -> Callable[[], Tensor]:
        """The generator's planes, made when they are asked for."""

        @lru_cache(1)
        @torch.no_grad()
        def planes() -> Tensor:
            return self.generator.synthesize(ws).planes

        return planes


def direct(
    generator: PanoHead,
    triplane: Triplane,
    values: Values,
    traits: Traits | None = None,
    known: Directions | None = None,
) -> Triplane:
    """Heads with attributes changed; details that are not the generator's own stay where they are.

    Args:
        triplane: N heads. Overlays change alike, their weights stay.
        values: changes by name, 0 = as it is; also ``"hair_style=bob01": 0.5`` and ``"hair_colour=#8a3b12": 1``.
        traits: set before the changes, each a number or [N]: what `Directions.traits` reads from another head.
        known: None = `directions_of` the generator.

    Raises DualEncError for names that are unknown, values out of range and a generator without directions,
    GeneratorMismatchError for heads of another generator.
    """
    generator.check(triplane)
    return Director(generator, triplane, known or directions_of(generator))(values, traits)


def values_of(generator: PanoHead, triplane: Triplane, known: Directions | None = None) -> dict[str, Tensor]:
    """An estimate [N] of every attribute of N heads, from their style vectors. Raises as `direct`."""
    generator.check(triplane)
    return (known or directions_of(generator)).values(triplane.ws)


def neutral(
    generator: PanoHead,
    triplane: Triplane,
    groups: Iterable[str] = NEUTRAL_GROUPS,
    known: Directions | None = None,
) -> Triplane:
    """Heads with a neutral expression that look straight ahead, in even light as bright as theirs; or one of both.

    Raises as `direct`, and DualEncError for other groups.
    """
    generator.check(triplane)
    known = known or directions_of(generator)
    return Director(generator, triplane, known)({}, neutral_traits(known, triplane, groups))


def neutral_traits(known: Directions, triplane: Triplane, groups: Iterable[str] = NEUTRAL_GROUPS) -> Traits:
    """What `neutral` sets."""
    groups = list(groups)
    if unknown := set(groups) - set(NEUTRAL_GROUPS):
        raise DualEncError(f"groups are {', '.join(sorted(unknown))}, expected some of {', '.join(NEUTRAL_GROUPS)}")
    kept = known.traits(triplane.ws, groups).keys()
    return {name: value for name, value in known.neutral(triplane.ws).items() if name in kept}


def write_wishes(values: Values, traits: Traits) -> str:
    """JSON that `read_wishes` reads; traits of one head."""
    numbers = {name: round(float(value), 6) for name, value in traits.items()}
    return json.dumps({"values": dict(values), "traits": numbers}, indent=1)


def read_wishes(text: str, source: str = "values") -> tuple[dict[str, float], dict[str, float]]:
    """Values and traits from JSON: ``{"smile": 0.8}``, or ``{"values": {…}, "traits": {…}}``.

    Raises DualEncError for anything else; empty text is nothing.
    """
    try:
        found: Any = json.loads(text) if text.strip() else {}
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        if not found.keys() & {"values", "traits"}:
            found = {"values": found}
        if extra := found.keys() - {"values", "traits"}:
            raise ValueError(f"it has {', '.join(sorted(extra))} beside values and traits")
        parts = [found.get(key, {}) for key in ("values", "traits")]
        for part in parts:
            for name, value in part.items():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ValueError(f"{name} is {value!r:.40}, expected a number")
        return dict(parts[0]), dict(parts[1])
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DualEncError(
            f'{source} cannot be read: {error}; expected JSON such as {{"smile": 0.8, "age": 20}}'
        ) from error


def _meta(values: Values, traits: Traits) -> dict[str, Any]:
    set_ = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in traits.items()}
    return {"values": dict(values), **({"traits": set_} if set_ else {})}
