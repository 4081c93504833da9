from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.inversion import DualEncoder
from dualenc_core.point_weight import Visibility
from dualenc_core.triplane import TriplaneMask


class Fixed:
    """An encoder that answers with one head and remembers what it was asked."""

    def __init__(self, triplane):
        self.triplane, self.asked = triplane, None

    def encode(self, generator, image, camera, matte=None):
        self.asked = (image, camera, matte)
        return self.triplane


@pytest.mark.parametrize(("mode", "kind"), [("points", Visibility), ("cells", TriplaneMask)])
def test_invert(tiny, heads, mode, kind):
    first, second = Fixed(heads[0]), Fixed(heads[1])
    image, matte, camera = torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32), Camera.look_at([5, -5])
    steps = []
    result = DualEncoder(tiny, first, second, mode).invert(image, camera, matte, lambda *p: steps.append(p))
    assert isinstance(result.mask, kind)
    assert result.visible is heads[0] and result.occluded is heads[1]
    assert result.triplane.meta["stitched"]["mode"] == mode
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(result.timings) == {"encoder 1", "encoder 2", "mask", "stitch"}
    for encoder in (first, second):
        assert encoder.asked[0] is image and encoder.asked[1] is camera and encoder.asked[2] is matte
    assert torch.isfinite(tiny.render(result.triplane, camera).image).all()


def test_the_mask_comes_from_the_first_encoder(tiny, heads):
    image, camera = torch.zeros(2, 3, 32, 32), Camera.look_at()
    pipeline = DualEncoder(tiny, Fixed(heads[0]), Fixed(heads[1]), "points")
    swapped = DualEncoder(tiny, Fixed(heads[0]), Fixed(heads[0]), "points")
    assert torch.equal(pipeline.invert(image, camera).mask.depth, swapped.invert(image, camera).mask.depth)


def test_same_inputs_give_the_same_bits(tiny, heads):
    pipeline = DualEncoder(tiny, Fixed(heads[0]), Fixed(heads[1]), "cells")
    image, camera = torch.zeros(2, 3, 32, 32), Camera.look_at(12)
    first, second = (pipeline.invert(image, camera).triplane.planes for _ in range(2))
    assert torch.equal(first, second)


def test_unknown_mode(tiny):
    with pytest.raises(DualEncError, match="mode is 'voxels', expected one of points, cells"):
        DualEncoder(tiny, None, None, mode="voxels")
