"""What a head lacks, added in space: a rim in the distances of the five sides, and its colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import require
from ..generator import PanoHead
from ..images import sample_at
from ..people.relief import CHANNELS, DISTANCE_SCALE, SIDES, shares
from ..rendering.trigrid import PLANE_AXES
from ..triplane import Triplane
from .outline_maps import OutlineMaps, carried
from .sides import centres, distance_feature, places_on, surfaces_of

# Half the thickness of what is added, and how far from what is missing the head stays as it is. World units: a head is
# some 0.25 wide.
_THICK, _NEAR = 0.03, 0.02
# Hair and cloth go on so much further behind the outline than before it, and the head there is wider by as much, less
# and less up to so far behind the outline and so far aside.
_LONGER, _BEHIND, _ASIDE = 3.0, 0.2, 0.06
# The least share of a cell that knows its side's colours.
_OWN = 0.5
# A side gets colours where its surface moves by more than this; and so many cells beside that, if its share grows so.
_MOVED, _BESIDE, _GAINED = 0.008, 4, 0.1


@dataclass(frozen=True)
class Rim:
    """What five sides see of the rim that is added.

    Attributes:
        surface: [5,S,S] where it is met, world units on a side's third axis.
        beyond: [5,S,S] by how much a side's cell misses it, 0 where it meets it.
        box_warp: side of the box that the cells divide.
    """

    surface: Tensor
    beyond: Tensor
    box_warp: float

    @classmethod
    def of(cls, generator: PanoHead, head: Triplane, outline: OutlineMaps, camera: Camera) -> Rim:
        """For one head."""
        size, box_warp = head.size, generator.config.render.box_warp
        at = centres(size, box_warp, camera.position)
        points = _grid(at).reshape(1, -1, 3)
        uv = camera.project(points)[0]
        maps = (outline.apart, outline.beside, outline.middle, outline.wider)
        apart, *others = (torch.from_numpy(v)[None, None].to(uv) for v in maps)
        apart = sample_at(apart, uv)[0, 0]
        # Further away nothing is met.
        reach = _ASIDE if outline.wider.any() else _NEAR + _THICK
        near = ((uv > 0) & (uv < 1)).all(-1)[0] & (apart < reach + 3 * box_warp / size)
        beside, middle, wider = (sample_at(values, uv[:, near])[0, 0] for values in others)
        depth = (points[0, near] - camera.position).norm(dim=-1) - middle
        behind = (depth > 0) & (wider > 0)
        length = torch.where(behind, _LONGER, 1.0)
        # As round as a tube whose axis runs within the outline.
        tube = ((_THICK + beside).clamp(min=0).square() + (depth / length).square()).sqrt() - _THICK
        field = torch.full_like(apart, box_warp)
        field[near] = tube + (apart[near] - _NEAR).clamp(min=0)
        if outline.wider.any():
            wider = wider * _taper(depth, apart[near])
            # Nothing goes on beyond the outline itself.
            grown = torch.maximum(_beyond(generator, head).flatten()[near] - wider, beside)
            field[near] = torch.where(wider > 0, torch.minimum(field[near], grown), field[near])
        field = field.reshape(size, size, size)
        surface, beyond = zip(*(_met(field, at, plane, sign) for plane, sign in SIDES), strict=True)
        return cls(torch.stack(surface), torch.stack(beyond), box_warp)


def _taper(depth: Tensor, apart: Tensor) -> Tensor:
    """How much of `OutlineMaps.wider` there is, by the way behind the middle and the way from what is missing."""
    back = (1 - (depth / _BEHIND).square()).clamp(min=0).sqrt() * (depth > 0)
    aside = (1 - apart / _ASIDE).clamp(0, 1)
    return back * aside.square() * (3 - 2 * aside)


def _beyond(generator: PanoHead, head: Triplane) -> Tensor:
    """[Z,Y,X] distance from a head to cells of its planes, 0 within."""
    ndimage = require("scipy.ndimage", "scipy")
    # It is smooth: fewer cells will do.
    few, box_warp = 3 * head.size // 8, generator.config.render.box_warp
    points = _grid(centres(few, box_warp, head.planes)).reshape(1, -1, 3)
    inside = (generator.query(head, points)[0] > 0).reshape(few, few, few).cpu().numpy()
    away = torch.from_numpy(ndimage.distance_transform_edt(~inside)).float() * (box_warp / few)
    sized = F.interpolate(away[None, None], size=(head.size,) * 3, mode="trilinear", align_corners=False)
    return sized[0, 0].to(head.planes)


def _grid(at: Tensor) -> Tensor:
    """Points [Z,Y,X,3] of places along each axis."""
    z, y, x = torch.meshgrid(at, at, at, indexing="ij")
    return torch.stack([x, y, z], -1)


def _met(field: Tensor, at: Tensor, plane: int, sign: int) -> tuple[Tensor, Tensor]:
    """Where a side meets a field's zero [Z,Y,X] first, and by how much it misses it."""
    across, up, along = (2 - axis for axis in PLANE_AXES[plane])
    lines = field.permute(along, up, across)
    if sign > 0:
        lines, at = lines.flip(0), at.flip(0)
    least, nearest = lines.min(0)
    first = (lines <= 0).float().argmax(0)
    before = (first - 1).clamp(min=0)
    outer, inner = (lines.gather(0, index[None])[0] for index in (before, first))
    share = (outer / (outer - inner).clamp(min=1e-6)).clamp(0, 1)
    crossing = torch.lerp(at[before], at[first], share)
    return torch.where(least <= 0, crossing, at[nearest]), least.clamp(min=0)


