"""Crops and cameras that a user hands over, instead of having them found."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..files import read_text
from ..portrait.photo import Photo, read_mask, read_photo

CROP = 512
_SMALLEST = 64


def read_crop(path: Path, mask: Path | None = None) -> tuple[Tensor, Tensor | None]:
    """An aligned square crop as [1,3,512,512] in [-1,1], and its mask as [1,1,512,512] in 0..1.

    Raises DualEncError for an unreadable file, one that is not square or too small, and a mask that is empty or of
    another size.
    """
    photo = read_photo(path)
    if photo.width != photo.height or photo.width < _SMALLEST:
        raise DualEncError(
            f"{path} is {photo.width}×{photo.height} pixels; with --no-align it must be an aligned square crop of at "
            f"least {_SMALLEST} pixels. Without --no-align any photo will do"
        )
    image = _whole(photo) * 2 - 1
    if mask is None:
        return image, None if photo.alpha is None else _whole(photo.alpha)
    matte = _whole(read_mask(mask, photo))
    if not bool((matte > 0.5).any()):
        raise DualEncError(f"the mask {mask} is empty; paint the head white, everything else black")
    return image, matte


def _whole(photo: Photo) -> Tensor:
    scale = photo.width / CROP
    return photo.window([[scale, 0.0, 0.0], [0.0, scale, 0.0]], CROP, border="border")


def read_camera(text: str) -> Camera:
    """One camera from 25 numbers (cam2world row by row, then intrinsics), as text or in a file.

    A file may be JSON (a list, or a report of ours) or plain numbers. Raises DualEncError for anything else.
    """
    path = Path(text)
    source = text
    if not re.fullmatch(r"[-+0-9.eE,;\[\]\s]+", text):
        if not path.is_file():
            raise DualEncError(f"the camera {text!r} is neither 25 numbers nor an existing file")
        try:
            source = read_text(path)
        except DualEncError as error:
            raise DualEncError(f"the camera file {path} is not text; expected 25 numbers or JSON ({error})") from error
    numbers = _numbers(source)
    if len(numbers) != 25 or not all(math.isfinite(n) for n in numbers):
        raise DualEncError(
            f"the camera {text!r} has {len(numbers)} numbers, expected 25: cam2world row by row, then intrinsics"
        )
    camera = Camera.from_label(numbers)
    rotation = camera.cam2world[0, :3, :3].double()
    if (rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or rotation.det() < 0:
        raise DualEncError(f"the camera {text!r} has a cam2world whose upper left 3×3 part is not a rotation")
    if not (camera.intrinsics[0, 0, 0] > 0 and camera.intrinsics[0, 1, 1] > 0):
        raise DualEncError(f"the camera {text!r} has a focal length that is not positive (numbers 17 and 21)")
    return camera


def _numbers(source: str) -> list[float]:
    try:
        content = json.loads(source)
        if isinstance(content, dict):
            content = content["camera"]["label"]
        return [float(n) for n in torch.tensor(content, dtype=torch.float64).reshape(-1).tolist()]
    except (ValueError, KeyError, TypeError, RecursionError):
        try:
            return [float(word) for word in re.split(r"[\s,;]+", source.strip())]
        except ValueError:
            return []
