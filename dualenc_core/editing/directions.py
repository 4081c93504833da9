"""Directions of the latent space: from a file, or found in the generator itself without any labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, DualEncError
from ..generator import PanoHead
from ..generator.layers import FullyConnectedLayer

_BATCH = 256


def load_direction(path: str | Path, generator: PanoHead) -> Tensor:
    """A direction [num_ws,w_dim] from a ``.safetensors`` (one tensor, or one named "direction") or ``.npy`` file.

    It may hold w_dim or num_ws·w_dim numbers, with leading dimensions of one.

    Raises CheckpointError for a missing, broken or foreign file, and for one of another generator's shape.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"direction file {path} does not exist; check the name")
    if path.suffix not in (".safetensors", ".npy"):
        raise CheckpointError(f"direction file {path} is neither .safetensors nor .npy; convert it to one of them")
    try:
        values = _read_safetensors(path) if path.suffix == ".safetensors" else np.load(path, allow_pickle=False)
        direction = torch.as_tensor(values, dtype=torch.float32)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"direction file {path} cannot be read: {error}; it may be damaged") from error
    rows, width = generator.config.num_ws, generator.config.w_dim
    while direction.ndim > 1 and direction.shape[0] == 1:
        direction = direction[0]
    if tuple(direction.shape) == (width,):
        direction = direction.expand(rows, width).clone()
    if tuple(direction.shape) != (rows, width):
        raise CheckpointError(
            f"direction file {path} has shape {tuple(direction.shape)}, expected ({width},) or ({rows}, {width}); it "
            "belongs to another generator"
        )
    if not bool(torch.isfinite(direction).all()):
        raise CheckpointError(f"direction file {path} has NaN or infinite values")
    return direction


def _read_safetensors(path: Path) -> Tensor:
    from safetensors.torch import load_file

    tensors = load_file(path)
    if "direction" in tensors:
        return tensors["direction"]
    if len(tensors) != 1:
        raise CheckpointError(
            f"direction file {path} has {len(tensors)} tensors and none is named 'direction'; keep the one to use"
        )
    return next(iter(tensors.values()))


@torch.no_grad()
def principal_directions(generator: PanoHead, count: int = 8, samples: int = 4096, seed: int = 0) -> Tensor:
    """The main axes of mapped w (GANSpace, arXiv:2004.02546): [count,w_dim], one standard deviation long each.

    Args:
        samples: random latents.
        seed: of the latents.

    Deterministic; the largest entry of each is positive.
    """
    width = generator.config.w_dim
    if not 1 <= count <= width or samples < 2:
        raise DualEncError(f"count is {count} and samples {samples}, expected 1..{width} and at least 2")
    z = generator.latents(seed, samples)
    w = torch.cat([generator.mapping(part)[:, 0] for part in z.split(_BATCH)]).double()
    centred = w - w.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (samples - 1))
    axes = vectors.flip(1)[:, :count].T * values.flip(0)[:count].clamp_min(0).sqrt()[:, None]
    return _signed(axes).float()


@torch.no_grad()
def style_directions(generator: PanoHead, count: int = 8, resolutions: Sequence[int] | None = None) -> Tensor:
    """Directions of w that change the styles most (SeFA, arXiv:2007.06600): unit vectors [count,w_dim].

    The right singular vectors of the affine layers of the backbone's convolutions.

    Args:
        resolutions: blocks that count, for example (4, 8, 16) for shape; None = all.

    Raises DualEncError for a block that does not exist. Deterministic; the largest entry of each is positive.
    """
    synthesis = generator.backbone.synthesis
    chosen = synthesis.resolutions if resolutions is None else list(resolutions)
    unknown = set(chosen) - set(synthesis.resolutions)
    if unknown or not chosen:
        raise DualEncError(f"resolutions are {chosen}, expected some of {synthesis.resolutions}")
    width = generator.config.w_dim
    if not 1 <= count <= width:
        raise DualEncError(f"count is {count}, expected 1..{width}")
    weights = []
    for resolution in chosen:
        block = getattr(synthesis, f"b{resolution}")
        for name, layer in block.named_modules():
            if isinstance(layer, FullyConnectedLayer) and name.startswith("conv"):
                # Each style counts alike, however large its weights are.
                weights.append(torch.nn.functional.normalize(layer.weight.double(), dim=1))
    vectors = torch.linalg.svd(torch.cat(weights), full_matrices=False).Vh
    if count > len(vectors):
        raise DualEncError(f"count is {count}, but these blocks have only {len(vectors)} directions")
    return _signed(vectors[:count]).float()


def _signed(axes: Tensor) -> Tensor:
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)
