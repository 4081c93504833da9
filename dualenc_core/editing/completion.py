"""From a mask on one picture to masks all around the head (editing.md §3.1, the 3D extrusion)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..rendering.rays import camera_rays
from ..triplane import Triplane
from .checks import check_head
from .lifting import Progress
from .regions import resize_masks, ring, view_masks

# World units that weigh as much as one standard deviation of the head's colours.
_REACH = 0.1
_NEIGHBOURS = 9
# Labelled points that are asked: more change nothing but the time.
_WITNESSES = 4096


class _Surface(NamedTuple):
    """The r² pixels of a view: points [M,3], colours [M,3], whether there is a head [M]."""

    points: Tensor
    colours: Tensor
    solid: Tensor


@torch.no_grad()
def complete_views(
    generator: PanoHead,
    triplane: Triplane,
    masks: Tensor,
    cameras: Camera,
    views: int | Camera = 8,
    *,
    appearance: float = 2.0,
    resolution: int = 96,
    samples: int | tuple[int, int] | None = None,
    chunk: int = 4096,
    progress: Progress | None = None,
) -> tuple[Tensor, Camera]:
    """Masks of more views than were painted: hair from the front becomes hair all around.

    The painted labels are lifted to the surface. Each surface point of another view then takes the label of those
    painted points that are nearest in space and alike in colour.

    Args:
        triplane: N heads.
        masks: as `region_mask`, of the V ``cameras``.
        views: how many around the head, from the front on, or the views themselves.
        appearance: how much likeness counts against nearness (a standard deviation of the colours against 0.1 world
            units); 0 = the nearest only.
        resolution: of the masks made.
        samples, chunk: as `region_mask`.
        progress: called as progress(views done, views of all heads).

    Returns masks [N,V+W,r,r] and their cameras, the given ones first: arguments of `region_mask`.

    Raises DualEncError for masks that do not fit, and where no painted pixel meets the head.
    """
    generator.check(triplane)
    check_head(triplane)
    device = triplane.planes.device
    cameras = cameras.to(device)
    others = (ring(views) if isinstance(views, int) else views).to(device)
    if not appearance >= 0:
        raise DualEncError(f"appearance is {appearance}, expected 0 or more")
    given = resize_masks(view_masks(masks, len(triplane), len(cameras)).to(triplane.planes), resolution)
    total = len(triplane) * (len(cameras) + len(others))
    done = 0

    def look(head: Triplane, views: Camera) -> list[_Surface]:
        nonlocal done
        before = done

        def report(seen: int, _: int) -> None:
            if progress is not None:
                progress(before + seen, total)

        options = {"samples": samples, "chunk": chunk, "quality": "exact", "progress": report}
        picture = generator.render(head, views, resolution, super_resolve=False, **options)
        done += len(views)
        surfaces = []
        for v in range(len(views)):
            origins, directions = camera_rays(views[v], resolution)
            points = origins[0] + picture.depth[v].reshape(-1, 1) * directions[0]
            # Colours, not features: tri-grids that were stitched may say the same colour with different features.
            surfaces.append(_Surface(points, picture.raw[v].flatten(1).T, picture.alpha[v].flatten() >= 0.5))
        return surfaces

    made = []
    for i in range(len(triplane)):
        head = triplane[i]
        seen = look(head, cameras)
        solid = torch.cat([view.solid for view in seen])
        labels = given[i].flatten()[solid]
        if not bool((labels >= 0.5).any()):
            raise DualEncError(
                f"the region is empty: no painted pixel lies on head {i}; mark a part of the head itself, and check "
                "that masks and cameras belong together"
            )
        points, colours = (torch.cat([getattr(v, name) for v in seen])[solid] for name in ("points", "colours"))
        judge = _Judge(points, colours, labels, appearance)
        judged = [judge(view) for view in look(head, others)]
        made.append(torch.stack(judged).reshape(-1, resolution, resolution))
    return torch.cat([given, torch.stack(made)], 1), Camera.cat([cameras, others])


class _Judge:
    """Labels of surface points by the labelled points nearest to them in space and colour."""

    def __init__(self, points: Tensor, colours: Tensor, labels: Tensor, appearance: float) -> None:
        self.scale = appearance / (colours - colours.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-6)
        step = max(1, -(-len(points) // _WITNESSES))
        self.witnesses = self._embed(points[::step], colours[::step])
        self.labels = labels[::step]

    def _embed(self, points: Tensor, colours: Tensor) -> Tensor:
        return torch.cat([points / _REACH, colours * self.scale], 1)

    def __call__(self, view: _Surface) -> Tensor:
        asked = self._embed(view.points, view.colours)[view.solid]
        found = self.labels.new_zeros(len(view.solid))
        near = min(_NEIGHBOURS, len(self.labels))
        answers = [
            self.labels[torch.cdist(part, self.witnesses).topk(near, dim=1, largest=False).indices].mean(1)
            for part in asked.split(2048)
        ]
        if answers:
            # A clear majority decides; votes of a third to two thirds keep the border soft.
            found[view.solid] = (3 * torch.cat(answers) - 1).clamp(0, 1)
        return found
