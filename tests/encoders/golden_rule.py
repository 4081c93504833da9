"""The deterministic weights and images of tests/golden/encoders (README §1), and how errors are measured."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

CONSTANT = 0x1F2E3D4C
GOLDEN = Path(__file__).parents[1] / "golden" / "encoders"


def uniform(name: str, count: int) -> np.ndarray:
    """u in (0,1), float64."""
    h = np.arange(count, dtype=np.uint32)
    h *= np.uint32(0x9E3779B1)
    h += np.uint32((zlib.crc32(name.encode()) ^ CONSTANT) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return (h + 0.5) / 2.0**32


def signed(name: str, count: int) -> np.ndarray:
    """v in (-1,1)."""
    return 2 * uniform(name, count) - 1


def fill(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A state dict by the filling rule."""
    return {key: _entry(key, shape, shapes) for key, shape in shapes.items()}


def _entry(key: str, shape: list[int], shapes: dict[str, list[int]]) -> torch.Tensor:
    prefix, _, kind = key.rpartition(".")
    count = math.prod(shape)
    if kind == "num_batches_tracked":
        return torch.tensor(0)
    if kind == "running_var":
        values = 0.5 + uniform(key, count)
    elif kind == "running_mean":
        values = 0.2 * signed(key, count)
    elif kind == "bias":
        values = 0.1 * signed(key, count)
    elif len(shape) == 1:
        normed = f"{prefix}.running_mean" in shapes
        values = 1 + 0.3 * signed(key, count) if normed else 0.25 + 0.2 * signed(key, count)
    elif prefix.rpartition(".")[2] == "linear":
        values = math.sqrt(3) * signed(key, count)
    else:
        values = math.sqrt(3.6 / (count / shape[0])) * signed(key, count)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def keys(network: str) -> dict[str, list[int]]:
    """Official keys and shapes of a network."""
    return json.loads((GOLDEN / "state_dict_keys.json").read_text())[network]


def image(name: str, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """The image-like input called ``name``."""
    batch, channels, height, width = shape
    b, c, i, j = np.ogrid[:batch, :channels, :height, :width]
    y, x = (i + 0.5) / height, (j + 0.5) / width
    wave = np.sin(2 * np.pi * ((1 + c % 3 + 2 * b) * y + (2 + b + c % 5) * x) + 0.7 * c + 1.3 * b)
    values = 0.55 * wave + 0.35 * signed(name, math.prod(shape)).reshape(shape)
    return torch.from_numpy(values.astype(np.float32))


def stats(tensor: torch.Tensor) -> torch.Tensor:
    """mean, mean |.|, rms, min, max as float64."""
    t = tensor.detach().double()
    return torch.stack([t.mean(), t.abs().mean(), t.square().mean().sqrt(), t.min(), t.max()])


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """‖actual - expected‖ / ‖expected‖ in float64."""
    actual, expected = actual.detach().double(), expected.double()
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float((actual - expected).norm() / expected.norm().clamp(min=1e-30))
