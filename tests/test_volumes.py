"""Between the cells of volumes: the way of devices without a 5-D ``grid_sample`` reads as ``grid_sample`` does."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.volumes import _gathered, read_volume


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("beyond", ["zeros", "border"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 4), (2, 1, 7)])
def test_gathering_equals_grid_sample(shape, beyond):
    volume, places = rand(2, 5, *shape), rand(2, 60, 3)
    expected = read_volume(volume, places, beyond)
    assert expected.shape == (2, 60, 5) and (places.abs() > 1).any()
    torch.testing.assert_close(_gathered(volume, places, beyond), expected, atol=1e-5, rtol=0)


def test_both_have_the_same_gradient():
    volume, places = rand(1, 2, 3, 4, 5), rand(1, 30, 3)
    slopes = []
    for read in (read_volume, _gathered):
        leaf = volume.clone().requires_grad_()
        read(leaf, places, "border").square().sum().backward()
        slopes.append(leaf.grad)
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=0)
