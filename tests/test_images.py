"""Pictures between their pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dualenc_core.images import sample_at


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (64, 64), (100, 37), (512, 512)])
def test_it_equals_the_border_padding_that_mps_lacks(size):
    dice = torch.Generator().manual_seed(0)
    images = (torch.rand(2, 3, *size, generator=dice) * 2 - 1).requires_grad_()
    # Within, far outside, on the borders, and on the centres of the outermost pixels.
    ends = torch.tensor([[0.0, 1.0], [0.5 / size[1], 1 - 0.5 / size[0]], [-1e9, 1e9]])
    uv = torch.cat([torch.rand(2, 5000, 2, generator=dice) * 3 - 1, ends.expand(2, -1, -1)], 1)
    expected = F.grid_sample(images, (uv * 2 - 1)[:, None], padding_mode="border", align_corners=False)[:, :, 0]
    found = sample_at(images, uv)
    # Coordinates are rounded to a few 1e-7 of the picture's side.
    assert found.shape == (2, 3, 5003)
    assert torch.allclose(found, expected, atol=2e-7 * max(size) + 1e-6)
    slopes = [torch.autograd.grad(values.square().sum(), images)[0] for values in (found, expected)]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-3)


def test_places_are_from_the_left_and_from_the_top():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    places = torch.tensor([[[0.0, 0.0], [0.5, 0.25], [1.0, 1.0], [0.5, 0.5]]])
    assert sample_at(image, places)[0, 0].tolist() == pytest.approx([0, 1, 5, 2.5], abs=1e-6)
