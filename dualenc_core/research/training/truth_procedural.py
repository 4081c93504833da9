"""Procedural heads as the truth of a training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import procedural
from ...camera import Camera
from ...generator.config import GeneratorConfig
from ...procedural.heads import LATENT_DIM
from ...rendering.rays import pixel_rays
from .truth import Numbers, Patches, Truth, on_faces, random_cameras, random_corners, square

# Side of the box of points in space, in world units.
_BOX = 0.8


class ProceduralTruth:
    """Heads of the latent family, traced anew for every step."""

    backdrop = procedural.BACKDROP

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"data": "procedural heads"}

    def numbers(self, count: int, rng: torch.Generator) -> Numbers:
        z = torch.randn(count, LATENT_DIM, generator=rng, device=rng.device)
        return Numbers(z, standardised(z))

    @torch.no_grad()
    def rays(self, heads: int, rays: int, points: int, rng: torch.Generator, rendered: bool) -> Truth:
        n, count = heads, rays if rendered else points // 2
        uniform = functools.partial(torch.rand, generator=rng, device=rng.device)
        z, numbers = self.numbers(n, rng)
        described, camera = procedural.heads_from_latent(z), random_cameras(n, rng)
        uv = on_faces(uniform(n, count, 2), camera, 3, rng)
        origins, directions = pixel_rays(camera, uv)
        hits = procedural.trace(described, origins, directions, 56 if rendered else 32)
        depth = hits.depth + 0.02 * torch.randn(n, count, generator=rng, device=rng.device)
        near = origins + depth[..., None] * directions
        places = torch.cat([near, _BOX * (uniform(n, count, 3) - 0.5)], dim=1)
        distance, colour = procedural.field(described, places)
        return Truth(numbers, origins, directions, self._on_backdrop(hits), hits.alpha, places, distance, colour)

    @torch.no_grad()
    def patches(self, count: int, patch: int, margin: int, config: GeneratorConfig, rng: torch.Generator) -> Patches:
        grid = config.neural_resolution
        z, numbers = self.numbers(count, rng)
        heads, camera = procedural.heads_from_latent(z), random_cameras(count, rng)
        corner = random_corners(count, patch, grid, margin, rng)
        fine = square(4 * patch, rng.device) + 4 * corner
        # Anywhere inside the fine pixel: the mean over many steps is the anti-aliased picture.
        fine = (fine + torch.rand(count, fine.shape[1], 2, generator=rng, device=rng.device)) / (4 * grid)
        target = self._on_backdrop(procedural.trace(heads, *pixel_rays(camera, fine)))
        target = target.transpose(1, 2).reshape(count, 3, 4 * patch, 4 * patch)
        return Patches(numbers, camera.label, corner, target, torch.empty(count, 0, device=rng.device))

    @torch.no_grad()
    def preview(self, yaw: float, size: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(4, LATENT_DIM, generator=torch.Generator().manual_seed(900_000))
        picture = procedural.render(procedural.heads_from_latent(z), Camera.look_at(yaw=[yaw] * 4), size).image
        return standardised(z), picture

    def _on_backdrop(self, hits: procedural.RayHits) -> Tensor:
        alpha = hits.alpha[..., None]
        return hits.rgb * alpha + (hits.rgb.new_tensor(self.backdrop) * 2 - 1) * (1 - alpha)


def standardised(z: Tensor) -> Tensor:
    """Every parameter that varies over the latent family, [N,49]."""
    mean, std = (value.to(z) for value in _spread())
    return ((_parameters(z) - mean) / std)[:, std > 1e-4]


@functools.cache
def _spread() -> tuple[Tensor, Tensor]:
    numbers = _parameters(torch.randn(1 << 14, LATENT_DIM, generator=torch.Generator().manual_seed(0)))
    return numbers.mean(0), numbers.std(0)


def _parameters(z: Tensor) -> Tensor:
    heads = procedural.heads_from_latent(z)
    return torch.cat([value.reshape(len(z), -1) for name, value in heads.items() if name != "latent"], dim=1)
