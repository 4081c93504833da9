"""Density of a head on a regular grid, and the density that counts as its surface."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead
from ..rendering.renderer import RenderOptions, crop_mask
from ..triplane import Triplane


@dataclass(frozen=True)
class DensityGrid:
    """Raw density (before softplus) on cubic cells.

    Attributes:
        sigma: [X,Y,Z] float32 on the CPU; entry (i,j,k) belongs to the centre of its cell, the world point
            ``origin + spacing·(i,j,k)``.
        origin: [3] world position of the first entry.
        spacing: side of a cell in world units.
    """

    sigma: Tensor
    origin: Tensor
    spacing: float


def surface_density(options: RenderOptions) -> float:
    """The raw density at which a head's surface lies.

    There one coarse step of the generator's own rays, (far - near) / (samples - 1), absorbs half of the light:
    softplus(sigma - 1) · step = ln 2. Less than that the renderer shows as haze. It does not depend on the resolution
    of a grid, so meshes of all resolutions have one surface.
    """
    density = math.log(2) * (options.samples - 1) / (options.far - options.near)
    return 1 + density + math.log(-math.expm1(-density))


@torch.no_grad()
def density_grid(
    generator: PanoHead,
    triplane: Triplane,
    resolution: int = 256,
    chunk: int = 1 << 16,
    progress: Callable[[int, int], None] | None = None,
) -> DensityGrid:
    """Sample one head's density over its box.

    Args:
        triplane: a batch of one.
        resolution: cells along a side of the box. What the renderer crops is not sampled.
        chunk: points decoded at once. Memory is one float32 for every cell and about 1.5 kB for a point of a chunk.
        progress: called as progress(points done, points in all).

    Raises DualEncError for another batch, resolution below 8, a box that is cropped away, or NaN.
    """
    generator.check(triplane)
    if len(triplane) != 1:
        raise DualEncError(f"triplane has {len(triplane)} heads, expected one; take one with triplane[0]")
    if resolution < 8 or chunk < 1:
        raise DualEncError(f"resolution is {resolution} and chunk {chunk}, expected at least 8 and 1 (256 is usual)")
    options, device = generator.config.render, triplane.planes.device
    spacing = options.box_warp / resolution
    centres = (torch.arange(resolution, device=device, dtype=torch.float32) + 0.5) * spacing - options.box_warp / 2
    axes = [centres[_kept(centres, axis, options)] for axis in range(3)]
    shape = [len(axis) for axis in axes]
    count = math.prod(shape)
    if count == 0:
        raise DualEncError(f"the renderer crops {options.crop} of a box of side {options.box_warp}; nothing is left")
    values = torch.empty(count, device=device)
    for start in range(0, count, chunk):
        index = torch.arange(start, min(start + chunk, count), device=device)
        columns = (index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2])
        points = torch.stack([axis[column] for axis, column in zip(axes, columns, strict=True)], dim=-1)
        sigma, _ = generator.query(triplane, points[None])
        values[start : start + chunk] = sigma.reshape(-1)
        if progress is not None:
            progress(min(start + chunk, count), count)
    if not torch.isfinite(values).all():
        raise DualEncError("the head's density has NaN or infinite values; its triplane is damaged")
    return DensityGrid(values.reshape(shape).cpu(), torch.stack([axis[0] for axis in axes]).cpu(), spacing)


def _kept(centres: Tensor, axis: int, options: RenderOptions) -> Tensor:
    points = centres.new_zeros(1, len(centres), 3)
    points[0, :, axis] = centres
    return ~crop_mask(points, options)[0, :, 0]
