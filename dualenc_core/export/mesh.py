"""Heads as triangle meshes: marching cubes on the density (panohead.md §8, without its shear)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DualEncError, require
from ..generator import PanoHead
from ..triplane import Triplane
from .density_grid import DensityGrid, density_grid, surface_density
from .mesh_geometry import decimated, largest_component, smoothed, vertex_normals


@dataclass(frozen=True)
class Mesh:
    """One triangle mesh, on the CPU. Never mutated; use `replace`.

    Attributes:
        vertices: [V,3] float32, world units (+y up, +z out of the face).
        faces: [F,3] int64, counter-clockwise seen from outside.
        normals: [V,3] float32, unit, outward.
        colours: [V,3] float32, sRGB in 0..1; None = not coloured.
        uv: [V,2] float32 in 0..1, (0, 0) = upper left corner of the texture; None = not unwrapped.
        texture: [3,H,W] float32, sRGB in 0..1; needs uv.
        meta: provenance, JSON-compatible.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    colours: Tensor | None = None
    uv: Tensor | None = None
    texture: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.vertices)
        shapes = {"vertices": 3, "normals": 3, "colours": 3, "uv": 2}
        for name, width in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != (count, width):
                raise DualEncError(f"mesh {name} have shape {tuple(value.shape)}, expected [{count},{width}]")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise DualEncError(f"mesh faces have shape {tuple(self.faces.shape)}, expected [F,3]")
        if len(self.faces) and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < count:
            raise DualEncError(f"mesh faces name vertices outside 0..{count - 1}")
        if self.uv is None and self.texture is not None:
            raise DualEncError("a mesh with a texture needs both, texture and uv")

    def replace(self, **changes: Any) -> Mesh:
        """A copy with some fields changed."""
        return replace(self, **changes)


def extract_mesh(
    generator: PanoHead,
    triplane: Triplane,
    resolution: int = 256,
    threshold: float | None = None,
    largest: bool = True,
    smooth: int = 0,
    decimate: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    chunk: int = 1 << 16,
) -> Mesh:
    """The surface of one head, without colours (`colour_mesh` adds them).

    Args:
        triplane: a batch of one.
        resolution: cells along a side of the head's box.
        threshold: raw density of the surface; None = `surface_density` of the generator. The reference's scripts
            use 10.
        largest: keep the component that encloses most, and so drop floaters and hollows inside the head.
        smooth: passes of Taubin smoothing, which keeps the volume; 2 to 10 are usual.
        decimate: simplify to about this many faces; None = keep all.
        progress: called as progress(points done, points in all) while the density is sampled.
        chunk: see `density_grid`.

    The result is closed: what the renderer crops and the ends of the box are cut flat.

    Raises DualEncError for wrong arguments (see `density_grid`) and for a head without a surface;
    MissingDependencyError without scikit-image, or without fast-simplification when asked to decimate.
    """
    if smooth < 0 or (decimate is not None and decimate < 4):
        raise DualEncError(f"smooth is {smooth} and decimate {decimate}, expected at least 0 and 4 faces")
    threshold = surface_density(generator.config.render) if threshold is None else float(threshold)
    if not math.isfinite(threshold):
        raise DualEncError(f"threshold is {threshold}, expected a raw density (10 is the reference's)")
    require("skimage.measure", "scikit-image")
    grid = density_grid(generator, triplane, resolution, chunk, progress)
    vertices, faces = isosurface(grid, threshold)
    if largest:
        vertices, faces = largest_component(vertices, faces)
    vertices = smoothed(vertices, faces, smooth)
    if decimate is not None:
        vertices, faces = decimated(vertices, faces, decimate)
    if smooth:
        normals = vertex_normals(vertices, faces)
    else:
        normals = outward_normals(grid, threshold, vertices, faces)
    meta = {
        "generator": triplane.generator,
        "triplane": dict(triplane.meta),
        "mesh": {"resolution": resolution, "threshold": threshold, "smooth": smooth, "decimate": decimate},
    }
    return Mesh(
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(faces),
        torch.from_numpy(normals.astype(np.float32)),
        meta=meta,
    )


def isosurface(grid: DensityGrid, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes: vertices [V,3] float64 in world units, faces [F,3] int64, counter-clockwise from outside.

    The raw density is interpolated linearly between cells, as the renderer does between samples. A surface that runs
    into a side of the grid is closed there.

    Raises DualEncError when no density reaches the threshold.
    """
    measure = require("skimage.measure", "scikit-image")
    highest = float(grid.sigma.max())
    if not highest > threshold:
        raise DualEncError(
            f"the head has no surface: its density nowhere exceeds {threshold:g} (the highest is {highest:g}); "
            "lower the threshold, or check that the triplane holds a head"
        )
    sigma = _with_shell(grid.sigma, threshold).numpy()
    vertices, faces, _, _ = measure.marching_cubes(sigma, threshold, gradient_direction="ascent")
    vertices = (vertices.astype(np.float64) - 1) * grid.spacing + grid.origin.numpy().astype(np.float64)
    return vertices, faces.astype(np.int64)


def outward_normals(grid: DensityGrid, threshold: float, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V,3] unit normals from the density's slope, which the surface follows more closely than its triangles do.

    Where the slope vanishes or contradicts the triangles, as in a crease finer than a cell, the triangles decide.
    """
    sigma = _with_shell(grid.sigma, threshold)
    place = torch.from_numpy((vertices - grid.origin.numpy()) / grid.spacing + 1)
    place = place / (torch.tensor(sigma.shape) - 1) * 2 - 1
    # grid_sample wants the last axis first.
    place = place.float().flip(-1)[None, None, None]
    slopes = [
        F.grid_sample(slope[None, None], place, padding_mode="border", align_corners=True).reshape(-1)
        for slope in (torch.gradient(sigma, dim=axis)[0] for axis in range(3))
    ]
    slope = -F.normalize(torch.stack(slopes, dim=-1), dim=-1).double().numpy()
    flat = vertex_normals(vertices, faces)
    return np.where((slope * flat).sum(1, keepdims=True) > 0, slope, flat)


def normals_of(vertices: Tensor, faces: Tensor) -> Tensor:
    """[V,3] float32 unit normals of vertices [V,3] from the faces [F,3] around them."""
    found = vertex_normals(vertices.double().numpy(), faces.numpy())
    return torch.from_numpy(found.astype(np.float32))


def _with_shell(sigma: Tensor, threshold: float) -> Tensor:
    """One more layer on all sides, outside of the surface: the density mirrored at the threshold, which puts the cut
    half a cell beyond the outermost samples."""
    padded = F.pad(sigma[None, None], (1,) * 6, mode="replicate")[0, 0]
    shell = torch.minimum(padded, 2 * threshold - padded).clamp(max=threshold - 1e-3)
    shell[1:-1, 1:-1, 1:-1] = sigma
    return shell
