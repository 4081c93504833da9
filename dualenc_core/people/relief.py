"""A person as a tri-grid that needs no training: what parallel views from five sides see, and how far away it is.

Each side fills channels of the plane that faces it: the colour of the surface it sees, and how far a point lies before
that surface. Both are exact in a tri-grid, which is fine across a plane and linear along its third axis. A point is
inside a head where no side finds it before its surface; a surface point has the colours of the sides that see it, by
how squarely they do. A small decoder reads both (research.training.relief_decoder), and planes teach a generator far
faster than rays: every cell has its target, and nothing is rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import require
from ..rendering.trigrid import PLANE_AXES
from .scene import Scene
from .vectors import unit

# Plane, sign along its third axis: front, back, right of the picture (+x), left, top.
SIDES = ((0, 1), (0, -1), (2, 1), (2, -1), (1, 1))
# Every side's mirror image, by number.
OPPOSITE = (0, 1, 3, 2, 4)
# Channels of a side: red, green, blue, times its share; distance before the surface.
CHANNELS = 4
FEATURES = CHANNELS * len(SIDES)
# Tri-grid units of one world unit of distance: a cell of 128 in a box of 0.8 is about 0.06.
DISTANCE_SCALE = 10.0
# World units beyond the last slice at which distances end: a surface there still counts as near.
_BEYOND = 0.004
# How much more the face counts.
_FACE = 6.0
# Rays start so far out, in world units.
_OUTSIDE = 0.5
# A side sees a surface point that lies at most so many cells behind what it sees there.
_TOLERANCE = 2.0
# Neighbours further apart than so many cells are not one surface.
_STEP = 6.5
# How much cells count that lie beside an outline, up to four away.
_RIM = 0.3
# Cells over which surfaces are smoothed for their normals: strands of hair in two sides' shares would not cancel out.
_SMOOTH = 2.0


@dataclass(frozen=True)
class Relief:
    """What five sides see, `SIDES`.

    Attributes:
        colour: float16 [5,3,S,S] sRGB in 0..1, carried on beyond outlines.
        surface: float16 [5,S,S] place of the surface on the third axis, world units; the box's far end without one.
        covered: bool [5,S,S].
        box_warp: side of the box that the cells divide, world units.
    """

    colour: np.ndarray
    surface: np.ndarray
    covered: np.ndarray
    box_warp: float

    @cached_property
    def shares(self) -> np.ndarray:
        """float16 [5,S,S], `shares`: found once, a training asks for the same people again and again."""
        return shares(self.surface.astype(np.float32), self.covered, self.box_warp).astype(np.float16)

    @property
    def mirrored(self) -> Relief:
        """The relief of the mirror image."""
        # Two sides look along x, which is on no axis of their pictures.
        sideways = np.array([plane == 2 for plane, _ in SIDES])

        def turned(values: np.ndarray) -> np.ndarray:
            other = values[list(OPPOSITE)]
            return np.where(sideways.reshape(-1, *[1] * (values.ndim - 1)), other, other[..., ::-1])

        surface = turned(self.surface)
        surface[sideways] *= -1
        out = Relief(turned(self.colour), surface, turned(self.covered), self.box_warp)
        # Found already, as a rule.
        vars(out)["shares"] = turned(self.shares)
        return out

    @property
    def points(self) -> np.ndarray:
        """[5,S,S,3] where the cells of each side meet the surface."""
        sides = zip(self.surface, SIDES, strict=True)
        return np.stack([_points(part, plane, self.box_warp) for part, (plane, _) in sides])

    def planes(
        self,
        features: int,
        depth: int,
        coarser: int = 1,
        tone: Callable[[np.ndarray], np.ndarray] | None = None,
        emphasis: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The tri-grid and how much its cells count, both [3,features·depth,S,S], S smaller by ``coarser``.

        As `Triplane.planes` has them, three times as large: a decoder averages the planes.

        Args:
            tone: what becomes of colours [...,3].
            emphasis: [5,S,S] factors on how much the cells of each side count.
        """
        covered = torch.from_numpy(self.covered)[:, None].float()
        surface = self.surface.astype(np.float32)
        colour = self.colour.astype(np.float32)
        if tone is not None:
            colour = tone(colour.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        shared = colour * self.shares.astype(np.float32)[:, None]
        values = torch.from_numpy(np.concatenate([shared, surface[:, None]], 1))
        counts = torch.ones_like(covered) if emphasis is None else torch.from_numpy(emphasis)[:, None].float()
        values, covered, counts = (F.avg_pool2d(part, coarser) for part in (values, covered, counts))
        # Beside an outline no side has a share: colours there would add up on a surface that is made too large.
        rim = _RIM * F.max_pool2d(covered, 9, 1, 4)
        size = values.shape[-1]
        out, weight = torch.zeros(2, 3, features, depth, size, size)
        slices = ((torch.arange(depth) + 0.5) * 2 / depth - 1) * self.box_warp / 2
        for k, (plane, sign) in enumerate(SIDES):
            at = slice(k * CHANNELS, (k + 1) * CHANNELS)
            out[plane, at] = values[k, :, None]
            # Beyond its last slice a tri-grid fades to half at the border of the box: the colour has as much more
            # there, and distances end, which leaves the place of the surface to the planes that are fine in it.
            fading = (depth + 1) / 2 - depth / self.box_warp * values[k, 3].abs()
            out[plane, at, -1 if sign > 0 else 0] /= fading.clamp(0.5, 1)
            most = float(slices[-1]) + _BEYOND
            out[plane, at.stop - 1] = DISTANCE_SCALE * sign * (slices[:, None, None] - values[k, 3].clamp(-most, most))
            weight[plane, at] = counts[k, :, None] * torch.maximum(covered, rim)[k, :, None].clamp(min=0.03)
            weight[plane, at.stop - 1] = counts[k] * (0.2 + 0.8 * covered[k])
        # Features that no side fills stay free in their own planes; in the others every feature of a side is nothing.
        for plane in range(3):
            for k, (own, _) in enumerate(SIDES):
                if own != plane:
                    weight[plane, k * CHANNELS : (k + 1) * CHANNELS] = 0.5
        rows, columns = face_cells(size, self.box_warp)
        weight[0, :CHANNELS, :, rows, columns] *= _FACE
        flat = (features * depth, size, size)
        return 3 * out.reshape(3, *flat), weight.reshape(3, *flat)


def face_cells(size: int, box_warp: float) -> tuple[slice, slice]:
    """Rows and columns of the front that hold the face: x within ±0.1, y from -0.13 to 0.09."""
    place = [round((v / box_warp + 0.5) * size) for v in (-0.13, 0.09, -0.1, 0.1)]
    return slice(*place[:2]), slice(*place[2:])


def relief_of(scene: Scene, size: int, box_warp: float, rays: int = 2) -> Relief:
    """Trace a person from five sides, ``rays``² rays a cell."""
    sides = [_side(scene, plane, sign, size, box_warp, rays) for plane, sign in SIDES]
    colour, surface, covered = (np.stack(parts) for parts in zip(*sides, strict=True))
    return Relief(colour.astype(np.float16), surface.astype(np.float16), covered, box_warp)


def _side(
    scene: Scene, plane: int, sign: int, size: int, box_warp: float, rays: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One parallel view: colour [3,S,S], surface [S,S], covered [S,S]."""
    across, up, along = PLANE_AXES[plane]
    fine = size * rays
    places = ((np.arange(fine) + 0.5) / fine - 0.5) * box_warp
    rows, columns = np.meshgrid(places, places, indexing="ij")
    origins = np.zeros((fine * fine, 3), np.float32)
    origins[:, across], origins[:, up], origins[:, along] = columns.ravel(), rows.ravel(), sign * _OUTSIDE
    directions = np.zeros_like(origins)
    directions[:, along] = -sign
    hits = scene.trace(origins, directions)
    met = hits.depth < 2 * _OUTSIDE

    def averaged(values: np.ndarray) -> np.ndarray:
        """Over the rays of a cell that meet something."""
        shape = (size, rays, size, rays, -1)
        weight = met[:, None].astype(np.float32)
        total = (values.reshape(len(met), -1) * weight).reshape(shape).sum((1, 3))
        return total / np.maximum(weight.reshape(shape).sum((1, 3)), 1)

    covered = met.reshape(size, rays, size, rays).mean((1, 3)) >= 0.5
    surface = np.where(covered, averaged(sign * (_OUTSIDE - hits.depth))[..., 0], -sign * box_warp / 2)
    return _filled(averaged(hits.colour), covered).transpose(2, 0, 1), surface, covered


def shares(surface: np.ndarray, covered: np.ndarray, box_warp: float) -> np.ndarray:
    """How much of a surface point's colour each side gives, [5,S,S]: those that see a point share it to one.

    Squares of a normal's parts sum to one, so each side that sees a point has about that much of it. A side has less
    near its outlines, where the cells of its plane are half beside the surface.
    """
    size = surface.shape[-1]
    cell = box_warp / size
    trusted = [_trusted(*side, cell) for side in zip(surface, covered, strict=True)]
    found = []
    for k, (plane, sign) in enumerate(SIDES):
        across, up, along = PLANE_AXES[plane]
        point, normal = _points(surface[k], plane, box_warp), np.zeros((size, size, 3), np.float32)
        rows, columns = np.gradient(_blurred(surface[k], covered[k], _SMOOTH), cell)
        normal[..., across], normal[..., up], normal[..., along] = -sign * columns, -sign * rows, sign
        normal = unit(normal)
        parts = np.stack([_part(point, normal, j, surface[j], trusted[j], box_warp) for j in range(len(SIDES))])
        # It sees itself.
        parts[k] = _facing(normal, *SIDES[k]) * trusted[k]
        found.append(parts[k] / parts.sum(0) * covered[k])
    return np.stack(found)


def _points(surface: np.ndarray, plane: int, box_warp: float) -> np.ndarray:
    """[S,S,3] of one side."""
    across, up, along = PLANE_AXES[plane]
    size = len(surface)
    centre = ((np.arange(size) + 0.5) / size - 0.5) * box_warp
    point = np.zeros((size, size, 3), np.float32)
    point[..., across], point[..., up], point[..., along] = centre[None, :], centre[:, None], surface
    return point


def _part(
    point: np.ndarray, normal: np.ndarray, side: int, surface: np.ndarray, trusted: np.ndarray, box_warp: float
) -> np.ndarray:
    """[S,S] how squarely a side sees points [S,S,3] with normals, as far as it does."""
    plane, sign = SIDES[side]
    across, up, along = PLANE_AXES[plane]
    cv2 = require("cv2", "opencv-python")
    cell = box_warp / len(surface)
    place = [(point[..., axis] + box_warp / 2) / cell - 0.5 for axis in (across, up)]
    there, trust = (
        cv2.remap(part, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in (surface, trusted)
    )
    behind = sign * (there - point[..., along])
    return _facing(normal, plane, sign) * trust * np.clip(2 - behind / (_TOLERANCE * cell), 0, 1)


def _facing(normal: np.ndarray, plane: int, sign: int) -> np.ndarray:
    return np.maximum(sign * normal[..., PLANE_AXES[plane][2]], 0.05) ** 2


def _trusted(surface: np.ndarray, covered: np.ndarray, cell: float) -> np.ndarray:
    """[S,S] 1 within surfaces, near 0 at their outlines and steps."""
    cv2 = require("cv2", "opencv-python")
    square = np.ones((3, 3), np.uint8)
    whole = covered & (cv2.dilate(surface, square) - cv2.erode(surface, square) < _STEP * cell)
    return np.clip(2 * cv2.GaussianBlur(whole.astype(np.float32), (0, 0), 1.5) - 1, 0.02, 1).astype(np.float32)


def _blurred(values: np.ndarray, covered: np.ndarray, sigma: float) -> np.ndarray:
    cv2 = require("cv2", "opencv-python")
    total = cv2.GaussianBlur(values * covered, (0, 0), sigma)
    return total / np.maximum(cv2.GaussianBlur(covered.astype(np.float32), (0, 0), sigma), 1e-3)


def _filled(values: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Values [S,S,C] carried beyond the outline, so that cells at the rim do not mix with nothing."""
    weight = covered.astype(np.float32)
    total = values * weight[..., None]
    levels = []
    while len(weight) > 1:
        levels.append((total, weight))
        half = len(weight) // 2
        total = total.reshape(half, 2, half, 2, -1).sum((1, 3))
        weight = weight.reshape(half, 2, half, 2).sum((1, 3))
        most = np.maximum(weight, 1)
        total, weight = total / most[..., None], weight / most
    for finer, cover in reversed(levels):
        coarse = (total / np.maximum(weight, 1e-4)[..., None]).repeat(2, 0).repeat(2, 1)
        total = np.where(cover[..., None] > 0, finer, coarse * 1e-3)
        weight = np.where(cover > 0, cover, 1e-3)
    return total / weight[..., None]
