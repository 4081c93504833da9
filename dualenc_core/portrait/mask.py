"""One reader of masks for photos, nodes and training folders: a mask means the same however it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import DualEncError
from ..mattes import NOTHING
from .decode import ALPHA_MODES, decoding, open_picture, rgba, upright
from .photo import OVERSHOOT, Photo

# What ComfyUI's Load Image gives for a picture without alpha, whatever its size.
_NO_MASK = (64, 64)
# The largest numbers that masks are stored with.
_FULL = (1, 255, 65535)


@overload
def read_mask(mask: Image.Image | str | Path, may_be_empty: bool = False) -> Photo: ...


@overload
def read_mask(mask: Tensor | np.ndarray, may_be_empty: bool = False) -> Photo | None: ...


def read_mask(mask: Tensor | np.ndarray | Image.Image | str | Path, may_be_empty: bool = False) -> Photo | None:
    """Anything that holds one mask → Photo of one channel, 1 = person; `mask_window` fits it to a photo.

    The numbers may go to 1, 255 or 65535 in any type that holds them: 1, 8 or 16 bits, bool, float; floats a little
    outside 0..1, as resampling leaves them, are clamped. Of pictures with an alpha that varies the alpha is the mask,
    unless their colours are a mask themselves: then both are multiplied. Of coloured masks (label pictures) everything
    that is not black counts.

    Args:
        mask: path or PIL image of any mode; array or tensor [H,W], [1,H,W], [1,1,H,W], [H,W,1|3|4], or [3|4,H,W].
        may_be_empty: whether nothing is something, as in one of several views of a part.

    Returns None for ComfyUI's "no mask": an array or tensor of 64×64 zeros. Raises DualEncError for a mask that holds
    nothing, several masks, NaN, other numbers, shapes or types.
    """
    name = "the mask"
    if isinstance(mask, (str, Path)):
        name = f"the mask {str(mask)!r}"
        mask = open_picture(mask, "mask")
    if isinstance(mask, Image.Image):
        with decoding(name):
            array = _of_picture(upright(mask)[0], name)
    else:
        array = _one(_to_numpy(mask, name), name)
        if not may_be_empty and array.shape == _NO_MASK and not array.any():
            return None
    largest, array = array.max(), _scaled(array, name)
    if not may_be_empty and array.max() < NOTHING * _top(array):
        raise DualEncError(
            f"{name} is empty: of its size {array.shape[1]}×{array.shape[0]} it holds nothing (its largest value is "
            f"{float(largest):g}), so there would be no head; make it white on the person and black elsewhere, or "
            "leave it out. (ComfyUI's Load Image gives 1 - alpha as MASK: nothing when the picture is opaque)"
        )
    return Photo(array[:, :, None])


def read_masks(mask: Tensor | np.ndarray, name: str = "MASK") -> Tensor | None:
    """A batch of masks as nodes pass them → [B,1,H,W] float32 in 0..1, or None for ComfyUI's 64×64 zeros.

    Args:
        mask: [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1] in any of the types and ranges of `read_mask`.

    An empty mask is no error here: of several views some may show nothing. Raises DualEncError for an empty batch, NaN,
    other numbers, shapes or types.
    """
    array = _to_numpy(mask, name)
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 4 and 1 in (shape[1], shape[3]):
        array = array[:, 0] if shape[1] == 1 else array[..., 0]
    if array.ndim != 3:
        raise DualEncError(f"{name} has shape {shape}, expected [batch, height, width]")
    if 0 in shape:
        raise DualEncError(f"{name} is empty: it has shape {shape}, expected at least one mask")
    if array.shape[1:] == _NO_MASK and not array.any():
        return None
    array = _scaled(array, name)
    return torch.from_numpy(array.astype(np.float32) / _top(array))[:, None]


def mask_window(mask: Photo, photo: Photo, matrix: np.ndarray, size: int) -> Tensor:
    """[1,1,size,size]: the mask in a window of the photo (`Photo.window`); masks of another size are stretched."""
    stretch = np.diag([mask.width / photo.width, mask.height / photo.height])
    # Pixels of a small mask reach to the photo's edge.
    return mask.window(stretch @ np.asarray(matrix), size, border="border") * photo.covered(matrix, size)


def _to_numpy(mask: Tensor | np.ndarray, name: str) -> np.ndarray:
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu()
        mask = (mask.float() if mask.is_floating_point() else mask).numpy()
    if isinstance(mask, np.ndarray):
        if mask.dtype.kind not in "buif":
            raise DualEncError(f"{name} has type {mask.dtype}, expected integers, floats or bool")
        return _finite(mask, name)
    raise DualEncError(f"{name} is a {type(mask).__name__}, expected a path, PIL image, numpy array or tensor")


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DualEncError(f"{name} contains NaN or infinity, expected numbers in 0..1")
    return array


def _one(array: np.ndarray, name: str) -> np.ndarray:
    """[H,W] of one mask in any of its shapes."""
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if 0 in shape or array.ndim not in (2, 3):
        raise DualEncError(f"{name} has shape {shape}, expected [height, width]")
    if array.ndim == 2:
        return array
    if array.shape[2] == 1:
        return array[:, :, 0]
    # A grey picture, channels first; three masks are not one.
    if array.shape[2] not in (3, 4) and array.shape[0] in (3, 4) and (array[:3] == array[:1]).all():
        array = np.moveaxis(array, 0, 2)
    if array.shape[2] not in (3, 4):
        raise DualEncError(f"{name} has shape {shape}: {array.shape[0]} masks, expected one for the photo")
    return _flat(array[:, :, :3], array[:, :, 3] if array.shape[2] == 4 else None, name)


def _of_picture(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        return _finite(np.asarray(image), name)
    has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    array = np.asarray(rgba(image) if has_alpha else image.convert("RGB"))
    colours, alpha = array[:, :, :3], array[:, :, 3] if has_alpha else None
    if image.mode == "P" and (_is_coloured(colours) or len(image.getcolors() or ()) == 2):
        # Labels: their colours only tell them apart.
        colours = np.repeat(colours.any(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) * 255
    return _flat(colours, alpha, name)


def _flat(colours: np.ndarray, alpha: np.ndarray | None, name: str) -> np.ndarray:
    """[H,W] of colours [H,W,3] and alpha [H,W]."""
    bright = colours.max(axis=2)
    if alpha is not None and not alpha.any():
        raise DualEncError(f"{name} is transparent everywhere (its alpha is 0); save it without alpha")
    if alpha is not None and alpha.min() != alpha.max():
        if not _is_two_toned(colours):
            return alpha
        return bright.astype(np.float32) / bright.max() * _unit(alpha, name)
    if _is_coloured(colours) and bright.max() > 0:
        return bright.astype(np.float32) / bright.max()
    return bright


def _is_coloured(colours: np.ndarray) -> bool:
    """More than noise of a grey picture."""
    high, low = colours.max(axis=2).astype(np.float32), colours.min(axis=2).astype(np.float32)
    return float((high - low > 0.1 * max(float(high.max()), 1e-6)).mean()) > 1e-3


def _is_two_toned(colours: np.ndarray) -> bool:
    """Black and white, with no more between than a soft edge."""
    if colours.max() == 0 or _is_coloured(colours):
        return False
    bright = colours.max(axis=2) / colours.max()
    black, white = float((bright < 0.1).mean()), float((bright > 0.9).mean())
    return black + white > 0.9 and min(black, white) > 0.005


def _full(array: np.ndarray, name: str) -> int:
    """The number that means 1."""
    if array.dtype == bool:
        return 1
    low, high = float(array.min()), float(array.max())
    slack = OVERSHOOT if array.dtype.kind == "f" else 0
    full = next((full for full in _FULL if high <= full * (1 + (slack if full == 1 else 0))), None)
    if full is None or low < -slack * full:
        raise DualEncError(f"{name} holds numbers in {low:g}..{high:g}, expected 0..1, 0..255 or 0..65535")
    return full


def _scaled(array: np.ndarray, name: str) -> np.ndarray:
    """[…] of any type → uint8 or uint16 over their full range, or float32 in 0..1."""
    full = _full(array, name)
    if array.dtype.kind == "f":
        return np.clip(array / np.float32(full), 0, 1).astype(np.float32)
    return array.astype(np.uint8) * 255 if full == 1 else array.astype(np.uint8 if full == 255 else np.uint16)


def _top(array: np.ndarray) -> int:
    """What 1 is in an array of `_scaled`."""
    return np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1


def _unit(array: np.ndarray, name: str) -> np.ndarray:
    scaled = _scaled(array, name)
    return scaled.astype(np.float32) / _top(scaled)
