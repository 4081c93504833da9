"""Photos of procedural heads with details that their description does not know, and views from their other sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.research.training.truth_procedural import standardised
from dualenc_core.research.training.views import Placement, View, ViewBatch

# Head seeds of training; evaluation takes those from 1,000,000 up.
_HEADS = 100_000
_YAW, _PITCH, _NEAR = 60.0, 15.0, 50.0


class ProceduralViews:
    """Heads that are traced anew for every step; ``size`` is the side of the pictures to compare with."""

    def __init__(self, size: int = 64) -> None:
        self.size = size

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"data": "procedural heads"}

    def photos(self, count: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        heads = self._heads(count, rng)
        photo = procedural.render(heads, _cameras(count, _YAW, rng), size, antialias=1)
        return photo.image.to(rng.device), standardised(heads.latent).to(rng.device)

    def descriptions(self, count: int, rng: torch.Generator) -> Tensor:
        return standardised(self._heads(count, rng).latent)

    def batch(self, count: int, size: int, others: int, near: bool, rng: torch.Generator) -> ViewBatch:
        heads, camera = self._heads(count, rng), _cameras(count, _YAW, rng)
        photo = procedural.render(heads, camera, size, antialias=1)
        yaw, _ = camera.angles
        cameras = [camera]
        for _ in range(others):
            away = (2 * torch.rand(count, generator=rng, device=rng.device).cpu() - 1) * (_NEAR if near else 180.0)
            cameras.append(Camera.look_at(yaw.cpu() + away, torch.zeros(count)))
        views = tuple(self._view(heads, c, hidden=i > 0 and not near) for i, c in enumerate(cameras))
        numbers = standardised(heads.latent)
        return ViewBatch(photo.image, photo.alpha, camera, Placement.none(count), numbers, views).to(rng.device)

    def _heads(self, count: int, rng: torch.Generator) -> procedural.Heads:
        seed = _HEADS + int(torch.randint(1 << 19, (), generator=rng, device=rng.device))
        return procedural.sample_heads(count, seed=seed)

    def _view(self, heads: procedural.Heads, camera: Camera, hidden: bool) -> View:
        picture = procedural.render(heads, camera, self.size, antialias=1)
        return View(camera, picture.image, picture.alpha, torch.full_like(picture.alpha, float(hidden)))


def _cameras(count: int, yaw: float, rng: torch.Generator) -> Camera:
    turn, lift = (2 * torch.rand(2, count, generator=rng, device=rng.device) - 1).cpu()
    return Camera.look_at(yaw * turn, _PITCH * lift)
