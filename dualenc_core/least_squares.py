"""Linear least squares of operators: conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def least_squares(
    apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], target: Tensor, stay: float, steps: int
) -> Tensor:
    """x of least ‖apply(x) − target‖² + stay·‖x‖², by conjugate gradients from zero (CGLS).

    Example:
        >>> import torch
        >>> from dualenc_core.least_squares import least_squares
        >>> matrix = torch.tensor([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
        >>> found = least_squares(matrix.mv, matrix.T.mv, torch.tensor([2.0, 8.0, 5.0]), 0.0, 2)
        >>> [round(value, 3) for value in found.tolist()]
        [1.0, 2.0]
    """
    error = target
    gradient = adjoint(error)
    x, along, size = torch.zeros_like(gradient), gradient, gradient.square().sum()
    for _ in range(steps):
        if not float(size) > 0:
            break
        there = apply(along)
        pace = size / (there.square().sum() + stay * along.square().sum())
        x, error = x + pace * along, error - pace * there
        gradient = adjoint(error) - stay * x
        before, size = size, gradient.square().sum()
        along = gradient + size / before * along
    return x
