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
from .person import trait_names

# How far w moves in every direction. Style layers start at scale 1, so a w near 1 would scramble all activations
# before anything is learned: a w of 2.5 costs 5 dB after the same steps.
W_SPREAD = 0.5
# A standardised number further out than this is a rare choice; more of it would only shout.
_LARGEST = 6.0


@dataclass(frozen=True)
class Standard:
    """The spread of descriptions that a generator was trained on; its file carries it.

    Attributes:
        names: of the traits that vary, some of `person.trait_names`.
        mean, std: [len(names)] of their numbers.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Standard:
        """The spread of descriptions [M,D], `person.numbers`."""
        mean, std = numbers.mean(0), numbers.std(0)
        varies = np.flatnonzero(std > 1e-3)
        names = trait_names()
        return cls(tuple(names[i] for i in varies), mean[varies], std[varies])

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> Standard:
        """From the provenance of a generator's file. Raises CheckpointError where it has none."""
        try:
            values = (np.array(provenance[key], np.float64) for key in ("mean", "std"))
            return cls(tuple(provenance["traits"]), *values)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the generator's file does not say which people it knows ({error}); expected one trained on people"
            ) from error

    def to_provenance(self) -> dict[str, Any]:
        """The inverse of `from_provenance`."""
        return {"traits": list(self.names), "mean": self.mean.tolist(), "std": self.std.tolist()}

    def __call__(self, numbers: np.ndarray) -> Tensor:
        """Descriptions [N,D] → deviations from the mean person in standard deviations, [N,len(names)]."""
        values = (numbers[:, _columns(self.names)] - self.mean) / self.std
        return torch.from_numpy(values.clip(-_LARGEST, _LARGEST).astype(np.float32))


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
