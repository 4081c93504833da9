"""The far side of a head becomes the mirror image of the near one, and hair hangs as far back on both; what the photo
shows stays."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.editing.mirror import mirror
from dualenc_core.encoders.sides import distance_feature, places_on, surfaces_of
from dualenc_core.encoders.symmetry import _mirrored, complete_sides, even_hair
from dualenc_core.people.relief import CHANNELS, DISTANCE_SCALE, SIDES

CAMERA = dc.Camera.look_at(yaw=40)
FRONT = dc.Camera.look_at()
FAR = dc.Camera.look_at(yaw=-60)


def drawn(generator, head, camera):
    return generator.render(head, camera, super_resolve=False)


def greenness(rendering):
    inside = rendering.alpha[0, 0] > 0.98
    return float((rendering.raw[0, 1] - rendering.raw[0, 0])[inside].mean())


@pytest.fixture(scope="module")
def painted(generator, head):
    """The head with a green right half, which the camera sees."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))
    for k, (plane, sign) in enumerate(SIDES):
        if (plane, sign) == (2, -1):
            continue
        colours = features[plane, k * CHANNELS : k * CHANNELS + 3]
        # x > 0: slices of planes that look along it, else columns.
        part = colours[:, 1:] if plane == 2 else colours[..., colours.shape[-1] // 2 :]
        part[0] *= 0.3
        part[2] *= 0.3
    return head.replace(planes=planes)


def test_the_far_side_becomes_the_near_one(generator, head, painted):
    completed = complete_sides(generator, painted, head, CAMERA)
    before, after = (greenness(drawn(generator, h, FAR)) for h in (painted, completed))
    near = greenness(drawn(generator, painted, dc.Camera.look_at(yaw=60)))
    assert near > before + 0.2
    assert after > before + 0.5 * (near - before)


def test_what_the_photo_shows_stays(generator, head, painted):
    completed = complete_sides(generator, painted, head, CAMERA)
    before, after = (drawn(generator, h, CAMERA) for h in (painted, completed))
    error = (before.image - after.image).square().mean()
    assert -10 * torch.log10(error / 4) > 32
    assert ((before.alpha > 0.5) == (after.alpha > 0.5)).float().mean() > 0.995


@pytest.mark.parametrize("yaw", [0, 180])
def test_without_a_better_side_nothing_happens(generator, head, yaw):
    camera = dc.Camera.look_at(yaw=yaw)
    completed = complete_sides(generator, head, head, camera)
    # From the side, where the face is.
    before, after = (drawn(generator, h, dc.Camera.look_at(yaw=70)).raw for h in (head, completed))
    assert -10 * torch.log10((before - after).square().mean() / 4) > 30


@pytest.fixture(scope="module")
def even(generator, head):
    return even_hair(generator, head, FRONT)


@pytest.fixture(scope="module")
def curtained(generator, even):
    """An even head with a curtain before its left cheek (x < 0), .03 of the world thick, to front and side."""
    planes, box = even.planes.clone(), generator.config.render.box_warp
    features = planes[0].unflatten(1, (-1, even.depth))
    surfaces = surfaces_of(features, box)
    x, y, z = places_on(surfaces, box).unbind(-1)
    # A place .03 further out is .03 nearer to what lies before it, in the three planes that the decoder averages.
    amount = -0.03 * 3 * DISTANCE_SCALE
    beside = (x[0] < -0.13) & (y[0].abs() < 0.1) & (surfaces[0] > 0)
    features[0, distance_feature(0)] += amount * beside
    cheek = (z[3] > 0.1) & (y[3].abs() < 0.1) & (surfaces[3] < 0)
    features[2, distance_feature(3)] += amount * cheek
    return even.replace(planes=planes)


def sides_of(generator, head):
    return surfaces_of(head.planes[0].unflatten(1, (-1, head.depth)), generator.config.render.box_warp)


def test_what_hangs_before_one_cheek_goes_back(generator, even, curtained):
    plain, before, after = (sides_of(generator, h) for h in (even, curtained, even_hair(generator, curtained, FRONT)))
    for k in (0, 3):
        there = (before - plain)[k].abs() > 0.02
        assert there.sum() > 100
        assert (after - plain)[k][there].abs().median() < 0.3 * (before - plain)[k][there].abs().median()
    # Nothing was further back on the left than on the right, where nothing moves.
    assert (after - before)[2].abs().max() < 5e-3


def test_a_photo_that_shows_the_side_is_believed(generator, curtained):
    before, left, right = (
        sides_of(generator, h)[3]
        for h in (curtained, *(even_hair(generator, curtained, dc.Camera.look_at(yaw=yaw)) for yaw in (-50, 50)))
    )
    assert torch.equal(left, before)
    assert (right - before)[before < 0].abs().max() > 0.02


def test_even_hair_is_that_of_the_mirrored_head(generator, curtained):
    there = even_hair(generator, mirror(curtained), FRONT)
    expected = mirror(even_hair(generator, curtained, FRONT))
    views = [generator.render(h, dc.Camera.look_at(yaw=-50), super_resolve=False).raw for h in (there, expected)]
    assert -10 * torch.log10((views[0] - views[1]).square().mean() / 4) > 40


def test_gradients_reach_stage_one_through_even_hair(generator, curtained):
    planes = curtained.planes.clone().requires_grad_()
    even_hair(generator, curtained.replace(planes=planes), FRONT).planes.sum().backward()
    assert planes.grad is not None and float(planes.grad.sum()) == pytest.approx(planes.numel(), rel=1e-3)


def test_mirrored_maps_are_those_of_the_mirrored_head(generator, head):
    box = generator.config.render.box_warp
    own, other = (h.planes[0].unflatten(1, (-1, h.depth)) for h in (head, mirror(head)))
    # In a mirrored head the sides along x have changed places.
    swapped = other.clone()
    for k, there in ((2, 3), (3, 2)):
        to, of = (slice(j * CHANNELS, (j + 1) * CHANNELS) for j in (k, there))
        swapped[2, to] = other[2, of]
    expected = places_on(surfaces_of(swapped, box), box)
    places = places_on(surfaces_of(own, box), box).movedim(-1, 1)
    found = _mirrored(places).movedim(1, -1) * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(found, expected, atol=1e-5)


def test_every_head_of_a_batch_has_its_own_camera(generator):
    heads = generator.synthesize(generator.mapping(generator.latents(seed=3, count=2)))
    cameras = dc.Camera.look_at(yaw=[-40.0, 40.0])
    both = complete_sides(generator, heads, heads, cameras)
    for i in range(2):
        alone = complete_sides(generator, heads[i], heads[i], cameras[i])
        assert torch.allclose(both.planes[i], alone.planes[0], atol=1e-5)


def test_in_inference_mode_it_does_the_same(generator, head):
    expected = complete_sides(generator, head, head, CAMERA).planes
    with torch.inference_mode():
        copied = head.map(torch.clone)
        assert torch.allclose(complete_sides(generator, copied, copied, CAMERA).planes, expected, atol=1e-5)


def test_heads_of_other_generators_stay_as_they_are():
    generator = dc.PanoHead.from_config(
        {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
    )
    head = generator.synthesize(generator.mapping(generator.latents(0)))
    assert complete_sides(generator, head, head, CAMERA) is head
    assert even_hair(generator, head, CAMERA) is head
