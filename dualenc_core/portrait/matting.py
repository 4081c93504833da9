"""Person matte of a crop: MediaPipe selfie segmentation in several framings, sharpened on the photo by a guided filter.

Guided filter: He, Sun, Tang, "Guided Image Filtering", ECCV 2010 (colour guide).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .weights import load_graph

INPUT = 256
# How much of the network's input a crop fills. It knows people from further away than our crops: closer up it takes
# blurred surroundings for the person, further away it loses hair. So the median decides.
FRAMINGS = (1.0, 0.75, 0.6)


@torch.inference_mode()
def person_matte(image: Tensor, device: str = "cpu", refine: bool = True) -> Tensor:
    """Matte of head-and-shoulders pictures.

    Args: image [N,3,H,W] in 0..1. ``refine`` follows hair edges with a guided filter. Returns [N,1,H,W] in 0..1 on
    the CPU.
    """
    matte = torch.stack([_segmented(image, share, device) for share in FRAMINGS]).median(0).values
    if refine:
        matte = guided_filter(image, matte, radius=max(round(min(image.shape[2:]) / 85), 1), eps=1e-4)
    return matte.clamp(0, 1)


def _segmented(image: Tensor, share: float, device: str) -> Tensor:
    """[N,1,H,W] by the network, of whose input the picture fills a share of each side; beyond, its borders go on."""
    size = round(INPUT * share)
    first = (INPUT - size) // 2
    last = INPUT - size - first
    small = F.interpolate(image, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    framed = F.pad(small, (first, last, first, last), mode="replicate")
    coarse = load_graph("selfie_segmentation", device)(framed.to(device))[0].cpu()
    inner = slice(first, first + size)
    return F.interpolate(coarse[..., inner, inner], size=image.shape[2:], mode="bilinear", align_corners=False)


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
