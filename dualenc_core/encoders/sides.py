"""What the five sides of a tri-grid of reliefs see (`people.relief`): surfaces, and places on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..colours.unread import unread_features
from ..generator import PanoHead
from ..people.relief import CHANNELS, DISTANCE_SCALE, SIDES
from ..rendering.trigrid import PLANE_AXES


def reads_distances(generator: PanoHead) -> bool:
    """Whether a generator's density reads nothing but the five sides' distances."""
    features = generator.config.features
    read = set(range(features)) - set(unread_features(generator).tolist())
    return read == {distance_feature(k) for k in range(len(SIDES))}


def distance_feature(side: int) -> int:
    """The feature that holds a side's distances."""
    return side * CHANNELS + CHANNELS - 1


def surfaces_of(features: Tensor, box_warp: float) -> Tensor:
    """[5,S,S] where sides meet the surface, world units on each one's third axis, of features [3,F,D,S,S]."""
    slices = centres(features.shape[2], box_warp, features)[:, None, None]
    # The decoder averages the planes.
    scale = len(features) * DISTANCE_SCALE
    found = []
    for k, (plane, sign) in enumerate(SIDES):
        here = features[plane, distance_feature(k)]
        found.append((slices - sign * here / scale).mean(0).clamp(-box_warp / 2, box_warp / 2))
    return torch.stack(found)


def places_on(surfaces: Tensor, box_warp: float) -> Tensor:
    """World points [5,S,S,3] of `surfaces_of`."""
    at = centres(surfaces.shape[-1], box_warp, surfaces)
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    points = surfaces.new_empty(*surfaces.shape, 3)
    for k, (plane, _) in enumerate(SIDES):
        for axis, place in zip(PLANE_AXES[plane], (columns, rows, surfaces[k]), strict=True):
            points[k, ..., axis] = place
    return points


def centres(size: int, box_warp: float, like: Tensor) -> Tensor:
    """[size] places of cells along one axis, world units."""
    return ((torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size - 0.5) * box_warp


def smooth(maps: Tensor, cells: int) -> Tensor:
    """Maps of sides [K,S,S], by two means over so many cells across."""
    for _ in range(2):
        maps = F.avg_pool2d(maps[:, None], 2 * (cells // 2) + 1, 1, cells // 2, count_include_pad=False)[:, 0]
    return maps
