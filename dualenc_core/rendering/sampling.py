"""Where along a ray to look: stratified, then by importance (panohead.md §6.1, §6.5)."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_depths(
    near: float,
    far: float,
    samples: int,
    jitter: Tensor | None,
    shape: tuple[int, int],
    *,
    disparity: bool = False,
    device: torch.device | str | None = None,
) -> Tensor:
    """Depths [N,R,S] in S bins.

    Args:
        near, far: limits along the unit ray, in world units.
        samples: S.
        jitter: [N,R,S] (or [N,R,S,1]) in [0,1), the place inside each bin; None = bin centres.
        shape: (N, R), needed when there is no jitter.
        disparity: sample evenly in 1/depth instead of depth.
    """
    offset = 0.5 if jitter is None else jitter.reshape(*shape, samples)
    step = 1.0 / (samples - 1)
    if disparity:
        s = torch.linspace(0, 1, samples, device=device) + offset * step
        depths = 1 / ((1 - s) / near + s / far)
    else:
        depths = torch.linspace(near, far, samples, device=device) + offset * ((far - near) * step)
    return depths.expand(*shape, samples)


def importance_depths(depths: Tensor, weights: Tensor, samples: int, u: Tensor | None) -> Tensor:
    """Draw ``samples`` depths [N,R,I] from the distribution of coarse weights by inverting its CDF; unsorted.

    Args:
        depths: coarse depths [N,R,S], ascending.
        weights: coarse compositing weights [N,R,S-1].
        u: [N·R,I] in [0,1); None = evenly spaced quantiles.

    The smoothing (maximum of neighbours, mean, + 0.01), the second epsilon and the unused last bin are the
    reference's (§6.5 and hazard 6).
    """
    n, r, s = depths.shape
    padded = torch.nn.functional.pad(weights, (1, 1), value=-float("inf"))
    peak = torch.maximum(padded[..., :-1], padded[..., 1:])
    smooth = (peak[..., :-1] + peak[..., 1:]) / 2 + 0.01
    inner = (smooth[..., 1:-1] + 1e-5).reshape(n * r, s - 3)
    cdf = torch.cumsum(inner / inner.sum(-1, keepdim=True), dim=-1)
    cdf = torch.nn.functional.pad(cdf, (1, 0))
    bins = ((depths[..., :-1] + depths[..., 1:]) / 2).reshape(n * r, s - 1)
    if u is None:
        u = ((torch.arange(samples, device=depths.device) + 0.5) / samples).to(depths).expand(n * r, samples)
    upper = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True)
    low, high = (upper - 1).clamp(min=0), upper.clamp(max=s - 3)
    cdf_low, cdf_high = cdf.gather(1, low), cdf.gather(1, high)
    bin_low, bin_high = bins.gather(1, low), bins.gather(1, high)
    width = cdf_high - cdf_low
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    return (bin_low + (u - cdf_low) / width * (bin_high - bin_low)).reshape(n, r, samples)
