"""BlazeFace (short range): faces with six keypoints, in a photo of any size and turn.

The network sees 128² squares. A search looks through squares of several sizes, turns and mirrorings and joins what it
finds by weighted non-maximum suppression (MediaPipe face_detection; BlazeFace, arXiv:1907.05047).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .photo import Photo
from .weights import load_graph

INPUT = 128
_BATCH = 16
_OVERLAP = 0.3
# Smaller tiles only show faces too small to be of use.
_MIN_TILE = 64
# In tiles of this side faces of 45 px are found; each step down still sees whole what the one before is too coarse for.
_LAST_TILE, _STEP = 340, 0.45


@dataclass(frozen=True)
class Detection:
    """One face in photo pixels.

    Attributes:
        box: (x0, y0, x1, y1), upright around the face in the photo as it stands.
        keypoints: [6,2]: right eye, left eye (the subject's), nose tip, mouth, right ear, left ear.
        score: 0..1.
    """

    box: tuple[float, float, float, float]
    keypoints: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """Longer side of the box, px."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    def moved(self, x: float, y: float) -> Detection:
        """The same face in a picture whose origin is (-x, -y) of this one's."""
        shift = np.array([x, y], dtype=np.float64)
        left, top, right, bottom = self.box
        return Detection((left + x, top + y, right + x, bottom + y), self.keypoints + shift, self.score)


def anchors() -> np.ndarray:
    """[896,2] anchor centres in 0..1: two per cell of 16², then six per cell of 8²."""
    grids = []
    for cells, count in ((16, 2), (8, 6)):
        centre = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), count, axis=0))
    return np.concatenate(grids)


def decode(regressors: np.ndarray, logits: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Network outputs of one square → (points [M,8,2], scores [M]) above ``threshold``.

    Args: regressors [896,16], logits [896,1]. The first two points are the box corners, then the six keypoints, all
    in 0..1 of the square.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -100, 100)))
    keep = scores >= threshold
    raw, centre = regressors[keep].astype(np.float64) / INPUT, anchors()[keep]
    middle, half = raw[:, 0:2] + centre, raw[:, 2:4] / 2
    keypoints = raw[:, 4:].reshape(-1, 6, 2) + centre[:, None]
    return np.concatenate([(middle - half)[:, None], (middle + half)[:, None], keypoints], 1), scores[keep]


def weighted_nms(points: np.ndarray, scores: np.ndarray, overlap: float = _OVERLAP) -> list[tuple[np.ndarray, float]]:
    """Join detections that overlap: their points are averaged by score (MediaPipe's WEIGHTED algorithm).

    Args: points [M,P,2] of which the first two are the box corners; scores [M]; ``overlap`` as intersection over
    union. Returns (points [P,2], best score) by falling score.
    """
    faces = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = left[0]
        near = _iou(points[best, :2], points[left, :2]) > overlap
        near[0] = True  # a degenerate box overlaps nothing, not even itself
        group = left[near]
        weight = scores[group] / scores[group].sum()
        faces.append(((points[group] * weight[:, None, None]).sum(0), float(scores[best])))
        left = left[~near]
    return faces


def search(photo: Photo, device: str = "cpu") -> Iterator[list[Detection]]:
    """Ever harder searches, one list of faces per stage; a caller stops at the first that satisfies it.

    Stages: the whole photo and its quarters; small tiles; the photo turned by 90, 180 and 270 degrees; lower
    threshold with mirrored and slightly turned copies (profiles, poor light); ever smaller tiles of large photos, in
    which a face of 45 px can be anywhere.
    """
    coarse = photo.reduced(1024)
    everywhere = [(1.0, 0), (1.5, 0), (0.6, 0)]
    yield _stage(photo, coarse, everywhere, 0.5, device)
    fine = photo.reduced(2560)
    yield _stage(photo, fine, [(0.35, 0), (0.18, 0)], 0.3, device)
    turned = [(fraction, turn) for turn in (90, 180, 270) for fraction in (1.0, 1.5, 0.6)]
    yield _stage(photo, coarse, turned, 0.5, device)
    hard = [(fraction, turn) for turn in (0, -25, 25) for fraction in (1.0, 1.5, 0.6)]
    yield _stage(photo, coarse, hard, 0.2, device, mirrored=True)
    yield _stage(photo, fine, [(0.1, 0)], 0.4, device)
    longest = max(photo.width, photo.height)
    side = 0.1 * longest
    while side > _LAST_TILE:
        side = max(side * _STEP, _LAST_TILE)
        yield _stage(photo, photo, [(side / longest, 0)], 0.5, device)


