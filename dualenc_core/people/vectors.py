"""Small numpy helpers of meshes, colours and light."""

from __future__ import annotations

import numpy as np

# 8-bit texture → linear, and the luminance of linear colours.
LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
LUMINANCE = np.array([0.3, 0.6, 0.1], np.float32)


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis; zero stays zero."""
    return v / np.maximum(np.sqrt(dot(v, v)), 1e-9)[..., None]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products along the last axis; much faster than a sum over three columns."""
    return np.einsum("...i,...i->...", a, b)


def smoothstep(t: np.ndarray | float) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def encoded(linear: np.ndarray) -> np.ndarray:
    """Linear colours in 0..1 → 8-bit texture."""
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def sphere(count: int) -> np.ndarray:
    """Directions [count,3], evenly spread (Fibonacci)."""
    i = np.arange(count) + 0.5
    height, angle = 1 - 2 * i / count, i * np.pi * (3 - 5**0.5)
    radius = np.sqrt(1 - height * height)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1).astype(np.float32)


def harmonics(d: np.ndarray) -> np.ndarray:
    """Real spherical harmonics [...,9] of directions [...,3]: 1, y, z, x, xy, yz, 3z²-1, xz, x²-y²."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    )


# Radiance → irradiance / π, per harmonic.
COSINE = np.array([1] + [2 / 3] * 3 + [1 / 4] * 5, np.float32)[:, None]
