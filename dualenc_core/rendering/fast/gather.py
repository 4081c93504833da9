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
    # Position in texels along each world axis for a plane's fine sides and for its slices.
    scaled = points * (1.0 / box_warp) + 0.5
    fine, coarse = scaled * size - 0.5, scaled * depth - 0.5
    fine_low, coarse_low = fine.floor(), coarse.floor()
    fine_part, coarse_part = fine - fine_low, coarse - coarse_low
    fine_index, fine_weight = _ends(fine_low, fine_part, size)
    coarse_index, coarse_weight = _ends(coarse_low, coarse_part, depth)
    rows, weights = [], []
    for plane, (x, y, z) in enumerate(PLANE_AXES):
        for slice_end in (0, 1):
            slice_row = coarse_index[slice_end][:, z] + plane * depth
            slice_weight = coarse_weight[slice_end][:, z] * (1 / 3)
            for y_end in (0, 1):
                row = (slice_row * size + fine_index[y_end][:, y]) * size
                weight = slice_weight * fine_weight[y_end][:, y]
                for x_end in (0, 1):
                    rows.append(row + fine_index[x_end][:, x])
                    weights.append(weight * fine_weight[x_end][:, x])
    return torch.stack(rows, dim=1), torch.stack(weights, dim=1)


def _ends(low: Tensor, part: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both neighbours along every axis: index clamped into the grid, and weight, 0 outside."""
    high = low + 1
    low_weight = (1 - part) * ((low >= 0) & (low < size))
    high_weight = part * ((high >= 0) & (high < size))
    limit = size - 1
    return (low.clamp(0, limit).int(), high.clamp(0, limit).int()), (low_weight, high_weight)
