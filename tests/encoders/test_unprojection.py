"""The lift puts image errors where the renderer reads them."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.encoders import LiftedConfig, LiftedRefiner
from dualenc_core.encoders.unprojection import Observation, surface_maps, volume_maps
from dualenc_core.errors import DualEncError
from dualenc_core.images import resize_area
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.trigrid import lookup

SIZE, DEPTH, RAYS = 64, 3, 48


def sphere(camera: Camera, radius: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth and alpha [N,1,r,r] of a sphere around the world origin."""
    origins, directions = camera_rays(camera, RAYS)
    along = -(origins * directions).sum(-1)
    nearest = (origins + along[..., None] * directions).norm(dim=-1)
    alpha = (nearest < radius).float()
    depth = along - (radius**2 - nearest**2).clamp(min=0).sqrt()
    shape = (len(camera), 1, RAYS, RAYS)
    return depth.reshape(shape), alpha.reshape(shape)


def view(camera: Camera, matte: torch.Tensor | None = None) -> Observation:
    depth, alpha = sphere(camera)
    image = torch.zeros(len(camera), 3, RAYS, RAYS)
    image[:, 0], image[:, 1], image[:, 2] = 0.5, -0.25, 1.0
    return Observation(camera, image, torch.full_like(image, 0.25), alpha if matte is None else matte, alpha, depth)


def surface_points(observation: Observation) -> torch.Tensor:
    origins, directions = camera_rays(observation.camera, RAYS)
    points = origins + directions * observation.depth.flatten(1)[..., None]
    return points[:, observation.alpha[0].flatten() > 0]


@pytest.mark.parametrize("yaw", [0.0, 50.0, -90.0])
def test_surface_maps_hold_the_pixel_values_where_the_surface_is_read(yaw):
    observation = view(Camera.look_at(yaw=yaw, pitch=10.0))
    maps = surface_maps(observation, SIZE, DEPTH, 1.0)
    assert maps.shape == (1, 3, 8 * DEPTH, SIZE, SIZE)
    cells = maps.reshape(1, 3, 8, DEPTH, SIZE, SIZE)
    touched = cells[:, :, 7] > 1e-3
    expected = torch.tensor([0.5, -0.25, 1.0, 0.25, -0.5, 0.75, 0.0])
    for index, value in enumerate(expected):
        assert torch.allclose(cells[:, :, index][touched], value.expand(int(touched.sum())), atol=1e-4)
    # Every surface point finds its hits: nothing is scattered to cells that the renderer does not read.
    read = lookup(maps, surface_points(observation), DEPTH, 1.0)[..., 7]
    assert float(read.min()) > 0.1


def test_empty_rays_reach_no_surface_cell():
    observation = view(Camera.look_at())
    empty = Observation(
        observation.camera,
        observation.image,
        observation.render,
        observation.matte,
        torch.full_like(observation.alpha, 0.4),
        observation.depth,
    )
    assert not surface_maps(empty, SIZE, DEPTH, 1.0).any()


def test_the_volume_lift_reaches_silhouette_errors_without_holes():
    observation = view(Camera.look_at(yaw=30.0), matte=torch.ones(1, 1, RAYS, RAYS))
    grid = LiftedConfig(plane_size=SIZE).volume_grid
    maps = volume_maps(observation, grid, grid, 0.4, SIZE // 4, DEPTH, 1.0)
    assert maps.shape == (1, 3, 9 * DEPTH, SIZE // 4, SIZE // 4)
    # A point that the photo covers but that stage one leaves empty: outside the sphere, inside the frustum.
    outside = torch.tensor([[[0.0, 0.28, 0.0]]])
    values = lookup(maps, outside, DEPTH, 1.0)[0, :, 0]
    assert (values[:, 7] > 0.2).all() and values[:, 7].max() > 0.8 and (values[:, 8] > 0.1).all()
    inside = lookup(maps, torch.zeros(1, 1, 3), DEPTH, 1.0)[0, 0, 0]
    assert float(inside[7]) < 0.05
    ball = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    read = lookup(maps, 0.22 * ball[None], DEPTH, 1.0)[..., 8]
    assert float(read.min()) > 0.05


def test_mirrored_view_gives_the_mirrored_maps():
    camera = Camera.look_at(yaw=40.0)
    a, b = surface_maps(view(camera), SIZE, DEPTH, 1.0), surface_maps(view(camera.mirrored), SIZE, DEPTH, 1.0)
    xy, xz = 0, 1
    assert torch.allclose(a[:, xy].flip(-1), b[:, xy], atol=1e-3)
    assert torch.allclose(a[:, xz].flip(-1), b[:, xz], atol=1e-3)


def test_the_refiner_reads_one_or_two_views_as_configured():
    planes = torch.zeros(1, 3, 12, 16, 16)
    observation = view(Camera.look_at())
    for mirrored in (False, True):
        refiner = LiftedRefiner(LiftedConfig(4, 3, 16, (8, 8, 8), 8, mirrored=mirrored))
        assert not refiner([observation] * (1 + mirrored), planes).any()
        with pytest.raises(DualEncError, match="observations"):
            refiner([observation] * (2 - mirrored), planes)
    only_volume = LiftedRefiner(LiftedConfig(4, 3, 16, (8, 8, 8), 8, surface=False))
    only_surface = LiftedRefiner(LiftedConfig(4, 3, 16, (8, 8, 8), 8, volume_rays=0))
    for refiner in (only_volume, only_surface):
        torch.nn.init.normal_(refiner.out.weight)
        assert refiner.delta([observation], planes).abs().sum() > 0


def test_planes_are_told_apart():
    refiner = LiftedRefiner(LiftedConfig(4, 3, 16, (8, 8, 8), 8, surface=False, volume_rays=3))
    torch.nn.init.normal_(refiner.out.weight)
    for bias in refiner.plane_bias:
        torch.nn.init.normal_(bias)
    blank = Observation(
        Camera.look_at(), *(torch.zeros(1, c, 8, 8) for c in (3, 3, 1, 1)), torch.full((1, 1, 8, 8), 99.0)
    )
    delta = refiner.delta([blank], torch.zeros(1, 3, 12, 16, 16))
    assert not torch.allclose(delta[:, 0], delta[:, 1]) and not torch.allclose(delta[:, 1], delta[:, 2])


def test_planes_may_have_ends_of_their_own():
    refiner = LiftedRefiner(LiftedConfig(4, 3, 16, (8, 8, 8), 8, own_ends=True))
    observation, planes = view(Camera.look_at()), torch.randn(1, 3, 12, 16, 16)
    assert not refiner.delta([observation], planes).any()
    # Outputs are grouped by plane: what only the last layer of the second knows, no other gets.
    with torch.no_grad():
        torch.nn.init.normal_(refiner.out.weight[12:24])
    delta = refiner.delta([observation], planes)
    assert delta[:, 1].abs().amin(dim=(-1, -2)).any() and not delta[:, [0, 2]].any()
    # And a plane's first layer reads that plane alone.
    changed = planes.clone()
    changed[:, 0] += 1
    assert torch.equal(refiner.delta([observation], changed)[:, 1], delta[:, 1])


def test_resize_area_is_the_exact_mean_downwards():
    image = torch.rand(2, 3, 16, 16)
    assert torch.allclose(resize_area(image, 8), torch.nn.functional.avg_pool2d(image, 2))
    assert resize_area(image, 16) is image
    assert resize_area(image, 32).shape == (2, 3, 32, 32)
