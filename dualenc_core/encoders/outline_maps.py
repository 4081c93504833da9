"""What a head lacks of its photo's matte, as maps over the photo: where, in which depth, in which colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import require
from ..generator import PanoHead
from ..images import resize_area
from ..triplane import Triplane
from .view import View

# Pixels across the photo in which outlines are compared.
_SIZE = 256
# From where on a matte holds the head, and from where on its pixels have nothing of the background's colour.
_HELD, _PURE = 0.6, 0.95
# From where on a matte holds the head further beyond its outline, where it often holds something else as well; that
# transition, and how far a head may go on at all, as hair and shoulders do. World units: a head is some 0.25 wide.
_HELD_AWAY, _AWAY, _REACH = 0.9, (0.03, 0.06), 0.2
# A matte that holds such a share of the picture says nothing of an outline.
_WHOLE = 0.95
# What is missing over a larger area than this is hair or cloth, an ear is not; and by how much heads are too narrow for
# no such reason. Square world units, and world units.
_LARGE, _LITTLE = 0.004, 0.01
# How far from what is missing a head's colours are the photo's, and from where on its own.
_PAINTED = 0.03, 0.05
# How steeply what is added goes back from an outline that lies before the head's middle: behind a cheek is hair.
_RECEDE = 2.5
# Share of a photo's pixels that are missing, below which there is nothing to do.
_LEAST = 2e-4
# Blurs that carry values to where there are none: pixels, and how little each counts beside the one before.
_CARRY = ((1.5, 1.0), (4.0, 1e-3), (12.0, 1e-6), (40.0, 1e-9))


@dataclass(frozen=True)
class OutlineMaps:
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


def outline_maps(generator: PanoHead, head: Triplane, view: View, matte: Tensor, quality: str) -> OutlineMaps | None:
    """What is missing in front of the camera, if anything is."""
    cv2 = require("cv2", "opencv-python")
    camera, size = view.camera, view.size
    front, alpha = view.depth.cpu(), view.alpha.cpu()
    solid = (alpha > 0.8) & torch.isfinite(front)
    if not solid.any():
        return None
    covered = _resized(alpha[None, None]) > 0.5
    pixel = float(front[solid].median() / camera.intrinsics[0, 0, 0]) / _SIZE
    wanted = covered | _goes_on(cv2.GaussianBlur(_resized(matte.cpu()), (0, 0), 1.0), covered, pixel)
    missing = cv2.morphologyEx((wanted & ~covered).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    if missing.mean() < _LEAST:
        return None
    # The same rays from their other ends.
    options = generator.render_options(None, camera)
    ends = float(options.near + options.far)
    origins = view.origins + ends * view.directions
    seen = generator.render_rays(head, origins, -view.directions, options, quality=quality)
    rear = ends - seen.depth[0].reshape(size, size).cpu()
    chord = (solid & torch.isfinite(rear)).numpy()
    signed = (_away(wanted) - _away(~wanted) + np.where(wanted, 0.5, -0.5)).astype(np.float32)
    rim = chord & (_away(~chord) <= 2.5)
    middle = carried(np.where(rim, (front + rear).numpy() / 2, 0)[..., None], rim)[..., 0]
    behind = cv2.resize(_away(covered), (size, size), interpolation=cv2.INTER_AREA) * pixel * _RECEDE
    middle += np.clip(np.minimum(behind, float(camera.position.norm()) - middle), 0, None)
    beside = cv2.GaussianBlur(signed, (0, 0), 1.0) * pixel
    return OutlineMaps(beside, middle, _away(missing > 0) * pixel, _wider(missing, wanted, covered, pixel))


def _wider(missing: np.ndarray, wanted: np.ndarray, covered: np.ndarray, pixel: float) -> np.ndarray:
    """`OutlineMaps.wider` of what is missing of a head that is wanted and covers some of it, all [S,S]."""
    cv2 = require("cv2", "opencv-python")
    _, pieces, about, _ = cv2.connectedComponentsWithStats(missing)
    large = (missing > 0) & (about[pieces, cv2.CC_STAT_AREA] * pixel**2 > _LARGE)
    if not large.any():
        return np.zeros(missing.shape, np.float32)
    rim = wanted & (_away(~wanted) <= 1.5)
    wider = carried(np.where(rim & large, _away(covered) * pixel, 0)[..., None], rim)[..., 0]
    return np.maximum(wider - _LITTLE, 0)


def _goes_on(matte: np.ndarray, covered: np.ndarray, pixel: float) -> np.ndarray:
    """What of a matte belongs to the head that covers some of it, both [S,S]."""
    cv2 = require("cv2", "opencv-python")
    if (matte > _HELD).mean() > _WHOLE:
        return covered
    away = _away(covered) * pixel
    near = (matte > np.interp(away, _AWAY, (_HELD, _HELD_AWAY))) & (away < _REACH)
    _, pieces = cv2.connectedComponents((near | covered).astype(np.uint8))
    return near & np.isin(pieces, np.unique(pieces[covered]))


def paint(image: Tensor, matte: Tensor, outline: OutlineMaps) -> Tensor:
    """[1,4,S,S]: the photo's colours in 0..1, carried on beyond what the matte holds for sure; how much they count."""
    cv2 = require("cv2", "opencv-python")
    pure = cv2.GaussianBlur((_resized(matte.cpu()) > _PURE).astype(np.float32), (0, 0), 0.8) > 0.9
    pure = cv2.erode(pure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    colours = ((resize_area(image, _SIZE)[0] + 1) / 2).permute(1, 2, 0).cpu().numpy()
    # Further aside a head that is wider behind keeps its own: in the photo there is the face.
    near, far = _PAINTED
    counts = np.clip((far - outline.apart) / (far - near), 0, 1)
    return torch.from_numpy(np.dstack([carried(colours, pure), counts])).permute(2, 0, 1)[None].to(image)


def _resized(values: Tensor) -> np.ndarray:
    """[1,1,s,s] → [S,S]."""
    sized = F.interpolate(values.float(), size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(sized[0, 0].numpy())


def _away(mask: np.ndarray) -> np.ndarray:
    """Pixels to the nearest one of a mask, 0 within."""
    cv2 = require("cv2", "opencv-python")
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)


def carried(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values [S,S,C] of known pixels everywhere; those nearby count most."""
    cv2 = require("cv2", "opencv-python")
    weight = known.astype(np.float32)
    given = (values * weight[..., None]).astype(np.float32)
    total, counts = np.zeros_like(given), np.full_like(weight, 1e-20)
    for sigma, share in _CARRY:
        total += share * cv2.GaussianBlur(given, (0, 0), sigma).reshape(given.shape)
        counts += share * cv2.GaussianBlur(weight, (0, 0), sigma)
    return total / counts[..., None]
