"""Pictures of what a mask says: the head from around, the hidden part tinted."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..point_weight import PointWeight, Visibility
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.trigrid import lookup
from ..triplane import Triplane, TriplaneMask

TINT = (1.0, -0.35, -0.6)
_STRENGTH = 0.6


@torch.no_grad()
def mask_preview(
    generator: PanoHead, triplane: Triplane, mask: TriplaneMask | PointWeight, camera: Camera, turn: float
) -> Tensor:
    """Pictures [N,3,H,W] of N heads, red where the input view does not show them, or where a region is.

    Args:
        triplane: N heads, the ones that the mask was made from.
        mask: its cells are averaged as the decoder averages the planes; a weight in space is asked at the surface.
        camera: N input views, or one for all.
        turn: degrees by which the picture is taken further round than the input view.
    """
    camera = camera.to(triplane.planes.device).expand(len(triplane))
    yaw, pitch = camera.angles
    radius = camera.position.norm(dim=-1)
    if turn:
        camera = Camera.look_at(yaw + turn, pitch, radius=radius).to(triplane.planes.device)
    view = generator.render(triplane, camera, quality="exact")
    share = _STRENGTH * _seen(generator, view, mask, camera)
    tint = torch.tensor(TINT).to(view.image).view(1, 3, 1, 1)
    return torch.lerp(view.image.clamp(-1, 1), tint.expand_as(view.image), share)


@torch.no_grad()
def mask_view(
    generator: PanoHead,
    triplane: Triplane,
    mask: TriplaneMask | PointWeight,
    camera: Camera,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The part of one head that a mask marks, as cameras see it: [V,1,H,W] in 0..1, of the size of a render.

    Args:
        triplane: a batch of one, the head that the mask was made from.
        mask: as in `mask_preview`; of a `Visibility` what it hides.
        camera: V views.
        progress: called as progress(views done, views in all).
    """
    views = []
    for i in range(len(camera)):
        one = camera[i].to(triplane.planes.device)
        views.append(_seen(generator, generator.render(triplane, one, quality="exact"), mask, one))
        if progress is not None:
            progress(i + 1, len(camera))
    return torch.cat(views)


def _seen(generator: PanoHead, view: Rendering, mask: TriplaneMask | PointWeight, camera: Camera) -> Tensor:
    """How much each pixel [N,1,H,W] of a rendering shows of a mask, the background nothing."""
    origins, directions = camera_rays(camera, view.depth.shape[-1])
    points = origins + view.depth.flatten(1)[..., None] * directions
    share = hidden_share(mask, points, generator.config.render.box_warp).reshape(view.depth.shape) * view.alpha
    return F.interpolate(share, view.image.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1)


def hidden_share(mask: TriplaneMask | PointWeight, points: Tensor, box_warp: float) -> Tensor:
    """How much world points [N,M,3] belong to a mask: [N,M] in 0..1. Of a Visibility, how hidden they are."""
    if isinstance(mask, TriplaneMask):
        depth = mask.mask.shape[2]
        # A mask has the layout of planes with one feature: channel = slice.
        return lookup(mask.mask.to(points), points, depth, box_warp).mean(1)[..., 0].clamp(0, 1)
    weight = mask.map(lambda tensor: tensor.to(points.device))(points)[..., 0]
    return 1 - weight if isinstance(mask, Visibility) else weight
