"""Which pixels of a crop are the person: the user's mask, the photo's alpha, segmentation, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..errors import DualEncError
from ..mattes import INVERTED, NOTHING, held, is_inverted, middle
from .geometry import Quad
from .leaks import without_leaks
from .mask import mask_window
from .matting import person_matte
from .photo import Photo
from .report import Warning
from .weights import load_face_model

# Of what surrounds the person, an alpha that is a cut-out keeps less than this.
_CUT_OUT = 0.25
# Less than this of the face is too little, and less than that is none.
LITTLE, NONE = 0.5, 0.01
_SMALL, _WIDE = 128, 3.0


@dataclass(frozen=True)
class Matte:
    """``values`` [1,1,size,size] in 0..1, and what is to be said about them."""

    values: Tensor
    remarks: tuple[Warning, ...]


def face_share(mask: Photo, photo: Photo, quad: Quad, points: np.ndarray) -> float:
    """Share 0..1 of a face that a mask of the photo holds; ``points`` [468,3] is its mesh, ``quad`` its crop."""
    matrix = quad.matrix(_SMALL)
    return held(mask_window(mask, photo, matrix, _SMALL), face_region(points, matrix, _SMALL))


def leaves_out(mask: Photo, photo: Photo, quad: Quad, points: np.ndarray | None) -> bool:
    """Whether a mask of the photo looks like an inverted one of the head in a crop, whose mesh is ``points``."""
    # Inverted masks with much room for the head are 1 outside the crop only.
    matrix = Quad(quad.centre, quad.x * _WIDE, quad.y * _WIDE).matrix(_SMALL)
    values, covered = mask_window(mask, photo, matrix, _SMALL), photo.covered(matrix, _SMALL)
    return is_inverted(values, _head(points, matrix, _SMALL, _WIDE), covered, _WIDE)


def face_region(points: np.ndarray, matrix: np.ndarray, size: int) -> Tensor:
    """[1,1,size,size]: 1 on the face of a mesh [468,3] in a window of the photo (`Photo.window`)."""
    flat = (points[:, :2] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    for triangle in load_face_model().triangles:
        draw.polygon([tuple(point) for point in flat[triangle].tolist()], fill=1)
    return torch.from_numpy(np.array(picture))[None, None].float()


def given_matte(
    mask: Photo, photo: Photo, quad: Quad, size: int, points: np.ndarray | None, other: int | None = None
) -> Matte:
    """The user's mask in the crop.

    Args:
        quad: the crop.
        points: [468,3] mesh of the face; None = the head fills the middle.
        other: number of another face that the mask holds, if any.

    Raises DualEncError for a mask that holds nothing of the face or is inverted.
    """
    matrix = quad.matrix(size)
    values = mask_window(mask, photo, matrix, size)
    region = _region(points, matrix, size)
    remarks = []
    if abs(mask.width * photo.height / (mask.height * photo.width) - 1) > 0.05:
        message = (
            f"the mask is {mask.width}×{mask.height}, the photo {photo.width}×{photo.height}: the mask was stretched"
        )
        remarks.append(Warning("mask-size", message))
    if region is None:
        if float(values.max()) < NOTHING:
            raise DualEncError("the mask holds nothing of the crop; leave the mask out, or move the crop")
        return Matte(values, tuple(remarks))
    share = held(values, region)
    if other is None and leaves_out(mask, photo, quad, points):
        raise DualEncError(f"the mask {INVERTED}")
    if share < NONE:
        raise DualEncError(
            "the mask holds nothing of the face, so there would be no head; "
            + (
                "paint the whole head white, or leave the mask out"
                if other is None
                else f"it is on face {other}: choose that one (face), or leave the mask out"
            )
        )
    if share < LITTLE:
        remarks.append(_little("the mask", share))
    return Matte(values, tuple(remarks))


def found_matte(
    crop: Tensor,
    alpha: Tensor | None,
    covered: Tensor,
    matrix: np.ndarray | None = None,
    points: np.ndarray | None = None,
    device: str = "cpu",
) -> Matte:
    """The person in a crop by the photo's alpha, by segmentation, or by both where alpha alone is no cut-out.

    Args:
        crop: [1,3,size,size] in 0..1.
        alpha: [1,1,size,size], the photo's own alpha in the crop, if it has any that varies.
        covered: [1,1,size,size], where the crop lies on the photo.
        matrix, points: as in `given_matte`.
    """
    # Mirrored surroundings are no person, except below: there the neck and shoulders go on.
    values = person_matte(crop, device) * torch.cummax(covered, 2).values
    name, remarks = "the person that was found", []
    region = _region(points, matrix, covered.shape[-1])
    values = without_leaks(crop, values, region)
    if alpha is not None:
        surroundings = (1 - values) * covered
        kept = held(alpha, surroundings) if float(surroundings.mean()) > 0.01 else 0.0
        # Where segmentation finds nobody, alpha is all there is.
        lost = region is not None and held(values, region) < LITTLE
        if kept < _CUT_OUT or lost:
            values, name = alpha, "the photo's alpha"
            remarks.append(Warning("note", "the photo's alpha is the matte"))
        else:
            values, name = alpha * values, "what alpha and segmentation agree on"
            remarks.append(
                Warning(
                    "alpha",
                    f"the photo's alpha is no cut-out: it keeps {kept:.0%} of what surrounds the person; so the person "
                    "was found as well, and both were multiplied",
                )
            )
    # Without a face the region is a guess.
    if points is not None and region is not None and held(values, region) < LITTLE:
        remarks.append(_little(name, held(values, region)))
    return Matte(values, tuple(remarks))


def _head(points: np.ndarray | None, matrix: np.ndarray | None, size: int, zoom: float = 1.0) -> Tensor:
    if points is None or matrix is None:
        return middle(size, zoom=zoom)
    return face_region(points, matrix, size)


def _region(points: np.ndarray | None, matrix: np.ndarray | None, size: int) -> Tensor | None:
    """The face in the crop, or the middle of it; None when the crop has been moved off the face."""
    region = _head(points, matrix, size)
    return region if float(region.mean()) > 0.005 else None


def _little(name: str, share: float) -> Warning:
    return Warning(
        "little-matte", f"{name} holds {share:.0%} of the face: look at the matte, and give a mask of the whole head"
    )
