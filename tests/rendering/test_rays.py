from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.rendering.rays import camera_rays, pixel_rays


def test_rays_of_the_reference(golden, parity):
    v = load_file(golden / "encoders" / "geometry.safetensors")
    camera = Camera.from_label(v["mirror/labels"][:2])
    rays = camera_rays(camera, 8)
    for name, actual in zip(("origins", "directions"), rays, strict=True):
        parity.check(f"rays/{name}_res8", actual, v[f"rays/{name}_res8"], 1e-6, "geometry")


def test_rays_project_back_to_their_pixels():
    camera = Camera.look_at([0, 70, -150], [5, -20, 40], [0, 10, -30])
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, 0, 1], intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 0.3, 0.45, 0.55
    camera = Camera(camera.cam2world, intrinsics)
    origins, directions = camera_rays(camera, 5)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(3, 25))
    uv, z = camera.project(origins + 2.3 * directions)
    centres = (torch.arange(5) + 0.5) / 5
    assert torch.allclose(uv[..., 0], centres.repeat(5).expand(3, 25), atol=1e-5)
    assert torch.allclose(uv[..., 1], centres.repeat_interleave(5).expand(3, 25), atol=1e-5)
    assert bool((z > 0).all())


def test_mirrored_camera_has_mirrored_rays():
    camera = Camera.look_at(33, 12, 7)
    _, directions = camera_rays(camera, 6)
    _, mirrored = camera_rays(camera.mirrored, 6)
    flipped = directions.reshape(6, 6, 3).flip(1).reshape(1, 36, 3) * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(mirrored, flipped, atol=1e-6)


def test_single_pixel_and_bad_resolution():
    origins, directions = camera_rays(Camera.look_at(), 1)
    assert torch.allclose(directions, torch.tensor([[[0.0, 0, -1]]])) and origins.shape == (1, 1, 3)
    again = pixel_rays(Camera.look_at(), torch.tensor([[[0.5, 0.5]]]))[1]
    assert torch.equal(directions, again)
    with pytest.raises(DualEncError, match="resolution is 0"):
        camera_rays(Camera.look_at(), 0)
