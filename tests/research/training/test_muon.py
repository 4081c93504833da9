"""Muon: what a step is, and that it learns."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.research.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (8, 8)])
def test_all_directions_of_a_step_count_alike(shape):
    left, right = (torch.linalg.qr(torch.randn(n, min(shape))).Q for n in shape)
    strengths = torch.logspace(0, -2, min(shape))
    found = orthogonal((left * strengths) @ right.t())
    values = torch.linalg.svdvals(found) / max(shape) ** 0.5
    assert values.min() > 0.5 and values.max() < 1.4
    assert float(found.square().mean().sqrt()) == pytest.approx(1.0, rel=0.35)
    # the directions themselves stay
    assert torch.nn.functional.cosine_similarity(found.flatten(), (left @ right.t()).flatten(), dim=0) > 0.95


def test_directions_without_any_gradient_stay_small():
    # On machines that are fast in 16 bits, Gram matrices of those had negative eigenvalues, and steps of 1e25.
    torch.manual_seed(0)
    found = orthogonal(torch.randn(192, 3) @ torch.randn(3, 512))
    values = torch.linalg.svdvals(found) / 512**0.5
    assert values[:3].min() > 0.5 and values[0] < 1.4 and values[3] < 1e-3


def test_it_fits_rare_directions_of_a_convolution_sooner_than_descent():
    torch.manual_seed(0)
    target = torch.randn(8, 4, 3, 3)
    x = torch.randn(64, 4, 6, 6) * torch.tensor([1.0, 1.0, 0.05, 0.05])[:, None, None]
    y = torch.nn.functional.conv2d(x, target)

    def error(make):
        weight = torch.zeros_like(target, requires_grad=True)
        optimizer = make([weight])
        for i in range(200):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - i / 200) + 1e-4
            optimizer.zero_grad()
            (torch.nn.functional.conv2d(x, weight) - y).square().mean().backward()
            optimizer.step()
        return (weight - target)[:, 2:].square().mean().item()

    assert error(Muon) < 0.3 * error(lambda p: torch.optim.SGD(p, momentum=0.9))


def test_bad_values_are_refused():
    with pytest.raises(DualEncError, match="lr"):
        Muon([torch.zeros(2, 2, requires_grad=True)], lr=0)
    with pytest.raises(DualEncError, match="two or more dimensions"):
        Muon([torch.zeros(3, requires_grad=True)])
