"""Hidden parts in the colours of the visible ones."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import DualEncoder, match_hidden_colours, stitch, visibility
from dualenc_core.metrics import pictures as metrics
from tests.stylised import stylised_encoders, stylised_generator

SMALL = {"super_resolve": False, "resolution": 48, "quality": "exact"}


@pytest.fixture(scope="module")
def generator():
    return stylised_generator()


def haired(generator, lightness: float):
    """One stylised head, with dark to light hair (`procedural.parameters`)."""
    z = generator.latents(12)
    z[:, 4] = lightness
    return generator.synthesize(generator.mapping(z))


@pytest.fixture(scope="module")
def head(generator):
    return haired(generator, -1.0)


@pytest.fixture(scope="module")
def repainted(generator):
    return haired(generator, 1.0)


@pytest.fixture(scope="module")
def seen(generator, head):
    return visibility(generator, head, Camera.look_at(), resolution=96)


def behind(generator, triplane):
    return generator.render(triplane, Camera.look_at(180.0), **SMALL)


def test_what_is_seen_is_carried_to_what_is_not(generator, head, repainted, seen):
    """Encoder 1 has dyed the hair, Encoder 2 has not: matched, the back has nearly the new colour."""
    matched = match_hidden_colours(generator, repainted, head, seen)
    wanted, own, made = (behind(generator, t).raw for t in (repainted, head, matched))
    assert (made - wanted).square().mean() < 0.1 * (own - wanted).square().mean()
    assert matched.meta["hidden_colours"] == 1 and torch.equal(matched.ws, head.ws)


def test_the_shape_stays(generator, head, repainted, seen):
    other = generator.synthesize(generator.mapping(generator.latents(31)))
    for visible in (repainted, other):
        matched = match_hidden_colours(generator, visible, head, seen)
        before, after = behind(generator, head), behind(generator, matched)
        assert (after.alpha - before.alpha).abs().mean() < 0.01


def test_nothing_to_change_changes_nothing(generator, head, seen):
    matched = match_hidden_colours(generator, head, head, seen)
    assert (matched.planes - head.planes).abs().max() < 1e-3 * head.planes.abs().max()


def test_what_encoder_2_has_changed_itself_is_not_changed_twice(generator, head, repainted, seen):
    matched = match_hidden_colours(generator, repainted, repainted, seen, coarse=head)
    own, made = behind(generator, repainted).raw, behind(generator, matched).raw
    changed = (behind(generator, head).raw - own).square().mean()
    assert (made - own).square().mean() < 0.1 * changed


def test_strength(generator, head, repainted, seen):
    assert match_hidden_colours(generator, repainted, head, seen, strength=0.0) is head
    half, whole = (match_hidden_colours(generator, repainted, head, seen, strength=s).planes for s in (0.5, 1.0))
    assert torch.allclose(half, (head.planes + whole) / 2, atol=1e-4)


def test_a_batch_is_its_heads(generator, head, repainted, seen):
    other = generator.synthesize(generator.mapping(generator.latents(5)))
    first = dc.Triplane(torch.cat([repainted.planes, other.planes]), torch.cat([head.ws, other.ws]), head.depth)
    second = dc.Triplane(torch.cat([head.planes, head.planes]), torch.cat([head.ws, head.ws]), head.depth)
    together = match_hidden_colours(generator, first, second, seen)
    for i in range(2):
        alone = match_hidden_colours(generator, first[i], second[i], seen)
        assert torch.allclose(
            together.planes[i], alone.planes[0], rtol=1e-3, atol=1e-3 * float(head.planes.abs().max())
        )


def test_an_empty_picture_changes_nothing(generator, head, repainted, seen):
    nothing = seen.map(torch.clone)
    nothing.alpha.zero_()
    assert torch.equal(match_hidden_colours(generator, repainted, head, nothing).planes, head.planes)


def test_a_head_without_features_is_no_obstacle(generator, head, repainted, seen):
    blank = head.replace(planes=torch.zeros_like(head.planes))
    assert match_hidden_colours(generator, repainted, head, seen, coarse=blank).planes.isfinite().all()


def test_errors(generator, head, repainted, seen):
    with pytest.raises(DualEncError, match="hidden_colours is 1.5, expected 0"):
        match_hidden_colours(generator, repainted, head, seen, strength=1.5)
    with pytest.raises(DualEncError, match="hidden_colours is -1, expected 0"):
        DualEncoder(generator, None, None, hidden_colours=-1)
    with pytest.raises(DualEncError, match="the visibility is of 2 views, expected 1"):
        match_hidden_colours(generator, repainted, head, seen.map(lambda tensor: torch.cat([tensor, tensor])))
    foreign = head.replace(generator="0123456789abcdef")
    with pytest.raises(GeneratorMismatchError):
        match_hidden_colours(generator, foreign, foreign, seen)


def test_a_decoder_with_an_activation_keeps_its_colours(heads, tiny):
    other = type(tiny)(tiny.config.replace(decoder_activation="sigmoid")).eval()
    visible, occluded = (h.replace(generator="") for h in heads)
    view = visibility(tiny, heads[0], Camera.look_at([0, 30]), resolution=24)
    assert match_hidden_colours(other, visible, occluded, view) is occluded


def test_heads_whose_planes_mean_different_things_keep_their_colours(heads, tiny):
    visible, occluded = heads[0], heads[1].replace(meta={**heads[1].meta, "own_ends": True})
    view = visibility(tiny, visible, Camera.look_at([0, 30]), resolution=24)
    assert match_hidden_colours(tiny, visible, heads[1], view) is not heads[1]
    assert match_hidden_colours(tiny, visible, occluded, view) is occluded


def test_real_encoders_are_nearer_to_the_truth_behind(generator):
    """A portrait whose hair the generator does not know: the hidden side gains, the photo's side does not lose."""
    truth, camera = procedural.sample_heads(12, seed=2_000_000)[3], Camera.look_at(-20.0)
    photo = procedural.render(truth, camera, 128)
    dual = DualEncoder(generator, *stylised_encoders())
    made = dual.invert(photo.image, camera, photo.alpha)
    views = Camera.cat([camera, Camera.look_at(160.0)])
    real = procedural.render(truth, views, SMALL["resolution"]).image
    unmatched = stitch(made.visible, made.occluded, made.mask)
    own, matched = (metrics.psnr(generator.render(t, views, **SMALL).raw, real) for t in (unmatched, made.triplane))
    assert matched[0] > own[0] - 0.3 and matched[1] > own[1] + 0.5
    # The head of stage one is the generator's of its styles, if nobody hands it over.
    again = match_hidden_colours(generator, made.visible, made.occluded, made.mask)
    assert torch.allclose(again.planes, made.triplane.overlays[0].planes, atol=1e-3)
