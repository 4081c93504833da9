"""One ray per pixel (panohead.md §5.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError


def camera_rays(camera: Camera, resolution: int) -> tuple[Tensor, Tensor]:
    """Origins and unit directions [N,R²,3] of all pixel centres, row-major from the top left.

    Pixel (i, j) of an R×R image has u = (j+½)/R and v = (i+½)/R.

    Example:
        >>> from dualenc_core import Camera
        >>> from dualenc_core.rendering.rays import camera_rays
        >>> origins, directions = camera_rays(Camera.look_at(), 2)
        >>> directions.shape
        torch.Size([1, 4, 3])
        >>> directions[0, 0].sign()  # to the left, up, and into the picture
        tensor([-1.,  1., -1.])
    """
    if resolution < 1:
        raise DualEncError(f"resolution is {resolution}, expected at least 1")
    centres = (torch.arange(resolution, device=camera.cam2world.device, dtype=torch.float32) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    return pixel_rays(camera, torch.stack([u, v], dim=-1).reshape(1, -1, 2).expand(len(camera), -1, -1))


def pixel_rays(camera: Camera, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Rays [N,M,3] through image positions ``uv`` [N,M,2] (0..1 across the image)."""
    k = camera.intrinsics
    fx, fy, cx, cy, skew = (k[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    u, v = uv.unbind(-1)
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    local = torch.stack([x, (v - cy) / fy, torch.ones_like(x)], dim=-1)
    directions = torch.nn.functional.normalize(local @ camera.cam2world[:, :3, :3].transpose(1, 2), dim=-1)
    return camera.position[:, None].expand_as(directions), directions
