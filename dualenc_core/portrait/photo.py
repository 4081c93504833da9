"""Any photo as an array, and antialiased windows of it.

Coordinates are continuous pixels: (0, 0) is the top-left corner of the picture and pixel (column j, row i) is centred
at (j + ½, i + ½). The full-size array is never converted to float as a whole, so that an 8k photo stays affordable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import DualEncError
from .decode import open_picture, pixels

_STRIP_BYTES = 1 << 26
# Resampling overshoots; beyond this the numbers mean something else. Bicubic in both directions gives 0.45 at worst.
OVERSHOOT, NOTABLE = 0.5, 0.25


@dataclass(frozen=True)
class Photo:
    """One picture.

    Attributes:
        pixels: [H,W,C] uint8, uint16 (full range) or float32 (0..1); C is 3 for photos, 1 for masks.
        alpha: the picture's own alpha as a Photo of one channel, or None when it is absent or the same everywhere.
        uncomposed: with alpha, the colours [H,W,3] as they are stored, also where they cannot be seen.
        notes: sentences on what was done while reading ("the photo was turned upright by its EXIF tag", ...).
    """

    pixels: np.ndarray
    alpha: Photo | None = None
    uncomposed: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def reduced(self, longest: int) -> Photo:
        """A copy whose longer side is at most ``longest`` px, antialiased (self when it is small enough)."""
        factor = max(self.width, self.height) / longest
        if factor <= 1:
            return self
        height, width = (max(round(n / factor), 1) for n in (self.height, self.width))
        image = _resize(_to_tensor(self.pixels, int(factor)), height, width)
        return Photo(image[0].permute(1, 2, 0).contiguous().numpy())

    def window(
        self, matrix: np.ndarray | Sequence[Sequence[float]], size: int | tuple[int, int], border: str = "zeros"
    ) -> Tensor:
        """The picture under an affine map, antialiased when it shrinks and bicubic when it grows.

        Args:
            matrix: [2,3], output pixel coordinates → photo pixel coordinates (both continuous, see the module).
            size: output side, or (height, width).
            border: outside the photo: ``"zeros"``, ``"border"`` (edge colour) or ``"reflection"``.

        Returns [1,C,height,width] float32 in 0..1.
        """
        height, width = (size, size) if isinstance(size, int) else size
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ np.asarray(matrix).T
        low, high = corners.min(0), corners.max(0)
        limit = np.array([self.width, self.height])
        # Mirrored surroundings need as much of the inside as the window hangs over.
        over = max((-low).max(), (high - limit).max(), 0) if border == "reflection" else 0
        shrink = float(np.sqrt(abs(np.linalg.det(np.asarray(matrix)[:, :2]))))
        margin = over + 4 * max(shrink, 1)  # what the filters reach beyond the window
        x0, y0 = np.clip(np.floor(low - margin), 0, limit - 1).astype(int)
        x1, y1 = np.clip(np.ceil(high + margin), [x0 + 1, y0 + 1], limit).astype(int)
        block = max(min(int(shrink), y1 - y0, x1 - x0), 1)
        region = _to_tensor(self.pixels[y0:y1, x0:x1], block)
        span = torch.tensor([region.shape[3], region.shape[2]]) * block
        if shrink > 1:
            region = _resize(region, *(max(round(int(n) / shrink), 1) for n in span.flip(0)))
        v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        local = torch.as_tensor(np.asarray(matrix, dtype=np.float64))
        points = torch.stack([u, v, torch.ones_like(u)], -1).double() @ local.T
        points = (points - torch.tensor([x0, y0])) / span * 2 - 1
        sampled = F.grid_sample(region, points[None].float(), "bicubic", border, align_corners=False)
        return sampled.clamp_(0, 1)

    def covered(self, matrix: np.ndarray, size: int) -> Tensor:
        """[1,1,size,size]: 1 where the window lies on the photo, 0 outside."""
        v, u = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
        x, y = (torch.stack([u, v, torch.ones_like(u)], -1).double() @ torch.as_tensor(matrix).double().T).unbind(-1)
        inside = (x >= 0) & (x <= self.width) & (y >= 0) & (y <= self.height)
        return inside[None, None].float()


def read_photo(image: str | Path | Image.Image | np.ndarray | Tensor) -> Photo:
    """Anything that holds one photo → Photo with three channels.

    Args:
        image: path or PIL image (turned upright by its EXIF orientation, converted to sRGB from its colour profile; any
            mode, 8 or 16 bit); numpy [H,W] or [H,W,1|3|4], uint8, uint16 or float in 0..1; tensor [1|3|4,H,W] or
            [1,1|3|4,H,W], uint8 or float in 0..1. Floats a little outside, as resampling leaves them, are clamped.
            Grey is repeated; a fourth channel is alpha: the colours are composed over white, and the alpha is kept.

    Raises DualEncError: unreadable or unsupported file, wrong shape or type, several pictures, NaN, values outside
    the range, transparent everywhere.
    """
    notes: tuple[str, ...] = ()
    if isinstance(image, (str, Path)):
        image = open_picture(image)
    if isinstance(image, Image.Image):
        array, notes = pixels(image)
    elif isinstance(image, Tensor):
        array = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise DualEncError(f"image is a {type(image).__name__}, expected a path, PIL image, numpy array or tensor")
    array, clamped = _checked(array)
    notes += clamped
    if array.shape[2] == 4:
        return _composed(array, notes)
    return Photo(np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array, notes=notes)


def _from_tensor(image: Tensor) -> np.ndarray:
    shape = tuple(image.shape)
    if image.ndim == 4:
        if len(image) != 1:
            raise DualEncError(f"image has shape {shape}: {len(image)} pictures, expected one photo per call")
        image = image[0]
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise DualEncError(f"image has shape {shape}, expected [3,H,W] or [1,3,H,W] (channels first)")
    image = image.detach().cpu()
    return (image.float() if image.is_floating_point() else image).permute(1, 2, 0).numpy()


def _checked(array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """[H,W,C] of a known type in its range, and notes."""
    shape = array.shape
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in shape:
        raise DualEncError(f"image has shape {shape}, expected [H,W] or [H,W,1|3|4] (channels last)")
    if array.dtype in (np.uint8, np.uint16):
        return array, ()
    if not np.issubdtype(array.dtype, np.floating):
        raise DualEncError(f"image has type {array.dtype}, expected uint8, uint16, or float in 0..1")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DualEncError("image contains NaN or infinity, expected numbers in 0..1")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise DualEncError(
            f"image holds floats in {low:.3g}..{high:.3g}, expected 0..1; "
            "for -1..1 pass (x + 1) / 2, for 0..255 pass uint8"
        )
    far = low < -NOTABLE or high > 1 + NOTABLE
    notes = (f"the photo's values {low:.2f}..{high:.2f} were clamped to 0..1",) if far else ()
    return np.clip(array, 0, 1).astype(np.float32), notes


def _composed(array: np.ndarray, notes: tuple[str, ...]) -> Photo:
    full = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype, 1)
    colour, alpha = array[:, :, :3], array[:, :, 3:]
    low, high = alpha.min(), alpha.max()
    if high == 0:
        raise DualEncError(
            "the photo is transparent everywhere (its alpha is 0), so nothing of it can be seen; save it without alpha"
        )
    if low == high:
        # Alpha that is the same everywhere cuts out nothing.
        if high < full:
            notes = (*notes, f"the photo's alpha, {high / full:.3g} everywhere, was left out")
        return Photo(np.ascontiguousarray(colour), notes=notes)
    out = np.empty_like(colour)
    step = max(_STRIP_BYTES // max(array[0].size * 4, 1), 1)
    for row in range(0, len(array), step):
        weight = alpha[row : row + step].astype(np.float32) / full
        mixed = colour[row : row + step] * weight + full * (1 - weight)
        out[row : row + step] = mixed if full == 1 else np.rint(mixed)
    notes = (*notes, "the photo was composed over white")
    return Photo(out, Photo(np.ascontiguousarray(alpha)), colour, notes)


def _to_tensor(pixels: np.ndarray, block: int = 1) -> Tensor:
    """[H,W,C] → [1,C,H/block,W/block] float32 in 0..1 by box means, in strips so that memory stays bounded."""
    full = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(pixels.dtype, 1.0)
    block = max(min(block, *pixels.shape[:2]), 1)
    if pixels.dtype == np.uint8 and block > 1:
        # Pillow does the same box mean many times faster.
        small = np.asarray(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).reduce(block))
        small = small.reshape(*small.shape[:2], pixels.shape[2])
        return torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)[None]
    step = max(_STRIP_BYTES // max(pixels[0].size * 4, 1) // block, 1) * block
    strips = []
    for row in range(0, len(pixels), step):
        strip = torch.from_numpy(pixels[row : row + step].astype(np.float32) / full).permute(2, 0, 1)[None]
        # ceil_mode keeps the last, smaller blocks: their mean covers only real pixels.
        strips.append(F.avg_pool2d(strip, block, ceil_mode=True, count_include_pad=False) if block > 1 else strip)
    return torch.cat(strips, 2)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
