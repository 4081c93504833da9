"""Heads of photos in one hue have it all around; heads of other photos stay as they are."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.encoders.monochrome import share_hue

CAMERA = dc.Camera.look_at()


@pytest.fixture(scope="module")
def photo(generator, head):
    return generator.render(head, CAMERA).image.clamp(-1, 1)


def spread(generator, head, hue=(1.0, 1.0, 1.0)):
    """By how much the back's colours differ from a hue."""
    seen = generator.render(head, dc.Camera.look_at(yaw=180), super_resolve=False)
    inside = seen.alpha[0, 0] > 0.98
    colours = (seen.raw[0][:, inside] + 1) / 2 / torch.tensor(hue)[:, None]
    return float((colours.amax(0) - colours.amin(0)).mean())


@pytest.mark.parametrize("hue", [(1.0, 1.0, 1.0), (1.1, 1.0, 0.9)])
def test_the_back_has_the_photos_one_hue(generator, head, photo, hue):
    grey = (photo.mean(1, keepdim=True) + 1) / 2 * torch.tensor(hue)[:, None, None]
    shared = share_hue(generator, head, (grey * 2 - 1).clamp(-1, 1))
    assert spread(generator, shared, hue) < 0.4 * spread(generator, head, hue)


def test_brightness_stays(generator, head, photo):
    shared = share_hue(generator, head, photo.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    before, after = (generator.render(h, CAMERA, super_resolve=False).raw.mean() for h in (head, shared))
    assert abs(float(after - before)) < 0.02


def test_photos_in_colour_change_nothing(generator, head, photo):
    assert torch.equal(share_hue(generator, head, photo).planes, head.planes)


def test_what_the_matte_leaves_out_counts_nothing(generator, head, photo):
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1).clone()
    matte = torch.ones(1, 1, *grey.shape[2:])
    grey[..., :60] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]  # a red wall
    assert torch.equal(share_hue(generator, head, grey).planes, head.planes)
    matte[..., :70] = 0
    assert spread(generator, share_hue(generator, head, grey, matte)) < 0.02


def test_dark_photos_have_no_hue(generator, head):
    assert torch.equal(share_hue(generator, head, torch.full((1, 3, 64, 64), -1.0)).planes, head.planes)
