"""Tri-grid lookup at the cell centres of a regular grid over the box.

There a lookup is separable: every plane is resampled along its two fine axes once, and what a point reads is then a
weighted sum of slices, with the same weights for whole rows of points. That takes a third of the time of `gather`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GridTable:
    """One tri-grid, ready to be read at the centres of S³ cells.

    Attributes:
        planes: three of [D,S,S,C]: slices, then the world axes that run along H and W of each plane (`PLANE_AXES`).
        slices: [S,D], weights of the slices at each place of a grid axis; the mean over the planes is part of them.
    """

    planes: tuple[Tensor, Tensor, Tensor]
    slices: Tensor

    @classmethod
    def of(cls, table: Tensor, size: int, depth: int, cells: int) -> GridTable:
        """From a texel table [3·D·size²,C] (`gather.texel_table`)."""
        texels = table.reshape(3 * depth, size, size, -1).float()
        if cells != size:
            low, high, weights = _ends(size, cells, table.device)
            for axis in (1, 2):
                near, far = (weight.view(-1, *[1] * (3 - axis)) for weight in weights)
                first = texels.index_select(axis, low).mul_(near)
                texels = first.addcmul_(texels.index_select(axis, high), far)
        low, high, weights = _ends(depth, cells, table.device)
        slices = torch.zeros(cells, depth, device=table.device)
        for end, weight in ((low, weights[0]), (high, weights[1])):
            slices.scatter_add_(1, end[:, None], weight[:, None])
        return cls(tuple(texels.unflatten(0, (3, depth)).contiguous().unbind(0)), slices / 3)

    def block(self, z: slice, y: slice, x: slice) -> Tensor:
        """Mean over the planes of the features at the centres of a block of cells: [Z,Y,X,C]."""
        flat, along_y, along_x = self.planes
        result = self.slices[z, 0, None, None, None] * flat[0, y, x]
        for i in range(self.slices.shape[1]):
            if i:
                result.addcmul_(self.slices[z, i, None, None, None], flat[i, y, x])
            result.addcmul_(self.slices[y, i, None, None], along_y[i, z, x][:, None])
            result.addcmul_(self.slices[x, i, None], along_x[i, z, y][:, :, None])
        return result


def blocks(where: Tensor, most: int) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks (z, y, x) of about ``most`` cells that hold all that is set in a grid [S,S,S]; none is empty."""
    size = len(where)
    # Along y and x, for every z.
    spans = [where.byte().amax(axis).cpu() for axis in (2, 1)]
    step = max(1, most // size**2)
    for start in range(0, size, step):
        z = slice(start, start + step)
        y, x = (_span(flags[z].amax(0)) for flags in spans)
        if y.start < y.stop:
            yield z, y, x


def _span(flags: Tensor) -> slice:
    places = flags.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _ends(size: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two of ``size`` texels along an axis that the centre of each cell reads [cells], [cells], and their weights
    [2,cells]; texels outside have weight 0."""
    # Not every accelerator has this type.
    place = (torch.arange(cells, dtype=torch.float64, device="cpu") + 0.5) * (size / cells) - 0.5
    ends = torch.stack([place.floor(), place.floor() + 1])
    inside = ends.clamp(0, size - 1)
    weights = (1 - (place - ends).abs()) * (inside == ends)
    return *inside.long().to(device), weights.float().to(device)
