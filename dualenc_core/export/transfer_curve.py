"""The transfer curve of sRGB (IEC 61966-2-1): colours as pictures store them ↔ linear light, as glTF wants vertices.

kornia's takes pictures [N,3,H,W]; here colours also come as rows of vertices.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB in 0..1, any shape → linear light, float64; values outside are clamped."""
    srgb = srgb.double().clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light in 0..1, any shape → sRGB, float32; values outside are clamped."""
    linear = linear.double().clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).float()
