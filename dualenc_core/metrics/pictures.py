"""Picture metrics that need no weights. Pictures are [N,C,H,W] in -1..1 and are clamped to it; one number a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DualEncError, require

RANGE = 2.0
_SSIM_WINDOW = 11


def mse(image: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error [N] on -1..1, four times that on 0..1 ("L2" of the paper's tables).

    Args:
        weight: [N,1,H,W], for example the truth's alpha; the mean is taken with it, NaN where it sums to 0.
    """
    image, truth = _pair(image, truth)
    squared = (image - truth).square().mean(1, keepdim=True)
    if weight is None:
        return squared.mean((1, 2, 3))
    if weight.shape != squared.shape:
        raise DualEncError(f"weight has shape {tuple(weight.shape)}, expected {tuple(squared.shape)}")
    return (squared * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def psnr(image: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [N] in dB with peak 2 (the range of -1..1); equal pictures give 100."""
    return 10 * torch.log10(RANGE**2 / mse(image, truth, weight).clamp_min(RANGE**2 * 1e-10))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity [N] (Wang et al. 2004), mean over channels and places.

    11×11 Gaussian window of sigma 1.5, only where it fits inside the picture; data range 2, K1 = .01, K2 = .03;
    population covariance. Raises DualEncError for pictures smaller than the window.
    """
    image, truth = _pair(image, truth)
    h, w = image.shape[-2:]
    if min(h, w) < _SSIM_WINDOW:
        raise DualEncError(f"pictures are {w}×{h}, expected at least {_SSIM_WINDOW} pixels along each side for SSIM")
    maps = require("kornia.metrics", "kornia").ssim(image, truth, _SSIM_WINDOW, max_val=RANGE, padding="valid")
    return maps.flatten(1).mean(1)


def gradient_distance(image: Tensor, truth: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute difference of finite differences [N], averaged over ``scales`` octaves; 0 for equal pictures.

    Unlike PSNR it does not reward blur: a flat guess misses every edge in full.
    """
    image, truth = _pair(image, truth)
    total = torch.zeros(len(image), device=image.device, dtype=image.dtype)
    for scale, (a, b) in enumerate(zip(_octaves(image, scales), _octaves(truth, scales), strict=True)):
        if min(a.shape[-2:]) < 2:
            raise DualEncError(f"pictures are {tuple(image.shape[-2:])}, too small for octave {scale} of {scales}")
        total = total + (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean((1, 2, 3))
        total = total + (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean((1, 2, 3))
    return total / (2 * scales)


def sharpness(image: Tensor, truth: Tensor) -> Tensor:
    """Mean gradient magnitude of the picture over that of the truth [N]: 1 = as sharp, below 1 = blurred.

    It needs no alignment; noise raises it above 1, so read it together with `gradient_distance`.
    """
    image, truth = _pair(image, truth)

    def magnitude(x: Tensor) -> Tensor:
        dx, dy = x.diff(dim=-1)[..., 1:, :], x.diff(dim=-2)[..., 1:]
        return (dx.square() + dy.square() + 1e-12).sqrt().mean((1, 2, 3))

    return magnitude(image) / magnitude(truth)


def depth_error(depth: Tensor, alpha: Tensor, true_depth: Tensor, true_alpha: Tensor) -> Tensor:
    """Mean absolute depth difference [N] in world units where both alphas exceed ½; NaN where that is nowhere.

    All are [N,1,H,W]; depths along the unit ray.
    """
    check_shapes(depth, alpha, true_depth, true_alpha)
    both = ((alpha > 0.5) & (true_alpha > 0.5)).to(depth.dtype)
    # Empty rays may hold any depth, also infinity, which times zero would be NaN.
    difference = torch.where(both > 0, (depth - true_depth).abs(), torch.zeros_like(depth))
    return difference.sum((1, 2, 3)) / both.sum((1, 2, 3))


def mask_iou(alpha: Tensor, true_alpha: Tensor) -> Tensor:
    """Intersection over union [N] of alphas [N,1,H,W] above ½; 1 where both are empty."""
    check_shapes(alpha, true_alpha)
    a, b = alpha > 0.5, true_alpha > 0.5
    union = (a | b).sum((1, 2, 3))
    iou = (a & b).sum((1, 2, 3)) / union.clamp_min(1)
    return torch.where(union > 0, iou, torch.ones_like(iou))


def _octaves(x: Tensor, scales: int) -> list[Tensor]:
    levels = [x]
    for _ in range(scales - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def _pair(image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    check_shapes(image, truth)
    return image.float().clamp(-1, 1), truth.float().clamp(-1, 1)


def check_shapes(first: Tensor, *others: Tensor) -> None:
    """Raise DualEncError unless all are [N,C,H,W] of one shape: broadcasting would give a number that means nothing."""
    for other in others:
        if first.ndim != 4 or first.shape != other.shape:
            raise DualEncError(
                f"pictures have shapes {tuple(first.shape)} and {tuple(other.shape)}, expected the same [N,C,H,W]"
            )
