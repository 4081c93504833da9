"""Lifting image errors into the tri-grid: the adjoint of rendering, without a network (demo.md §1).

A pixel of the photo is un-projected and scattered into the cells that its 3D point reads, so that a refiner can work
in the world-aligned planes instead of learning the warp from image to world.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..images import resize_area
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.trigrid import splat

SURFACE_CHANNELS = 8
VOLUME_CHANNELS = 9
# A pixel of the photo that the head covers less shows the backdrop as well: on the grazing surface behind a silhouette
# its colour would become a bright streak, seen from the side.
_COVERED = 0.9


@dataclass(frozen=True)
class Observation:
    """A photo beside the render of the current estimate, on one grid of r×r rays.

    Attributes:
        camera: N cameras.
        image, render: [N,3,r,r], nominally [-1,1].
        matte, alpha: [N,1,r,r], coverage of the head in the photo and in the render, 0..1.
        depth: [N,1,r,r], distance along the unit ray in world units.
    """

    camera: Camera
    image: Tensor
    render: Tensor
    matte: Tensor
    alpha: Tensor
    depth: Tensor

    @classmethod
    def compare(cls, camera: Camera, image: Tensor, matte: Tensor | None, rendering: Rendering) -> Observation:
        """Photo [N,3,S,S] and matte [N,1,S,S] against a rendering, both area-averaged to the rendering's rays.

        Without a matte the render's alpha stands in: its difference is then zero.
        """
        size = rendering.depth.shape[-1]
        coverage = rendering.alpha if matte is None else resize_area(matte, size)
        return cls(
            camera,
            resize_area(image, size),
            resize_area(rendering.image, size),
            coverage,
            rendering.alpha,
            rendering.depth,
        )


def surface_maps(view: Observation, size: int, depth: int, box_warp: float) -> Tensor:
    """[N,3,8·D,size,size]: image, image - render, matte - alpha and hits on the cells that the visible surface reads.

    Channel = map·D + slice, as in planes. Rays with alpha below ½ have no surface and are left out, and so are pixels
    that the head does not fill.
    """
    origins, directions = camera_rays(view.camera, view.depth.shape[-1])
    points = origins + directions * view.depth.flatten(1)[..., None]
    hit = ((view.alpha >= 0.5) & (view.matte >= _COVERED)).to(view.image.dtype)
    values = torch.cat([view.image, view.image - view.render, view.matte - view.alpha, torch.ones_like(hit)], dim=1)
    return _normalised(points, values * hit, size, depth, box_warp)


def volume_maps(
    view: Observation, resolution: int, samples: int, extent: float, size: int, depth: int, box_warp: float
) -> Tensor:
    """[N,3,9·D,size,size]: image, image - render, matte, matte - alpha and hits, spread along whole rays.

    Errors of the silhouette lie where stage one has no surface; this is how they reach the planes. ``samples`` points
    a ray cover ``extent`` world units in front of and behind the world origin.
    """
    values = torch.cat([view.image, view.image - view.render, view.matte, view.matte - view.alpha], dim=1)
    values = resize_area(values, resolution)
    values = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
    origins, directions = camera_rays(view.camera, resolution)
    steps = torch.linspace(-extent, extent, samples, device=origins.device)
    distance = view.camera.position.norm(dim=-1)[:, None, None] + steps
    points = origins[:, :, None] + directions[:, :, None] * distance[..., None]
    values = values[..., None].expand(*values.shape, samples)
    return _normalised(points.flatten(1, 2), values, size, depth, box_warp)


def _normalised(points: Tensor, values: Tensor, size: int, depth: int, box_warp: float) -> Tensor:
    """Splat values [N,K,...], the last of which counts hits; divide the others by it."""
    if size < 1 or depth < 1:
        raise DualEncError(f"tri-grid size is {size} and depth {depth}, expected at least 1")
    cells = splat(points, values.flatten(2).transpose(1, 2), size, depth, box_warp)
    hits = cells[:, :, -1:]
    # Trilinear weights leave cells with next to no hits; the floor keeps rounding errors from growing there.
    maps = torch.cat([cells[:, :, :-1] / hits.clamp(min=1e-3), hits.clamp(max=1)], dim=2)
    return maps.flatten(2, 3)
