"""Pictures to other sizes, and what they show between their pixels: one place that says how."""

from __future__ import annotations

import torch
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


def sample_at(image: Tensor, uv: Tensor) -> Tensor:
    """Bilinear values [N,C,M] of pictures [N,C,H,W] at places [N,M,2], which go from 0 (left, top) to 1.

    Beyond the centres of the outermost pixels as there. Differentiable in the pictures.

    Example:
        >>> import torch
        >>> from dualenc_core.images import sample_at
        >>> halves = torch.tensor([[[[0.0, 1.0]]]])
        >>> sample_at(halves, torch.tensor([[[0.1, 0.5], [0.5, 0.5], [2.0, 0.5]]]))
        tensor([[[0.0000, 0.5000, 1.0000]]])
    """
    # Not by padding_mode, of which older versions of PyTorch lack "border" on MPS.
    inside = [
        place.clamp(0.5 / size, 1 - 0.5 / size)
        for place, size in zip(uv.unbind(-1), (image.shape[-1], image.shape[-2]), strict=True)
    ]
    return F.grid_sample(image, (torch.stack(inside, -1) * 2 - 1)[:, :, None], align_corners=False)[..., 0]