def joined(head: Triplane, added: Rim, paint: Tensor, camera: Camera) -> Triplane:
    """A head, and what is added to it, in the colours of the photo."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))  # a view
    before = surfaces_of(features, added.box_warp)
    _thicken(features, added)
    moved = _moved(before, added)
    after = torch.where(moved, added.surface, before)
    old_share, share = (_shares(surfaces, added.box_warp).to(planes) for surfaces in (before, after))
    # Beside it, sides see what was at their outlines, and was of other sides' colours.
    beside = F.max_pool2d(moved.float(), 2 * _BESIDE + 1, 1, _BESIDE) > 0
    painted = moved | (beside & (share > old_share + _GAINED))
    uv = camera.project(places_on(after, added.box_warp).reshape(1, -1, 3))[0]
    *colours, counts = sample_at(paint, uv)[0].reshape(-1, *share.shape)
    own = _own(features, old_share, ~moved & (old_share > _OWN), painted & (counts < 1))
    _colour(features, torch.lerp(own, torch.stack(colours), counts) * share, painted)
    return head.replace(planes=planes)


def _thicken(features: Tensor, added: Rim) -> None:
    """Write what is added to the distances in features [3,F,D,S,S]."""
    box, (depth, size) = added.box_warp, features.shape[2:4]
    slices = centres(depth, box, features)[:, None, None]
    # The decoder averages the planes.
    scale = len(features) * DISTANCE_SCALE
    for k, (plane, sign) in enumerate(SIDES):
        here = features[plane, distance_feature(k)]
        distance = scale * (sign * (slices - added.surface[k]) + added.beyond[k])
        near = added.beyond[k] < 2 * box / size
        here.copy_(torch.where(near, torch.minimum(here, distance), here))


def _moved(before: Tensor, added: Rim) -> Tensor:
    """[5,S,S]: which cells see something that was added, well before the surface [5,S,S] that they saw."""
    signs = before.new_tensor([sign for _, sign in SIDES])[:, None, None]
    return (added.beyond == 0) & (signs * (added.surface - before) > _MOVED)


def _shares(surfaces: Tensor, box_warp: float) -> Tensor:
    """How much of its colours each side gives, [5,S,S], for what the sides see, [5,S,S]."""
    surface: Any = surfaces.cpu().numpy()
    far = np.array([sign for _, sign in SIDES])[:, None, None] * surface > -box_warp / 2 + _MOVED
    return torch.from_numpy(shares(surface, far, box_warp).astype(np.float32))


def _own(features: Tensor, share: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
    """Colours [3,5,S,S] that sides have by themselves, of features [3,F,D,S,S], carried on from known cells [5,S,S].

    Sides of which no cell is wanted [5,S,S] are left out: 0.
    """
    own = features.new_zeros(3, *share.shape)
    for k, (plane, _) in enumerate(SIDES):
        if wanted[k].any():
            part = features[plane, k * CHANNELS : k * CHANNELS + 3].mean(1) / len(features)
            colours = (part / share[k].clamp(min=_OWN)).permute(1, 2, 0).cpu().numpy()
            own[:, k] = torch.from_numpy(carried(colours, known[k].cpu().numpy())).permute(2, 0, 1).to(features)
    return own


def _colour(features: Tensor, colours: Tensor, painted: Tensor) -> None:
    """Write colours [3,5,S,S], each side's part of them, to features [3,F,D,S,S] where cells are painted, [5,S,S]."""
    for k, (plane, _) in enumerate(SIDES):
        for channel, values in enumerate(colours[:, k], k * CHANNELS):
            # The decoder averages the planes.
            here = features[plane, channel]
            here.copy_(torch.where(painted[k], len(features) * values, here))
