"""Depth and normals as pictures, on surfaces whose normals are known."""

from __future__ import annotations

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.rendering import normals, relative_depth
from dualenc_core.rendering.rays import camera_rays

RADIUS = 0.2


def ball(camera: Camera, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Depth, alpha and true world normals of a sphere around the origin."""
    origins, directions = camera_rays(camera, size)
    middle = -(origins * directions).sum(-1)
    gap = RADIUS**2 - (origins.square().sum(-1) - middle.square())
    hit = gap > 0
    depth = torch.where(hit, middle - gap.clamp(min=0).sqrt(), torch.full_like(middle, 3.3))
    surface = (origins + depth[..., None] * directions) / RADIUS
    shape = (len(camera), 1, size, size)
    return depth.reshape(shape), hit.float().reshape(shape), surface.transpose(1, 2).reshape(-1, 3, size, size)


def test_normals_of_a_sphere_in_camera_axes():
    camera = Camera.look_at([0, 40, 180], [0, 20, -10], [0, 0, 30])
    depth, alpha, world = ball(camera, 96)
    axes = camera.cam2world[:, :3, :3] @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    true = torch.einsum("nji,njhw->nihw", axes, world)
    found = normals(depth, alpha, camera)
    inner = -torch.nn.functional.max_pool2d(-alpha, 7, 1, 3) > 0.5
    cosine = (found * true).sum(1, keepdim=True)[inner]
    assert cosine.min() > 0.99
    assert torch.allclose(found.norm(dim=1), torch.ones(3, 96, 96), atol=1e-5)
    background = found.permute(0, 2, 3, 1)[alpha[:, 0] == 0]
    assert torch.equal(background, torch.tensor([0.0, 0.0, 1.0]).expand_as(background))


def test_the_nearest_point_is_white_and_the_background_black():
    depth, alpha, _ = ball(Camera.look_at([0.0]), 48)
    picture = relative_depth(depth, alpha)
    assert picture.max() == 1 and picture[alpha == 0].max() == 0
    assert picture.flatten().argmax() in (23 * 48 + 23, 23 * 48 + 24, 24 * 48 + 23, 24 * 48 + 24)
    assert picture[alpha == 1].min() == pytest.approx(0.1)


def test_frames_share_one_scale():
    heads = procedural.sample_heads(1, 7)
    view = procedural.render(heads, Camera.look_at([0.0, 90.0]), 48)
    together = relative_depth(view.depth, view.alpha)
    assert together[0].max() == 1 and together[1].max() < 1


def test_nothing_to_see_is_black():
    assert relative_depth(torch.full((1, 1, 8, 8), 3.3), torch.zeros(1, 1, 8, 8)).abs().max() == 0


def test_wrong_shapes_are_named():
    with pytest.raises(DualEncError, match=r"alpha \(1, 1, 4, 4\)"):
        relative_depth(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4))
