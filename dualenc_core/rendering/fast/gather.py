"""Tri-grid lookup as a weighted sum of texels from a channels-last table (rendering.md §2).

5-D ``grid_sample`` reads channels that lie far apart in memory, is slow on CPUs and missing on MPS. Here the channels
of a texel are neighbours, and the mean over the three planes is part of the sum.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..trigrid import PLANE_AXES


def texel_table(planes: Tensor, depth: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Planes [3,C·D,H,W] of one head → table [3·D·H·W,C]."""
    return rearrange(planes, "p (c d) h w -> (p d h w) c", d=depth).to(dtype).contiguous()


def gather(table: Tensor, points: Tensor, size: int, depth: int, box_warp: float) -> Tensor:
    """Mean over the planes of the trilinear features at world points [M,3] → [M,C], as `trigrid.lookup` gives them."""
    return read(table, *texels(points, size, depth, box_warp))


def read(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums [M,C] of rows of the table, given by `texels`."""
    return F.embedding_bag(index, table, per_sample_weights=weight.to(table.dtype), mode="sum").float()


def texels(points: Tensor, size: int, depth: int, box_warp: float) -> tuple[Tensor, Tensor]:
    """The 24 texels that a lookup at world points [M,3] reads: rows of the table [M,24] and their weights.

    Texels outside the grid have weight 0.
    """
    # Points come last while computing, so that every step is one long loop; few steps, as this is a third of a lookup.
    cells, last = _grid(size, depth, points.device)
    place = torch.addcmul(cells * 0.5 - 0.5, points.T, cells * (1 / box_warp))
    low = place.floor()
    weight = place.new_empty(2, *place.shape)
    torch.sub(place, low, out=weight[1])
    torch.sub(1, weight[1], out=weight[0])
    ends = torch.empty_like(weight, dtype=torch.int32)
    ends[0] = low
    torch.add(ends[0], 1, out=ends[1])
    inside = torch.minimum(ends.clamp(min=0), last)
    weight *= inside == ends
    (fine, coarse), (fine_weight, coarse_weight) = inside.unbind(1), weight.unbind(1)
    along_z, along_y = coarse * size**2, fine * size
    coarse_weight = coarse_weight * (1 / 3)
    rows = fine.new_empty(3, 2, 2, 2, len(points))
    weights = weight.new_empty(rows.shape)
    for plane, (x, y, z) in enumerate(PLANE_AXES):
        row = along_z[:, None, z] + (along_y[None, :, y] + plane * depth * size**2)
        torch.add(row[:, :, None], fine[None, None, :, x], out=rows[plane])
        share = coarse_weight[:, None, z] * fine_weight[None, :, y]
        torch.mul(share[:, :, None], fine_weight[None, None, :, x], out=weights[plane])
    return rows.flatten(0, 3).T.contiguous(), weights.flatten(0, 3).T.contiguous()


@lru_cache(maxsize=16)
def _grid(size: int, depth: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cells and the last cell's index along the fine and the coarse axes [2,1,1]."""
    cells = torch.tensor([size, depth], dtype=torch.float32, device=device).view(2, 1, 1)
    return cells, (cells - 1).int()
