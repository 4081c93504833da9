"""Losses of the encoders: reconstruction, identity, adversarial, and ones that need no weights.

Images are [N,3,H,W], nominally [-1,1]; every loss is a scalar averaged over the batch (encoders.md §2.5, §3, §5).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...encoders.arcface import ArcFace
from ...errors import DualEncError

# ------------------------------------------------------------------------------------------------------------- pixels


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    _same_shape(prediction, target)
    return F.mse_loss(prediction, target)


# ----------------------------------------------------------------------------------------------------------- identity


def identity_loss(network: ArcFace, prediction: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of ArcFace vectors of aligned portraits [N,3,256·k,256·k]; the target gets no gradient."""
    _same_shape(prediction, target)
    with torch.no_grad():
        reference = network.identity(target)
    return 1 - (network.identity(prediction) * reference).sum(1).mean()


# -------------------------------------------------------------------------------------------------------- adversarial


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½ (softplus(-real) + softplus(fake)), the sense in which paper Eq. 9 trains."""
    return 0.5 * (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())


def generator_loss(fake_logits: Tensor) -> Tensor:
    """softplus(-fake), non-saturating (paper Eq. 6)."""
    return F.softplus(-fake_logits).mean()


# -------------------------------------------------------------------------------------------------------- weight-free


def gradient_difference(prediction: Tensor, target: Tensor, scales: int = 2) -> Tensor:
    """L1 error of horizontal and vertical differences, averaged over scales; asks for edges, which L2 blurs."""
    _same_shape(prediction, target)
    error, total = prediction - target, prediction.new_zeros(())
    for scale in range(scales):
        if scale:
            error = F.avg_pool2d(error, 2)
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return total / scales


def structural_dissimilarity(prediction: Tensor, target: Tensor, scales: int = 3, window: int = 7) -> Tensor:
    """1 - SSIM averaged over scales, with a box window, on images mapped from [-1,1] to [0,1].

    Averaging scales (MS-SSIM multiplies them) keeps the gradient alive where one scale is still near zero.
    Raises DualEncError when the smallest scale is smaller than the window.
    """
    _same_shape(prediction, target)
    if min(prediction.shape[-2:]) >> (scales - 1) < window:
        raise DualEncError(
            f"images of {tuple(prediction.shape[-2:])} are too small for {scales} scales of a {window}-pixel window"
        )
    # The luminance term compares means by ratio, which has no sense around a zero grey.
    prediction, target = (prediction + 1) / 2, (target + 1) / 2
    total = prediction.new_zeros(())
    for scale in range(scales):
        if scale:
            prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
        total = total + 1 - _ssim(prediction, target, window)
    return total / scales


def _ssim(a: Tensor, b: Tensor, window: int) -> Tensor:
    c1, c2 = 0.01**2, 0.03**2
    moments = F.avg_pool2d(torch.cat([a, b, a * a, b * b, a * b], dim=1), window, 1)
    mean_a, mean_b, aa, bb, ab = moments.chunk(5, dim=1)
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).mean()


def _same_shape(prediction: Tensor, target: Tensor) -> None:
    # Broadcasting would give a number that means nothing.
    if prediction.shape != target.shape:
        raise DualEncError(
            f"prediction is {tuple(prediction.shape)} and target {tuple(target.shape)}, expected equal shapes"
        )
