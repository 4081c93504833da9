"""Sides that a photo hardly shows are coloured by stage one, in the photo's tones; what it shows well stays."""

from __future__ import annotations

import torch

import dualenc_core as dc
from dualenc_core.encoders.grazing import settle_grazing
from dualenc_core.encoders.sides import distance_feature, places_on, surfaces_of
from dualenc_core.encoders.view import View
from dualenc_core.people.relief import CHANNELS, SIDES

CAMERA = dc.Camera.look_at()


def changed(head, factors, sides):
    """The head with the colours of some sides multiplied."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))
    for k in sides:
        features[SIDES[k][0], k * CHANNELS : distance_feature(k)] *= torch.tensor(factors)[:, None, None, None]
    return head.replace(planes=planes)


def colour(generator, head, yaw):
    seen = generator.render(head, dc.Camera.look_at(yaw=yaw), super_resolve=False)
    inside = seen.alpha[0, 0] > 0.98
    picture = (seen.raw[0] + 1) / 2
    return picture[:, inside].mean(1)


def test_stains_behind_go(generator, head):
    stained = changed(head, (1.0, 0.3, 0.3), [1])
    settled = settle_grazing(generator, stained, head, CAMERA)
    wanted, before, after = (colour(generator, h, 180) for h in (head, stained, settled))
    assert (before - wanted).norm() > 0.05
    assert (after - wanted).norm() < 0.1 * (before - wanted).norm()


def test_the_front_and_the_shape_stay(generator, head):
    stained = changed(head, (1.0, 0.3, 0.3), range(5))
    settled = settle_grazing(generator, stained, head, CAMERA)
    features, before = (h.planes[0].unflatten(1, (-1, head.depth)) for h in (settled, stained))
    assert torch.equal(features[0, :CHANNELS], before[0, :CHANNELS])
    for k, (plane, _) in enumerate(SIDES):
        assert torch.equal(features[plane, distance_feature(k)], before[plane, distance_feature(k)])


def test_what_a_photo_from_the_side_shows_stays(generator, head):
    stained = changed(head, (1.0, 0.3, 0.3), [2])
    settled = settle_grazing(generator, stained, head, dc.Camera.look_at(yaw=90))
    before, after = (colour(generator, h, 90) for h in (stained, settled))
    assert (after - before).norm() < 0.02


def test_hidden_sides_take_the_photos_tone(generator, head):
    """Somebody darker than stage one has it is so beside what the photo shows as well."""
    darker, camera = changed(head, (0.7, 0.7, 0.7), range(5)), dc.Camera.look_at(yaw=60)
    settled = settle_grazing(generator, darker, head, camera)
    before, after = (h.planes[0].unflatten(1, (-1, h.depth)) for h in (head, settled))
    places = places_on(surfaces_of(before, generator.config.render.box_warp), generator.config.render.box_warp)
    hidden = View.of(generator, head, camera).shown(places) < 1e-3
    shares = []
    for k in (2, 3, 4):
        colours = (SIDES[k][0], slice(k * CHANNELS, distance_feature(k)))
        was, made = (features[colours].mean((0, 1))[hidden[k]] for features in (before, after))
        shares.append((made / was)[was > 0.2])
    assert (torch.cat(shares) < 0.85).float().mean() > 0.05


def test_every_head_of_a_batch_has_its_own_camera(generator):
    heads = generator.synthesize(generator.mapping(generator.latents(seed=3, count=2)))
    stained, cameras = changed(heads[0], (1.0, 0.3, 0.3), range(5)), dc.Camera.look_at(yaw=[-40.0, 40.0])
    both = heads.replace(planes=torch.cat([stained.planes, heads.planes[1:]]))
    settled = settle_grazing(generator, both, heads, cameras)
    for i in range(2):
        alone = settle_grazing(generator, both[i], heads[i], cameras[i])
        assert torch.allclose(settled.planes[i], alone.planes[0], atol=1e-5)


def test_in_inference_mode_it_does_the_same(generator, head):
    stained = changed(head, (1.0, 0.3, 0.3), range(5))
    expected = settle_grazing(generator, stained, head, CAMERA).planes
    with torch.inference_mode():
        found = settle_grazing(generator, stained.map(torch.clone), head.map(torch.clone), CAMERA).planes
    assert torch.allclose(found, expected, atol=1e-5)


def test_heads_of_other_generators_stay_as_they_are():
    other = dc.PanoHead.from_config(
        {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
    )
    its = other.synthesize(other.mapping(other.latents(0)))
    assert settle_grazing(other, its, its, CAMERA) is its
