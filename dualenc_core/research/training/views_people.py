"""Photos of traced people (`people.shards`), spoiled as real ones are, with the truth from their other sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import people
from ...camera import Camera
from ...errors import require
from ...generator.config import GeneratorConfig
from ...people.photos import Tone, photographed
from ...people.shards import DEPTH_SIZE, Record
from ...rendering.rays import pixel_rays
from .truth_people import PeopleTruth, check_reliefs_fit
from .views import KnownBatch, View, ViewBatch, placed

# Photos are taken from within these angles of the front, in degrees.
_YAW, _PITCH = 62.0, 26.0
# What alignment is off by: zoom, shift in picture widths, yaw and pitch in degrees (the pack's alignment.tsv).
_ZOOM, _SHIFT, _YAW_ERROR, _PITCH_ERROR = 0.05, 0.02, 2.5, 5.0
# Side of the pictures to compare with.
_SIZE = 256
# A point so far behind what the photo shows is hidden, in world units.
_BEHIND = 0.03
_NEAR = 50.0


class PeopleViews:
    """Photos and views of the people of a `truth_people.PeopleTruth`.

    Args:
        mirror: how many of them are mirrored, but for `photos`: only originals have a known description.
    """

    def __init__(self, truth: PeopleTruth, mirror: float = 0.0) -> None:
        self.truth, self.mirror = truth, mirror
        self._backdrop = np.array(truth.backdrop, np.float32)

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {key: value for key, value in self.truth.provenance.items() if key in ("data", "sources")}

    def photos(self, count: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        dice = _numpy(rng)
        records = self.truth.records(count, rng)
        images = []
        for record in records:
            photo, _, _ = self._photo(record, _front(record, dice), size, dice)
            zoom, shift, *_ = _errors(dice)
            images.append(_warped(photo, zoom, shift))
        numbers = self.truth.standardised(np.stack([r.numbers for r in records]))
        return torch.cat(images)[:, :3].to(rng.device), numbers.to(rng.device)

    def descriptions(self, count: int, rng: torch.Generator) -> Tensor:
        return self.truth.numbers(count, rng).numbers

    def batch(self, count: int, size: int, others: int, near: bool, rng: torch.Generator) -> ViewBatch:
        dice = _numpy(rng)
        records = self._records(count, rng, dice)
        photos, labels, believed, zooms, shifts, chosen, tones = [], [], [], [], [], [], []
        for record in records:
            view = _front(record, dice)
            photo, tone, camera = self._photo(record, view, size, dice)
            zoom, shift, yaw, pitch = _errors(dice) if dice.random() < 0.7 else (1.0, np.zeros(2), 0.0, 0.0)
            angles = [float(a) for a in camera.angles]
            photos.append(_warped(photo, zoom, shift))
            labels.append(camera.label)
            believed.append(Camera.look_at(angles[0] + yaw, angles[1] + pitch))
            zooms.append(zoom)
            shifts.append(shift)
            tones.append(tone)
            chosen.append([view, *_other_views(record, view, others, near, dice)])
        true, supposed = Camera.from_label(torch.cat(labels)), Camera.cat(believed)
        moved = torch.tensor(np.stack(shifts), dtype=torch.float32)
        placement = placed(true, supposed, torch.tensor(zooms, dtype=torch.float32), moved)
        views = tuple(
            _stacked([self._view(r, v[k], v[0], t) for r, v, t in zip(records, chosen, tones, strict=True)])
            for k in range(1 + others)
        )
        pictures = torch.cat(photos)
        numbers = self.truth.standardised(np.stack([r.numbers for r in records]))
        numbers[[r.flipped for r in records]] = torch.nan
        batch = ViewBatch(pictures[:, :3], pictures[:, 3:], supposed, placement, numbers, views)
        return batch.to(rng.device)

    def known(
        self, count: int, size: int, shown: float, hidden: float, config: GeneratorConfig, rng: torch.Generator
    ) -> KnownBatch:
        """Photos whose alignment is right, and the tri-grids that their heads should have.

        ``shown`` and ``hidden`` are the weights of what the photo shows, and does not.
        """
        check_reliefs_fit(config, config.plane_size)
        dice, found = _numpy(rng), []
        for record in self._records(count, rng, dice):
            view = _front(record, dice)
            photo, tone, camera = self._photo(record, view, size, dice)
            emphasis = np.where(_in_view(record, view), shown, hidden).astype(np.float32)
            planes = record.relief.planes(config.features, config.plane_depth, tone=tone, emphasis=emphasis)
            found.append((photo[:, :3], photo[:, 3:], camera.label, planes[0][None], planes[1][None]))
        images, mattes, labels, truth, weight = (torch.cat(part).to(rng.device) for part in zip(*found, strict=True))
        return KnownBatch(images, mattes, Camera.from_label(labels), truth, weight)

    def _records(self, count: int, rng: torch.Generator, dice: np.random.Generator) -> list[Record]:
        flips = dice.random(count) < self.mirror
        return [r.mirrored if flip else r for r, flip in zip(self.truth.records(count, rng), flips, strict=True)]

    def _photo(self, record: Record, view: int, size: int, dice: np.random.Generator) -> tuple[Tensor, Tone, Camera]:
        """Photo cut out by its matte on the backdrop, and the matte, [1,4,S,S]; its tone; the true camera."""
        colour, alpha = _clean(record, view, size)
        other = _clean(record, int(dice.integers(len(record.labels))), size)[0] if dice.random() < 0.3 else None
        photo = photographed(colour, alpha, dice, other)
        matte = photo.matte[..., None]
        cut = photo.image * matte + self._backdrop * (1 - matte)
        picture = torch.from_numpy(np.concatenate([cut * 2 - 1, matte], -1).astype(np.float32)).permute(2, 0, 1)
        return picture[None], photo.tone, Camera.from_label(torch.from_numpy(record.labels[view][None]))

    def _view(self, record: Record, index: int, photo: int, tone: Tone) -> View:
        colour, alpha = _clean(record, index, _SIZE)
        straight = colour / np.maximum(alpha, 1e-3)[..., None]
        on_backdrop = tone(straight) * alpha[..., None] + self._backdrop * (1 - alpha[..., None])
        picture = torch.from_numpy(on_backdrop * 2 - 1).permute(2, 0, 1)[None]
        camera = Camera.from_label(torch.from_numpy(record.labels[index][None]))
        return View(camera, picture, torch.from_numpy(alpha)[None, None], _hidden(record, index, photo))


def _clean(record: Record, view: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour times alpha [S,S,3] and alpha [S,S] in 0..1."""
    cv2 = require("cv2", "opencv-python")
    on_grey, alpha = (
        cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255 for p in record.view(view)
    )
    return np.clip(on_grey - 0.5 * (1 - alpha[..., None]), 0, 1), alpha


