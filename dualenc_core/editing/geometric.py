"""Regions that need no picture: half-spaces, boxes, balls, what lies behind the ears.

As LabelVolumes for precise edits; `cells_of_volume` gives any of them as a TriplaneMask, and
`regions.mask_from_weight` one that also knows where the head's surface is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import DualEncError
from ..point_weight import LabelVolume
from ..rendering.trigrid import PLANE_AXES
from ..triplane import TriplaneMask
from ..volumes import read_volume
from .compose import grid_points

_SOFTNESS = 0.01
# World z of the back edge of the ears in PanoHead's frame, and the degrees by which they lean back at the top.
_EAR_Z, _EAR_LEAN = -0.05, 8.0
# Places along a plane's depth that a cell's mean is taken over.
_DEPTH_SAMPLES = 48


def half_space(
    normal: Sequence[float], offset: float = 0.0, *, softness: float = _SOFTNESS, size: int = 64, box: float = 1.0
) -> LabelVolume:
    """All points with normal · x > offset.

    Args:
        normal: [3], of any length but 0; (0, 0, -1) is the back of the head, (1, 0, 0) the viewer's right.
        offset: world units along the unit normal.
        softness: width of the border in world units.
        size: cells of the volume along each side.
        box: side of the tri-grid's cube in world units.

    Example:
        >>> import torch
        >>> from dualenc_core.editing import half_space
        >>> back = half_space((0, 0, -1))
        >>> back(torch.tensor([[[0.0, 0, 0.2], [0.0, 0, -0.2]]]))[0, :, 0]
        tensor([0., 1.])
    """
    direction = _vector("normal", normal)
    length = direction.norm()
    if not float(length) > 0:
        raise DualEncError("normal is (0, 0, 0), expected a direction")
    return _volume(lambda p: p @ (direction / length) - offset, softness, size, box)


def box_region(
    low: Sequence[float],
    high: Sequence[float],
    *,
    softness: float = _SOFTNESS,
    size: int = 64,
    box: float = 1.0,
) -> LabelVolume:
    """The points between two corners, in world units; others as `half_space`."""
    a, b = _vector("low", low), _vector("high", high)
    if not bool((a < b).all()):
        raise DualEncError(f"low is {tuple(low)} and high {tuple(high)}, expected low below high in x, y and z")
    return _volume(lambda p: torch.minimum(p - a, b - p).amin(-1), softness, size, box)


def ball(
    centre: Sequence[float], radius: float, *, softness: float = _SOFTNESS, size: int = 64, box: float = 1.0
) -> LabelVolume:
    """The points within ``radius`` of ``centre``, in world units; others as `half_space`.

    Example:
        >>> import torch
        >>> from dualenc_core.editing import ball
        >>> ball((0, 0, 0.2), 0.1)(torch.tensor([[[0.0, 0, 0.2], [0.0, 0, -0.2]]]))[0, :, 0].round()
        tensor([1., 0.])
    """
    if not radius > 0:
        raise DualEncError(f"radius is {radius}, expected a positive length in world units (the head is about 0.5)")
    middle = _vector("centre", centre)
    return _volume(lambda p: radius - (p - middle).norm(dim=-1), softness, size, box)


def behind_ears(shift: float = 0.0, *, softness: float = _SOFTNESS, size: int = 64, box: float = 1.0) -> LabelVolume:
    """The back of the head: behind a plane at the ears that leans back a little.

    Args:
        shift: moves the plane forward, in world units. Others as `half_space`.
    """
    lean = math.radians(_EAR_LEAN)
    offset = -(_EAR_Z + shift) * math.cos(lean)
    return half_space((0.0, -math.sin(lean), -math.cos(lean)), offset, softness=softness, size=size, box=box)


def cells_of_volume(volume: LabelVolume, size: int, depth: int = 3, box: float = 1.0) -> TriplaneMask:
    """A volume as cells of a tri-grid: for each cell its mean over the line that the cell stands for.

    Args:
        volume: N weights.
        size: S, cells along each side of a plane.
        depth: D, slices.
        box: side of the tri-grid's cube in world units.

    Returns a TriplaneMask [N,3,D,S,S].
    """
    if size < 1 or depth < 1:
        raise DualEncError(f"size is {size} and depth {depth}, expected at least 1")
    values = volume.volume
    line = (2 * torch.arange(size, device=values.device, dtype=values.dtype) + 1) / size - 1
    along = (2 * torch.arange(_DEPTH_SAMPLES, device=values.device, dtype=values.dtype) + 1) / _DEPTH_SAMPLES - 1
    # Trilinear share of each place along the depth in each slice, as the lookup weighs them.
    place = ((along + 1) * depth - 1) / 2
    share = (1 - (place[None] - torch.arange(depth, device=values.device)[:, None]).abs()).clamp_min(0)
    share = share / share.sum(1, keepdim=True)
    planes = []
    for axes in PLANE_AXES:
        d, h, w = torch.meshgrid(along, line, line, indexing="ij")
        point = torch.empty(*d.shape, 3, device=values.device, dtype=values.dtype)
        for axis, coordinate in zip(axes, (w, h, d), strict=True):
            point[..., axis] = coordinate
        places = (point * (box / volume.box)).reshape(1, -1, 3).expand(len(values), -1, -1)
        read = read_volume(values, places, "border")[..., 0].unflatten(1, d.shape)
        planes.append(torch.einsum("kd,ndhw->nkhw", share, read))
    return TriplaneMask(torch.stack(planes, 1).clamp(0, 1), {"kind": "region"})


def _volume(distance: Callable[[Tensor], Tensor], softness: float, size: int, box: float) -> LabelVolume:
    if size < 2 or not box > 0 or not softness >= 0:
        raise DualEncError(
            f"size is {size}, box {box} and softness {softness}; expected at least 2, a positive side, and 0 or more"
        )
    inside = distance(grid_points(size, box, torch.zeros(())))
    # A border thinner than a cell would be a staircase.
    width = max(softness, box / size)
    return LabelVolume((inside / width + 0.5).clamp(0, 1).reshape(1, 1, size, size, size), box)


def _vector(name: str, values: Sequence[float]) -> Tensor:
    vector = torch.as_tensor(values, dtype=torch.float32).reshape(-1)
    if len(vector) != 3 or not bool(torch.isfinite(vector).all()):
        raise DualEncError(f"{name} is {values}, expected three finite numbers x, y, z")
    return vector
