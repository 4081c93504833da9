"""The photo's own detail: a render of the head becomes the photo, and nothing else moves."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.encoders import HeadEncoder, HeadEncoderConfig
from dualenc_core.encoders.detail import _slopes, add_detail
from dualenc_core.errors import DualEncError
from dualenc_core.images import resize_area
from dualenc_core.rendering.trigrid import lookup


def psnr(first, second, weight):
    error = ((first - second) / 2).square() * weight
    return float(-10 * torch.log10(error.sum() / weight.expand_as(error).sum()))


def test_the_render_becomes_the_photo(generator, head):
    camera = dc.Camera.look_at(yaw=20, pitch=5)
    plain = generator.render(head, camera, super_resolve=False)
    # Stripes finer than any encoder has learned, and a tint.
    size = plain.raw.shape[-1]
    stripes = (
        0.3 * torch.sin(torch.arange(size) / 2.0)[None, None, :, None] * torch.tensor([1.0, 0.5, -1.0])[:, None, None]
    )
    photo = (plain.raw + stripes * plain.alpha).clamp(-1, 1)
    matte = plain.alpha.clamp(0, 1)
    detailed = add_detail(generator, head, photo, camera, matte)
    made = generator.render(detailed, camera, super_resolve=False)
    inside = (plain.alpha > 0.98).float()
    assert psnr(plain.raw, photo, inside) < 21
    assert psnr(made.raw, photo, inside) > 26
    # The shape stays, and so does what the photo does not show.
    assert (made.alpha - plain.alpha).abs().mean() < 1e-3
    behind = dc.Camera.look_at(yaw=200)
    before, after = (generator.render(h, behind, super_resolve=False).raw for h in (head, detailed))
    assert psnr(before, after, torch.ones_like(before)) > 38
    assert detailed.ws is head.ws


def test_outside_of_the_matte_nothing_is_learned(generator, head):
    camera = dc.Camera.look_at()
    photo = torch.ones(1, 3, 128, 128)
    nothing = torch.zeros(1, 1, 64, 64)
    assert torch.equal(add_detail(generator, head, photo, camera, nothing).planes, head.planes)


def test_in_inference_mode_it_does_the_same(generator, head):
    camera = dc.Camera.look_at(yaw=10)
    photo = generator.render(head, camera, super_resolve=False).raw.roll(3, -1)
    expected = add_detail(generator, head, photo, camera).planes
    with torch.inference_mode():
        found = add_detail(generator, head.map(torch.clone), photo.clone(), camera)
        assert torch.allclose(found.planes, expected, atol=1e-4)


def test_colours_move_with_features_as_gradients_say(generator, head):
    points = 0.1 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    box, depth = generator.config.render.box_warp, head.depth

    def colours(features):
        decoded = generator.decoder(features[None, None])[1]
        return generator.to_rgb(decoded.transpose(1, 2)[..., None], head.ws)[0, :, :, 0].T

    features = lookup(head.planes, points[None], depth, box).mean(1)[0]
    expected = torch.autograd.functional.jacobian(lambda f: colours(f).sum(0), features).movedim(0, 1)
    assert torch.allclose(_slopes(generator, head, points), expected, atol=1e-4)


def test_heads_of_other_generators_stay_as_they_are():
    generator = dc.PanoHead.from_config(
        {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
    )
    head = generator.synthesize(generator.mapping(generator.latents(0)))
    assert add_detail(generator, head, torch.zeros(1, 3, 64, 64), dc.Camera.look_at()) is head


def test_every_head_of_a_batch_gets_its_own_photo(generator):
    camera = dc.Camera.look_at(yaw=[0.0, 30.0])
    heads = generator.synthesize(generator.mapping(generator.latents(seed=3, count=2)))
    photos = torch.stack([torch.full((3, 128, 128), value) for value in (-0.5, 0.5)])
    both = add_detail(generator, heads, photos, camera)
    for i in range(2):
        alone = add_detail(generator, heads[i], photos[i : i + 1], camera[i])
        assert torch.allclose(both.planes[i], alone.planes[0], atol=1e-5)


def test_the_bundled_first_encoder_is_as_sharp_as_its_photo(generator, head):
    """As `encode` does it: most of what the encoder misses of a photo is there afterwards."""
    camera = dc.Camera.look_at(yaw=-15)
    view = generator.render(head, camera)
    bundled = dc.load_encoder("demo-e1")
    assert bundled.config.detail > 0
    plain = HeadEncoder.from_config(bundled.config.replace(detail=0), bundled.state_dict())
    found = {}
    for name, encoder in (("plain", plain), ("detail", bundled)):
        made = generator.render(encoder.encode(generator, view.image, camera, view.alpha), camera, super_resolve=False)
        inside = ((made.alpha > 0.95) & (view.alpha > 0.95)).float()
        found[name] = psnr(made.raw, resize_area(view.image, 128), inside)
    assert found["detail"] > found["plain"] + 4


def test_wrong_configurations_are_refused():
    with pytest.raises(DualEncError, match="detail is -1, expected 0 or more"):
        HeadEncoderConfig(detail=-1)
