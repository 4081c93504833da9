"""Tri-grid lookup as a weighted sum of texels from a channels-last table.

5-D ``grid_sample`` reads channels that lie far apart in memory, is slow on CPUs and missing on MPS. Here the channels
of a texel are neighbours, and the mean over the three planes is part of the sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trigrid import PLANE_AXES


def texel_table(planes: Tensor, depth: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Planes [3,C·D,H,W] of one head → table [3·D·H·W,C]."""
    _, channels, height, width = planes.shape
    table = planes.reshape(3, channels // depth, depth, height, width).permute(0, 2, 3, 4, 1)
    return table.reshape(-1, channels // depth).to(dtype).contiguous()


def gather(table: Tensor, points: Tensor, size: int, depth: int, box_warp: float) -> Tensor:
    """Mean over the planes of the trilinear features at world points [M,3] → [M,C], as `trigrid.lookup` gives them."""
    index, weight = texels(points, size, depth, box_warp)
    return F.embedding_bag(index, table, per_sample_weights=weight.to(table.dtype), mode="sum").float()


def texels(points: Tensor, size: int, depth: int, box_warp: float) -> tuple[Tensor, Tensor]:
    """The 24 texels that a lookup at world points [M,3] reads: rows of the table [M,24] and their weights.

    Texels outside the grid have weight 0.
    """
    # Points come last while computing, so that every step is one long loop.
    scaled = points.T * (1.0 / box_warp) + 0.5
    fine, fine_weight = _ends(scaled * size - 0.5, size)
    coarse, coarse_weight = _ends(scaled * depth - 0.5, depth)
    coarse_weight = coarse_weight * (1 / 3)
    rows = fine.new_empty(3, 2, 2, 2, len(points))
    weights = fine_weight.new_empty(rows.shape)
    for plane, (x, y, z) in enumerate(PLANE_AXES):
        row = ((coarse[:, None, z] + plane * depth) * size + fine[None, :, y]) * size
        torch.add(row[:, :, None], fine[None, None, :, x], out=rows[plane])
        weight = coarse_weight[:, None, z] * fine_weight[None, :, y]
        torch.mul(weight[:, :, None], fine_weight[None, None, :, x], out=weights[plane])
    return rows.flatten(0, 3).T.contiguous(), weights.flatten(0, 3).T.contiguous()


def _ends(place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Both neighbours [2,3,M] of places [3,M] along every axis: index clamped into the grid, and weight, 0 outside."""
    low = place.floor()
    part = place - low
    ends = torch.stack([low, low + 1])
    weights = torch.stack([1 - part, part]) * ((ends >= 0) & (ends < size))
    return ends.clamp_(0, size - 1).int(), weights
