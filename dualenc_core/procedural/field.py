"""The analytic field: signed distance, surface colour and part of any point in space."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DualEncError
from .distance import layers
from .geometry import Geometry, build_geometry
from .heads import Heads
from .shading import Part, label_parts, shade

__all__ = ["Part", "colour", "field", "parts", "signed_distance", "surface_normal"]
TAP = 0.0015
REACH = 0.06


def signed_distance(heads: Heads, points: Tensor) -> Tensor:
    """Signed distance to the head, negative inside.

    Args:
        points: ``[N,M,3]``, world units.

    Returns:
        ``[N,M]``. A first-order distance: exact on the surface, seldom above the true distance outside.

    Raises:
        DualEncError: shapes that do not fit the heads.
    """
    return layers(build_geometry(heads), _planar(heads, points)).nearest()


def surface_normal(heads: Heads, points: Tensor) -> Tensor:
    """Unit gradient of the signed distance ``[N,M,3]`` at ``points [N,M,3]``."""
    return normal_at(build_geometry(heads), _planar(heads, points)).transpose(1, 2)


def colour(heads: Heads, points: Tensor, normals: Tensor | None = None) -> Tensor:
    """Lit colour in [0,1], ``[N,M,3]``, of ``points [N,M,3]`` on the surface; unit ``normals [N,M,3]`` if known."""
    geometry, p = build_geometry(heads), _planar(heads, points)
    return lit_colour(geometry, p, None if normals is None else _planar(heads, normals)).transpose(1, 2)


def field(heads: Heads, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and colour of arbitrary points, for training a generator's density and colour directly.

    Args:
        points: ``[N,M,3]``, world units.

    Returns:
        Signed distance ``[N,M]`` and the colour ``[N,M,3]`` in [-1,1] of the surface point near each (moved along the
        gradient by at most 0.06 world units).
    """
    geometry, p = build_geometry(heads), _planar(heads, points)
    distance = layers(geometry, p).nearest()
    normals = normal_at(geometry, p)
    surface = p - normals * distance.clamp(-REACH, REACH)[:, None]
    return distance, lit_colour(geometry, surface, normals).transpose(1, 2) * 2 - 1


def parts(heads: Heads, points: Tensor) -> Tensor:
    """`Part` label ``[N,M]`` int64 of the part nearest to ``points [N,M,3]``."""
    return label_parts(layers(build_geometry(heads), _planar(heads, points)))


def normal_at(geometry: Geometry, points: Tensor) -> Tensor:
    """Unit gradient ``[N,3,M]`` at ``points [N,3,M]`` by four taps on a tetrahedron."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    n, _, m = points.shape
    taps = points[:, :, None] + TAP * corners.t()[None, :, :, None]
    d = layers(geometry, taps.reshape(n, 3, 4 * m)).nearest().view(n, 4, m)
    return torch.nn.functional.normalize(torch.einsum("nkm,kc->ncm", d, corners), dim=1)


def lit_colour(geometry: Geometry, points: Tensor, normals: Tensor | None = None) -> Tensor:
    """Lit colour in [0,1] ``[N,3,M]`` of surface ``points [N,3,M]``."""
    normals = normal_at(geometry, points) if normals is None else normals
    m = points.shape[2]
    near, far = 0.016, 0.055
    every = layers(geometry, torch.cat([points, points + near * normals, points + far * normals], 2))
    open_near, open_far = every.nearest()[:, m:].split(m, 1)
    occlusion = 0.45 * (open_near / near).clamp(0, 1) + 0.55 * (open_far / far).clamp(0, 1)
    here = type(every)(*(layer[:, :m] for layer in every))
    return shade(geometry, here, points, normals, occlusion)


def _planar(heads: Heads, points: Tensor) -> Tensor:
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[0] != len(heads):
        raise DualEncError(
            f"points have shape {tuple(points.shape)}, expected [{len(heads)},M,3]: M points for each head"
        )
    if points.device != heads.device:
        raise DualEncError(f"points are on {points.device} but the heads on {heads.device}; move one with .to(device)")
    return points.transpose(1, 2).contiguous()
