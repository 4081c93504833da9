"""MediaPipe face mesh: 468 landmarks with depth (arXiv:1907.06724)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .detector import Detection
from .photo import Photo
from .weights import load_face_model, load_graph

INPUT = 192
_ROI_SCALE = 1.5
_OUTER_EYES = (33, 263)


@dataclass(frozen=True)
class FaceMesh:
    """``points`` [468,3]: x, y in photo pixels, z in the same unit, smaller = nearer; ``presence`` 0..1."""

    points: np.ndarray
    presence: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of the landmarks."""
        return (*self.points[:, :2].min(0), *self.points[:, :2].max(0))


def face_mesh(photo: Photo, detection: Detection, device: str = "cpu", refinements: int = 2) -> FaceMesh:
    """The mesh of one detected face.

    The first look uses the detection's square; each refinement looks again at the square around the landmarks. The
    last look also sees the mirrored square and averages the two, which cancels the network's left-right bias.
    """
    centre = (np.array(detection.box[:2]) + detection.box[2:]) / 2
    right, left = detection.keypoints[:2]
    mesh = _look(photo, centre, detection.size * _ROI_SCALE, left - right, device, mirrored=refinements == 0)
    for step in range(refinements):
        axis = mesh.points[_OUTER_EYES[1], :2] - mesh.points[_OUTER_EYES[0], :2]
        centre, side = _roi(mesh.points, axis)
        mesh = _look(photo, centre, side * _ROI_SCALE, axis, device, mirrored=step == refinements - 1)
    return mesh


@torch.inference_mode()
def _look(photo: Photo, centre: np.ndarray, side: float, axis: np.ndarray, device: str, mirrored: bool) -> FaceMesh:
    x = axis / max(np.linalg.norm(axis), 1e-9)
    linear = np.stack([x, [-x[1], x[0]]], 1) * (side / INPUT)
    matrix = np.concatenate([linear, (centre - linear @ [INPUT / 2, INPUT / 2])[:, None]], 1)
    square = photo.window(matrix, INPUT, border="border")
    inputs = torch.cat([square, square.flip(-1)]) if mirrored else square
    points, logit = load_graph("face_landmark", device)(inputs.to(device))
    points = points.reshape(len(inputs), 468, 3).double().cpu().numpy()
    presence = float(torch.sigmoid(logit.reshape(-1)).mean())
    if mirrored:
        other = points[1][load_face_model().mirror] * [-1, 1, 1] + [INPUT, 0, 0]
        points = (points[:1] + other) / 2
    flat = points[0, :, :2] @ matrix[:, :2].T + matrix[:, 2]
    return FaceMesh(np.concatenate([flat, points[0, :, 2:] * (side / INPUT)], 1), presence)


def _roi(points: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and longer side of the landmarks' box, measured along the eyes' direction."""
    x = axis / max(np.linalg.norm(axis), 1e-9)
    frame = np.stack([x, [-x[1], x[0]]])
    turned = points[:, :2] @ frame.T
    low, high = turned.min(0), turned.max(0)
    return (low + high) / 2 @ frame, float((high - low).max())
