"""Losses on what a photo does not show: zero where nothing is wrong, and pulling the right way where something is."""

import torch

from dualenc_core import Camera
from dualenc_core.rendering.rays import pixel_rays
from dualenc_core.rendering.renderer import RayOutput
from dualenc_core.training.priors import RIM_SLACK, from_behind, ghost_loss, rim_loss


def output(depth, alpha) -> RayOutput:
    depth, alpha = torch.tensor([depth]), torch.tensor([alpha])
    return RayOutput(torch.zeros(1, depth.shape[1], 4), depth.requires_grad_(), alpha.requires_grad_())


def test_what_is_added_belongs_at_the_depth_of_the_nearest_rim():
    # Two rays on the head, left near and right far; one beside each, and one in the middle of nowhere.
    uv = torch.tensor([[[0.2, 0.5], [0.8, 0.5], [0.15, 0.5], [0.85, 0.5], [0.5, 0.95]]])
    coarse = output([2.5, 2.9, 3.1, 3.1, 3.1], [1.0, 1.0, 0.0, 0.0, 0.0])
    right = output([2.2, 2.2, 2.5, 2.9 + RIM_SLACK / 2, 3.1], [1.0, 1.0, 1.0, 1.0, 0.0])
    assert float(rim_loss(uv, coarse, right).detach()) < 1e-6
    wrong = output([2.2, 2.2, 2.9, 2.9, 3.1], [1.0, 1.0, 1.0, 1.0, 0.0])
    loss = rim_loss(uv, coarse, wrong)
    assert torch.isclose(loss, torch.tensor((0.4 - RIM_SLACK) / 5), atol=1e-4)
    loss.backward()
    # Nearer only on the ray that is too far; what is there is the reconstruction's business.
    assert float(wrong.depth.grad[0, 2]) > 0 and int((wrong.depth.grad != 0).sum()) == 1
    assert wrong.alpha.grad is None


def test_a_head_that_no_ray_meets_has_no_rim():
    uv = torch.rand(1, 4, 2)
    nothing = output([3.1] * 4, [0.0] * 4)
    loss = rim_loss(uv, nothing, output([2.0] * 4, [1.0] * 4))
    assert float(loss.detach()) == 0 and torch.isfinite(loss)


def test_rays_from_behind_are_the_same_lines():
    camera = Camera.look_at(30.0, 10.0)
    origins, directions = pixel_rays(camera, torch.rand(1, 7, 2))
    near, far = 2.28, 3.12
    turned, back = from_behind(origins, directions, near, far)
    t = torch.linspace(near, far, 7)[None, :, None]
    assert torch.allclose(origins + t * directions, turned + (near + far - t) * back, atol=1e-6)


def test_a_hidden_side_may_change_its_hue_and_not_its_pattern():
    before = torch.rand(1, 6, 3)
    hit = output([2.6] * 6, [1.0] * 6)
    hue = before + torch.tensor([0.2, -0.1, 0.0])
    assert float(ghost_loss((before, hit), (hue, hit)).detach()) < 1e-6
    pattern = before.clone()
    pattern[:, :3] += 0.4
    assert torch.isclose(ghost_loss((before, hit), (pattern, hit)), torch.tensor(0.4 * 3 / 4))
    # A bump is a pattern too.
    bump = output([2.58] * 3 + [2.6] * 3, [1.0] * 6)
    assert float(ghost_loss((before, hit), (before, bump)).detach()) > 0.04
    # Pairs of which one ray misses the head say nothing.
    missed = output([2.6] * 6, [0.0] * 3 + [1.0] * 3)
    assert float(ghost_loss((before, missed), (pattern, hit)).detach()) == 0
