"""What points read of tri-grid cells as a sparse matrix, for least squares: read, and its adjoint, many times over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..volumes import corners
from .trigrid import plane_coordinates


@dataclass(frozen=True)
class CellReader:
    """A sparse matrix and its transpose, as bags of cells and of points: many times as fast as gather and scatter.

    Attributes:
        cells: [A] those that are read at all.
        index, start, weight: [P·K] among these by the points that read them, [P] where each point's begin, [P·K]
            shares.
        source, offset, back: [P·K] points by the cells that they read, [A] where each cell's begin, [P·K] their shares.

    Example:
        >>> import torch
        >>> from dualenc_core.rendering.cells import CellReader
        >>> reader = CellReader.of(torch.tensor([[7, 9], [9, 7]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        >>> reader.cells.tolist(), reader.read(torch.tensor([[2.0], [4.0]])).flatten().tolist()
        ([7, 9], [3.0, 4.0])
        >>> reader.spread(torch.tensor([[2.0], [4.0]])).flatten().tolist()
        [1.0, 5.0]
    """

    cells: Tensor
    index: Tensor
    start: Tensor
    weight: Tensor
    source: Tensor
    offset: Tensor
    back: Tensor

    @classmethod
    def of(cls, index: Tensor, weight: Tensor) -> CellReader:
        """From flat cells and shares [P,K]."""
        flat, weight = index.flatten(), weight.flatten()
        in_order, order = flat.sort()
        first = torch.cat([in_order.new_ones(1, dtype=torch.bool), in_order[1:] != in_order[:-1]])[: len(flat)]
        among = torch.empty_like(flat)
        among[order] = first.cumsum(0) - 1
        offset = first.nonzero()[:, 0]
        start = torch.arange(0, len(flat), index.shape[1], device=index.device)
        return cls(in_order[offset], among, start, weight, order // index.shape[1], offset, weight[order])

    def read(self, values: Tensor) -> Tensor:
        """[A,F] → [P,F]."""
        return _bags(values, self.index, self.start, self.weight)

    def spread(self, values: Tensor) -> Tensor:
        """[P,F] → [A,F], the adjoint of `read`."""
        return _bags(values, self.source, self.offset, self.back)


def cells_read(points: Tensor, shape: tuple[int, int, int], box_warp: float) -> tuple[Tensor, Tensor]:
    """Cells [M,24] of the three planes of one tri-grid, flat as "(p d h w)", that points [M,3] read, and shares [M,24].

    Args:
        shape: (D, H, W) of a plane.
    """
    index, weight = corners(plane_coordinates(points[None], box_warp)[0], shape)
    depth, height, width = shape
    index = index + torch.arange(3, device=index.device)[:, None, None] * (depth * height * width)
    return index.movedim(0, 1).flatten(1), weight.movedim(0, 1).flatten(1)


def _bags(values: Tensor, index: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows of ``values`` [A,F]."""
    if values.device.type == "mps":  # no kernel there
        return _bags(values.cpu(), index.cpu(), offset.cpu(), weight.cpu()).to(values.device)
    return F.embedding_bag(index, values, offset, mode="sum", per_sample_weights=weight)
