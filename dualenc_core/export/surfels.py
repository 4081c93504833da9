"""Points evenly spread over a head's surface, each with its normal and the area that it stands for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead
from ..rendering.renderer import RenderOptions, crop_limit
from ..triplane import Triplane
from .density_grid import surface_density

Progress = Callable[[int, int], None]

# Walls are as steep as a surface that turns opaque within a few thousandths of the box.
_STEEPNESS = 500
# How far from its centre, in cells, the surface is looked for, and how far off it may be along an axis: a little more
# than half, because two neighbours that each leave a point to the other would leave a gap.
_REACH, _INSIDE = 0.95, 0.52


class Surfels(NamedTuple):
    """points [N,3] and unit normals [N,3] (outward) in world units, on the CPU; area [N] in world units²."""

    points: Tensor
    normals: Tensor
    area: Tensor

    def where(self, kept: Tensor) -> Surfels:
        """Those that a mask or an index keeps."""
        return Surfels(*(tensor[kept] for tensor in self))


class Lattice(NamedTuple):
    """Centres of cubic cells over the part of the box that the renderer keeps: coordinates of three axes, and the side
    of a cell."""

    axes: tuple[Tensor, Tensor, Tensor]
    cell: float

    @classmethod
    def over(cls, options: RenderOptions, cell: float) -> Lattice:
        """With cells beyond the walls too, so that there is an outside everywhere."""
        counts = [int(limit / cell) + 2 for limit in _walls(options)]
        x, y, z = (torch.arange(-n, n + 1, dtype=torch.float32) * cell for n in counts)
        return cls((x, y, z), cell)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along each axis."""
        x, y, z = self.axes
        return len(x), len(y), len(z)

    def centres(self, cells: Tensor) -> Tensor:
        """[N,3] points of cells [N,3]."""
        return torch.stack([axis[cells[:, i]] for i, axis in enumerate(self.axes)], dim=-1)

    def cells(self) -> Tensor:
        """[M,3] all of them."""
        return torch.cartesian_prod(*(torch.arange(n) for n in self.shape))

    def cells_near(self, points: Tensor, reach: float) -> Tensor:
        """[M,3] cells whose centre is about ``reach`` or less from one of the points [N,3], along each axis."""
        blocks = [torch.div(axis - axis[0], reach, rounding_mode="floor").long() for axis in self.axes]
        mask = torch.zeros([int(block[-1]) + 1 for block in blocks])
        index = [
            torch.div(points[:, i] - axis[0], reach, rounding_mode="floor").long().clamp(0, mask.shape[i] - 1)
            for i, axis in enumerate(self.axes)
        ]
        mask[tuple(index)] = 1
        wide = F.max_pool3d(mask[None, None], 3, 1, 1)[0, 0] > 0
        for i, block in enumerate(blocks):
            wide = wide.index_select(i, block)
        return wide.nonzero()


class SurfaceField:
    """Raw density minus that of the surface: 0 on the surface, positive inside. What the renderer crops and what lies
    beyond the box is outside, so that the surface is closed."""

    def __init__(self, generator: PanoHead, triplane: Triplane, threshold: float | None, chunk: int) -> None:
        options = generator.config.render
        self._generator, self._triplane, self._chunk = generator, triplane, chunk
        self._threshold = surface_density(options) if threshold is None else float(threshold)
        self._walls = torch.tensor(_walls(options))
        self._steepness = _STEEPNESS * self._threshold / options.box_warp

    def __call__(self, points: Tensor, progress: Progress | None = None) -> Tensor:
        """World points [M,3] on the CPU → [M].

        Raises DualEncError for NaN.
        """
        values = torch.empty(len(points))
        for start in range(0, len(points), self._chunk):
            part = points[start : start + self._chunk]
            sigma, _ = self._generator.query(self._triplane, part[None].to(self._triplane.planes))
            wall = ((self._walls - part.abs()) * self._steepness).amin(-1)
            values[start : start + self._chunk] = torch.minimum(sigma.reshape(-1).cpu() - self._threshold, wall)
            if progress is not None:
                progress(min(start + self._chunk, len(points)), len(points))
        if not bool(torch.isfinite(values).all()):
            raise DualEncError("the head's density has NaN or infinite values; its triplane is damaged")
        return values

    def slope(self, points: Tensor, step: float, progress: Progress | None = None) -> Tensor:
        """[M,3] by central differences over ``step``."""
        moves = torch.cat([torch.eye(3), -torch.eye(3)]) * (step / 2)
        values = self((points[:, None] + moves).reshape(-1, 3), progress).view(-1, 6)
        return (values[:, :3] - values[:, 3:]) / step


def surfels(field: SurfaceField, lattice: Lattice, cells: Tensor, progress: Progress | None = None) -> Surfels:
    """The surface in some cells [M,3] of a lattice, at most one point in each.

    A cell has one when the point of the surface above or below its centre lies in it. On a plane with normal n these
    are 1 / (cell² · max|n|) points a unit of area, evenly spread whichever way it faces.
    """
    centres, cell = lattice.centres(cells), lattice.cell
    value = field(centres, progress)
    near = _beside_the_surface(lattice, cells, value)
    centres, value = centres[near], value[near]
    # Over two cells: what is finer than a splat would turn its normal to views that do not show it.
    slope = field.slope(centres, 2 * cell, progress)
    steep = (slope != 0).any(-1)
    centres, value, normals = centres[steep], value[steep], -F.normalize(slope[steep], dim=-1)
    # From inside outwards, from outside inwards, as far as a corner of the cell.
    way = normals * (value.sign() * cell * _REACH)[:, None]
    end = field(centres + way)
    crosses = end.sign() != value.sign()
    centres, value, end, way, normals = (part[crosses] for part in (centres, value, end, way, normals))
    offset = _crossing(lambda share: field(centres + share[:, None] * way), value, end)[:, None] * way
    inside = offset.abs().amax(-1) <= cell * _INSIDE
    normals = normals[inside]
    return Surfels((centres + offset)[inside], normals, cell**2 * normals.abs().amax(-1))


def _crossing(field: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, steps: int = 3) -> Tensor:
    """[M] where in 0..1 functions cross 0 that have other signs at 0 and at 1: false position, Illinois variant."""
    low, high = torch.zeros_like(start), torch.ones_like(start)
    share = low
    for _ in range(steps):
        share = low + (high - low) * start / (start - end)
        value = field(share)
        beyond = value.sign() != start.sign()
        high, end = torch.where(beyond, share, high), torch.where(beyond, value, end / 2)
        low, start = torch.where(beyond, low, share), torch.where(beyond, start / 2, value)
    return share


def _beside_the_surface(lattice: Lattice, cells: Tensor, value: Tensor) -> Tensor:
    """[M] whether one of the 26 cells around a cell is on the other side; cells that were not asked for are on none."""
    shape = torch.tensor(lattice.shape)
    stride = torch.tensor([shape[1] * shape[2], shape[2], 1])
    sign = torch.where(value > 0, 1, -1).to(torch.int8)
    signs = torch.zeros(int(shape.prod()), dtype=torch.int8)
    signs[(cells * stride).sum(-1)] = sign
    found = torch.zeros(len(cells), dtype=torch.bool)
    for step in itertools.product((-1, 0, 1), repeat=3):
        beside = torch.minimum((cells + torch.tensor(step)).clamp(min=0), shape - 1)
        found |= signs[(beside * stride).sum(-1)] == -sign
    return found


def _walls(options: RenderOptions) -> tuple[float, float, float]:
    """Largest |x|, |y| and |z| of a head."""
    return crop_limit(options), options.box_warp / 2, crop_limit(options)
