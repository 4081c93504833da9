"""The plain two-pass volume renderer: exact, simple, and the oracle for faster ones (panohead.md §6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import DualEncError
from .marching import interval_weights, march
from .sampling import importance_depths, stratified_depths

# The sample density outside the crop; softplus of it is exactly zero.
EMPTY_SIGMA = -1000.0

Query = Callable[[Tensor], tuple[Tensor, Tensor]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RenderOptions:
    """How rays are sampled; the names on the right are the keys of official files (panohead.md §1.3).

    Attributes:
        samples: coarse samples a ray (depth_resolution), at least 4.
        importance: further samples by importance (depth_resolution_importance), 0 for none.
        near, far: limits along the unit ray in world units (ray_start, ray_end).
        box_warp: side of the cube that the tri-grid covers.
        disparity: sample evenly in 1/depth (disparity_space_sampling).
        white_back: add 1 - alpha to the features (white_back).
        crop: samples closer than this to the sides of the box in x and z are empty (crop; 0.1 in official files).
    """

    samples: int = 48
    importance: int = 48
    near: float = 2.25
    far: float = 3.3
    box_warp: float = 1.0
    disparity: bool = False
    white_back: bool = False
    crop: float = 0.1

    def __post_init__(self) -> None:
        if self.samples < 4 or self.importance < 0:
            raise DualEncError(
                f"samples is {self.samples} and importance {self.importance}, expected at least 4 and at least 0"
            )
        if not 0 < self.near < self.far:
            raise DualEncError(f"near is {self.near} and far {self.far}, expected 0 < near < far")
        if not 0 <= self.crop < self.box_warp / 2:
            raise DualEncError(
                f"crop is {self.crop} in a box of {self.box_warp} (box_warp), expected 0 to less than half of the box: "
                "more would leave nothing of a head"
            )


class Draws(NamedTuple):
    """The reference's random numbers, for parity.

    Attributes:
        jitter: [N,R,S,1] or [N,R,S] in [0,1), one per coarse sample.
        u: [N·R,I] in [0,1), rows batch-major then ray; unused when there are no importance samples.
    """

    jitter: Tensor
    u: Tensor | None


class RayOutput(NamedTuple):
    """Composited rays: features [N,R,C], depth [N,R], alpha [N,R]."""

    features: Tensor
    depth: Tensor
    alpha: Tensor


def render_rays(
    query: Query,
    origins: Tensor,
    directions: Tensor,
    options: RenderOptions,
    draws: Draws | None = None,
    chunk: int = 2048,
    progress: Progress | None = None,
) -> RayOutput:
    """Render rays [N,R,3] through a field.

    Args:
        query: points [N,M,3] → raw density [N,M,1] and features [N,M,C].
        draws: random numbers of the reference. Without them samples sit at bin centres and even quantiles, so the
            same input gives the same output, and an empty ray has depth ``options.far`` whatever else is rendered.
            With them empty rays take the largest sample depth of the batch, as the reference does.
        chunk: rays (over the whole batch) in memory at once.
    """
    n, r, _ = origins.shape
    size = max(1, chunk // n)
    outputs, near, far = [], float("inf"), -float("inf")
    for start in range(0, r, size):
        rays = slice(start, min(start + size, r))
        part = None
        if draws is not None:
            u = None if draws.u is None else draws.u.reshape(n, r, -1)[:, rays].reshape(-1, draws.u.shape[-1])
            part = Draws(draws.jitter.reshape(n, r, -1)[:, rays], u)
        output, depths = _render_chunk(query, origins[:, rays], directions[:, rays], options, part)
        outputs.append(output)
        if draws is not None:
            near, far = min(near, float(depths.min())), max(far, float(depths.max()))
        if progress is not None:
            progress(rays.stop, r)
    features, depth, alpha = (torch.cat(tensors, dim=1) for tensors in zip(*outputs, strict=True))
    if draws is not None:
        depth = depth.clamp(near, far)
    else:
        depth = torch.where(torch.isinf(depth), torch.full_like(depth, options.far), depth)
    return RayOutput(features, depth, alpha)


def _render_chunk(
    query: Query, origins: Tensor, directions: Tensor, options: RenderOptions, draws: Draws | None
) -> tuple[RayOutput, Tensor]:
    shape = origins.shape[0], origins.shape[1]
    jitter = None if draws is None else draws.jitter
    depths = stratified_depths(
        options.near, options.far, options.samples, jitter, shape, disparity=options.disparity, device=origins.device
    )
    sigma, features = query_samples(query, origins, directions, depths, options)
    if options.importance:
        # The second pass only chooses where to look; the reference cuts its gradient too.
        with torch.no_grad():
            weights, _ = interval_weights(depths, sigma)
            fine = importance_depths(depths, weights, options.importance, None if draws is None else draws.u)
        fine_sigma, fine_features = query_samples(query, origins, directions, fine, options)
        depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
        sigma = torch.cat([sigma, fine_sigma], dim=-1).gather(-1, order)
        features = torch.cat([features, fine_features], dim=-2)
        features = features.gather(-2, order[..., None].expand_as(features))
    composite = march(depths, sigma, features)
    alpha = composite.weights.sum(-1)
    colour = composite.features
    if options.white_back:
        colour = colour + (1 - alpha)[..., None]
    return RayOutput(colour, composite.depth, alpha), depths


def query_samples(
    query: Query, origins: Tensor, directions: Tensor, depths: Tensor, options: RenderOptions
) -> tuple[Tensor, Tensor]:
    """Cropped raw density [N,R,S] and features [N,R,S,C] at depths [N,R,S] along rays [N,R,3]."""
    n, r, s = depths.shape
    points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).reshape(n, r * s, 3)
    sigma, features = query(points)
    sigma = torch.where(crop_mask(points, options), torch.full_like(sigma, EMPTY_SIGMA), sigma)
    return sigma.reshape(n, r, s), features.reshape(n, r, s, -1)


def crop_mask(points: Tensor, options: RenderOptions) -> Tensor:
    """True [N,M,1] where a point is cropped: |x| or |z| above box_warp/2 - crop; y is never cropped (§6.3)."""
    return (points[..., 0::2].abs() > crop_limit(options)).any(-1, keepdim=True)


def crop_limit(options: RenderOptions) -> float:
    """Largest |x| and |z| that are not cropped, in world units."""
    return options.box_warp / 2 - options.crop
