"""Gaussian splats: a head as many small soft spots, which programs of 3D Gaussian Splatting show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import DualEncError


@dataclass(frozen=True)
class Splats:
    """One head as N anisotropic 3D Gaussians. Never mutated; use `replace`.

    Attributes:
        positions: [N,3] float32, world units (+y up, +z out of the face).
        scales: [N,3] float32, standard deviations along the splat's own axes, world units, positive.
        rotations: [N,4] float32, unit quaternions (w, x, y, z) that turn the splat's axes into the world's.
        opacities: [N] float32 in 0..1.
        colours: [N,3] float32, sRGB; slightly outside of 0..1 where that serves the pictures.
        meta: provenance, JSON-compatible.
    """

    positions: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colours: Tensor
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.positions)
        shapes = {"positions": (3,), "scales": (3,), "rotations": (4,), "opacities": (), "colours": (3,)}
        for name, tail in shapes.items():
            shape = tuple(getattr(self, name).shape)
            if shape != (count, *tail):
                raise DualEncError(f"splat {name} have shape {shape}, expected {(count, *tail)}")

    def __len__(self) -> int:
        return len(self.positions)

    def replace(self, **changes: Any) -> Splats:
        """A copy with some fields changed."""
        return replace(self, **changes)


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """[N,4] unit quaternions (w, x, y, z) → [N,3,3]."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def towards(normals: Tensor) -> Tensor:
    """Unit quaternions [N,4] that turn +z into unit normals [N,3] the short way."""
    x, y, z = normals.double().unbind(-1)
    half = ((1 + z) / 2).clamp(min=0).sqrt()
    # Straight down the short way is any way: about x.
    down = half < 1e-6
    side = torch.where(down, torch.ones_like(half), 2 * half)
    quaternion = torch.stack(
        [half, torch.where(down, torch.ones_like(x), -y / side), x / side, torch.zeros_like(x)], -1
    )
    return (quaternion / quaternion.norm(dim=-1, keepdim=True)).to(normals.dtype)
