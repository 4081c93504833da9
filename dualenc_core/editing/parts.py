"""Parts of heads by name: from the face mesh, or behind the ears."""

from __future__ import annotations

import torch

from ..camera import Camera
from ..choices import BACK, PARTS
from ..errors import DualEncError
from ..generator import PanoHead
from ..point_weight import LabelVolume
from ..triplane import Triplane, TriplaneMask
from .completion import complete_views
from .face_regions import rendered_face_regions
from .geometric import behind_ears
from .lifting import Progress
from .regions import mask_from_weight, region_mask, region_volume


@torch.no_grad()
def find_part(
    generator: PanoHead,
    triplane: Triplane,
    part: str,
    *,
    precise: bool = False,
    all_round: bool = True,
    grow: float = 0.0,
    progress: Progress | None = None,
) -> TriplaneMask | LabelVolume:
    """A named part of N heads.

    Args:
        part: one of `PARTS`: a part of the face mesh or the hair, as the front view shows it; or "back", what
            lies behind the ears.
        precise: a volume of points instead of tri-grid cells.
        all_round: go on from the front view to the other sides (`complete_views`): hair needs it.
        grow: of parts of the face mesh, in face sizes.

    Raises DualEncError for another name, and as `rendered_face_regions`, `complete_views` and `region_mask`.
    """
    if part not in PARTS:
        raise DualEncError(f"part is {part!r}, expected one of {', '.join(PARTS)}")
    if part == BACK:
        back = behind_ears(box=generator.config.render.box_warp)
        back = back.map(lambda tensor: tensor.to(triplane.planes).expand(len(triplane), *tensor.shape[1:]))
        return back if precise else mask_from_weight(generator, triplane, back, progress=progress)
    cameras = Camera.look_at().to(triplane.planes.device)
    masks = rendered_face_regions(generator, triplane, cameras, parts=(part,), grow=grow)[part].to(triplane.planes)
    if all_round:
        masks, cameras = complete_views(generator, triplane, masks, cameras, progress=progress)
    find = region_volume if precise else region_mask
    return find(generator, triplane, masks, cameras, progress=progress)
