"""A head as splats: soft spots on its surface in the colours of its own pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError, require
from ..generator import PanoHead
from ..triplane import Triplane
from .mesh_colour import ColourViews, blend_views, colour_views, fill_unseen
from .splat_raster import OPAQUEST, render_splats
from .splats import Splats, towards
from .surfels import Lattice, SurfaceField, Surfels, surfels

Progress = Callable[[int, int], None]

# Standard deviation of a splat, in sides of the square that it stands for: less leaves holes, more blurs ...
SPREAD = 0.55
# ... and across the surface, in parts of that. Nearly round: along a silhouette thin ones leave gaps, and renderers
# that work with the inverse of the covariance (ComfyUI's Render Splat) lose their digits. The shortest axis is the
# normal.
THICKNESS = 0.9
# Furthest that splats are drawn in, in sides of their squares.
_FURTHEST = 4.0
# What no view sees is kept when it is at most this many coarse cells from what one sees; hollows are further inside.
_HIDDEN = 3
# Splats overlap their neighbours: their bells add up to this much everywhere.
_OVERLAP = 2 * math.pi * SPREAD**2
# Side of the pictures in which silhouettes are compared: the blur of viewers is one of pixels.
_SIDE = 512


@torch.no_grad()
def bake_splats(
    generator: PanoHead,
    triplane: Triplane,
    count: int = 150_000,
    threshold: float | None = None,
    views: ColourViews | None = None,
    progress: Progress | None = None,
    chunk: int = 1 << 16,
    coarse: int = 160,
) -> Splats:
    """Turn one head into splats.

    They lie on the surface that the density has at ``threshold``, one for about every cell of a lattice, as large as
    the surface that it stands for (a lattice cuts surfaces of some directions more often). Their colours are those of
    the super-resolved views that see them, the most direct ones first; they are as opaque as these views see them.
    Last, all are drawn in a little, as far as makes the whole cover as much of its pictures as the head does: what is
    soft reaches beyond the surface that it lies on.

    Args:
        triplane: a batch of one.
        count: most splats; a few percent fewer come out.
        threshold: raw density of the surface; None = `surface_density`.
        views: pictures of this head; None = `colour_views`.
        progress: called as progress(done, in all), once through for every pass.
        chunk: points decoded at once.
        coarse: cells along a side of the box in the first look at the surface; what is thinner than one may be missed.

    Raises DualEncError for wrong arguments and for a head without a surface; MissingDependencyError without SciPy.
    """
    generator.check(triplane)
    if len(triplane) != 1:
        raise DualEncError(f"triplane has {len(triplane)} heads, expected one; take one with triplane[0]")
    if count < 1000 or chunk < 1 or coarse < 8:
        raise DualEncError(
            f"count is {count}, chunk {chunk} and coarse {coarse}, expected at least 1000 splats, 1 point and 8 cells"
        )
    if threshold is not None and not math.isfinite(threshold):
        raise DualEncError(f"threshold is {threshold}, expected a raw density (10 is the reference's)")
    field = SurfaceField(generator, triplane, threshold, chunk)
    options = generator.config.render
    lattice = Lattice.over(options, options.box_warp / coarse)
    rough = surfels(field, lattice, lattice.cells(), progress)
    if len(rough.points) == 0:
        raise DualEncError(
            "the head has no surface at this density; lower the threshold, or check that the triplane holds a head"
        )
    views = colour_views(generator, triplane, progress=progress) if views is None else views
    rough = rough.where(_outside(rough, views, _HIDDEN * lattice.cell))
    cell, surface = lattice.cell * math.sqrt(len(rough.points) / count), None
    while surface is None or len(surface.points) > count:
        lattice = Lattice.over(options, cell)
        near = lattice.cells_near(rough.points, options.box_warp / coarse)
        surface = surfels(field, lattice, near, progress)
        cell *= 1.005 * math.sqrt(max(1.0, len(surface.points) / count))
    splats = _spots(surface, views)
    splats = _drawn_in(splats, surface, generator, triplane)
    meta = {"generator": triplane.generator, "triplane": dict(triplane.meta), "splats": {"cell": lattice.cell}}
    return splats.replace(meta=meta)


def _outside(surface: Surfels, views: ColourViews, reach: float) -> Tensor:
    """[N] whether a view sees a point, or one that is not further than ``reach`` from it."""
    _, seen = blend_views(views, surface.points, surface.normals)
    if bool(seen.all()):
        return seen
    if not bool(seen.any()):
        raise DualEncError("no view shows the head; render the views from the head that becomes splats")
    tree = require("scipy.spatial", "scipy").cKDTree(surface.points[seen].numpy())
    distance = tree.query(surface.points.numpy(), distance_upper_bound=reach)[0]
    return torch.from_numpy(distance <= reach)


def _spots(surface: Surfels, views: ColourViews) -> Splats:
    colours, seen = blend_views(views, surface.points, surface.normals)
    cover = F.interpolate(views.visible.alpha, views.image.shape[-2:], mode="bilinear", align_corners=False)
    as_pictures = ColourViews(views.camera, (cover * 2 - 1).expand_as(views.image), views.visible)
    alpha = blend_views(as_pictures, surface.points, surface.normals)[0][:, 0]
    colours, alpha = (fill_unseen(surface.points, values, seen) for values in (colours, alpha))
    opacity = _opacity(alpha)
    radius = SPREAD * surface.area.sqrt()
    scales = torch.stack([radius, radius, THICKNESS * radius], dim=-1)
    return Splats(surface.points, scales, towards(surface.normals), opacity, colours)


def _opacity(alpha: Tensor) -> Tensor:
    """Opacity [N] with which overlapping splats let through as much light as a surface of alpha [N].

    A bell of opacity o takes 2π·spread²·Li₂(o) of the optical depth, by its integral over the plane.
    """
    steps = torch.linspace(0.02, OPAQUEST, 256, dtype=torch.float64)
    powers = torch.arange(1, 200, dtype=torch.float64)
    depths = _OVERLAP * (steps[:, None] ** powers / powers**2).sum(-1)
    place = torch.searchsorted(depths, -torch.log1p(-alpha.double().clamp(max=0.9999)))
    return steps[place.clamp(max=len(steps) - 1)].to(alpha.dtype)


def _drawn_in(splats: Splats, surface: Surfels, generator: PanoHead, triplane: Triplane) -> Splats:
    """The splats moved inward along their normals, all by the same share of their size, until they cover as much of
    three pictures as the head does. What they cover falls linearly as far as they move."""
    camera = Camera.look_at(yaw=[0.0, 60.0, 120.0], pitch=10.0)
    rendering = generator.render(triplane, camera, super_resolve=False, background="none", quality="high")
    wanted = float(rendering.alpha.mean())
    step = surface.normals * surface.area.sqrt()[:, None]

    def at(share: float) -> Splats:
        return splats.replace(positions=splats.positions - share * step)

    before, after = (float(render_splats(at(share), camera, _SIDE)[1].mean()) for share in (0.0, 1.0))
    share = (before - wanted) / (before - after) if before > after else 0.0
    return at(min(max(share, 0.0), _FURTHEST))
