"""Faces of a photo: detections whose mesh confirms them, best first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .alignment import HeadPose, crop_quad, head_pose
from .detector import Detection, search
from .face_mesh import FaceMesh, face_mesh
from .matte import LITTLE, face_share, leaves_out
from .photo import Photo

# A mesh that is not on a face does not fit a head; faces stay below 0.8 cm even with an open mouth.
_MAX_RESIDUAL_CM = 1.5
# Below this the "faces" of test pictures were ears and knots of hair.
_MIN_CONFIDENCE = 0.25
LOW_CONFIDENCE, CERTAIN = 0.5, 0.6


@dataclass(frozen=True)
class Candidate:
    """A detection, the mesh found there, and the head that fits the mesh."""

    detection: Detection
    mesh: FaceMesh
    pose: HeadPose

    @property
    def confidence(self) -> float:
        fit = float(np.clip(_MAX_RESIDUAL_CM - self.pose.residual, 0, 1))
        return self.detection.score * self.mesh.presence * fit


def find_faces(photo: Photo, device: str = "cpu", mask: Photo | None = None) -> list[Candidate]:
    """Faces whose mesh confirms them, best first; the search gets harder until one of them is certain.

    A mask that says nothing about these has its own part of the photo searched.
    """
    found = _confirmed(photo, search(photo, device), device)
    certain = [c for c in found if c.confidence >= CERTAIN]
    if mask is not None and certain and not any(_is_about(mask, c, photo) for c in certain):
        found = _distinct([*found, *_faces_in_mask(photo, mask, device)])
    return sorted(found, key=lambda c: -_rank(c, photo, doubtful=bool(certain) and c.confidence < LOW_CONFIDENCE))


def _confirmed(photo: Photo, stages: Iterable[list[Detection]], device: str) -> list[Candidate]:
    """Candidates of a search whose mesh confirms them; no further stage is searched when one is certain."""
    found: list[Candidate] = []
    for detections in stages:
        for detection in detections:
            mesh = face_mesh(photo, detection, device)
            candidate = Candidate(detection, mesh, head_pose(mesh.points))
            # Ears and knots of hair pass for doubtful faces that lie on their side.
            doubtful_turn = candidate.confidence < LOW_CONFIDENCE and abs(candidate.pose.tilt) > 45
            if mesh.presence >= 0.5 and candidate.confidence >= _MIN_CONFIDENCE and not doubtful_turn:
                found.append(candidate)
        found = _distinct(found)
        # An upside-down face can pass for a doubtful upright one; the turned copies then settle it.
        if found and found[0].confidence >= CERTAIN:
            break
    return found


def _faces_in_mask(photo: Photo, mask: Photo, device: str) -> list[Candidate]:
    """Certain faces in the part of the photo that the mask holds, when that is not most of it."""
    small = mask.reduced(512).pixels[:, :, 0]
    rows, columns = np.nonzero(small > 0.5 * small.max())
    scale = np.array([photo.width / small.shape[1], photo.height / small.shape[0]])
    low, high = np.array([columns.min(), rows.min()]) * scale, np.array([columns.max() + 1, rows.max() + 1]) * scale
    if ((high - low) > 0.8 * np.array([photo.width, photo.height])).all():
        return []
    margin = (high - low).max() / 4
    x0, y0 = np.clip(low - margin, 0, None).astype(int)
    x1, y1 = (high + margin).astype(int)
    part = Photo(np.ascontiguousarray(photo.pixels[y0:y1, x0:x1]))
    stages = ([d.moved(x0, y0) for d in stage] for stage in itertools.islice(search(part, device), 2))
    return [c for c in _confirmed(photo, stages, device) if c.confidence >= CERTAIN]


def _is_about(mask: Photo, candidate: Candidate, photo: Photo) -> bool:
    """Whether the mask holds this face, or leaves out just this head."""
    held = share_held(mask, candidate, photo) >= LITTLE
    return held or leaves_out(mask, photo, crop_quad(candidate.pose), candidate.mesh.points)


def share_held(mask: Photo, candidate: Candidate, photo: Photo) -> float:
    """Of the face, what a mask of the photo holds."""
    return face_share(mask, photo, crop_quad(candidate.pose), candidate.mesh.points)


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """One candidate per face, the most confident, in falling order."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.confidence):
        if not any(_overlap(candidate.mesh.box, other.mesh.box) > 0.3 for other in kept):
            kept.append(candidate)
    return kept


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / max(smaller, 1e-9)


def _rank(candidate: Candidate, photo: Photo, doubtful: bool) -> float:
    """Large and central ones first; doubtful ones last, however large."""
    half = np.array([photo.width, photo.height]) / 2
    offset = float(np.linalg.norm((candidate.pose.origin - half) / half)) / math.sqrt(2)
    value = candidate.confidence * candidate.pose.scale * (1 - 0.5 * min(offset, 1.0))
    return value - doubtful * max(photo.width, photo.height) * 1e3
