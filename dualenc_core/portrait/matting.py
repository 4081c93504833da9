"""Person matte of a crop: MediaPipe selfie segmentation, sharpened on the photo by a guided filter.

Guided filter: He, Sun, Tang, "Guided Image Filtering", ECCV 2010 (colour guide).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .weights import load_graph

INPUT = 256


@torch.inference_mode()
def person_matte(image: Tensor, device: str = "cpu", refine: bool = True) -> Tensor:
    """Matte of head-and-shoulders pictures.

    Args: image [N,3,H,W] in 0..1. ``refine`` follows hair edges with a guided filter. Returns [N,1,H,W] in 0..1 on
    the CPU.
    """
    small = F.interpolate(image, size=(INPUT, INPUT), mode="bilinear", antialias=True, align_corners=False)
    coarse = load_graph("selfie_segmentation", device)(small.to(device))[0].cpu()
    matte = F.interpolate(coarse, size=image.shape[2:], mode="bilinear", align_corners=False)
    if refine:
        matte = guided_filter(image, matte, radius=max(round(min(image.shape[2:]) / 85), 1), eps=1e-4)
    return matte.clamp(0, 1)


def guided_filter(guide: Tensor, target: Tensor, radius: int, eps: float) -> Tensor:
    """Locally linear copy of ``target`` [N,1,H,W] that follows the edges of ``guide`` [N,3,H,W]; returns [N,1,H,W]."""
    n, _, height, width = guide.shape

    def mean(x: Tensor) -> Tensor:
        rows = F.avg_pool2d(x, (2 * radius + 1, 1), 1, (radius, 0), count_include_pad=False)
        return F.avg_pool2d(rows, (1, 2 * radius + 1), 1, (0, radius), count_include_pad=False)

    guide_mean, target_mean = mean(guide), mean(target)
    covariance = mean(guide * target) - guide_mean * target_mean
    products = (guide[:, :, None] * guide[:, None]).reshape(n, 9, height, width)
    variance = mean(products) - (guide_mean[:, :, None] * guide_mean[:, None]).reshape(n, 9, height, width)
    matrices = variance.permute(0, 2, 3, 1).reshape(n, height, width, 3, 3) + eps * torch.eye(3, device=guide.device)
    slope = torch.linalg.solve(matrices, covariance.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    offset = target_mean - (slope * guide_mean).sum(1, keepdim=True)
    return (mean(slope) * guide).sum(1, keepdim=True) + mean(offset)
