from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.inversion import DualEncoder, on_backdrop
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


def test_what_is_around_the_matte_is_not_inverted(tiny, heads):
    """Whatever surrounds the head, the encoders see the generator's background there."""
    noise = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 32, 32, generator=noise) * 2 - 1
    matte = torch.zeros(2, 1, 32, 32)
    matte[..., 4:28, 8:24] = 1
    other = torch.where(matte > 0, image, torch.rand(2, 3, 32, 32, generator=noise) * 2 - 1)
    first, camera = Fixed(heads[0]), Camera.look_at([5, -5])
    dual = DualEncoder(tiny, first, Fixed(heads[1]))
    seen = []
    for picture in (image, other, on_backdrop(tiny, image, matte)):
        dual.invert(picture, camera, matte)
        seen.append(first.asked[0])
        assert first.asked[2] is matte
    assert torch.equal(seen[0], on_backdrop(tiny, image, matte))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    dual.invert(image, camera, matte, keep_background=True)
    assert first.asked[0] is image


def test_a_soft_edge_is_not_mixed_twice(tiny, heads):
    image, matte = torch.ones(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    matte[..., 8:24, 8:24], matte[..., 12:20, 12:20] = 0.5, 1
    once = on_backdrop(tiny, image, matte)
    assert torch.equal(on_backdrop(tiny, once, matte), once) and not torch.equal(once, image)


def test_one_matte_serves_all_pictures_and_a_useless_one_is_refused(tiny, heads):
    image, camera = torch.zeros(2, 3, 32, 32), Camera.look_at([5, -5])
    matte = torch.zeros(1, 1, 16, 16)
    matte[..., 2:14, 4:12] = 1
    first = Fixed(heads[0])
    dual = DualEncoder(tiny, first, Fixed(heads[1]))
    dual.invert(image, camera, matte)
    assert first.asked[2].shape == (2, 1, 16, 16)
    for bad, message in ((matte * 0, "empty"), (1 - matte, "inverted")):
        with pytest.raises(DualEncError, match=message):
            dual.invert(image, camera, bad)
