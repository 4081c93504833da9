"""What an input view shows of a head: by tri-grid cells (paper Eq. 3) and by points in space (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..choices import REFERENCE
from ..errors import DualEncError
from ..generator import PanoHead
from ..generator.prepared import exact_way
from ..point_weight import Visibility
from ..rendering.rays import camera_rays
from ..rendering.trigrid import splat
from ..triplane import Triplane, TriplaneMask

# A cell counts as read when the trilinear weights of all surface points on it sum to more than this; below lies only
# the rounding of points that sit exactly on the border of a footprint.
_TOUCHED = 1e-4
_MAX_RESOLUTION = 1024


@dataclass(frozen=True)
class Surface:
    """The first surface that N views see, on r×r rays.

    Attributes:
        camera: the N views.
        points: [N,r·r,3] in world units: position + depth · unit direction, row-major. Meaningless where alpha is low.
        depth: [N,1,r,r], distance along the unit ray.
        alpha: [N,1,r,r], accumulated opacity 0..1.
    """

    camera: Camera
    points: Tensor
    depth: Tensor
    alpha: Tensor


def surface_resolution(camera: Camera, plane_size: int, box_warp: float, hits: float = 2.0) -> int:
    """Rays along each side so that a surface that faces the camera at the pivot gets ``hits`` rays a cell.

    A pixel covers distance / (focal·resolution) world units there and a cell box_warp / plane_size. The official
    camera and 256 cells need 230 (64 rays would leave five of six cells without a hit; encoders.md §4.1).
    """
    focal = torch.minimum(camera.intrinsics[:, 0, 0], camera.intrinsics[:, 1, 1])
    cells = float((camera.position.norm(dim=-1) / focal).max()) * plane_size / box_warp
    return min(max(math.ceil(math.sqrt(hits) * cells), 16), _MAX_RESOLUTION)


@torch.no_grad()
def visible_surface(
    generator: PanoHead,
    triplane: Triplane,
    camera: Camera,
    resolution: int | None = None,
    samples: int | tuple[int, int] | None = None,
    chunk: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    quality: str = "exact",
) -> Surface:
    """Depth and opacity of views, without colours, background or super-resolution.

    Args:
        triplane: N heads.
        camera: N views, or one for all.
        resolution: rays along each side; None = dense enough for the planes (`surface_resolution`).
        samples: coarse and importance samples a ray; None = the generator's.
        chunk: rays in memory at once; None = as many as suit the device.
        progress: called as progress(rays done, rays in all).
        quality: "reference" = with the plain renderer; all others are exact up to rounding.

    Raises GeneratorMismatchError for a triplane of another generator, DualEncError for a batch that does not fit.
    """
    generator.check(triplane)
    camera = camera.to(triplane.planes.device).expand(len(triplane))
    resolution = resolution or surface_resolution(camera, triplane.size, generator.config.render.box_warp)
    origins, directions = camera_rays(camera, resolution)
    options = generator.render_options(samples, camera)
    if quality != REFERENCE:
        quality = exact_way(resolution**2 * (options.samples + options.importance), triplane.size)
    rays = generator.render_rays(
        triplane, origins, directions, options, chunk=chunk, progress=progress, quality=quality
    )
    points = origins + rays.depth[..., None] * directions
    shape = (len(triplane), 1, resolution, resolution)
    return Surface(camera, points, rays.depth.reshape(shape), rays.alpha.reshape(shape))


def occlusion_mask(
    generator: PanoHead,
    triplane: Triplane,
    camera: Camera,
    *,
    resolution: int | None = None,
    dilation: int = 0,
    closing: int = 1,
    softness: int | None = None,
    per_slice: bool = True,
    progress: Callable[[int, int], None] | None = None,
    quality: str = "exact",
) -> TriplaneMask:
    """Cells that the input view does not show: 1 = occluded (paper Eq. 3; encoders.md §4.3).

    Every ray with an alpha of at least ½ marks, in each plane and depth slice, the cells that a trilinear lookup at its
    surface point reads. Small holes are closed, and the border is feathered into the occluded side only: a cell that
    the visible surface reads is exactly 0, so a stitched head keeps what the photo shows.

    Args:
        resolution: rays along each side; None = at least two hits a cell.
        dilation: cells by which the visible region grows.
        closing: holes up to twice this many cells are filled (morphological closing, in-plane).
        softness: half the width of the linear border in cells; 0 = binary. None = 1/128 of a plane: as wide as one cell
            of 64, where the lookup's own interpolation is soft enough and a wider border would keep from Encoder 2
            what it should fill.
        per_slice: False makes the slices of a plane share one value, visible if any of them is.
        progress: called as progress(rays done, rays in all).
        quality: as in `visible_surface`.

    Returns a TriplaneMask [N,3,D,S,S]. Deterministic. Errors as `visible_surface`.

    Example:
        >>> import dualenc_core as dc
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> mask = dc.occlusion_mask(generator, head, dc.Camera.look_at())
        >>> mask.mask.shape
        torch.Size([1, 3, 3, 16, 16])
    """
    size = triplane.size
    softness = size // 128 if softness is None else softness
    for name, value in (("dilation", dilation), ("closing", closing), ("softness", softness)):
        if value < 0:
            raise DualEncError(f"{name} is {value}, expected 0 or more cells")
    surface = visible_surface(generator, triplane, camera, resolution, progress=progress, quality=quality)
    visible = touched_cells(surface, size, triplane.depth, generator.config.render.box_warp)
    if not per_slice:
        visible = visible.amax(2, keepdim=True).expand_as(visible)
    cells = visible.flatten(1, 2)
    cells = erode(dilate(cells, closing), closing)
    cells = dilate(cells, dilation + softness)
    if softness:
        cells = F.avg_pool2d(cells, 2 * softness + 1, 1, softness, count_include_pad=False)
    meta = {
        "kind": "occlusion",
        "resolution": surface.depth.shape[-1],
        "dilation": dilation,
        "closing": closing,
        "softness": softness,
        "per_slice": per_slice,
        "camera": surface.camera.label.tolist(),
        "generator": triplane.generator,
    }
    return TriplaneMask(1 - cells.reshape(visible.shape), meta)


def visibility(
    generator: PanoHead,
    triplane: Triplane,
    camera: Camera,
    tolerance: float = 0.04,
    softness: float = 0.015,
    resolution: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    quality: str = "exact",
) -> Visibility:
    """How well every point in space is seen from the input view (formula: `Visibility`).

    Args:
        tolerance: world units behind the surface that still count as seen; more than the thickness of a rendered
            surface, less than that of a head.
        softness: width of the transition in world units.
        resolution: rays along each side of the depth picture; None = at least two hits a cell.
        quality: as in `visible_surface`.

    Errors as `visible_surface`; DualEncError unless ``softness`` is positive.

    Example:
        >>> import torch, dualenc_core as dc
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> seen = dc.visibility(generator, head, dc.Camera.look_at())
        >>> seen(torch.zeros(1, 5, 3)).shape
        torch.Size([1, 5, 1])
    """
    if not softness > 0:
        raise DualEncError(f"softness is {softness}, expected a positive width in world units (0.015 is usual)")
    surface = visible_surface(generator, triplane, camera, resolution, progress=progress, quality=quality)
    return Visibility(surface.camera, surface.depth, surface.alpha, tolerance, softness)


def touched_cells(surface: Surface, size: int, depth: int, box_warp: float) -> Tensor:
    """[N,3,D,size,size] of 0 and 1: 1 where a surface point with an alpha of at least ½ is read from the cell."""
    hit = (surface.alpha >= 0.5).to(surface.points.dtype).flatten(1)[..., None]
    # A ray without a hit may have any depth; its point must not reach the splat as infinity times zero.
    points = torch.where(hit > 0, surface.points, torch.zeros_like(surface.points))
    return (splat(points, hit, size, depth, box_warp)[:, :, 0] > _TOUCHED).to(hit.dtype)


def dilate(cells: Tensor, radius: int) -> Tensor:
    """Grow the ones of [N,C,H,W] by ``radius`` cells in the plane (a square neighbourhood)."""
    return F.max_pool2d(cells, 2 * radius + 1, 1, radius) if radius else cells


def erode(cells: Tensor, radius: int) -> Tensor:
    """Shrink the ones of [N,C,H,W] by ``radius`` cells in the plane; the outside counts as one."""
    return -F.max_pool2d(-cells, 2 * radius + 1, 1, radius) if radius else cells
