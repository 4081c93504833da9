"""Losses, optimiser and discriminator: invariants and bad input."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.metrics.lpips import LPIPS
from dualenc_core.research.training.discriminator import TriplaneDiscriminator, masked_planes, r1_penalty
from dualenc_core.research.training.losses import (
    generator_loss,
    gradient_difference,
    l2,
    structural_dissimilarity,
)
from dualenc_core.research.training.ranger import Ranger

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
PIXELWISE = [l2, gradient_difference, structural_dissimilarity]


@pytest.mark.parametrize("loss", PIXELWISE)
def test_zero_for_equal_images_and_growing_with_the_error(loss):
    noise = torch.randn(IMAGE.shape, generator=torch.Generator().manual_seed(1))
    assert float(loss(IMAGE, IMAGE)) == pytest.approx(0, abs=1e-5)
    small, large = float(loss(IMAGE + 0.05 * noise, IMAGE)), float(loss(IMAGE + 0.3 * noise, IMAGE))
    assert 0 < small < large
    moved = (IMAGE + 0.1 * noise).requires_grad_()
    loss(moved, IMAGE).backward()
    assert torch.isfinite(moved.grad).all() and moved.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", PIXELWISE)
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(DualEncError, match="equal shapes"):
        loss(IMAGE, IMAGE[:1])


def test_edges_and_structure_punish_blur_more_than_a_shade():
    blurred = torch.nn.functional.avg_pool2d(IMAGE, 5, 1, 2)
    shaded = IMAGE + (blurred - IMAGE).abs().mean()
    for loss in (gradient_difference, structural_dissimilarity):
        assert float(loss(blurred, IMAGE)) > 2 * float(loss(shaded, IMAGE))


def test_structure_needs_room_for_its_window():
    with pytest.raises(DualEncError, match="too small"):
        structural_dissimilarity(IMAGE[:, :, :16, :16], IMAGE[:, :, :16, :16])


def test_missing_lpips_weights_say_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="AlexNet backbone not found.*dualenc_core weights"):
        LPIPS.from_files(tmp_path / "alexnet.pth")
    with pytest.raises(CheckpointError, match="not the weights of LPIPS with AlexNet"):
        LPIPS({}, {})


def test_lpips_finds_the_linear_layers_of_its_package(tmp_path):
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("lpips is not installed")
    kernels = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    state = {f"features.{i}.weight": torch.full(s, 0.01) for i, s in kernels.items()}
    state |= {f"features.{i}.bias": torch.zeros(s[0]) for i, s in kernels.items()}
    path = tmp_path / "alexnet.pth"
    torch.save(state, path)
    network = LPIPS.from_files(path)
    assert float(network(IMAGE, IMAGE)) == 0
    assert all(bool((getattr(network, f"lin{k}") >= 0).all()) for k in range(5))


def test_generator_loss_falls_as_logits_rise():
    assert generator_loss(torch.tensor([3.0])) < generator_loss(torch.tensor([-3.0]))


def test_masked_planes_share_one_value_per_cell():
    planes, mask = torch.rand(2, 3, 12, 8, 8), (torch.rand(2, 3, 3, 8, 8) > 0.5).float()
    masked = masked_planes(planes, mask)
    for feature in range(4):
        for d in range(3):
            channel = feature * 3 + d
            assert torch.equal(masked[:, :, channel], planes[:, :, channel] * mask[:, :, d])
    with pytest.raises(DualEncError, match="mask has shape"):
        masked_planes(planes, mask[:, :, :, :4])


def test_discriminator_takes_planes_or_maps_and_refuses_others():
    network = TriplaneDiscriminator(36, (8, 8, 8, 8), stride=2).eval()
    planes = torch.randn(2, 3, 12, 32, 32)
    assert torch.equal(network(planes), network(planes.flatten(1, 2)))
    assert network(planes).shape == (2, 1)
    with pytest.raises(DualEncError, match="36 channels"):
        network(planes[:, :2])
    for arguments in ({"stride": 3}, {"widths": (8, 8)}):
        with pytest.raises(DualEncError):
            TriplaneDiscriminator(36, **arguments)


def test_r1_is_the_squared_gradient_norm_and_trains_the_discriminator():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    penalty = r1_penalty(linear, torch.randn(4, 12))
    assert float(penalty.detach()) == pytest.approx(float(linear[1].weight.detach().square().sum()), rel=1e-5)
    penalty.backward()
    assert torch.allclose(linear[1].weight.grad, 2 * linear[1].weight, atol=1e-6)


def test_ranger_keeps_gradients_resumes_exactly_and_refuses_bad_settings():
    def run(steps, optimiser, parameter, start=0):
        for step in range(start, steps):
            parameter.grad = torch.sin(torch.arange(6.0).view(2, 3) + step)
            before = parameter.grad.clone()
            optimiser.step()
            assert torch.equal(parameter.grad, before)

    a = torch.nn.Parameter(torch.ones(2, 3))
    first = Ranger([a], lr=1e-2)
    run(9, first, a)
    b = torch.nn.Parameter(torch.ones(2, 3))
    half = Ranger([b], lr=1e-2)
    run(4, half, b)
    c = torch.nn.Parameter(b.detach().clone())
    resumed = Ranger([c], lr=1.0)
    resumed.load_state_dict(half.state_dict())
    run(9, resumed, c, start=4)
    assert torch.equal(a, c)
    for bad in ({"lr": 0}, {"k": 0}, {"betas": (1.0, 0.9)}, {"eps": 0}):
        with pytest.raises(DualEncError):
            Ranger([a], **bad)
