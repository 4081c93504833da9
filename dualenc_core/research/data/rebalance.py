"""Pose rebalancing as in LPFF: rare camera directions are repeated (encoders.md §6.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import DualEncError, require

# More than this density: so many copies; the last applies to everything rarer.
COPIES = ((0.1, 1), (0.06, 2), (0.04, 3), (0.02, 4), (0.01, 5), (0.0, 6))


def pose_angles(labels: Tensor) -> Tensor:
    """Labels [N,25] → (theta, phi) [N,2] in radians of the camera position; the front is (π/2, π/2).

    Position = r·(cos θ, sin θ cos φ, sin θ sin φ).
    """
    if labels.ndim != 2 or labels.shape[1] != 25:
        raise DualEncError(f"labels have shape {tuple(labels.shape)}, expected [N,25]")
    x, y, z = labels[:, [3, 7, 11]].double().unbind(-1)
    # y / cos φ of the definition, without its division by zero at the front.
    return torch.stack([torch.atan2((y * y + z * z).sqrt(), x), torch.atan2(z, y)], dim=-1)


def camera_density(labels: Tensor) -> Tensor:
    """Density [N] of each camera's direction among all: a Gaussian kernel estimate with Scott's bandwidth.

    The cost grows with N²: seconds for ten thousand, minutes for a hundred thousand.

    Raises DualEncError for fewer than three labels, or directions that all lie on a line: no density exists then.
    """
    angles = pose_angles(labels)
    count = len(angles)
    if count < 3:
        raise DualEncError(f"there are {count} labels, expected at least 3 to estimate how dense poses are")
    if float(torch.linalg.det(torch.cov(angles.T))) <= 1e-18:
        raise DualEncError("all cameras lie on one line (or in one point): their density is not defined; leave it out")
    points = angles.T.cpu().numpy()
    return torch.from_numpy(require("scipy.stats", "scipy").gaussian_kde(points)(points)).to(angles)


def copies_by_density(density: Tensor) -> Tensor:
    """How often each image is listed, int64 [N] in 1..6."""
    copies = torch.full(density.shape, COPIES[-1][1], dtype=torch.int64)
    for bound, count in reversed(COPIES[:-1]):
        copies[density > bound] = count
    return copies
