from __future__ import annotations

import math

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.metrics import depth_error, gradient_distance, mask_iou, mse, psnr, sharpness, ssim
from dualenc_core.research.evaluation import PatchStatistics, patch_distance


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(*shape: int, seed: int = 0) -> torch.Tensor:
    small = rand(*shape[:2], shape[2] // 8, shape[3] // 8, seed=seed)
    return torch.nn.functional.interpolate(small, shape[2:], mode="bicubic").clamp(-1, 1)


def test_error_and_psnr_of_known_differences():
    truth = torch.zeros(2, 3, 8, 8)
    image = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), -0.02)])
    assert torch.allclose(mse(image, truth), torch.tensor([0.04, 0.0004]))
    assert torch.allclose(psnr(image, truth), torch.tensor([20.0, 40.0]), atol=1e-4)
    assert torch.allclose(psnr(truth, truth), torch.full((2,), 100.0))


def test_values_are_clamped_to_the_range():
    assert mse(torch.full((1, 3, 4, 4), 7.0), torch.ones(1, 3, 4, 4)) == 0


def test_weighted_error_sees_only_the_weight():
    truth, image = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    image[..., :4] = 1
    weight = torch.zeros(1, 1, 8, 8)
    weight[..., 4:] = 1
    assert mse(image, truth, weight) == 0 and mse(image, truth, 1 - weight) == 1
    assert torch.isnan(mse(image, truth, torch.zeros_like(weight))).all()


def test_ssim_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = smooth(1, 3, 48, 40), smooth(1, 3, 48, 40)
    b = (b + 0.2 * rand(1, 3, 48, 40, seed=3)).clamp(-1, 1)
    _, full = metrics.structural_similarity(
        a[0].permute(1, 2, 0).numpy(),
        b[0].permute(1, 2, 0).numpy(),
        channel_axis=2,
        data_range=2.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert float(ssim(a, b)) == pytest.approx(float(full[5:-5, 5:-5].mean()), abs=1e-4)
    assert float(ssim(a, a)) == pytest.approx(1.0)


def test_gradient_distance_does_not_reward_blur():
    truth = rand(2, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(truth, 5, 1, 2)
    shifted = truth.roll(1, -1) * 0.2 + truth * 0.8
    assert torch.allclose(gradient_distance(truth, truth), torch.zeros(2))
    assert bool((gradient_distance(shifted, truth) < gradient_distance(blurred, truth)).all())
    # Brightness alone is no edge.
    assert gradient_distance(truth * 0.5, truth * 0.5 + 0.3).max() < 1e-6


def test_sharpness():
    truth = rand(2, 3, 32, 32)
    assert torch.allclose(sharpness(truth, truth), torch.ones(2))
    assert sharpness(torch.nn.functional.avg_pool2d(truth, 3, 1, 1), truth).max() < 0.6
    assert sharpness(truth, torch.nn.functional.avg_pool2d(truth, 3, 1, 1)).min() > 1.5


def test_depth_error_counts_only_common_hits():
    depth, truth = torch.full((1, 1, 4, 4), 2.6), torch.full((1, 1, 4, 4), 2.5)
    alpha = torch.ones(1, 1, 4, 4)
    alpha[..., 0] = 0.2
    depth[..., 0] = float("inf")
    assert depth_error(depth, alpha, truth, torch.ones(1, 1, 4, 4)) == pytest.approx(0.1, abs=1e-5)
    assert math.isnan(depth_error(depth, alpha * 0, truth, alpha))


def test_mask_iou():
    a, b = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    a[0, :, :2], b[0, :, 1:3] = 1, 0.9
    assert torch.allclose(mask_iou(a, b), torch.tensor([1 / 3, 1.0]))


def test_patch_distance_orders_realism():
    truth = smooth(4, 3, 64, 64, seed=1) * 0.5 + rand(4, 3, 64, 64, seed=2) * 0.4
    alike = smooth(4, 3, 64, 64, seed=5) * 0.5 + rand(4, 3, 64, 64, seed=6) * 0.4
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    flat = torch.zeros_like(truth)
    reference = PatchStatistics().add(truth)
    distance = [patch_distance(PatchStatistics().add(x), reference) for x in (truth, alike, blurred, flat)]
    assert distance[0] < 1e-6 < distance[1] < 0.2 < distance[2] < distance[3]
    assert distance[3] == pytest.approx(1.0, abs=1e-3)


def test_patch_statistics_add_up_and_keep_to_the_head():
    images = rand(4, 3, 64, 64)
    whole, parts = PatchStatistics().add(images), PatchStatistics().add(images[:1]).add(images[1:])
    assert patch_distance(parts, whole) < 1e-9
    alpha = torch.zeros(4, 1, 64, 64)
    alpha[..., :32] = 1
    changed = images.clone()
    changed[..., 40:] = 0
    a, b = PatchStatistics(scales=1).add(images, alpha), PatchStatistics(scales=1).add(changed, alpha)
    assert 0 < a.count[0] < 4 * 900
    assert patch_distance(a, b) < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mse(rand(1, 3, 4, 4), rand(1, 3, 4, 5)), "pictures have shapes"),
        (lambda: psnr(rand(3, 4, 4), rand(3, 4, 4)), "pictures have shapes"),
        (lambda: mse(rand(1, 3, 4, 4), rand(1, 3, 4, 4), rand(1, 3, 4, 4)), "weight has shape"),
        (lambda: ssim(rand(1, 3, 8, 8), rand(1, 3, 8, 8)), "at least 11 pixels"),
        (lambda: gradient_distance(rand(1, 3, 4, 4), rand(1, 3, 4, 4)), "too small for octave 2"),
        (lambda: PatchStatistics().add(rand(1, 3, 8, 8)), "at least 20 pixels"),
        (lambda: PatchStatistics(1).add(rand(1, 3, 8, 8)).gaussian(0), "4 patches at scale 0"),
        (lambda: patch_distance(PatchStatistics(1), PatchStatistics(2)), "1 and 2 scales"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DualEncError, match=message):
        call()
