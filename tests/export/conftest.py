"""Shapes whose surface and colours are known, meshed once for all tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dualenc_core import procedural
from dualenc_core.export import ColourViews, Mesh, colour_cameras, colour_views, extract_mesh
from dualenc_core.export.mesh_colour import views_of
from tests.benchmarks.meshes import FieldGenerator

RADII = torch.tensor([0.16, 0.22, 0.19])


def ellipsoid(points: Tensor) -> Tensor:
    """First-order distance to an ellipsoid, exact on its surface."""
    k0, k1 = (points / RADII).norm(dim=-1), (points / RADII.square()).norm(dim=-1).clamp(min=1e-3)
    return (k0 - 1) * k0 / k1


def ellipsoid_normals(points: Tensor) -> Tensor:
    return torch.nn.functional.normalize(points / RADII.square(), dim=-1)


def waves(points: Tensor) -> Tensor:
    """Smooth colours in -1..1 that tell left from right, up from down and front from back, alike along every radius."""
    x, y, z = (points / (points / RADII).norm(dim=-1, keepdim=True).clamp(min=1e-3)).unbind(-1)
    return torch.stack([torch.sin(9 * x), y * 4, torch.cos(7 * z - 1)], -1) * 0.9


def ball(centre: tuple[float, float, float], radius: float):
    """Signed distance to a sphere."""
    return lambda points: (points - torch.tensor(centre)).norm(dim=-1) - radius


@pytest.fixture(scope="session")
def egg():
    """(generator, triplane) of the ellipsoid with the colours `waves`."""
    return FieldGenerator.build(ellipsoid, waves)


@pytest.fixture(scope="session")
def egg_mesh(egg) -> Mesh:
    return extract_mesh(*egg, resolution=48)


@pytest.fixture(scope="session")
def egg_views(egg) -> ColourViews:
    return colour_views(*egg, super_resolve=False)


@pytest.fixture(scope="session")
def head() -> procedural.Heads:
    return procedural.sample_heads(1, seed=5)


@pytest.fixture(scope="session")
def head_mesh(head) -> Mesh:
    """A procedural head, from its field."""
    return extract_mesh(*FieldGenerator.build(lambda points: procedural.signed_distance(head, points)), resolution=72)


@pytest.fixture(scope="session")
def head_views(head) -> ColourViews:
    """Exact pictures of it."""
    camera = colour_cameras()
    return views_of(procedural.render(head, camera, 160, antialias=1), camera)


@pytest.fixture(scope="session")
def real():
    """(generator, triplane) of a small generator with random weights."""
    from dualenc_core.generator import PanoHead
    from tests.small import small_generator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = PanoHead(small_generator())
    generator.eval().requires_grad_(False)
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    return generator, generator.synthesize(generator.mapping(z))
