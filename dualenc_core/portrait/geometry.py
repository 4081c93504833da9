"""PanoHead's crop geometry (panohead.md §10), and the least-squares similarity.

Image coordinates: x right, y down, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..camera import DEFAULT_FOCAL, DEFAULT_RADIUS

CROP_SIDE_WORLD = DEFAULT_RADIUS / DEFAULT_FOCAL
"""World units across the image at the world origin: 0.6331."""


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


def eyes_mouth_quad(left: np.ndarray, right: np.ndarray, mouth: np.ndarray) -> Quad:
    """The FFHQ rule: axes from the eyes' line and the eyes-to-mouth line; left = the image's left eye."""
    e, q = right - left, mouth - (left + right) / 2
    x = _unit(e + np.array([q[1], -q[0]])) * max(2.0 * np.linalg.norm(e), 1.8 * np.linalg.norm(q))
    return Quad((left + right) / 2 + 0.1 * q, x, np.array([-x[1], x[0]]))


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
