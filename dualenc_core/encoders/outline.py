"""The photo's own outline on a head: ears, hair, veils and shoulders that its matte has and the head lacks.

An encoder gives heads like those that it knows; a matte says where this one goes on. There the head is thickened: what
is missing becomes a rounded rim, in the depth of the outline that it goes on from, and has the photo's colours. Heads
whose shape is known as distances before the surfaces that five sides see (`people.relief`) can be changed so without
any network or search.
"""

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
from ..images import resize_area, sample_at
from ..people.relief import CHANNELS, DISTANCE_SCALE, SIDES, shares
from ..rendering.rays import camera_rays
from ..rendering.trigrid import PLANE_AXES
from ..triplane import Triplane
from .detail import unread_features

# Pixels across the photo in which outlines are compared.
_SIZE = 256
# From where on a matte holds the head, and from where on its pixels have nothing of the background's colour.
_HELD, _PURE = 0.6, 0.95
# How far a head may go on beyond its outline; and where a matte goes on further than that, it holds something else.
# World units: a head is some 0.25 wide.
_REACH, _FURTHER, _SHORT = 0.05, 0.08, 0.03
# Half the thickness of what is added, and how far from what is missing the head stays as it is.
_THICK, _NEAR = 0.03, 0.02
# What is missing over a larger area than this (square world units) is hair or cloth, an ear is not: it goes on so much
# further behind the outline than before it, and the head there is wider by as much, less and less up to so far behind
# the outline and so far aside (world units).
_LARGE, _LONGER, _BEHIND, _ASIDE = 0.004, 3.0, 0.2, 0.06
# Heads are so much too narrow anyhow.
_LITTLE = 0.01
# How far from what is missing a head's colours are the photo's, and from where on its own.
_PAINTED = 0.03, 0.05
# The least share of a cell that knows its side's colours.
_OWN = 0.5
# How steeply what is added goes back from an outline that lies before the head's middle: behind a cheek is hair.
_RECEDE = 2.5
# Share of a photo's pixels that are missing, below which there is nothing to do.
_LEAST = 2e-4
# A side gets colours where its surface moves by more than this; and so many cells beside that, if its share grows so.
_MOVED, _BESIDE, _GAINED = 0.008, 4, 0.1
# Blurs that carry values to where there are none: pixels, and how little each counts beside the one before.
_CARRY = ((1.5, 1.0), (4.0, 1e-3), (12.0, 1e-6), (40.0, 1e-9))


@torch.no_grad()
def fit_outline(
    generator: PanoHead,
    triplane: Triplane,
    image: Tensor,
    camera: Camera,
    matte: Tensor,
    quality: str = "exact",
) -> Triplane:
    """Heads that cover their mattes.

    Args:
        triplane: N heads without overlays.
        image: [N,3,S,S] in -1..1.
        camera: N cameras.
        matte: [N,1,S',S'] in 0..1, coverage of the head.
        quality: of the renders that are compared with the mattes (`PanoHead.render_rays`).

    Nothing is taken away: mattes lack hair more often than heads have too much of it. Heads of generators whose density
    reads more than distances (official ones) come back unchanged.

    Raises DualEncError when opencv-python is not installed.
    """
    if not _reads_distances(generator):
        return triplane
    planes = []
    for i in range(len(triplane)):
        head, view = triplane[i], camera[i]
        outline = _outline(generator, head, view, matte[i : i + 1], quality)
        if outline is not None:
            added = _Added.of(generator, head, outline, view)
            head = _joined(head, added, _paint(image[i : i + 1], matte[i : i + 1], outline), view)
        planes.append(head.planes)
    return triplane.replace(planes=torch.cat(planes))


def _reads_distances(generator: PanoHead) -> bool:
    features = generator.config.features
    read = set(range(features)) - set(unread_features(generator).tolist())
    return read == {_distance(k) for k in range(len(SIDES))}


def _distance(side: int) -> int:
    """The feature that holds a side's distances."""
    return side * CHANNELS + CHANNELS - 1


