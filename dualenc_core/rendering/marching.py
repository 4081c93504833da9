"""Mid-point compositing along rays (panohead.md §6.4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Composite(NamedTuple):
    """Result of marching: features [N,R,C], depth [N,R] (+inf on empty rays), weights [N,R,S-1]."""

    features: Tensor
    depth: Tensor
    weights: Tensor


def march(depths: Tensor, sigma: Tensor, features: Tensor) -> Composite:
    """Composite S sorted samples of each ray.

    Args:
        depths: [N,R,S] ascending.
        sigma: raw density [N,R,S]; softplus(· - 1) is applied to the mean of each interval's two ends.
        features: [N,R,S,C].

    Example:
        >>> import torch
        >>> from dualenc_core.rendering.marching import march
        >>> depths = torch.tensor([[[2.0, 2.5, 3.0]]])
        >>> solid = torch.tensor([[[-3000.0, 1000, 1000]]])  # empty, then matter
        >>> result = march(depths, solid, features=torch.ones(1, 1, 3, 4))
        >>> result.depth.item(), result.weights.tolist(), result.features.shape
        (2.75, [[[0.0, 1.0]]], torch.Size([1, 1, 4]))
    """
    weights, mid_depths = interval_weights(depths, sigma)
    mid_features = (features[..., :-1, :] + features[..., 1:, :]) / 2
    composite = torch.einsum("nrs,nrsc->nrc", weights, mid_features)
    total = weights.sum(-1)
    # Empty rays get no depth and, unlike from 0 / 0, no gradient of NaN.
    empty = total == 0
    depth = (weights * mid_depths).sum(-1) / total.masked_fill(empty, 1)
    return Composite(composite, depth.masked_fill(empty, float("inf")), weights)


def interval_weights(depths: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Compositing weights and mid-point depths [N,R,S-1] of the intervals between samples."""
    delta = depths[..., 1:] - depths[..., :-1]
    density = torch.nn.functional.softplus((sigma[..., :-1] + sigma[..., 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-density * delta)
    clear = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], dim=-1), dim=-1)
    return alpha * clear[..., :-1], (depths[..., :-1] + depths[..., 1:]) / 2
