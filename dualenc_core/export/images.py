"""Tensors as PNG files; equal tensors give equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import DualEncError
from ..files import atomic_path


def to_uint8(image: Tensor) -> np.ndarray:
    """[3,H,W] in [-1,1] (values outside are clamped) → [H,W,3] uint8.

    Raises DualEncError for another shape, NaN or infinity.
    """
    _check("image", image, channels=3)
    levels = (image.detach().float().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def with_alpha(image: Tensor, alpha: Tensor) -> Tensor:
    """A picture [3,H,W] in [-1,1] and its alpha [1,h,w] in 0..1 → [4,H,W] in [-1,1], as `save_video` takes them."""
    alpha = F.interpolate(alpha[None].float(), image.shape[-2:], mode="bilinear", align_corners=False)[0]
    return torch.cat([image, (alpha.clamp(0, 1) * 2 - 1).to(image)])


def save_png(image: Tensor, path: str | Path, alpha: Tensor | None = None) -> Path:
    """Write [3,H,W] in [-1,1] as an 8-bit PNG, atomically.

    Args:
        alpha: [1,h,w] in 0..1; resized to the image, it becomes the PNG's transparency.

    Errors as in `to_uint8`.
    """
    pixels = to_uint8(image)
    if alpha is not None:
        _check("alpha", alpha, channels=1)
        alpha = F.interpolate(alpha[None].float(), image.shape[-2:], mode="bilinear", align_corners=False)[0]
        pixels = np.concatenate([pixels, _levels(alpha)[..., None]], axis=-1)
    return _save(path, pixels)


def save_alpha(alpha: Tensor, path: str | Path) -> Path:
    """Write [1,H,W] in 0..1 as an 8-bit grey PNG, 255 = covered.

    Raises DualEncError for another shape, NaN or infinity.
    """
    _check("alpha", alpha, channels=1)
    return _save(path, _levels(alpha))


def save_depth(depth: Tensor, path: str | Path, near: float, far: float) -> Path:
    """Write [1,H,W] distances as a 16-bit grey PNG: 0 = ``near``, 65535 = ``far``, linear in between.

    Raises DualEncError for another shape, NaN or infinity, or near >= far.
    """
    _check("depth", depth, channels=1)
    if not near < far:
        raise DualEncError(f"near is {near} and far is {far}, expected near < far")
    levels = ((depth[0].detach().double().cpu() - near) / (far - near)).clamp(0, 1) * 65535
    return _save(path, levels.round().numpy().astype(np.uint16))


def _levels(alpha: Tensor) -> np.ndarray:
    levels = alpha[0].detach().float().clamp(0, 1) * 255
    return levels.round().to(torch.uint8).cpu().numpy()


def _check(name: str, image: Tensor, channels: int) -> None:
    if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
        raise DualEncError(f"{name} has shape {tuple(image.shape)}, expected [{channels},H,W]")
    if not torch.isfinite(image).all():
        raise DualEncError(f"{name} has NaN or infinite values; nothing was written")


def _save(path: str | Path, pixels: np.ndarray) -> Path:
    with atomic_path(path) as temporary:
        # The level is named because Pillow's default may change between versions.
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=6)
    return Path(path)
