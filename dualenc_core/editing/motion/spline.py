"""Smooth values in space through those of some points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Distances without matrix products, which are wrong where they are short.
_EXACT = "donot_use_mm_for_euclid_dist"
# Places at once.
_CHUNK = 8192


@dataclass(frozen=True)
class Spline:
    """The smoothest function of space that has some values at some points: a polyharmonic spline of r.

    `scipy.interpolate.RBFInterpolator` is the same on the CPU, and takes several times as long.

    Attributes:
        at: [M,3].
        weights: [M,K] of the kernels.
        rest: [K] what is the same everywhere.

    Example:
        >>> import torch
        >>> from dualenc_core.editing.motion import Spline
        >>> corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        >>> values = torch.tensor([0.0] * 8 + [2.0])[:, None]  # 2 in the middle of a cube, 0 at its corners
        >>> spline = Spline.through(torch.cat([corners, torch.zeros(1, 3)]), values)
        >>> spline(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]])).flatten().round(decimals=1).abs()
        tensor([2.0000, 0.0000, 0.8000])
    """

    at: Tensor
    weights: Tensor
    rest: Tensor

    @classmethod
    def through(cls, points: Tensor, values: Tensor, smoothing: float = 0.0) -> Spline:
        """Values [M,K] at points [M,3].

        Args:
            smoothing: in units of the points; the more, the further values of near points may be missed.
        """
        at, wanted = points.double().cpu(), values.double().cpu()
        n = len(at)
        system = torch.ones(n + 1, n + 1, dtype=torch.float64)
        system[:n, :n] = smoothing * torch.eye(n) - torch.cdist(at, at, compute_mode=_EXACT)
        system[n, n] = 0
        found = torch.linalg.solve(system, torch.cat([wanted, torch.zeros_like(wanted[:1])])).to(values)
        return cls(points, found[:n], found[n])

    def __call__(self, points: Tensor) -> Tensor:
        """[P,3] → [P,K]."""
        parts = points.split(_CHUNK)
        return torch.cat([self.rest - torch.cdist(p, self.at, compute_mode=_EXACT) @ self.weights for p in parts])
