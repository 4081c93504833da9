"""The photo's own outline: a head goes on as far as its matte does, and nowhere else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import dualenc_core as dc
from dualenc_core.encoders.outline import fit_outline

CAMERA = dc.Camera.look_at(yaw=12, pitch=3)
# Of 256 pixels; one is 2.5 mm of the head's world, in which a head is some 0.25 wide.
SIZE = 256


def alpha(generator, head, camera=CAMERA):
    drawn = generator.render(head, camera, super_resolve=False).alpha
    return F.interpolate(drawn, size=(SIZE, SIZE), mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def covered(generator, head):
    return alpha(generator, head)


@pytest.fixture(scope="module")
def crest(covered):
    """A crest of 12 pixels on the upper right of the head, as the matte would have it; what of it is new."""
    high = F.max_pool2d((covered > 0.5).float(), 25, 1, 12)
    high[..., SIZE // 3 :, :] = 0
    high[..., : SIZE // 2] = 0
    return torch.maximum(covered, high), (high > 0) & (covered < 0.1)


@pytest.fixture(scope="module")
def fitted(generator, head, crest):
    green = torch.tensor([-0.6, 0.6, -0.6])[:, None, None]
    photo = torch.where(crest[1], green, generator.render(head, CAMERA, resolution=128).image.mean())
    return fit_outline(generator, head, photo.expand(1, 3, SIZE, SIZE), CAMERA, crest[0])


def test_the_head_goes_on_as_far_as_the_matte(generator, covered, crest, fitted):
    found = alpha(generator, fitted)
    matte, new = crest
    assert (covered[new] > 0.5).float().mean() < 0.05
    assert (found[new] > 0.5).float().mean() > 0.85
    # No cell of a plane more: a cell is 2.5 pixels.
    outside = F.max_pool2d((matte > 0.5).float(), 7, 1, 3) == 0
    assert (found[outside] > 0.5).float().mean() < 0.002
    assert (found - covered)[matte > 0.5].min() > -0.2


def test_what_is_added_has_the_photos_colours_from_both_sides(generator, head, fitted):
    for camera in (CAMERA, dc.Camera.look_at(yaw=192, pitch=-3)):
        image = generator.render(fitted, camera, super_resolve=False).raw
        image = F.interpolate(image, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        added = (alpha(generator, fitted, camera) > 0.9) & (alpha(generator, head, camera) < 0.1)
        assert added.sum() > 200
        assert float((image[:, 1] - image[:, 0])[added[:, 0]].mean()) > 0.45


def test_from_the_side_it_is_no_sheet_and_no_wing(generator, head, fitted):
    """As thick as hair, about the outline: seen from above and from the left, heads hardly grow."""
    for camera in (dc.Camera.look_at(yaw=102), dc.Camera.look_at(pitch=80)):
        before, after = (alpha(generator, h, camera) > 0.5 for h in (head, fitted))
        assert not (before & ~after).any()
        assert int((after & ~before).sum()) < 0.12 * int(before.sum())


def test_a_head_that_covers_its_matte_stays_as_it_is(generator, head, covered):
    photo = torch.zeros(1, 3, SIZE, SIZE)
    for matte in (covered, covered * 0, covered * (torch.arange(SIZE) < 128)):
        assert torch.equal(fit_outline(generator, head, photo, CAMERA, matte).planes, head.planes)


def test_what_is_not_attached_is_somebody_else(generator, head, covered):
    matte = covered.clone()
    away = F.max_pool2d((covered > 0.1).float(), 61, 1, 30) == 0
    rows, columns = away[0, 0].nonzero(as_tuple=True)
    matte[..., rows[0] : rows[0] + 20, columns[0] : columns[0] + 20] = 1
    assert torch.equal(fit_outline(generator, head, torch.zeros(1, 3, SIZE, SIZE), CAMERA, matte).planes, head.planes)


def test_a_matte_that_holds_the_picture_adds_nothing(generator, head):
    made = fit_outline(generator, head, torch.zeros(1, 3, SIZE, SIZE), CAMERA, torch.ones(1, 1, SIZE, SIZE))
    assert torch.equal(made.planes, head.planes)


@pytest.mark.parametrize(("cover", "least", "most"), [(1.0, 0.8, 1.0), (0.8, 0.0, 0.4)])
def test_long_hair_goes_on_where_the_matte_is_sure(generator, head, covered, cover, least, most):
    """Beside the neck, 24 pixels away from what the head covers and more."""
    long = torch.zeros_like(covered, dtype=torch.bool)
    long[..., SIZE // 2 : SIZE * 7 // 8, SIZE // 16 : SIZE * 15 // 16] = True
    matte = covered.clone()
    matte[long] = matte[long].clamp(min=cover)
    made = fit_outline(generator, head, torch.zeros(1, 3, SIZE, SIZE), CAMERA, matte)
    far = long & (F.max_pool2d((covered > 0.1).float(), 49, 1, 24) == 0)
    assert far.sum() > 100
    assert least <= (alpha(generator, made)[far] > 0.5).float().mean() <= most


def test_in_inference_mode_and_in_batches_it_does_the_same(generator, head, crest, fitted):
    other = generator.synthesize(generator.mapping(generator.latents(seed=4)))
    photos, mattes = torch.zeros(2, 3, SIZE, SIZE), torch.cat([crest[0], alpha(generator, other)])
    with torch.inference_mode():
        heads = head.replace(planes=torch.cat([head.planes, other.planes]), ws=torch.cat([head.ws, other.ws]))
        both = fit_outline(generator, heads, photos, CAMERA.expand(2), mattes)
        alone = fit_outline(generator, head, photos[:1], CAMERA, crest[0])
    assert torch.allclose(both.planes[:1], alone.planes, atol=1e-5)
    assert torch.equal(both.planes[1:], other.planes)


def test_heads_of_other_generators_stay_as_they_are():
    generator = dc.PanoHead.from_config(
        {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
    )
    head = generator.synthesize(generator.mapping(generator.latents(0)))
    photo, matte = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    assert fit_outline(generator, head, photo, CAMERA, matte) is head


def test_the_bundled_encoders_heads_go_on_too(generator, head, crest):
    encoder = dc.load_encoder("demo-e1")
    photo = generator.render(head, CAMERA).image
    plain, fitted = (
        dc.encoders.HeadEncoder.from_config(encoder.config.replace(outline=on), encoder.state_dict()).encode(
            generator, photo, CAMERA, crest[0]
        )
        for on in (False, True)
    )
    shares = [float((alpha(generator, h)[crest[1]] > 0.5).float().mean()) for h in (plain, fitted)]
    assert shares[0] < 0.4 and shares[1] > 0.8
    assert encoder.config.outline and fitted.meta["outline"] is True


def test_behind_hair_that_is_missing_the_head_is_wider_less_and_less(generator, head):
    view = dc.Camera.look_at()
    covered = alpha(generator, head, view)
    coat = F.max_pool2d((covered > 0.5).float(), 29, 1, 14)
    coat[..., SIZE // 2 :, :] = 0
    photo = torch.zeros(1, 3, SIZE, SIZE)
    fitted = fit_outline(generator, head, photo, view, torch.maximum(covered, coat))
    x = torch.linspace(-0.24, 0.24, 193)

    def width(made, z):
        points = torch.stack([x, torch.full_like(x, 0.04), torch.full_like(x, z)], -1)[None]
        return float((generator.query(made, points)[0] > 0).sum()) * 0.48 / 192

    # The outline of this head is .09 behind the middle of the world.
    gained = [width(fitted, z) - width(head, z) for z in (-0.09, -0.15, -0.21)]
    assert gained[0] > 0.06
    assert gained[0] > gained[1] > 0.02
    assert abs(gained[2]) < 0.01
