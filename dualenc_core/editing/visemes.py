"""Talking: mouths with times, from a text file, as changes of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DualEncError
from ..files import read_text

# Seconds over which a mouth comes and goes, so that neighbours flow into each other.
_RAMP = 0.07
# Names of mouths → changes of attributes: ours, and those that text-to-speech programs call visemes.
VISEMES: dict[str, dict[str, float]] = {
    "sil": {},
    "a": {"viseme_a": 1.0},
    "e": {"viseme_e": 1.0},
    "o": {"viseme_o": 1.0},
    "u": {"viseme_u": 1.0},
    "f": {"viseme_f": 1.0},
    "m": {"viseme_f": 0.7},
    "open": {"mouth_open": 1.0},
    "aa": {"viseme_a": 1.0},
    "E": {"viseme_e": 1.0},
    "ih": {"viseme_e": 0.7},
    "oh": {"viseme_o": 1.0},
    "ou": {"viseme_u": 1.0},
    "PP": {"viseme_f": 0.7},
    "FF": {"viseme_f": 1.0},
    "TH": {"viseme_e": 0.4, "viseme_a": 0.1},
    "DD": {"viseme_e": 0.4},
    "kk": {"viseme_a": 0.35},
    "CH": {"viseme_u": 0.6},
    "SS": {"viseme_e": 0.5},
    "nn": {"viseme_e": 0.3},
    "RR": {"viseme_u": 0.4, "viseme_o": 0.2},
}


@dataclass(frozen=True)
class Viseme:
    """A mouth, from ``start`` to ``end`` in seconds; ``name``: of `VISEMES`."""

    name: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if self.name not in VISEMES:
            raise DualEncError(f"the mouth is {self.name!r}, expected one of {', '.join(VISEMES)}")
        if not 0 <= self.start < self.end < 1e5:
            raise DualEncError(
                f"the mouth {self.name!r} lasts from {self.start:g} to {self.end:g}, expected seconds that go up from 0"
            )


def read_visemes(path: str | Path) -> tuple[Viseme, ...]:
    """`parse_visemes` of a text file."""
    return parse_visemes(read_text(path), str(path))


def parse_visemes(text: str, source: str) -> tuple[Viseme, ...]:
    """Visemes of text: one a line, name, start and end in seconds; lines that begin with # do not count.

    Raises DualEncError for lines that are something else, naming them.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            name, start, end = words
            found.append(Viseme(name, float(start), float(end)))
        except DualEncError as error:
            raise DualEncError(f"{source}, line {number}: {error}") from error
        except ValueError as error:
            raise DualEncError(
                f"{source}, line {number} is {line!r:.60}, expected a mouth and two times, such as: a 0.2 0.35"
            ) from error
    if not found:
        raise DualEncError(f"{source} names no mouth; expected lines such as: a 0.2 0.35")
    return tuple(found)


def mouth_at(visemes: Sequence[Viseme], seconds: float) -> dict[str, float]:
    """Changes of attributes at a time, each 0..1."""
    values: dict[str, float] = {}
    for viseme in visemes:
        amount = _ramp(seconds - viseme.start) * _ramp(viseme.end - seconds)
        if amount > 0:
            for name, share in VISEMES[viseme.name].items():
                values[name] = min(1.0, values.get(name, 0.0) + amount * share)
    return values


def _ramp(seconds: float) -> float:
    t = min(max(seconds / _RAMP * 0.5 + 0.5, 0.0), 1.0)
    return t * t * (3 - 2 * t)
