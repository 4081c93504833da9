"""Tiny random heads, and a generator whose shape and colours are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dualenc_core.camera import Camera
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.inversion import visible_surface
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.triplane import Triplane, TriplaneMask

TINY = GeneratorConfig(
    z_dim=8,
    w_dim=16,
    plane_size=16,
    features=4,
    channel_base=256,
    channel_max=16,
    sr=SuperResolutionConfig(input_resolution=8, hidden_widths=(8, 8), w_dim=16),
    neural_resolution=8,
    render=RenderOptions(samples=16, importance=8, near=2.3, far=3.1),
)
RADII = torch.tensor([0.16, 0.22, 0.19])


def is_hair(points: Tensor) -> Tensor:
    """The "hair" of the ellipsoid: crown and back, as in editing.md §3.1."""
    return ((points[..., 1] > 0.09) | (points[..., 2] < -0.04)).float()


class Ellipsoid(PanoHead):
    """A head of known shape; its first feature is 1 on the hair and -1 elsewhere. Planes are carried along unread."""

    def query(self, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]:
        distance = ((points / RADII).norm(dim=-1) - 1) * 0.16
        features = points.new_zeros(*points.shape[:2], self.config.features)
        features[..., 0] = 2 * is_hair(points) - 1
        return (1 - 1e5 * distance).clamp(-50, 2000)[..., None], features


class Ball(PanoHead):
    """Random heads that at least have a surface."""

    def _decode(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        sigma, features = super()._decode(planes, points)
        return sigma + torch.where(points.norm(dim=-1, keepdim=True) < 0.25, 200.0, -200.0), features


def ellipsoid_points(count: int = 4000) -> Tensor:
    """Points [1,M,3] all over the ellipsoid."""
    unit = torch.randn(1, count, 3, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(unit, dim=-1) * RADII


@pytest.fixture(scope="session")
def points() -> Tensor:
    return ellipsoid_points()


@pytest.fixture(scope="session")
def hair() -> Callable[[Tensor], Tensor]:
    return is_hair


@pytest.fixture(scope="session")
def ellipsoid() -> tuple[PanoHead, Triplane]:
    config = TINY.replace(
        plane_size=64,
        channel_base=64,
        channel_max=2,
        torgb_raw=False,
        background=False,
        neural_resolution=48,
        render=RenderOptions(samples=40, importance=24, near=2.3, far=3.1),
    )
    torch.manual_seed(0)
    generator = Ellipsoid(config).eval().requires_grad_(False)
    planes = torch.zeros(1, 3, config.plane_channels, 64, 64)
    ws = torch.zeros(1, config.num_ws, config.w_dim)
    return generator, Triplane(planes, ws, config.plane_depth, generator.fingerprint)


@pytest.fixture(scope="session")
def painted(ellipsoid) -> Callable[[Camera], Tensor]:
    """Cameras → true masks [V,48,48] of the hair."""
    generator, head = ellipsoid

    def paint(cameras: Camera) -> Tensor:
        masks = []
        for view in range(len(cameras)):
            surface = visible_surface(generator, head, cameras[view], 48)
            masks.append((is_hair(surface.points) * (surface.alpha.flatten(1) > 0.5)).reshape(48, 48))
        return torch.stack(masks)

    return paint


@pytest.fixture(scope="session")
def tiny() -> PanoHead:
    torch.manual_seed(0)
    return Ball(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def heads(tiny) -> tuple[Triplane, Triplane]:
    """Two batches of two random heads of the tiny generator."""
    z = torch.randn(4, TINY.z_dim, generator=torch.Generator().manual_seed(1))
    return tiny.synthesize(tiny.mapping(z[:2])), tiny.synthesize(tiny.mapping(z[2:]))


@pytest.fixture
def blob() -> TriplaneMask:
    """A square of ones in the middle of every plane and slice, for one head of the tiny generator."""
    cells = torch.zeros(1, 3, 3, 16, 16)
    cells[..., 4:12, 4:12] = 1
    return TriplaneMask(cells)


@pytest.fixture
def somewhere() -> Tensor:
    """World points [2,300,3] in the middle of the box."""
    return torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(5)) * 0.5 - 0.25
