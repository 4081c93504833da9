"""w → descriptions: the inverse of `standard.styles_of`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import DualEncError
from .donors import EXPRESSIONS
from .standard import LARGEST, W_SPREAD, Standard, rotation
from .traits import OPTIONS

# Traits that are 0 to 1, by what comes before their dot.
_SHARES = {*OPTIONS, *EXPRESSIONS, "faces", "beard", "race", "tinted", "stripes", "recoloured"}


@dataclass(frozen=True)
class Estimate:
    """Between the w of a generator of people and descriptions, of the traits that vary there.

    Rare choices are cut off in w (`standard.LARGEST`); a trait that is 0 to 1 is 1 where that is.
    """

    standard: Standard
    w_dim: int

    def __post_init__(self) -> None:
        if len(self.standard.names) > self.w_dim:
            raise DualEncError(
                f"the generator's w has {self.w_dim} numbers for {len(self.standard.names)} traits, so they cannot be "
                "told apart; use one with as many numbers"
            )

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """w [N,w_dim] → numbers [N,D] of ``standard.names``."""
        start, unit = self._scale
        return start + (w @ self._rotation.T / (W_SPREAD * self.standard.importance)) * unit

    def step(self, change: np.ndarray) -> np.ndarray:
        """Changes of numbers [N,D] → changes of w [N,w_dim]."""
        return W_SPREAD * (change / self._scale[1] * self.standard.importance) @ self._rotation

    @cached_property
    def _rotation(self) -> np.ndarray:
        return rotation(len(self.standard.names), self.w_dim).double().numpy()

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [D] of the mean person, and one standard deviation of each."""
        mean, std = self.standard.mean, self.standard.std
        low, high = np.maximum(-mean / std, -LARGEST), np.minimum((1 - mean) / std, LARGEST)
        share = np.array([name.partition(".")[0] in _SHARES for name in self.standard.names])
        unit = np.where(share, 1 / np.maximum(high - low, 1e-6), std)
        return np.where(share, -low * unit, mean), unit
