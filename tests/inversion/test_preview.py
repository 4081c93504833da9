"""Backdrops and previews of masks."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.inversion import mask_preview, occlusion_mask, on_backdrop, visibility
from dualenc_core.inversion.preview import hidden_share
from dualenc_core.triplane import TriplaneMask


def test_a_full_mask_tints_the_head_and_an_empty_one_nothing(tiny, heads):
    head, camera = heads[0], Camera.look_at([0.0])
    plain = tiny.render(head, camera.expand(2)).image.clamp(-1, 1)
    empty = mask_preview(tiny, head, TriplaneMask(torch.zeros(2, 3, 3, 16, 16)), camera, 0.0)
    assert torch.allclose(empty, plain, atol=1e-4)
    full = mask_preview(tiny, head, TriplaneMask(torch.ones(2, 3, 3, 16, 16)), camera, 0.0)
    assert (full - plain).abs().max() > 0.05


@pytest.mark.parametrize("find", [visibility, occlusion_mask])
def test_the_far_side_is_hidden(analytic, find):
    generator, head = analytic()
    mask = find(generator, head, Camera.look_at([0.0]))
    front, back = [0.0, 0.0, 0.19], [0.0, 0.0, -0.19]
    hidden = hidden_share(mask, torch.tensor([[front, back]]), generator.config.render.box_warp)[0]
    assert hidden[0] < 0.3 and hidden[1] > 0.6


def test_the_backdrop_is_one_colour_and_the_head_stays(tiny):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    matte = torch.zeros(1, 1, 16, 16)
    matte[..., 4:12, 4:12] = 1
    result = on_backdrop(tiny, image, matte)
    assert torch.allclose(result[..., 12:20, 12:20], image[..., 12:20, 12:20], atol=1e-6)
    corner = result[..., :4, :4]
    assert torch.allclose(corner, corner[..., :1, :1].expand_as(corner))
    assert torch.allclose(on_backdrop(tiny, image, torch.ones(1, 1, 32, 32)), image, atol=1e-6)


def test_a_matte_for_another_batch_is_named(tiny):
    with pytest.raises(DualEncError, match="matte"):
        on_backdrop(tiny, torch.zeros(2, 3, 32, 32), torch.zeros(1, 1, 32, 32))
