"""Plain background that segmentation took for the person: dark walls beside dark hair, a white one beside a cheek."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import require

# What is background for sure, and the least share of a crop that tells how it looks.
_SURE, _LEAST = 0.1, 0.03
# How far from its mean background may be to be plain, and how far from that mean what is like it; of colours in 0..1.
_PLAIN, _LIKE = 10 / 255, 12 / 255
# In crops: over what the background's colour is averaged, the narrowest way that a leak takes, how far it gets.
_AROUND, _NARROW, _FAR = 1 / 12, 1 / 57, 0.3


def without_leaks(crop: Tensor, matte: Tensor, face: Tensor | None = None) -> Tensor:
    """A matte [1,1,S,S] without what looks like the plain background that it hangs together with.

    Args:
        crop: [1,3,S,S] in 0..1.
        matte: of the person, in 0..1.
        face: [1,1,S,S], 1 on the face, which stays.

    Busy surroundings change nothing: there likeness in colour means nothing.

    Raises DualEncError when opencv-python is not installed.

    Example:
        >>> import torch
        >>> from dualenc_core.portrait.leaks import without_leaks
        >>> crop = torch.zeros(1, 3, 64, 64)
        >>> crop[..., 20:44, 20:44] = 0.8  # a bright head before a black wall
        >>> matte = torch.zeros(1, 1, 64, 64)
        >>> matte[..., 20:44, 12:44] = 1  # and some of that wall
        >>> found = without_leaks(crop, matte)
        >>> bool(found[..., 28:36, 12:16].mean() < 0.1), bool(found[..., 28:36, 24:40].min() > 0.9)
        (True, True)
    """
    cv2 = require("cv2", "opencv-python")
    size = crop.shape[-1]
    held: np.ndarray = matte[0, 0].numpy()
    picture = np.ascontiguousarray(crop[0].permute(1, 2, 0).numpy())
    sure = cv2.erode((held < _SURE).astype(np.uint8), np.ones((5, 5), np.uint8))
    if sure.mean() < _LEAST:
        return matte

    def around(values: np.ndarray) -> np.ndarray:
        """[S,S,3] the background's mean nearby."""
        weight = sure.astype(np.float32)[..., None]
        total, count = (cv2.GaussianBlur(part, (0, 0), size * _AROUND) for part in (values * weight, weight))
        return total / np.maximum(count, 1e-6)[..., None]

    away = (picture - around(picture)) ** 2
    plain = np.sqrt(around(away).mean(-1)) < _PLAIN
    alike = plain & (cv2.GaussianBlur(np.sqrt(away.mean(-1)), (0, 0), 1.5) < _LIKE)
    width = max(round(size * _NARROW), 1)
    ways = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, ways)
    if face is not None:
        alike &= cv2.dilate((face[0, 0] > 0.5).numpy().astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    _, pieces = cv2.connectedComponents(alike | sure)
    reached = np.isin(pieces, np.unique(pieces[sure > 0])) & (sure == 0)
    reached &= cv2.distanceTransform(1 - sure, cv2.DIST_L2, 5) < size * _FAR
    near, gone = (cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.5) for part in (reached, reached | (sure > 0)))
    gone[near < 1e-3] = 0
    return matte * torch.from_numpy(1 - gone)[None, None]
