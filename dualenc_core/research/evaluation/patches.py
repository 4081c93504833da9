"""How alike two sets of pictures look, without weights: the Fréchet distance of their patches.

This is *not* FID: no Inception network is involved, and figures cannot be compared with published ones. It compares
texture and edges of patches, not identity or layout; like FID it needs no alignment and does not reward blur.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import DualEncError

PATCH = 5
STRIDE = 2


class PatchStatistics:
    """Mean and covariance of the 5×5 colour patches of a set of pictures, collected batch by batch.

    Patches are taken from ``scales`` band-pass levels (a Laplacian pyramid) where the head covers them; each level has
    its own Gaussian of 75 dimensions.
    """

    def __init__(self, scales: int = 3) -> None:
        size = 3 * PATCH * PATCH
        self.scales = scales
        self.count = torch.zeros(scales, dtype=torch.float64)
        self.total = torch.zeros(scales, size, dtype=torch.float64)
        self.outer = torch.zeros(scales, size, size, dtype=torch.float64)

    def add(self, image: Tensor, alpha: Tensor | None = None) -> PatchStatistics:
        """Add pictures [N,3,H,W] in -1..1; ``alpha`` [N,1,h,w] keeps patches whose centre is covered by more than ½."""
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < PATCH << (self.scales - 1):
            raise DualEncError(
                f"pictures have shape {tuple(image.shape)}, expected [N,3,H,W] of at least "
                f"{PATCH << (self.scales - 1)} pixels for {self.scales} scales"
            )
        level = image.detach().float().cpu().clamp(-1, 1)
        for scale in range(self.scales):
            coarse = F.avg_pool2d(level, 2)
            band = level - F.interpolate(coarse, level.shape[-2:], mode="bilinear", align_corners=False)
            patches = F.unfold(band, PATCH, stride=STRIDE).transpose(1, 2)
            if alpha is not None:
                cover = F.interpolate(alpha.detach().float().cpu(), level.shape[-2:], mode="bilinear")
                keep = F.unfold(cover, PATCH, stride=STRIDE)[:, PATCH * PATCH // 2] > 0.5
                patches = patches[keep]
            patches = patches.reshape(-1, patches.shape[-1]).double()
            self.count[scale] += len(patches)
            self.total[scale] += patches.sum(0)
            self.outer[scale] += patches.T @ patches
            level = coarse
        return self

    def merge(self, other: PatchStatistics) -> PatchStatistics:
        """Add what another one, of as many scales, has collected."""
        self.count += other.count
        self.total += other.total
        self.outer += other.outer
        return self

    @property
    def sufficient(self) -> bool:
        """Whether every level has more patches than dimensions."""
        return bool((self.count > self.total.shape[1]).all())

    def gaussian(self, scale: int) -> tuple[Tensor, Tensor]:
        """Mean [75] and covariance [75,75] of a level.

        Raises DualEncError unless there are more patches than dimensions.
        """
        count = self.count[scale]
        if count <= self.total.shape[1]:
            raise DualEncError(
                f"there are {int(count)} patches at scale {scale}, expected more than {self.total.shape[1]}; "
                "add more or larger pictures"
            )
        mean = self.total[scale] / count
        return mean, self.outer[scale] / count - torch.outer(mean, mean)


def patch_distance(a: PatchStatistics, b: PatchStatistics) -> float:
    """Fréchet distance ‖μa-μb‖² + tr(Ca + Cb - 2(Ca·Cb)^½) relative to the variance of ``b``, mean over scales.

    ``b`` is the reference set. 0 = the same statistics; 1 = as far as featureless pictures are.
    """
    if a.scales != b.scales:
        raise DualEncError(f"the patch statistics have {a.scales} and {b.scales} scales, expected the same")
    distances = []
    for scale in range(a.scales):
        (mean_a, cov_a), (mean_b, cov_b) = a.gaussian(scale), b.gaussian(scale)
        root = _root(cov_a)
        overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
        distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
        distances.append(distance / (cov_b.trace() + mean_b.square().sum()))
    return float(torch.stack(distances).mean().clamp_min(0))


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
