"""Moving one head onto another by a scale and a shift, which a tri-grid can take (editing.md §3.3, hair)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError, NoFaceError
from ..generator import PanoHead
from ..point_weight import LabelVolume, PointWeight, Visibility
from ..rendering.trigrid import PLANE_AXES
from ..triplane import Overlay, Triplane
from ..volumes import read_volume
from .landmarks import surface_landmarks

# Heads of one generator share a canonical frame; more than this is a wrong fit.
MOST_SCALE, MOST_SHIFT = 0.08, 0.04


@dataclass(frozen=True)
class Alignment:
    """Points of one head on another: target = scale · reference + shift, in world units.

    Attributes:
        scale: [N], positive.
        shift: [N,3].
    """

    scale: Tensor
    shift: Tensor

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.shift.shape != (len(self.scale), 3):
            raise DualEncError(
                f"alignment has scale {tuple(self.scale.shape)} and shift {tuple(self.shift.shape)}, expected [N] and "
                "[N,3]"
            )
        finite = torch.isfinite(self.shift).all() & torch.isfinite(self.scale).all()
        if not bool(finite & (self.scale > 0).all()):
            raise DualEncError("alignment has NaN, infinite or negative values, expected a positive scale and a shift")


def align_head(triplane: Triplane, alignment: Alignment, box: float = 1.0) -> Triplane:
    """The head scaled about the world's origin and then moved; overlays move along. The identity changes no bit.

    Raises DualEncError for an alignment of another batch.
    """
    if len(alignment.scale) not in (1, len(triplane)):
        raise DualEncError(f"the alignment is of {len(alignment.scale)} heads, expected {len(triplane)}")
    scale = alignment.scale.to(triplane.planes).expand(len(triplane))
    shift = alignment.shift.to(triplane.planes).expand(len(triplane), 3)
    if bool((scale == 1).all() and (shift == 0).all()):
        return triplane
    overlays = tuple(
        Overlay(_warp(o.planes, triplane.depth, scale, shift, box), _warp_weight(o.weight, scale, shift))
        for o in triplane.overlays
    )
    return triplane.replace(planes=_warp(triplane.planes, triplane.depth, scale, shift, box), overlays=overlays)


def _warp(planes: Tensor, depth: int, scale: Tensor, shift: Tensor, box: float) -> Tensor:
    """Every plane resampled at (x - shift) / scale of its cells: axes do not mix, so each stays in its own volume."""
    volumes = rearrange(planes, "n p (c d) h w -> p n c d h w", d=depth)
    warped = [_moved(volume, scale, shift[:, axes], box) for volume, axes in zip(volumes, PLANE_AXES, strict=True)]
    return rearrange(warped, "p n c d h w -> n p (c d) h w")


def _moved(volume: Tensor, scale: Tensor, shift: Tensor, box: float) -> Tensor:
    """Volumes [N,C,D,H,W] of a cube resampled at (x - shift) / scale of their cells; shift [N,3] along W, H and D."""
    scale, shift = scale.to(volume), shift.to(volume)
    theta = torch.diag_embed(scale.reciprocal()[:, None].expand(-1, 3))
    theta = torch.cat([theta, (-shift * (2 / box) / scale[:, None])[..., None]], -1)
    grid = F.affine_grid(theta, list(volume.shape), align_corners=False)
    # A head never ends at the border of its box, and zeros there would be read as matter by the decoder.
    read = read_volume(volume, grid.flatten(1, 3), "border")
    return rearrange(read, "n (d h w) c -> n c d h w", d=volume.shape[2], h=volume.shape[3])


def _warp_weight(weight: PointWeight, scale: Tensor, shift: Tensor) -> PointWeight:
    if isinstance(weight, LabelVolume):
        count = len(weight.volume)
        return LabelVolume(_moved(weight.volume, scale[:count], shift[:count], weight.box), weight.box)
    if isinstance(weight, Visibility):
        # Seen from a camera that moves along, every distance is scaled; tolerances belong to the weight as a whole.
        factor = scale[: len(weight.camera)]
        cam2world = weight.camera.cam2world.clone()
        cam2world[:, :3, 3] = cam2world[:, :3, 3] * factor[:, None] + shift[: len(factor)]
        mean = float(factor.mean())
        return replace(
            weight,
            camera=Camera(cam2world, weight.camera.intrinsics),
            depth=weight.depth * factor[:, None, None, None],
            tolerance=weight.tolerance * mean,
            softness=weight.softness * mean,
        )
    raise DualEncError(f"a {type(weight).__name__} cannot be moved, expected a Visibility or a LabelVolume")


@torch.no_grad()
def fit_alignment(
    generator: PanoHead, reference: Triplane, target: Triplane, resolution: int = 128, device: str | None = None
) -> Alignment:
    """The scale and shift that bring the face of each reference onto the target's.

    The face mesh (468 landmarks) of both is found in a frontal picture and lifted to the surface; the fit weighs the
    landmarks by how little expressions move them.

    Args:
        reference, target: N heads each, or one reference.
        resolution: rays along each side.
        device: where the face networks run; None = where the heads are.

    Raises NoFaceError when a head shows no face from the front: align by hand then, or not at all. A fit beyond 8 % or
    0.04 world units is cut off there.
    """
    from ..portrait.weights import load_face_model

    device = device or str(target.planes.device)
    weights = torch.from_numpy(load_face_model().basis).float()
    towards = _all_landmarks(generator, target, resolution, device, "target")
    own = _all_landmarks(generator, reference, resolution, device, "reference")
    own = own * len(target) if len(own) == 1 else own
    scales, shifts = [], []
    for (a, a_found), (b, b_found) in zip(own, towards, strict=True):
        w = weights * a_found * b_found
        if not float(w.sum()) > 0:
            raise NoFaceError("the landmarks of the two heads lie beside their surfaces; use no alignment")
        w = (w / w.sum())[:, None]
        middle_a, middle_b = (w * a).sum(0), (w * b).sum(0)
        a, b = a - middle_a, b - middle_b
        scale = ((w * a * b).sum() / (w * a * a).sum().clamp_min(1e-9)).clamp(1 - MOST_SCALE, 1 + MOST_SCALE)
        scales.append(scale)
        shifts.append((middle_b - scale * middle_a).clamp(-MOST_SHIFT, MOST_SHIFT))
    return Alignment(torch.stack(scales), torch.stack(shifts))


def _all_landmarks(
    generator: PanoHead, heads: Triplane, resolution: int, device: str, name: str
) -> list[tuple[Tensor, Tensor]]:
    try:
        return [surface_landmarks(generator, heads[i], resolution, device, name) for i in range(len(heads))]
    except NoFaceError as error:
        raise NoFaceError(
            f"{error}, so that the heads cannot be aligned; use no alignment, or give an Alignment"
        ) from error
