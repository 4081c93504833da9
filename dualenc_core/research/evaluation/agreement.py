"""How well a mask knows what a view shows, against the truth of procedural heads."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ... import procedural
from ...camera import Camera
from ...errors import DualEncError
from ...point_weight import PointWeight
from ...rendering.rays import camera_rays
from ...rendering.trigrid import lookup
from ...triplane import TriplaneMask


@dataclass(frozen=True)
class Agreement:
    """Shares of true surface points, each in 0..1.

    Attributes:
        agreement: mask and truth say the same (the mask is rounded at ½).
        recall: of the visible points, those that the mask calls visible.
        specificity: of the occluded points, those that the mask calls occluded.
        leak: mean visibility that the mask gives to occluded points: what the faithful head contributes there.
        visible: visible points among all.
        points: how many points were asked.
    """

    agreement: float
    recall: float
    specificity: float
    leak: float
    visible: float
    points: int

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return asdict(self)


@torch.no_grad()
def surface_points(heads: procedural.Heads, views: int = 8, resolution: int = 24) -> tuple[Tensor, Tensor]:
    """Points [N,M,3] on the surface, as seen from a ring of views, and which of them exist [N,M]."""
    points, exist = [], []
    for camera in (Camera.look_at(360 * i / views, 20 if i % 2 else -10) for i in range(views)):
        origins, directions = camera_rays(camera.to(heads.device).expand(len(heads)), resolution)
        hits = procedural.trace(heads, origins, directions)
        points.append(origins + hits.depth[..., None] * directions)
        exist.append(hits.alpha > 0.5)
    return torch.cat(points, 1), torch.cat(exist, 1)


@torch.no_grad()
def true_visibility(heads: procedural.Heads, camera: Camera, points: Tensor, tolerance: float = 0.01) -> Tensor:
    """Whether nothing hides points [N,M,3] from a view, and they lie inside its picture: bool [N,M]."""
    offset = points - camera.position[:, None]
    distance = offset.norm(dim=-1)
    hits = procedural.trace(heads, camera.position[:, None].expand_as(offset), offset / distance[..., None])
    uv, z = camera.project(points)
    inside = ((uv >= 0) & (uv <= 1)).all(-1) & (z > 0)
    return inside & ((hits.alpha < 0.5) | (hits.depth > distance - tolerance))


@torch.no_grad()
def visibility_agreement(
    heads: procedural.Heads,
    camera: Camera,
    mask: TriplaneMask | PointWeight,
    box_warp: float = 1.0,
    points: tuple[Tensor, Tensor] | None = None,
) -> Agreement:
    """Compare a mask by cells or a visibility by points with what a view truly shows of heads.

    A cell mask is read at a point as the renderer reads features: trilinear, over the three planes; it gives the share
    of the features that comes from the visible side.

    Args:
        heads: N heads, or one.
        camera: N input views.
        mask: TriplaneMask (1 = occluded) or PointWeight (1 = visible), batch N.
        points: from `surface_points`, to share them between masks.
    """
    camera = camera.expand(len(heads))
    where, exist = surface_points(heads) if points is None else points
    if isinstance(mask, TriplaneMask):
        visible = (1 - mask.mask).to(where)
        depth = visible.shape[2]
        # Features fade towards the sides of the box, where lookups are zero-padded; shares of them do not.
        whole = lookup(torch.ones_like(visible), where, depth, box_warp).sum((1, 3))
        predicted = lookup(visible, where, depth, box_warp).sum((1, 3)) / whole.clamp_min(1e-6)
    else:
        predicted = mask(where)[..., 0]
    if predicted.shape != exist.shape:
        raise DualEncError(f"the mask is of {len(predicted)} heads, expected {len(heads)}")
    truth = true_visibility(heads, camera, where)[exist]
    predicted = predicted[exist]
    called = predicted > 0.5
    return Agreement(
        agreement=float((called == truth).float().mean()),
        recall=float(called[truth].float().mean()),
        specificity=float((~called[~truth]).float().mean()),
        leak=float(predicted[~truth].mean()),
        visible=float(truth.float().mean()),
        points=int(exist.sum()),
    )
