"""Pictures to other sizes: one place that says how."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize_area(image: Tensor, size: int) -> Tensor:
    """[N,C,S,S] → [N,C,size,size]: mean over the covered pixels (an exact 2×2 mean for 512 → 256), bilinear upwards."""
    if image.shape[-1] == size:
        return image
    if image.shape[-1] > size:
        return F.adaptive_avg_pool2d(image, size)
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)


def shrink_area(image: Tensor, size: int) -> Tensor:
    """[N,C,S,S] → [N,C,size,size], mean over the covered pixels, where it is larger; else as it is."""
    return resize_area(image, size) if image.shape[-1] > size else image


def resize_smooth(image: Tensor, size: int) -> Tensor:
    """[N,C,S,S] → [N,C,size,size]: bilinear, with antialiasing where it gets smaller, for eyes."""
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
