"""Descriptions as w: standardised numbers, turned into the generator's style space by a fixed rotation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from .traits import trait_names

# How far w moves in every direction. Style layers start at scale 1, so a w near 1 would scramble all activations
# before anything is learned: a w of 2.5 costs 5 dB after the same steps.
W_SPREAD = 0.5
# How much traits count in w, by the beginning of their names; the longest that fits. About as much as they move the
# pixels of small pictures from four sides (a linear regression on 840 people), but never next to nothing: eyes and lips
# are few pixels, and what people look at. All alike, hair and light drown among the shapes of noses.
IMPORTANCE = {
    "": 0.5,
    "age": 1.0,
    "cloth": 0.9,
    "donor": 1.1,
    "family": 1.0,
    "frame": 0.6,
    "glasses": 0.8,
    "hair": 2.6,
    "hat": 1.0,
    "light": 0.9,
    "light.0": 2.3,
    "light.1": 1.5,
    "light.2": 1.4,
    "light.3": 1.4,
    "light.key": 2.0,
    "race": 0.9,
    "recoloured": 0.8,
    "sex": 1.1,
    "skin": 1.7,
    "style": 1.4,
    "tinted": 0.8,
    "wig": 1.8,
}
# A standardised number further out than this is a rare choice; more of it would only shout.
LARGEST = 6.0


@dataclass(frozen=True)
class Standard:
    """The spread of descriptions that a generator was trained on; its file carries it.

    Attributes:
        names: of the traits that vary, some of `traits.trait_names`.
        mean, std: [len(names)] of their numbers.
        importance: [len(names)] factors on the standardised numbers, of mean square 1.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    importance: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Standard:
        """The spread of descriptions [M,D], `traits.numbers`."""
        mean, std = numbers.mean(0), numbers.std(0)
        varies = np.flatnonzero(std > 1e-3)
        names = tuple(trait_names()[i] for i in varies)
        return cls(names, mean[varies], std[varies], importance_of(names))

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> Standard:
        """From the provenance of a generator's file. Raises CheckpointError where it has none."""
        try:
            values = (np.array(provenance[key], np.float64) for key in ("mean", "std", "importance"))
            return cls(tuple(provenance["traits"]), *values)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the generator's file does not say which people it knows ({error}); expected one trained on people"
            ) from error

    def to_provenance(self) -> dict[str, Any]:
        """The inverse of `from_provenance`."""
        return {
            "traits": list(self.names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "importance": self.importance.tolist(),
        }

    def __call__(self, numbers: np.ndarray) -> Tensor:
        """Descriptions [N,D] → deviations from the mean person, in standard deviations times importance
        [N,len(names)]."""
        values = (numbers[:, _columns(self.names)] - self.mean) / self.std
        return torch.from_numpy((values.clip(-LARGEST, LARGEST) * self.importance).astype(np.float32))


def importance_of(names: Sequence[str]) -> np.ndarray:
    """[len(names)] `IMPORTANCE` of traits, scaled to a mean square of 1."""
    beginnings = sorted(IMPORTANCE, key=len, reverse=True)
    values = np.array([IMPORTANCE[next(b for b in beginnings if name.startswith(b))] for name in names])
    return values / np.sqrt((values**2).mean())


@functools.cache
def _columns(names: Sequence[str]) -> list[int]:
    places = {name: i for i, name in enumerate(trait_names())}
    return [places[name] for name in names]


def styles_of(numbers: Tensor, w_dim: int) -> Tensor:
    """The w [N,w_dim] of standardised descriptions [N,D].

    Style layers are linear in w. Learned through pictures alone, the thresholds between hair styles and the rarer
    colours would take most of the training.
    """
    return W_SPREAD * numbers @ rotation(numbers.shape[1], w_dim).to(numbers)


@functools.cache
def rotation(rows: int, columns: int) -> Tensor:
    """A random matrix [rows,columns] with orthonormal rows, or columns where these are fewer."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(tall).Q
    return basis if rows > columns else basis.t()
