"""Sphere tracing of analytic heads: arbitrary rays for training, pictures for everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from .distance import layers
from .field import lit_colour
from .geometry import Geometry, build_geometry
from .heads import Heads

BACKDROP = (0.93, 0.93, 0.95)
FAR = 3.3
# everything lies in this box (world units: low and high corner)
BOX = ((-0.29, -0.40, -0.29), (0.29, 0.38, 0.29))
SURFACE = 4e-4
COMPACT_EVERY = 4


@dataclass(frozen=True)
class RayHits:
    """Where rays meet heads.

    Attributes:
        rgb: ``[N,R,3]`` in [-1,1], 0 where missed.
        depth: ``[N,R]`` distance along the unit ray, 3.3 where missed.
        alpha: ``[N,R]``, 1 = hit, 0 = missed.
    """

    rgb: Tensor
    depth: Tensor
    alpha: Tensor


@torch.no_grad()
def trace(heads: Heads, origins: Tensor, directions: Tensor, steps: int = 56) -> RayHits:
    """First hits of arbitrary rays.

    Args:
        heads: N heads; head i is met by rays ``origins[i]``.
        origins, directions: ``[N,R,3]``; directions of unit length.
        steps: field evaluations along a ray: 3/7 sphere tracing, the rest spent on rays that graze a silhouette.

    Raises:
        DualEncError: shapes that do not fit the heads, or no step.
    """
    n = len(heads)
    if origins.ndim != 3 or origins.shape != directions.shape or origins.shape[0] != n or origins.shape[2] != 3:
        raise DualEncError(
            f"origins {tuple(origins.shape)} and directions {tuple(directions.shape)} must both be [{n},R,3]: "
            f"R rays for each head"
        )
    if steps < 1:
        raise DualEncError(f"steps is {steps}, expected at least 1 (56 by default)")
    geometry = build_geometry(heads)
    o, d = origins.transpose(1, 2).contiguous(), directions.transpose(1, 2).contiguous()
    depth, hit = _march(geometry, o, d, steps)
    rgb = _colour_hits(geometry, o, d, depth, hit)
    alpha = hit.to(o.dtype)
    return RayHits(rgb.transpose(1, 2), torch.where(hit, depth, FAR), alpha)


def _march(geometry: Geometry, o: Tensor, d: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Distance along the rays ``[N,R]`` and whether they hit, of rays ``[N,3,R]``.

    Sphere tracing first. The few rays that then still creep along a silhouette are sampled evenly up to the end of the
    box, all at once: for them that is far cheaper than more small steps.
    """
    depth, far = _box_span(o, d)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    active = depth < far
    walk = max(COMPACT_EVERY, steps * 3 // 7 // COMPACT_EVERY * COMPACT_EVERY)
    # curls steepen the field by up to their size times their frequency
    pace, swell = 1 / (1 + 75 * geometry.curl), 3 * geometry.curl
    for _ in range(walk // COMPACT_EVERY):
        index = _pack(active)
        if index is None:
            return depth, hit
        po, pd, t = _take(o, index), _take(d, index), depth.gather(1, index)
        inside = t
        for _ in range(COMPACT_EVERY):
            inside = layers(geometry, torch.addcmul(po, pd, t[:, None])).nearest()
            t = t + torch.maximum(inside * pace, inside - swell)
        keep = active.gather(1, index)
        close, gone = inside.abs() < SURFACE, t > far.gather(1, index)
        depth.scatter_(1, index, torch.where(keep, t, depth.gather(1, index)))
        hit.scatter_(1, index, torch.where(keep, close & ~gone, hit.gather(1, index)))
        active = active.scatter(1, index, keep & ~gone & ~close)
    index = _pack(active)
    if index is None:
        return depth, hit
    keep = active.gather(1, index)
    t, found = _sample_ahead(
        geometry, _take(o, index), _take(d, index), depth.gather(1, index), far.gather(1, index), steps - walk
    )
    depth.scatter_(1, index, torch.where(keep, t, depth.gather(1, index)))
    return depth, hit.scatter(1, index, torch.where(keep, found, hit.gather(1, index)))


def _sample_ahead(
    geometry: Geometry, o: Tensor, d: Tensor, near: Tensor, far: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """First crossing of rays ``[N,3,R]`` between two distances ``[N,R]``: even samples, then false position."""
    n, _, count = o.shape
    samples = max(samples, 8)
    t = near[..., None] + (far - near)[..., None] * torch.linspace(0, 1, samples, device=o.device)
    points = (o[..., None] + d[..., None] * t[:, None]).reshape(n, 3, count * samples)
    value = layers(geometry, points).nearest().view(n, count, samples)
    below = value < SURFACE
    found = below.any(-1)
    right = below.to(torch.uint8).argmax(-1, keepdim=True)
    left = (right - 1).clamp_min(0)
    t0, t1 = (t.gather(-1, i)[..., 0] for i in (left, right))
    v0, v1 = (value.gather(-1, i)[..., 0] for i in (left, right))
    for _ in range(3):
        middle = t0 + (t1 - t0) * (v0 / (v0 - v1).clamp_min(1e-7)).clamp(0.02, 0.98)
        v = layers(geometry, torch.addcmul(o, d, middle[:, None])).nearest()
        beyond = v < 0
        t0, v0 = torch.where(beyond, t0, middle), torch.where(beyond, v0, v)
        t1, v1 = torch.where(beyond, middle, t1), torch.where(beyond, v, v1)
    return torch.where(v0.abs() < v1.abs(), t0, t1), found


def _box_span(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit distance of the bounding box; entry ≥ exit where missed."""
    low, high = torch.tensor(BOX, device=o.device)[:, None, :, None]
    inverse = 1 / torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    a, b = (low - o) * inverse, (high - o) * inverse
    return torch.minimum(a, b).amax(1).clamp_min(0), torch.maximum(a, b).amin(1)


def _pack(active: Tensor) -> Tensor | None:
    """Columns of each head's active rays, padded with inactive ones to the largest count; None when there are none."""
    count = int(active.sum(1).max()) if active.numel() else 0
    if count == 0:
        return None
    return active.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]


def _take(rays: Tensor, index: Tensor) -> Tensor:
    return rays.gather(2, index[:, None].expand(-1, 3, -1))


def _colour_hits(geometry: Geometry, o: Tensor, d: Tensor, depth: Tensor, hit: Tensor) -> Tensor:
    rgb = torch.zeros_like(o)
    index = _pack(hit)
    if index is None:
        return rgb
    points = torch.addcmul(_take(o, index), _take(d, index), depth.gather(1, index)[:, None])
    lit = lit_colour(geometry, points) * 2 - 1
    return rgb.scatter_(2, index[:, None].expand(-1, 3, -1), lit * hit.gather(1, index)[:, None])


@torch.no_grad()
def render(
    heads: Heads,
    camera: Camera,
    resolution: int = 128,
    antialias: int = 2,
    background: tuple[float, float, float] | None = None,
    chunk: int | None = None,
    steps: int = 56,
    progress: Callable[[int, int], None] | None = None,
) -> Rendering:
    """Pictures of heads: the truth for every view.

    Args:
        heads: N heads, or 1 head for all cameras.
        camera: N cameras, or 1 for all heads.
        resolution: width and height in pixels.
        antialias: A×A rays a pixel.
        background: sRGB in 0..1; `BACKDROP` by default.
        chunk: rays traced at once, bounds memory; None = 2^15 on a CPU, 2^20 elsewhere.
        progress: called as ``progress(rays done, rays in all)``.

    Returns:
        Rendering: ``image`` = ``raw`` in [-1,1]; ``alpha`` the covered share of a pixel; ``depth`` the mean over the
        covered rays of a pixel, 3.3 where it is empty.

    Raises:
        DualEncError: numbers of heads and cameras that do not fit, resolution or antialias below 1.
    """
    heads, camera = _pair(heads, camera)
    chunk = (1 << (15 if heads.device.type == "cpu" else 20)) if chunk is None else chunk
    if resolution < 1 or antialias < 1 or chunk < 1:
        raise DualEncError(f"resolution {resolution}, antialias {antialias}, chunk {chunk}: each must be at least 1")
    n, fine = len(heads), resolution * antialias
    origins, directions = camera_rays(camera, fine)
    width = max(1, chunk // n)
    hits = []
    for start in range(0, fine * fine, width):
        hits.append(trace(heads, origins[:, start : start + width], directions[:, start : start + width], steps))
        if progress is not None:
            progress(min(start + width, fine * fine), fine * fine)
    rgb, depth, alpha = (torch.cat([getattr(h, name) for h in hits], 1) for name in ("rgb", "depth", "alpha"))

    def pixels(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values.reshape(n, fine, fine, -1).permute(0, 3, 1, 2), antialias)

    behind = torch.tensor(BACKDROP if background is None else background, dtype=rgb.dtype, device=rgb.device) * 2 - 1
    cover = pixels(alpha)
    image = pixels(rgb * alpha[..., None]) + (1 - cover) * behind[None, :, None, None]
    mean = pixels(depth * alpha) / cover.clamp_min(1e-6)
    depth = torch.where(cover > 0, mean, torch.full_like(mean, FAR))
    return Rendering(image=image, raw=image, depth=depth, alpha=cover)


def _pair(heads: Heads, camera: Camera) -> tuple[Heads, Camera]:
    n, m = len(heads), len(camera)
    if n == m:
        return heads, camera
    if n == 1:
        return heads[[0] * m], camera
    if m == 1:
        return heads, camera[torch.zeros(n, dtype=torch.long)]
    raise DualEncError(f"{n} heads and {m} cameras: give equal numbers, or one of either")
