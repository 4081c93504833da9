"""PanoHead's crop geometry and pose labels (panohead.md §10), and the least-squares similarity.

Image coordinates: x right, y down, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..camera import DEFAULT_FOCAL, DEFAULT_RADIUS
from ..errors import DualEncError

CROP_SIDE_WORLD = DEFAULT_RADIUS / DEFAULT_FOCAL
"""World units across the image at the world origin: 0.6331."""

_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Quad:
    """A turned square: ``centre`` [2] and half axes ``x``, ``y`` [2]."""

    centre: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """[4,2] float32: top-left, bottom-left, bottom-right, top-right."""
        c, x, y = self.centre, self.x, self.y
        return np.stack([c - x - y, c - x + y, c + x + y, c + x - y]).astype(np.float32)

    @property
    def side(self) -> float:
        """Length of a side, px."""
        return 2 * float(np.linalg.norm(self.x))

    def matrix(self, size: int) -> np.ndarray:
        """[2,3]: pixels of a ``size``² crop → image pixels (continuous coordinates)."""
        linear = np.stack([self.x, self.y], 1) * (2 / size)
        return np.concatenate([linear, (self.centre - self.x - self.y)[:, None]], 1)


def landmark_quad(landmarks: np.ndarray, method: str = "ffhq") -> Quad:
    """The first square around a face from 68 (dlib order) or 106 landmarks [M,2] (panohead.md §10.2).

    Raises DualEncError for another number of landmarks or an unknown method.
    """
    lm = np.asarray(landmarks, dtype=np.float64)
    if lm.shape == (68, 2):
        left, right, nose = lm[36:42].mean(0), lm[42:48].mean(0), lm[33]
        mouth, centre = (lm[48] + lm[54]) / 2, (lm[0] + lm[16]) / 2
    elif lm.shape == (106, 2):
        left, right, nose = lm[104], lm[105], lm[49]
        mouth, centre = (lm[84] + lm[90]) / 2, (lm[1] + lm[31]) / 2
    else:
        raise DualEncError(f"landmarks have shape {lm.shape}, expected [68,2] or [106,2]")
    eyes = (left + right) / 2
    if method == "ffhq":
        return eyes_mouth_quad(left, right, mouth)
    if method != "default":
        raise DualEncError(f"quad method is {method!r}, expected 'ffhq' or 'default'")
    e = right - left
    x = _unit(e) * max(2.4 * np.linalg.norm(e), 2.75 * np.linalg.norm(nose - eyes))
    return Quad(centre, x, np.array([-x[1], x[0]]))


def eyes_mouth_quad(left: np.ndarray, right: np.ndarray, mouth: np.ndarray) -> Quad:
    """The FFHQ rule: axes from the eyes' line and the eyes-to-mouth line; left = the image's left eye."""
    e, q = right - left, mouth - (left + right) / 2
    x = _unit(e + np.array([q[1], -q[0]])) * max(2.0 * np.linalg.norm(e), 1.8 * np.linalg.norm(q))
    return Quad((left + right) / 2 + 0.1 * q, x, np.array([-x[1], x[0]]))


def refine_quad(quad: Quad, scale: float, shift: tuple[float, float]) -> Quad:
    """Apply the 3D fit of the first crop (panohead.md §10.3): ``shift`` in half sides, y up; ``scale`` of the side."""
    centre = quad.centre + quad.x * shift[0] - quad.y * shift[1]
    return Quad(centre, quad.x * scale, quad.y * scale)


def pose_from_affine(affine: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and rotation [3,3] of a 3×4 affine model camera (image y up)."""
    first, second = affine[0, :3], affine[1, :3]
    scale = (np.linalg.norm(first) + np.linalg.norm(second)) / 2
    r1, r2 = _unit(first), _unit(second)
    return float(scale), np.stack([r1, r2, np.cross(r1, r2)])


def euler_from_rotation(rotation: np.ndarray) -> tuple[float, float, float]:
    """PanoHead's (yaw, pitch, roll) in degrees from a world→camera rotation with y up.

    These are *its* angles, kept for its files; ``Camera`` and the reports use elevation angles (see camera.py).
    """
    r = np.asarray(rotation, dtype=np.float64)
    if abs(r[2, 0]) > 0.998:
        # Gimbal lock: only yaw and one more angle are defined.
        yaw, pitch = (
            (np.pi / 2, np.arctan2(r[0, 1], r[0, 2])) if r[2, 0] > 0 else (-np.pi / 2, np.arctan2(-r[0, 1], -r[0, 2]))
        )
        return float(np.degrees(yaw)), float(np.degrees(pitch)), 0.0
    yaw = np.arcsin(r[2, 0])
    c = np.cos(yaw)
    pitch, roll = np.arctan2(r[2, 1] / c, r[2, 2] / c), np.arctan2(r[1, 0] / c, r[0, 0] / c)
    if abs(pitch) > np.pi / 2:
        # The back hemisphere (panohead.md §10.5, "Reverse").
        yaw = (-np.pi if yaw < 0 else np.pi) - yaw
        c = np.cos(yaw)
        pitch, roll = np.arctan2(r[2, 1] / c, r[2, 2] / c), np.arctan2(r[1, 0] / c, r[0, 0] / c)
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def label_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """[25] label of a world→camera rotation with y up: the camera is 2.7 from the origin and looks at it."""
    r = np.asarray(rotation, dtype=np.float32).astype(np.float64)
    cam2world = np.eye(4)
    cam2world[:3, :3] = r.T @ _FLIP
    cam2world[:3, 3] = r.T @ [0, 0, DEFAULT_RADIUS]
    return np.concatenate([cam2world.ravel(), [DEFAULT_FOCAL, 0, 0.5, 0, DEFAULT_FOCAL, 0.5, 0, 0, 1]])


def rotation_from_label(label: np.ndarray) -> np.ndarray:
    """World→camera rotation (y up) [3,3] of a [25] label."""
    cam2world = np.asarray(label, dtype=np.float64)[:16].reshape(4, 4)
    return np.linalg.inv(cam2world[:3, :3] @ _FLIP)


def similarity(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Least-squares similarity ``target ≈ scale · rotation @ source + translation`` (Umeyama 1991).

    scikit-image's has no weights.

    Args: source, target [M,3]; weights [M] >= 0. Returns scale, rotation [3,3] (det +1), translation [3].
    """
    w = weights / weights.sum()
    ms, mt = w @ source, w @ target
    a, b = source - ms, target - mt
    u, s, vt = np.linalg.svd((b * w[:, None]).T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = float((s * np.diag(sign)).sum() / (w @ (a**2).sum(1)))
    return scale, rotation, mt - scale * rotation @ ms


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
