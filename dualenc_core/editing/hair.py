"""Hair in a portrait: what of the person is neither face nor neck nor clothes, by place and colour."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..inversion.occlusion import dilate, erode
from .morphology import gaussian

# Landmarks of the jaw's angles, the chin, the brows' outer ends and tops, the mouth's corners, and the top.
_JAW, _CHIN, _BROWS, _BROW_TOPS, _MOUTH, _TOP = (172, 397), 152, (70, 300), (105, 334), (61, 291), 10
# Of the height of the mesh; and of the picture.
_ABOVE_BROWS, _BESIDE_CHEEKS = 0.04, 0.1
_HIGHLIGHT = 0.025
# Side of the picture on which connectedness is decided.
_GROWN_AT = 128
_BINS = 12
_SURE = 0.7
# Weight of a colour that was seen nowhere: it decides only where both classes say nothing.
_PRIOR = 1e-4


def hair_mask(image: Tensor, matte: Tensor, face: Tensor, landmarks: np.ndarray) -> Tensor:
    """[S,S] in 0..1: hair of one portrait.

    Colours of sure places, in the matte above the brows and around the mesh for hair, in the mesh and under the chin
    for the rest, tell which of the two the other places are.

    Args:
        image: [3,S,S] in 0..1.
        matte, face: [S,S] in 0..1, the person and the face mesh's outline.
        landmarks: [468,2] in pixels.
    """
    size = image.shape[-1]
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    points = torch.from_numpy(landmarks).float()
    left, right = sorted((float(points[_JAW[0], 0]), float(points[_JAW[1], 0])))
    chin, brows = float(points[_CHIN, 1]), float(points[list(_BROWS), 1].mean())
    height = chin - float(points[_TOP, 1])
    person = matte > _SURE
    around = dilate(face[None, None], max(1, round(size / 64)))[0, 0]
    neck = (x > left) & (x < right) & (y > chin) & person
    above = person & (around < 0.5) & (y < brows)
    skin = person & (face > 0.5) & (y > brows)
    if not bool(above.any()) or not bool(skin.any()):
        return torch.zeros_like(matte)
    index = _bins(image)
    hair, other = _histogram(index, above), _histogram(index, skin | neck)
    # Forehead above the mesh is in the first histogram too, and hair in front of the neck in the second.
    ratio = (hair + _PRIOR) / (hair + other + 2 * _PRIOR)
    likely = gaussian(ratio[index][None, None], max(size / 256, 0.5))[0, 0]
    likely = ((likely - 0.5) * 4 + 0.5).clamp(0, 1)
    # Far below the chin the colour alone is not enough; in the mesh hair falls over the forehead and beside the cheeks.
    below = (y > chin + 1.6 * height) | neck
    likely = torch.where(below & (likely < 0.9), torch.zeros_like(likely), likely)
    forehead = y < float(points[list(_BROW_TOPS), 1].min()) - _ABOVE_BROWS * height
    core = erode(face[None, None], max(1, round(_BESIDE_CHEEKS * height)))[0, 0]
    bare = torch.where(y < float(points[list(_MOUTH), 1].mean()), core, face)
    room = matte * torch.where(forehead, torch.ones_like(face), 1 - bare)
    # Highlights have colours of their own: above the brows holes are closed.
    reach = max(1, round(size * _HIGHLIGHT))
    closed = erode(dilate(likely[None, None], reach), reach)[0, 0]
    found = room * torch.where(y < brows, closed, likely)
    return found * _grown_from(found * (y < brows), found)


def _bins(image: Tensor) -> Tensor:
    """[S,S] index of each pixel's colour in a histogram of 12³ bins."""
    r, g, b = (image * _BINS).long().clamp(0, _BINS - 1)
    return (r * _BINS + g) * _BINS + b


def _histogram(index: Tensor, where: Tensor) -> Tensor:
    """Smoothed shares [12³] of the colours of some pixels."""
    counts = torch.bincount(index[where], minlength=_BINS**3).float().reshape(1, 1, _BINS, _BINS, _BINS)
    smooth = gaussian(counts, 0.8).flatten()
    return smooth / smooth.sum().clamp_min(1e-9)


def _grown_from(seed: Tensor, mask: Tensor) -> Tensor:
    """What of the mask [S,S] hangs together with the seed, without specks and bridges: 1 there, soft at borders."""
    size = mask.shape[-1]
    side = min(size, _GROWN_AT)
    seed, room = (F.adaptive_avg_pool2d(x[None, None], side) > 0.5 for x in (seed, mask))
    # An opening: bridges of a pixel do not count.
    room = dilate(erode(room.float(), 1), 1) * room
    grown = seed.float() * room
    for _ in range(4 * side):
        more = dilate(grown, 1) * room
        if torch.equal(more, grown):
            break
        grown = more
    near = dilate(grown, 1)
    return F.interpolate(near, (size, size), mode="bilinear", align_corners=False)[0, 0]
