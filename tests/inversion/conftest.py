"""A generator whose shape is known: an analytic field in place of the decoder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dualenc_core.generator import PanoHead
from dualenc_core.triplane import Triplane
from tests.small import small_generator

TINY = small_generator()


class Analytic(PanoHead):
    """Density from a signed distance; planes are carried along unread."""

    distance: Callable[[Tensor], Tensor]

    def query(self, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]:
        sigma = (1 - 20000 * self.distance(points)).clamp(-50, 2000)
        return sigma[..., None], points.new_zeros(*points.shape[:2], self.config.features)


def ellipsoid(points: Tensor) -> Tensor:
    radii = torch.tensor([0.16, 0.22, 0.19])
    scaled = (points / radii).norm(dim=-1)
    return (scaled - 1) * 0.16


@pytest.fixture(scope="session")
def tiny() -> PanoHead:
    torch.manual_seed(0)
    return PanoHead(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def heads(tiny) -> tuple[Triplane, Triplane]:
    """Two batches of two random heads of the tiny generator."""
    z = torch.randn(4, TINY.z_dim, generator=torch.Generator().manual_seed(1))
    return tiny.synthesize(tiny.mapping(z[:2])), tiny.synthesize(tiny.mapping(z[2:]))


@pytest.fixture(scope="session")
def analytic() -> Callable[..., tuple[PanoHead, Triplane]]:
    """(signed distance, plane size, batch) → a generator of that shape and blank triplanes of it."""

    def build(distance=ellipsoid, size: int = 64, batch: int = 1) -> tuple[PanoHead, Triplane]:
        generator = Analytic(TINY.replace(plane_size=size)).eval().requires_grad_(False)
        generator.distance = distance
        config = generator.config
        planes = torch.zeros(batch, 3, config.plane_channels, size, size)
        ws = torch.zeros(batch, config.num_ws, config.w_dim)
        return generator, Triplane(planes, ws, config.plane_depth, generator.fingerprint)

    return build