@dataclass(frozen=True)
class _Outline:
    """Maps of a photo [S,S], in world units.

    Attributes:
        beside: distance to the outline that the head should have, negative inside.
        middle: how far from the camera the middle lies of what is there, or goes on from there.
        apart: distance to the nearest pixel where the head lacks something.
        wider: by how much the head should be wider behind the middle, nearest here.
    """

    beside: np.ndarray
    middle: np.ndarray
    apart: np.ndarray
    wider: np.ndarray


def _outline(generator: PanoHead, head: Triplane, camera: Camera, matte: Tensor, quality: str) -> _Outline | None:
    """What is missing in front of the camera, if anything is."""
    cv2 = require("cv2", "opencv-python")
    size = generator.config.neural_resolution
    options = generator.render_options(None, camera)
    origins, directions = camera_rays(camera, size)
    seen = generator.render_rays(head, origins, directions, options, quality=quality)
    front, alpha = (values[0].reshape(size, size).cpu() for values in (seen.depth, seen.alpha))
    solid = (alpha > 0.8) & torch.isfinite(front)
    if not solid.any():
        return None
    covered = _resized(alpha[None, None]) > 0.5
    pixel = float(front[solid].median() / camera.intrinsics[0, 0, 0]) / _SIZE
    wanted = covered | _goes_on(cv2.GaussianBlur(_resized(matte.cpu()), (0, 0), 1.0) > _HELD, covered, pixel)
    missing = cv2.morphologyEx((wanted & ~covered).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    if missing.mean() < _LEAST:
        return None
    # The same rays from their other ends.
    ends = float(options.near + options.far)
    seen = generator.render_rays(head, origins + ends * directions, -directions, options, quality=quality)
    rear = ends - seen.depth[0].reshape(size, size).cpu()
    chord = (solid & torch.isfinite(rear)).numpy()
    signed = (_away(wanted) - _away(~wanted) + np.where(wanted, 0.5, -0.5)).astype(np.float32)
    rim = chord & (_away(~chord) <= 2.5)
    middle = _carried(np.where(rim, (front + rear).numpy() / 2, 0)[..., None], rim)[..., 0]
    behind = cv2.resize(_away(covered), (size, size), interpolation=cv2.INTER_AREA) * pixel * _RECEDE
    middle += np.clip(np.minimum(behind, float(camera.position.norm()) - middle), 0, None)
    beside = cv2.GaussianBlur(signed, (0, 0), 1.0) * pixel
    return _Outline(beside, middle, _away(missing > 0) * pixel, _wider(missing, wanted, covered, pixel))


def _wider(missing: np.ndarray, wanted: np.ndarray, covered: np.ndarray, pixel: float) -> np.ndarray:
    """`_Outline.wider` of what is missing of a head that is wanted and covers some of it, all [S,S]."""
    cv2 = require("cv2", "opencv-python")
    _, pieces, about, _ = cv2.connectedComponentsWithStats(missing)
    large = (missing > 0) & (about[pieces, cv2.CC_STAT_AREA] * pixel**2 > _LARGE)
    if not large.any():
        return np.zeros(missing.shape, np.float32)
    rim = wanted & (_away(~wanted) <= 1.5)
    wider = _carried(np.where(rim & large, _away(covered) * pixel, 0)[..., None], rim)[..., 0]
    return np.maximum(wider - _LITTLE, 0)


def _goes_on(held: np.ndarray, covered: np.ndarray, pixel: float) -> np.ndarray:
    """What of a matte belongs to the head that covers some of it, both [S,S]."""
    cv2 = require("cv2", "opencv-python")
    away = _away(covered) * pixel
    count, pieces = cv2.connectedComponents((held & ~covered).astype(np.uint8))
    furthest = np.zeros(count)
    np.maximum.at(furthest, pieces.ravel(), away.ravel())
    near = held & (away < np.where(furthest[pieces] < _FURTHER, _REACH, _SHORT))
    _, pieces = cv2.connectedComponents((near | covered).astype(np.uint8))
    return near & np.isin(pieces, np.unique(pieces[covered]))


def _paint(image: Tensor, matte: Tensor, outline: _Outline) -> Tensor:
    """[1,4,S,S]: the photo's colours in 0..1, carried on beyond what the matte holds for sure; how much they count."""
    cv2 = require("cv2", "opencv-python")
    pure = cv2.GaussianBlur((_resized(matte.cpu()) > _PURE).astype(np.float32), (0, 0), 0.8) > 0.9
    pure = cv2.erode(pure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    colours = ((resize_area(image, _SIZE)[0] + 1) / 2).permute(1, 2, 0).cpu().numpy()
    # Further aside a head that is wider behind keeps its own: in the photo there is the face.
    near, far = _PAINTED
    counts = np.clip((far - outline.apart) / (far - near), 0, 1)
    return torch.from_numpy(np.dstack([_carried(colours, pure), counts])).permute(2, 0, 1)[None].to(image)


def _resized(values: Tensor) -> np.ndarray:
    """[1,1,s,s] → [S,S]."""
    sized = F.interpolate(values.float(), size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(sized[0, 0].numpy())


def _away(mask: np.ndarray) -> np.ndarray:
    """Pixels to the nearest one of a mask, 0 within."""
    cv2 = require("cv2", "opencv-python")
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)


def _carried(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values [S,S,C] of known pixels everywhere; those nearby count most."""
    cv2 = require("cv2", "opencv-python")
    weight = known.astype(np.float32)
    given = (values * weight[..., None]).astype(np.float32)
    total, counts = np.zeros_like(given), np.full_like(weight, 1e-20)
    for sigma, share in _CARRY:
        total += share * cv2.GaussianBlur(given, (0, 0), sigma).reshape(given.shape)
        counts += share * cv2.GaussianBlur(weight, (0, 0), sigma)
    return total / counts[..., None]


@dataclass(frozen=True)
class _Added:
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
    def of(cls, generator: PanoHead, head: Triplane, outline: _Outline, camera: Camera) -> _Added:
        """For one head."""
        size, box_warp = head.size, generator.config.render.box_warp
        at = _centres(size, box_warp, camera.position)
        points = _grid(at).reshape(1, -1, 3)
        uv = camera.project(points)[0]
        maps = (outline.apart, outline.beside, outline.middle, outline.wider)
        apart, *others = (torch.from_numpy(v)[None, None].to(uv) for v in maps)
        apart = sample_at(apart, uv)[0, 0]
        # Further away nothing is met.
        near = ((uv > 0) & (uv < 1)).all(-1)[0] & (apart < _ASIDE + 3 * box_warp / size)
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
    """How much of `_Outline.wider` there is, by the way behind the middle and the way from what is missing."""
    back = (1 - (depth / _BEHIND).square()).clamp(min=0).sqrt() * (depth > 0)
    aside = (1 - apart / _ASIDE).clamp(0, 1)
    return back * aside.square() * (3 - 2 * aside)


def _beyond(generator: PanoHead, head: Triplane) -> Tensor:
    """[Z,Y,X] distance from a head to cells of its planes, 0 within."""
    ndimage = require("scipy.ndimage", "scipy")
    # It is smooth: fewer cells will do.
    few, box_warp = 3 * head.size // 8, generator.config.render.box_warp
    points = _grid(_centres(few, box_warp, head.planes)).reshape(1, -1, 3)
    inside = (generator.query(head, points)[0] > 0).reshape(few, few, few).cpu().numpy()
    away = torch.from_numpy(ndimage.distance_transform_edt(~inside)).float() * (box_warp / few)
    sized = F.interpolate(away[None, None], size=(head.size,) * 3, mode="trilinear", align_corners=False)
    return sized[0, 0].to(head.planes)


def _grid(at: Tensor) -> Tensor:
    """Points [Z,Y,X,3] of places along each axis."""
    z, y, x = torch.meshgrid(at, at, at, indexing="ij")
    return torch.stack([x, y, z], -1)


def _centres(size: int, box_warp: float, like: Tensor) -> Tensor:
    """Of cells, along one axis."""
    return ((torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size - 0.5) * box_warp


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


def _joined(head: Triplane, added: _Added, paint: Tensor, camera: Camera) -> Triplane:
    """A head, and what is added to it, in the colours of the photo."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))  # a view
    before = _thicken(features, added)
    moved = _moved(before, added)
    after = torch.where(moved, added.surface, before)
    old_share, share = (_shares(surfaces, added.box_warp).to(planes) for surfaces in (before, after))
    # Beside it, sides see what was at their outlines, and was of other sides' colours.
    beside = F.max_pool2d(moved.float(), 2 * _BESIDE + 1, 1, _BESIDE) > 0
    painted = moved | (beside & (share > old_share + _GAINED))
    uv = camera.project(_points(after, added.box_warp).reshape(1, -1, 3))[0]
    *colours, counts = sample_at(paint, uv)[0].reshape(-1, *share.shape)
    own = _own(features, old_share, ~moved & (old_share > _OWN))
    _colour(features, torch.lerp(own, torch.stack(colours), counts) * share, painted)
    return head.replace(planes=planes)


def _thicken(features: Tensor, added: _Added) -> Tensor:
    """Write what is added to the distances in features [3,F,D,S,S].

    Returns where the sides' surfaces were before, [5,S,S] as `_Added.surface`.
    """
    box, (depth, size) = added.box_warp, features.shape[2:4]
    slices = _centres(depth, box, features)[:, None, None]
    # The decoder averages the planes.
    scale = len(features) * DISTANCE_SCALE
    before = []
    for k, (plane, sign) in enumerate(SIDES):
        here = features[plane, _distance(k)]
        before.append((slices - sign * here / scale).mean(0).clamp(-box / 2, box / 2))
        distance = scale * (sign * (slices - added.surface[k]) + added.beyond[k])
        near = added.beyond[k] < 2 * box / size
        here.copy_(torch.where(near, torch.minimum(here, distance), here))
    return torch.stack(before)


def _moved(before: Tensor, added: _Added) -> Tensor:
    """[5,S,S]: which cells see something that was added, well before the surface [5,S,S] that they saw."""
    signs = before.new_tensor([sign for _, sign in SIDES])[:, None, None]
    return (added.beyond == 0) & (signs * (added.surface - before) > _MOVED)


def _shares(surfaces: Tensor, box_warp: float) -> Tensor:
    """How much of its colours each side gives, [5,S,S], for what the sides see, [5,S,S] as `_Added.surface`."""
    surface: Any = surfaces.cpu().numpy()
    far = np.array([sign for _, sign in SIDES])[:, None, None] * surface > -box_warp / 2 + _MOVED
    return torch.from_numpy(shares(surface, far, box_warp).astype(np.float32))


def _points(surfaces: Tensor, box_warp: float) -> Tensor:
    """Surfaces [5,S,S] as world points [5,S,S,3]."""
    at = _centres(surfaces.shape[-1], box_warp, surfaces)
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    points = surfaces.new_empty(*surfaces.shape, 3)
    for k, (plane, _) in enumerate(SIDES):
        for axis, place in zip(PLANE_AXES[plane], (columns, rows, surfaces[k]), strict=True):
            points[k, ..., axis] = place
    return points


def _own(features: Tensor, share: Tensor, known: Tensor) -> Tensor:
    """Colours [3,5,S,S] that sides have by themselves, of features [3,F,D,S,S], carried on from known cells [5,S,S]."""
    sides = []
    for k, (plane, _) in enumerate(SIDES):
        part = features[plane, k * CHANNELS : k * CHANNELS + 3].mean(1) / len(features)
        colours = (part / share[k].clamp(min=_OWN)).permute(1, 2, 0).cpu().numpy()
        sides.append(torch.from_numpy(_carried(colours, known[k].cpu().numpy())))
    return torch.stack(sides).permute(3, 0, 1, 2).to(features)


def _colour(features: Tensor, colours: Tensor, painted: Tensor) -> None:
    """Write colours [3,5,S,S], each side's part of them, to features [3,F,D,S,S] where cells are painted, [5,S,S]."""
    for k, (plane, _) in enumerate(SIDES):
        for channel, values in enumerate(colours[:, k], k * CHANNELS):
            # The decoder averages the planes.
            here = features[plane, channel]
            here.copy_(torch.where(painted[k], len(features) * values, here))
