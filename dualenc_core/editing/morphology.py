"""Growing, shrinking and softening regions: in the planes of a mask, or in a volume (editing.md §2.3, §3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DualEncError
from ..inversion import occlusion
from ..point_weight import LabelVolume
from ..triplane import TriplaneMask

# Sizes are given for planes of this many cells a side and scale with the plane.
REFERENCE_SIZE = 256

Soft = TriplaneMask | LabelVolume


def dilate(region: Soft, radius: float) -> Soft:
    """Grow by ``radius`` cells of a 256-cell plane, in every plane and slice (a square neighbourhood), or in 3D.

    Example:
        >>> import torch
        >>> from dualenc_core import TriplaneMask
        >>> from dualenc_core.editing import dilate
        >>> mask = TriplaneMask(torch.zeros(1, 3, 1, 256, 256))
        >>> mask.mask[..., 128, 128] = 1
        >>> dilate(mask, 2).mask[0, 0].sum().item()  # 5 × 5 cells
        25.0
    """
    return _apply(region, lambda values: _grow(values, cells(radius, values.shape[-1])))


def erode(region: Soft, radius: float) -> Soft:
    """Shrink likewise; what lies outside the box counts as inside the region."""
    return _apply(region, lambda values: -_grow(-values, cells(radius, values.shape[-1])))


def feather(region: Soft, sigma: float, radius: float | None = None) -> Soft:
    """Gaussian blur of ``sigma`` cells of a 256-cell plane, cut off at ``radius`` (None = 3 sigma)."""

    def blur(values: Tensor) -> Tensor:
        scale = values.shape[-1] / REFERENCE_SIZE
        flat = values if isinstance(region, LabelVolume) else values.flatten(1, 2)
        reach = None if radius is None else cells(radius, values.shape[-1])
        return gaussian(flat, sigma * scale, reach).reshape(values.shape)

    return _apply(region, blur)


def cells(radius: float, size: int) -> int:
    """``radius`` for planes of 256 cells → whole cells of planes of ``size``."""
    if not radius >= 0:
        raise DualEncError(f"radius is {radius}, expected 0 or more cells (of a 256-cell plane)")
    return int(radius * size / REFERENCE_SIZE + 0.5)


def gaussian(values: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Blur [N,C,…] along every axis after the second; borders are repeated, so that a constant stays itself."""
    radius = int(3 * sigma + 0.5) if radius is None else radius
    if radius == 0 or sigma <= 0:
        return values
    place = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    taps = torch.exp(-place.square() / (2 * sigma * sigma))
    taps = taps / taps.sum()
    for axis in range(2, values.ndim):
        moved = values.movedim(axis, -1)
        line = F.pad(moved.reshape(1, -1, moved.shape[-1]), (radius, radius), mode="replicate")
        values = F.conv1d(line.transpose(0, 1), taps.view(1, 1, -1)).reshape(moved.shape).movedim(-1, axis)
    return values


def _grow(values: Tensor, radius: int) -> Tensor:
    if radius == 0:
        return values
    if values.shape[1] == 1:
        return F.max_pool3d(values, 2 * radius + 1, 1, radius)
    return occlusion.dilate(values.flatten(1, 2), radius).reshape(values.shape)


def _apply(region: Soft, function: Callable[[Tensor], Tensor]) -> Soft:
    if isinstance(region, TriplaneMask):
        return TriplaneMask(function(region.mask), region.meta)
    if isinstance(region, LabelVolume):
        return LabelVolume(function(region.volume), region.box)
    raise DualEncError(
        f"region is a {type(region).__name__}, expected a TriplaneMask or a LabelVolume; bake other weights first"
    )
