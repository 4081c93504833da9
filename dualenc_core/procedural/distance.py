"""Signed distances of a head's parts, joined by smooth minima."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import BACK, BOTTOM, NAMES, SEAM, SLICES, Geometry, monomials

FAR = 9.0
FIRST = slice(SLICES["base"].start, SLICES["brow"].stop)
SECOND = slice(SLICES["feature"].start, SLICES["hair"].stop)
CURTAIN, UPPER_LIP, COLLAR = (NAMES.index(name) for name in ("curtain", "upper_lip", "collar"))
SINGLE = tuple(NAMES.index(name) for name in ("window", "ear_opening", "earring", "eye", "concha", "mouth_opening"))


class Layers(NamedTuple):
    """Distances ``[N,M]`` of the visible parts, and what colouring needs besides."""

    skin: Tensor
    eye: Tensor
    hair: Tensor
    brow: Tensor
    beard: Tensor
    cloth: Tensor
    earring: Tensor
    glasses: Tensor
    lips: Tensor
    collar: Tensor
    lid: Tensor

    def nearest(self) -> Tensor:
        """Distance to the union of all parts."""
        d = torch.minimum(torch.minimum(self.skin, self.hair), torch.minimum(self.brow, self.beard))
        d = torch.minimum(torch.minimum(d, self.cloth), torch.minimum(self.earring, self.eye))
        return torch.minimum(d, self.glasses)


def layers(geometry: Geometry, points: Tensor) -> Layers:
    """Distances of the parts at ``points [N,3,M]`` (world units; a lower bound outside, up to the curls)."""
    x, y, z = points.unbind(1)
    mirrored = (x * x + SEAM * SEAM).sqrt()
    d = _ellipsoids(geometry.table, monomials(x, mirrored, y, z))
    window, ear_opening, earring, eye, concha, mouth = (d[:, i] for i in SINGLE)

    base, cloth, beard, brow = _soft_unions(d[:, FIRST], (6, 3, 3, 2), (0.013, 0.007, 0.008, 0.003)).unbind(1)
    lid, eyelid = _eye(geometry.eye, mirrored, y, eye)
    curtain = smooth_max(smooth_max(d[:, CURTAIN], geometry.hem - y, 0.03), y - 0.10, 0.06)
    second = torch.cat([base[:, None], eyelid[:, None], d[:, SECOND], curtain[:, None]], 1)
    face, hair = _soft_unions(second, (8, 6), (0.0065, 0.009)).unbind(1)

    skin = smooth_max(face, -concha, 0.010)
    window = smooth_max(window, 0.035 - z, 0.05)
    hair = smooth_max(hair - _curls(geometry, mirrored, y, z), -torch.minimum(window, ear_opening), 0.018)
    hair = torch.maximum(hair, BACK - z)
    beard = smooth_max(beard, -mouth, 0.012)
    cloth = torch.maximum(cloth, BOTTOM - y)
    glasses = _glasses(geometry, mirrored, y, z) if geometry.worn else torch.full_like(x, FAR)
    lips = torch.minimum(d[:, UPPER_LIP], d[:, UPPER_LIP + 1])
    return Layers(skin, eye, hair, brow, beard, cloth, earring, glasses, lips, d[:, COLLAR], lid)


def _ellipsoids(table: Tensor, terms: Tensor) -> Tensor:
    """First-order distances ``[N,K,M]``: k0 (k0 − 1) / k1, k0 = |p/r|, k1 = |p/r²|; outside never above the truth."""
    roots = (table @ terms).clamp_min_(1e-6).sqrt_()
    k0, k1 = roots.chunk(2, 1)
    return (k0 * k0 - k0) / k1


def _soft_unions(d: Tensor, sizes: tuple[int, ...], widths: tuple[float, ...]) -> Tensor:
    """Smooth minima −k log Σ exp(−d/k) of successive groups of rows ``[N,K,M]`` → ``[N,groups,M]``, all in one pass."""
    k = torch.tensor(widths, device=d.device)
    rows = k.repeat_interleave(torch.tensor(sizes, device=d.device))[:, None]
    # beyond 80 k the exponential would underflow; a distance capped there is still a lower bound
    near = (d / rows).clamp_max_(80.0).neg_().exp_()
    total = torch.stack([part.sum(1) for part in near.split(sizes, 1)], 1)
    return total.log_().mul_(-k[:, None])


def smooth_max(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Polynomial smooth maximum: rounds the edge over a width of about k."""
    h = (k - (a - b).abs()).clamp_min_(0)
    return torch.maximum(a, b) + h * h * (0.25 / k)


def _eye(eye: Tensor, mirrored: Tensor, y: Tensor, ball: Tensor) -> tuple[Tensor, Tensor]:
    """Lid distance (negative in the opening) and the skin of the lids: an almond opening in a slightly larger ball."""
    ex, ey, _, _, width, upper, lower, tilt = eye.unbind(1)
    dx = mirrored - ex
    dy = y - ey - tilt * dx
    almond = 1 - (dx / width).square_()
    lid = torch.maximum(dy - upper * almond, -dy - lower * almond)
    return lid, ball - 0.0036 * torch.sigmoid(lid * 500.0) + 0.002


def _curls(geometry: Geometry, mirrored: Tensor, y: Tensor, z: Tensor) -> Tensor:
    waves = torch.cos(mirrored * 66.0) * torch.cos(y * 62.0 + 0.6) + torch.cos(y * 53.0 + 1.9) * torch.cos(
        z * 64.0 + 0.4
    )
    return waves.mul_(geometry.curl)


def _glasses(geometry: Geometry, mirrored: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Two rings, a bridge and two temples."""
    heads = geometry.heads
    ex, ey, radius, tube, depth = (
        geometry.eye[:, 0],
        geometry.eye[:, 1],
        0.052 + 0.005 * heads.glasses_size[:, None],
        0.0058,
        0.192,
    )
    dx, dy, dz = mirrored - ex, y - ey, z - depth
    ring = ((dx.square() + dy.square()).sqrt() - radius).square() + dz.square()
    bridge = (mirrored - (ex - radius)).clamp_min(0).square() + (dy - 0.008).square() + (dz - 0.004).square()
    start, end_x, back = ex + radius, 0.163 + 0.009 * heads.face_width[:, None], -0.03
    t = ((z - back) / (depth - back)).clamp(0, 1)
    temple = (
        (mirrored - end_x - (start - end_x) * t * t).square()
        + (dy - 0.006).square()
        + (z - back - (depth - back) * t).square()
    )
    d = torch.minimum(torch.minimum(ring, temple), bridge).clamp_min_(1e-12).sqrt_() - tube
    return d + (1 - heads.glasses[:, None]) * FAR
