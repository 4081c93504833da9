"""Which cells of the box may hold anything, found coarse to fine (rendering.md §3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

# Raw density below which an interval is empty: softplus(-9) over a whole head is an opacity of 1e-4.
EMPTY_BELOW = -8.0
FINE = 128
# Cells of a grid that only tells what is cropped.
_ANYWHERE = 32
# Points: on CPUs few that stay in a cache, elsewhere as many as memory lets.
_AT_ONCE, _MANY_AT_ONCE = 1 << 16, 1 << 19


@dataclass(frozen=True)
class Occupancy:
    """A grid of flags over the cube of side ``box``.

    Attributes:
        cells: [S,S,S] bool, index (z, y, x).
        box: side of the cube in world units.
        outside: whether the density that all points outside the cube share is one that shows.
        known: the flags without what is cropped, filled while drawing.
    """

    cells: Tensor
    box: float
    outside: bool = False
    known: dict[float, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def full(cls, box: float, device: torch.device | str = "cpu", outside: bool = False) -> Occupancy:
        """Nothing inside is known to be empty."""
        return cls(torch.ones((_ANYWHERE,) * 3, dtype=torch.bool, device=device), box, outside)

    @classmethod
    def find(
        cls,
        density: Callable[[Tensor], Tensor],
        box: float,
        device: torch.device | str = "cpu",
        plane_size: int = FINE,
        limit: float = math.inf,
        rough: bool = False,
        above: Callable[[Tensor], Tensor] | None = None,
    ) -> Occupancy:
        """Probe the density (world points [M,3] → raw [M]) on a grid half as fine as the result; then on the fine one,
        wherever two probes along each side, or their neighbours, may be occupied. Every finding spreads to the
        neighbours.

        The result has `FINE` cells along each side; half of that for planes of no more than so many. Where all of a
        cell has |x| or |z| beyond ``limit`` nothing is looked for and nothing is found.

        Args:
            rough: only the first probing, spread to the neighbours' neighbours: half as many cells along each side, in
                a third of the time, and half as much again of the box counts as occupied.
            above: the probing itself, where something is faster than ``density``: as `density_above`, for cells.
        """
        if above is None:
            above = partial(density_above, density, box)
        outside = shows_outside(density, box, device)
        fine = FINE if plane_size > FINE // 2 else FINE // 2
        half = fine // 2
        # What spreads into a cell may have been found next to it.
        reach = limit + (2 * box / half if rough else 4 * box / fine)
        found = above(_inner(half, box, reach, device).expand(half, half, half))
        if rough:
            return cls(_dilate(found, 2) & _inner(half, box, limit, device), box, outside)
        near = _enlarged(_dilate(_halved(found)), 4) & _inner(fine, box, limit + box / fine, device)
        # Well inside nothing is looked for: it counts as occupied.
        inside = _enlarged(~_dilate(~found), 2)
        return cls(_dilate(above(near & ~inside) | inside) & _inner(fine, box, limit, device), box, outside)

    def __call__(self, points: Tensor) -> Tensor:
        """World points [...,3] → bool [...]."""
        size = self.cells.shape[0]
        place = torch.floor((points * (1 / self.box) + 0.5) * size)
        inside = ((place >= 0) & (place < size)).all(-1)
        x, y, z = place.clamp(0, size - 1).long().unbind(-1)
        return torch.where(inside, self.cells.flatten()[(z * size + y) * size + x], self.outside)

    def along(self, origins: Tensor, directions: Tensor, depths: Tensor, limit: float) -> Tensor:
        """As a call, at depths [R,S] or [S] along rays [R,3] → [R,S]; False where |x| or |z| is beyond ``limit``
        (`RenderOptions.crop`), up to the size of a cell."""
        size = self.cells.shape[0]
        start, step = origins.T * (size / self.box) + (size / 2 + 1), directions.T * (size / self.box)
        place = torch.addcmul(start[:, :, None], step[:, :, None], depths)
        # Positive, so that cutting off is rounding down.
        x, y, z = place.clamp_(0, size + 1).int()
        return self._bordered(limit)[z.mul_(size + 2).add_(y).mul_(size + 2).add_(x)]

    def _bordered(self, limit: float) -> Tensor:
        """[(S+2)³] flags with a border of ``outside`` and without what is cropped."""
        if limit not in self.known:
            self.known.clear()
            size = self.cells.shape[0] + 2
            cells = F.pad(self.cells, (1,) * 6, value=self.outside)
            inner = _inner(size, self.box * size / (size - 2), limit, cells.device)
            self.known[limit] = (cells & inner).flatten()
        return self.known[limit]

    @property
    def share(self) -> float:
        """Part of the box that may hold something."""
        return float(self.cells.float().mean())


def shows_outside(density: Callable[[Tensor], Tensor], box: float, device: torch.device | str = "cpu") -> bool:
    """Whether the density that all points outside the cube share is one that shows."""
    return bool(density(torch.full((1, 3), 2 * box, device=device)) > EMPTY_BELOW)


def density_above(density: Callable[[Tensor], Tensor], box: float, where: Tensor) -> Tensor:
    """[S,S,S] bool: cells among ``where`` [S,S,S] whose centre has a raw density above `EMPTY_BELOW`."""
    size = len(where)
    places = where.flatten().nonzero()[:, 0]
    result = torch.zeros(size**3, dtype=torch.bool, device=where.device)
    for part in places.split(_AT_ONCE if where.device.type == "cpu" else _MANY_AT_ONCE):
        z, y, x = part // size**2, part // size % size, part % size
        centres = (torch.stack([x, y, z], dim=-1) + 0.5) * (box / size) - box / 2
        result[part] = density(centres) > EMPTY_BELOW
    return result.reshape(size, size, size)


def _inner(size: int, box: float, limit: float, device: torch.device | str) -> Tensor:
    """[size,1,size] bool: cells (z, y, x) of which some point has |x| and |z| of at most ``limit``."""
    # Low sides of the cells along an axis, and how far their nearest points are from the middle.
    low = torch.arange(size, device=device) - size / 2
    inner = torch.maximum(low, -1 - low).clamp(min=0) * (box / size) <= limit
    return inner & inner[:, None, None]


def _dilate(cells: Tensor, radius: int = 1) -> Tensor:
    """Flags [S,S,S] spread to the cells around, one axis after the other; pooling takes at least 18 times as long."""
    for axis in range(3):
        for _ in range(radius):
            wide, count = cells.clone(), cells.shape[axis] - 1
            wide.narrow(axis, 1, count).logical_or_(cells.narrow(axis, 0, count))
            wide.narrow(axis, 0, count).logical_or_(cells.narrow(axis, 1, count))
            cells = wide
    return cells


def _halved(cells: Tensor) -> Tensor:
    """Flags [S,S,S] → [S/2,S/2,S/2]: whether any of two along every axis is set."""
    for axis in range(3):
        first, second = cells.unflatten(axis, (-1, 2)).unbind(axis + 1)
        cells = first | second
    return cells


def _enlarged(cells: Tensor, factor: int) -> Tensor:
    """Every flag of [S,S,S] ``factor`` times along every axis."""
    side = factor * len(cells)
    return cells[:, None, :, None, :, None].expand(-1, factor, -1, factor, -1, factor).reshape(side, side, side)