def _stage(
    photo: Photo,
    source: Photo,
    looks: list[tuple[float, int]],
    threshold: float,
    device: str,
    mirrored: bool = False,
) -> list[Detection]:
    squares = [
        _square_matrix(centre, side, turn, flip)
        for fraction, turn in looks
        if fraction >= 1 or fraction * max(source.width, source.height) >= _MIN_TILE
        for centre, side in _tiles(source.width, source.height, fraction)
        for flip in ((False, True) if mirrored else (False,))
    ]
    found, scores = [np.zeros((0, 8, 2))], [np.zeros(0)]
    ratio = photo.width / source.width
    for first in range(0, len(squares), _BATCH):
        batch = squares[first : first + _BATCH]
        inputs = torch.cat([source.window(matrix, INPUT) for matrix in batch])
        regressors, logits = _run(inputs * 2 - 1, device)
        for index, matrix in enumerate(batch):
            points, score = decode(regressors[index], logits[index], threshold)
            points = points * INPUT @ matrix[:, :2].T + matrix[:, 2]
            if np.linalg.det(matrix[:, :2]) < 0:
                points = points[:, [0, 1, 3, 2, 4, 5, 7, 6]]
            found.append(points * ratio)
            scores.append(score)
    points, certain = np.concatenate(found), np.concatenate(scores)
    # The network's boxes are squares; in a turned copy their corners are not the photo's, the centre and side are.
    middle, half = points[:, :2].mean(1), np.linalg.norm(points[:, 1] - points[:, 0], axis=1)[:, None] / 8**0.5
    points[:, :2] = np.stack([middle - half, middle + half], 1)
    return [Detection((*joined[0], *joined[1]), joined[2:], score) for joined, score in weighted_nms(points, certain)]


@torch.inference_mode()
def _run(inputs: Tensor, device: str) -> tuple[np.ndarray, np.ndarray]:
    # Twice as fast on a CPU: the network is mostly depthwise convolutions.
    inputs = inputs.to(device, memory_format=torch.channels_last)
    regressors, logits = load_graph("face_detection_short_range", device)(inputs)
    return regressors.cpu().numpy(), logits.cpu().numpy()


def _tiles(width: int, height: int, fraction: float) -> list[tuple[tuple[float, float], float]]:
    """Overlapping squares of ``fraction`` of the longer side that cover the picture, as (centre, side)."""
    side = fraction * max(width, height)
    if fraction >= 1:
        return [((width / 2, height / 2), side)]

    def centres(length: float) -> np.ndarray:
        if length <= side:
            return np.array([length / 2])
        count = int(np.ceil((length - side) / (0.67 * side))) + 1
        return np.linspace(side / 2, length - side / 2, count)

    return [((x, y), side) for y in centres(height) for x in centres(width)]


def _square_matrix(centre: tuple[float, float], side: float, turn: float, flip: bool) -> np.ndarray:
    """[2,3]: pixels of the 128² input → photo pixels."""
    angle = np.deg2rad(turn)
    axis = np.array([np.cos(angle), np.sin(angle)]) * side / INPUT
    linear = np.stack([-axis if flip else axis, [-axis[1], axis[0]]], 1)
    return np.concatenate([linear, (np.array(centre) - linear @ [INPUT / 2, INPUT / 2])[:, None]], 1)


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    size = np.clip(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0, None).prod(-1)
    union = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(-1) - size
    return size / np.maximum(union, 1e-9)
