"""The spaces that stage one may project a photo into: W+, W, Z+ and Z (paper, projection-space ablation)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead

LATENT_SPACES = ("z", "z+")


def latents_to_styles(generator: PanoHead, latents: Tensor, psi: float = 1.0) -> Tensor:
    """Latents through the mapping network with the canonical front camera.

    Args:
        latents: [N,z_dim] (Z: one latent for all rows) or [N,num_ws,z_dim] (Z+: one for each style row).
        psi: truncation towards the average head, 1 = none.

    Returns ws [N,num_ws,w_dim]. Raises DualEncError for another shape.
    """
    rows, width = generator.config.num_ws, generator.config.z_dim
    if latents.shape[1:] not in ((width,), (rows, width)):
        raise DualEncError(
            f"latents have shape {tuple(latents.shape)}, expected [N,{width}] (Z) or [N,{rows},{width}] (Z+)"
        )
    if latents.ndim == 2:
        return generator.mapping(latents, truncation_psi=psi)
    # The mapping network repeats its result over the rows; each latent keeps one of them.
    ws = generator.mapping(latents.flatten(0, 1), truncation_psi=psi)[:, 0]
    return ws.reshape(len(latents), rows, -1)


def draw_z_plus(generator: PanoHead, rngs: list[torch.Generator], psi: float = 1.0) -> Tensor:
    """ws [N,num_ws,w_dim] of N heads whose every style row has its own z ~ N(0, I) (paper Eq. 9), one rng a head."""
    shape = (generator.config.num_ws, generator.config.z_dim)
    z = torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to(generator.w_avg.device)
    return latents_to_styles(generator, z, psi)
