from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import complete_views, read_region, region_mask, ring
from dualenc_core.errors import DualEncError


@pytest.fixture(scope="module")
def completed(ellipsoid, painted):
    generator, head = ellipsoid
    return complete_views(generator, head, painted(ring(1)), ring(1), 8, resolution=48)


def test_a_frontal_mask_is_completed_to_the_back(ellipsoid, painted, completed, points, hair):
    generator, head = ellipsoid
    masks, cameras = completed
    assert masks.shape == (1, 9, 48, 48) and len(cameras) == 9
    truth = painted(ring(8))
    assert (masks[0, 1:] - truth).abs().mean() < 0.04
    region = region_mask(generator, head, masks, cameras)
    inside = read_region(region, points, 1.0)[0] >= 0.5
    is_hair = hair(points)[0] > 0.5
    assert inside[is_hair].float().mean() > 0.9
    assert inside[~is_hair].float().mean() < 0.08


def test_the_given_masks_come_first(painted, completed):
    masks, cameras = completed
    assert torch.equal(masks[0, 0], painted(ring(1))[0])
    assert torch.equal(cameras[0].cam2world, ring(1).cam2world)


def test_nearness_alone_also_reaches_the_back(ellipsoid, painted, completed):
    generator, head = ellipsoid
    near, _ = complete_views(generator, head, painted(ring(1)), ring(1), Camera.look_at([150, 180]), appearance=0.0)
    assert near.shape == (1, 3, 96, 96)
    assert near[0, 1:].mean() > 0.02
    # Colours tell hair from skin where nearness cannot.
    truth = painted(ring(8))
    far, _ = complete_views(generator, head, painted(ring(1)), ring(1), 8, appearance=0.0, resolution=48)
    assert (far[0, 1:] - truth).abs().mean() > (completed[0][0, 1:] - truth).abs().mean()


def test_progress_and_bad_input(ellipsoid):
    generator, head = ellipsoid
    told = []
    masks = torch.ones(1, 8, 8)
    complete_views(generator, head, masks, ring(1), 2, resolution=16, progress=lambda *p: told.append(p))
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(DualEncError, match="region is empty"):
        complete_views(generator, head, 0 * masks, ring(1), 2, resolution=16)
    with pytest.raises(DualEncError, match="masks have shape"):
        complete_views(generator, head, masks, ring(3), 2, resolution=16)
    with pytest.raises(DualEncError, match="appearance is -1"):
        complete_views(generator, head, masks, ring(1), 2, appearance=-1)
