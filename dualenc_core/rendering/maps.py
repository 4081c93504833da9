"""Depth and normals as pictures, in the conventions of ControlNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from .rays import camera_rays

# The far end of the head stays brighter than the background.
_FARTHEST = 0.1


def relative_depth(depth: Tensor, alpha: Tensor) -> Tensor:
    """Depth pictures [N,1,H,W] in 0..1: near = 1, background = 0.

    Args:
        depth: [N,1,H,W] along the unit ray.
        alpha: [N,1,H,W] in 0..1.

    The nearest and the farthest surface point of the whole batch (alpha of at least a half) become 1 and 0.1, so that
    the frames of a turntable share one scale.

    Example:
        >>> import torch
        >>> from dualenc_core.rendering import relative_depth
        >>> depth, alpha = torch.tensor([[[[2.5, 2.7], [2.9, 3.3]]]]), torch.tensor([[[[1.0, 1], [1, 0]]]])
        >>> relative_depth(depth, alpha)[0, 0]
        tensor([[1.0000, 0.5500],
                [0.1000, 0.0000]])
    """
    _check(depth, alpha)
    solid = alpha >= 0.5
    if not bool(solid.any()):
        return torch.zeros_like(depth)
    near, far = depth[solid].aminmax()
    share = ((far - depth) / (far - near).clamp(min=1e-6)).clamp(0, 1)
    return (_FARTHEST + (1 - _FARTHEST) * share) * alpha.clamp(0, 1)


def normals(depth: Tensor, alpha: Tensor, camera: Camera) -> Tensor:
    """Unit normals [N,3,H,W] in camera axes: x right, y up, z towards the viewer; (0, 0, 1) on the background.

    Args:
        depth: [N,1,H,W] along the unit ray.
        alpha: [N,1,H,W] in 0..1; only places with at least a half take part.
        camera: N views.

    From central differences of the surface points, one-sided along silhouettes.

    Example:
        >>> import torch
        >>> from dualenc_core import Camera
        >>> from dualenc_core.rendering import normals
        >>> from dualenc_core.rendering.rays import camera_rays
        >>> _, rays = camera_rays(Camera.look_at(), 4)
        >>> wall = (-2.7 / rays[..., 2]).reshape(1, 1, 4, 4)  # a plane that faces the camera
        >>> normals(wall, torch.ones_like(wall), Camera.look_at())[0, :, 0, 0].abs().round()
        tensor([0., 0., 1.])
    """
    _check(depth, alpha)
    n, _, size, _ = depth.shape
    _, directions = camera_rays(camera, size)
    local = directions @ camera.cam2world[:, :3, :3]
    points = (local * depth.flatten(1)[..., None]).transpose(1, 2).reshape(n, 3, size, size)
    solid = (alpha >= 0.5).to(depth.dtype)
    along_x, along_y = _difference(points, solid, 3), _difference(points, solid, 2)
    # OpenCV axes: right × down points away from the viewer.
    normal = F.normalize(-torch.linalg.cross(along_x, along_y, dim=1), dim=1)
    normal = normal * torch.tensor([1.0, -1.0, -1.0]).to(normal).view(1, 3, 1, 1)
    front = torch.tensor([0.0, 0.0, 1.0]).to(normal).view(1, 3, 1, 1)
    known = (solid > 0) & (normal.norm(dim=1, keepdim=True) > 0.5)
    return torch.where(known, normal, front.expand_as(normal))


def _difference(points: Tensor, solid: Tensor, axis: int) -> Tensor:
    """Sum of the forward and backward differences that have both ends on the surface, along an image axis."""
    pad = (0, 1) if axis == 3 else (0, 0, 0, 1)
    both = solid.narrow(axis, 1, solid.shape[axis] - 1) * solid.narrow(axis, 0, solid.shape[axis] - 1)
    step = F.pad(points.diff(dim=axis) * both, pad)
    return step + step.roll(1, dims=axis)


def _check(depth: Tensor, alpha: Tensor) -> None:
    if depth.ndim != 4 or depth.shape[1] != 1 or depth.shape != alpha.shape or depth.shape[2] != depth.shape[3]:
        raise DualEncError(
            f"depth has shape {tuple(depth.shape)} and alpha {tuple(alpha.shape)}, expected [N,1,H,H] for both"
        )
