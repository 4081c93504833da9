"""Tri-grid lookup and its adjoint (panohead.md §4).

A tri-grid is three volumes, each fine in two world axes and ``D`` slices deep along the third. Stored as
[N,3,C·D,H,W] with channel = feature·D + slice.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from ..volumes import corners, read_volume

# World axes (x=0, y=1, z=2) that run along W, H and D of each plane.
PLANE_AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))


def plane_coordinates(points: Tensor, box_warp: float) -> Tensor:
    """World points [N,M,3] → [N,3,M,3]: (W, H, D) coordinates of every plane in -1..1 inside the box."""
    scaled = points * (2.0 / box_warp)
    return torch.stack([scaled[..., axes] for axes in PLANE_AXES], dim=1)


def lookup(planes: Tensor, points: Tensor, depth: int, box_warp: float) -> Tensor:
    """Trilinear features [N,3,M,C] of every plane at world points [N,M,3]; zero outside the box.

    Example:
        >>> import torch
        >>> from dualenc_core.rendering.trigrid import lookup
        >>> planes = torch.ones(1, 3, 6, 8, 8)  # 2 features, 3 slices
        >>> lookup(planes, torch.zeros(1, 5, 3), depth=3, box_warp=1.0).shape
        torch.Size([1, 3, 5, 2])
    """
    n = len(planes)
    volume = rearrange(planes, "n p (c d) h w -> (n p) c d h w", d=depth)
    coordinates = rearrange(plane_coordinates(points, box_warp), "n p m xyz -> (n p) m xyz")
    return rearrange(read_volume(volume, coordinates), "(n p) m c -> n p m c", n=n)


def splat(points: Tensor, values: Tensor, size: int, depth: int, box_warp: float) -> Tensor:
    """Adjoint of `lookup`: add values [N,M,K] to the cells that world points [N,M,3] read → [N,3,K,D,size,size].

    Each point adds its value to the eight cells around it in every plane, times the trilinear weights. Splatting ones
    gives the hits to divide by.

    Example:
        >>> import torch
        >>> from dualenc_core.rendering.trigrid import splat
        >>> hits = splat(torch.zeros(1, 1, 3), torch.ones(1, 1, 1), size=8, depth=3, box_warp=1.0)
        >>> hits.shape, hits.sum().item()  # one point, in three planes
        (torch.Size([1, 3, 1, 3, 8, 8]), 3.0)
    """
    n, _, k = values.shape
    coordinates = rearrange(plane_coordinates(points, box_warp), "n p m xyz -> (n p) m xyz")
    index, weight = corners(coordinates, (depth, size, size))
    # Corners first, points last: as `corners` has them in memory.
    index, weight = index.movedim(-1, 1).flatten(1), weight.movedim(-1, 1)
    values = repeat(values, "n m k -> (n p) k 1 m", p=3) * weight[:, None]
    flat = values.new_zeros(n * 3, k, depth * size * size)
    flat.scatter_add_(2, index[:, None].expand(-1, k, -1), values.flatten(2))
    return rearrange(flat, "(n p) k (d h w) -> n p k d h w", n=n, d=depth, h=size)
