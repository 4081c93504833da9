"""Which cells of the box may hold anything, found coarse to fine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

# Raw density below which an interval is empty: softplus(-9) over a whole head is an opacity of 1e-4.
EMPTY_BELOW = -8.0
COARSE, FINE = 32, 128
_AT_ONCE = 1 << 16


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
    def full(cls, box: float, device: torch.device | str = "cpu") -> Occupancy:
        """Nothing is known to be empty."""
        return cls(torch.ones(1, 1, 1, dtype=torch.bool, device=device), box)

    @classmethod
    def find(
        cls,
        density: Callable[[Tensor], Tensor],
        box: float,
        device: torch.device | str = "cpu",
        plane_size: int = FINE,
    ) -> Occupancy:
        """Probe the density (world points [M,3] → raw [M]) on a grid twice as fine as the coarse cells; then, for
        planes finer than that, on the fine grid wherever a coarse cell or its neighbour may be occupied. Every finding
        spreads to the neighbours."""
        outside = bool(density(torch.full((1, 3), 2 * box, device=device)) > EMPTY_BELOW)
        probes = 2 * COARSE
        found = density_above(density, torch.ones(probes**3, dtype=torch.bool, device=device), probes, box)
        if plane_size > probes:
            coarse = _dilate(F.max_pool3d(found.float()[None, None], 2))
            near = F.interpolate(coarse, size=(FINE,) * 3, mode="nearest")[0, 0] > 0
            found = density_above(density, near.flatten(), FINE, box)
        return cls(_dilate(found.float()[None, None])[0, 0] > 0, box, outside)

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
            cells = F.pad(self.cells, (1,) * 6, value=self.outside)
            size = self.cells.shape[0]
            # Low sides of the cells along an axis, and how far their nearest points are from the middle.
            low = torch.arange(-1, size + 1, device=cells.device) - size / 2
            inner = torch.maximum(low, -1 - low).clamp(min=0) * (self.box / size) <= limit
            self.known[limit] = (cells & inner & inner[:, None, None]).flatten()
        return self.known[limit]

    @property
    def share(self) -> float:
        """Part of the box that may hold something."""
        return float(self.cells.float().mean())


def density_above(density: Callable[[Tensor], Tensor], where: Tensor, size: int, box: float) -> Tensor:
    """[size,size,size] bool: cells among ``where`` [size³] whose centre has a raw density above `EMPTY_BELOW`."""
    places = where.nonzero()[:, 0]
    result = torch.zeros(size**3, dtype=torch.bool, device=where.device)
    for part in places.split(_AT_ONCE):
        z, y, x = part // size**2, part // size % size, part % size
        centres = (torch.stack([x, y, z], dim=-1) + 0.5) * (box / size) - box / 2
        result[part] = density(centres) > EMPTY_BELOW
    return result.reshape(size, size, size)


def _dilate(cells: Tensor) -> Tensor:
    return F.max_pool3d(cells, 3, 1, 1)