def _front(record: Record, dice: np.random.Generator) -> int:
    """One of the views that could be a photo."""
    yaw, pitch = Camera.from_label(torch.from_numpy(record.labels)).angles
    usable = np.flatnonzero(((yaw.abs() <= _YAW) & (pitch.abs() <= _PITCH)).numpy())
    return int(dice.choice(usable)) if len(usable) else 0


def _other_views(record: Record, photo: int, count: int, near: bool, dice: np.random.Generator) -> list[int]:
    position = Camera.from_label(torch.from_numpy(record.labels)).position
    cosine = F.cosine_similarity(position, position[photo][None]).numpy()
    close = cosine > np.cos(np.radians(_NEAR))
    close[photo] = False
    pool = np.flatnonzero(close) if near and close.any() else np.array([i for i in range(len(close)) if i != photo])
    return [int(i) for i in dice.choice(pool, count, replace=len(pool) < count)]


def _errors(dice: np.random.Generator) -> tuple[float, np.ndarray, float, float]:
    """Zoom, shift [2], yaw and pitch that an alignment is off by."""
    zoom = float(np.exp(dice.normal(0, _ZOOM / 1.5)).clip(1 - 2 * _ZOOM, 1 + 2 * _ZOOM))
    shift = dice.normal(0, _SHIFT / 1.5, 2).clip(-2 * _SHIFT, 2 * _SHIFT)
    return zoom, shift, float(dice.normal(0, _YAW_ERROR / 1.5)), float(dice.normal(0, _PITCH_ERROR / 1.5))


def _warped(picture: Tensor, zoom: float, shift: np.ndarray) -> Tensor:
    """A picture [1,4,S,S], larger by ``zoom`` about its middle and then moved right and down, in widths."""
    theta = torch.tensor([[[1 / zoom, 0, -2 * shift[0] / zoom], [0, 1 / zoom, -2 * shift[1] / zoom]]])
    grid = F.affine_grid(theta.float(), list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def _hidden(record: Record, view: int, photo: int) -> Tensor:
    """[1,1,s,s]: 1 where a view shows what the photo does not."""
    if view == photo:
        return torch.zeros(1, 1, DEPTH_SIZE, DEPTH_SIZE)
    cameras = Camera.from_label(torch.from_numpy(record.labels[[view, photo]]))
    steps = (torch.arange(DEPTH_SIZE) + 0.5) / DEPTH_SIZE
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    origins, directions = pixel_rays(cameras[0], torch.stack([columns, rows], -1).reshape(1, -1, 2))
    depth = torch.from_numpy(record.distance(view))
    points = origins + depth[None, :, None] * directions
    hidden = ~_shown(points, cameras[1], record, photo) & (depth < people.FAR)[None]
    return hidden.float().reshape(1, 1, DEPTH_SIZE, DEPTH_SIZE)


def _in_view(record: Record, photo: int) -> np.ndarray:
    """bool [5,S,S]: whether a photo shows what the cells of a relief's sides see."""
    points = record.relief.points
    camera = Camera.from_label(torch.from_numpy(record.labels[[photo]]))
    return _shown(torch.from_numpy(points.reshape(1, -1, 3)), camera, record, photo).reshape(points.shape[:-1]).numpy()


def _shown(points: Tensor, camera: Camera, record: Record, photo: int) -> Tensor:
    """[1,M] whether the picture ``photo`` shows points [1,M,3]."""
    uv, _ = camera.project(points)
    depth = torch.from_numpy(record.distance(photo)).reshape(1, 1, DEPTH_SIZE, DEPTH_SIZE)
    there = F.grid_sample(depth, 2 * uv[:, None] - 1, mode="nearest", padding_mode="border", align_corners=False)
    away = (points - camera.position[:, None]).norm(dim=-1)
    return (away <= there[:, 0, 0] + _BEHIND) & ((uv > 0) & (uv < 1)).all(-1)


def _stacked(views: list[View]) -> View:
    return View(
        Camera.cat([v.camera for v in views]),
        torch.cat([v.colour for v in views]),
        torch.cat([v.alpha for v in views]),
        torch.cat([v.hidden for v in views]),
    )


def _numpy(rng: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(1 << 40, (), generator=rng, device=rng.device)))
