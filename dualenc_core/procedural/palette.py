"""Continuous colour ramps: natural hair and a few dyes, skin, eyes, lips, shirts."""

from __future__ import annotations

import torch
from torch import Tensor

SKIN = (
    (0.30, 0.18, 0.13),
    (0.44, 0.28, 0.20),
    (0.62, 0.42, 0.30),
    (0.80, 0.59, 0.45),
    (0.91, 0.72, 0.59),
    (0.96, 0.81, 0.72),
)
HAIR = (
    (0.09, 0.075, 0.08),
    (0.17, 0.11, 0.085),
    (0.31, 0.19, 0.12),
    (0.52, 0.28, 0.13),
    (0.74, 0.54, 0.27),
    (0.90, 0.79, 0.55),
)
EYES = ((0.20, 0.12, 0.07), (0.38, 0.23, 0.11), (0.36, 0.40, 0.20), (0.25, 0.50, 0.42), (0.28, 0.50, 0.72))
DYE_COOL, DYE_WARM = (0.30, 0.42, 0.78), (0.86, 0.36, 0.52)
GREY = (0.66, 0.66, 0.68)


def ramp(stops: tuple[tuple[float, float, float], ...], t: Tensor) -> Tensor:
    """Smooth interpolation along colour stops.

    Args:
        stops: K colours.
        t: ``[N]`` in 0..1 (clamped).

    Returns:
        ``[N,3]``; once differentiable in t.
    """
    table = torch.tensor(stops, dtype=t.dtype, device=t.device)
    x = t.clamp(0, 1) * (len(stops) - 1)
    low = x.floor().clamp_max(len(stops) - 2)
    f = smoothstep(0.0, 1.0, x - low)[:, None]
    index = low.long()
    return table[index] * (1 - f) + table[index + 1] * f


def mix(a: Tensor, b: Tensor | tuple[float, float, float], t: Tensor) -> Tensor:
    """Linear mix of colours ``[N,3]`` by ``t [N]``."""
    other = torch.as_tensor(b, dtype=a.dtype, device=a.device)
    return a + (other - a) * t[:, None]


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, cubic between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
