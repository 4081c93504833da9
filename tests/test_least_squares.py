"""Least squares of operators."""

from __future__ import annotations

import torch

from dualenc_core.least_squares import least_squares


def test_least_squares_keeps_what_costs_more_than_it_explains():
    matrix = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    target = matrix @ torch.arange(6.0)
    free, held = (least_squares(matrix.mv, matrix.T.mv, target, stay, 12) for stay in (0.0, 1e6))
    assert torch.allclose(free, torch.arange(6.0), atol=1e-3)
    assert held.abs().max() < 1e-3
