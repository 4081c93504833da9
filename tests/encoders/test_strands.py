"""Strands on hidden hair: streaks where hair is, and nothing else."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.encoders.strands import _gain_to, _pattern, _pattern_at, add_strands
from tests.small import small_generator


def test_behind_it_is_streaked_and_the_face_and_the_shape_stay(generator, heads):
    streaked = add_strands(generator, heads)
    camera = dc.Camera.look_at([0.0, 180.0])
    for i in range(2):
        before, after = (
            generator.render(h[i], camera, background=(0.5, 0.5, 0.5), super_resolve=False) for h in (heads, streaked)
        )
        assert float((after.alpha - before.alpha).abs().mean()) < 2e-3
        both = (before.alpha > 0.9) & (after.alpha > 0.9)
        assert float((after.depth - before.depth)[both].abs().mean()) < 1e-3
        changed = (after.raw - before.raw).abs().mean(1)
        face = changed[0, 50:90, 48:80]
        assert float(changed[1].mean()) > 4 * float(face.mean()) and float(changed[1].max()) > 0.03
        # Neither lighter nor darker in all.
        assert abs(float((after.raw - before.raw)[1].mean())) < 0.02
    assert torch.equal(add_strands(generator, heads).planes, streaked.planes)
    assert torch.equal(add_strands(generator, heads, strength=0.0).planes, heads.planes)
    assert add_strands(generator, heads[1]).planes.allclose(streaked[1].planes, atol=1e-5)


def test_the_pattern_runs_down_and_closes_behind():
    pattern = _pattern()
    assert float(pattern.mean()) == pytest.approx(0, abs=0.05) and float(pattern.std()) == pytest.approx(1, abs=1e-3)
    down, around = (float(pattern.diff(dim=axis).square().mean()) for axis in (2, 3))
    assert around > 4 * down
    angle = torch.tensor([torch.pi - 1e-4, -torch.pi + 1e-4])
    seam = torch.stack([0.1 * angle.sin(), torch.zeros(2), 0.1 * angle.cos() - 0.02], -1)[None, None, None]
    left, right = _pattern_at(seam).flatten()
    assert float(left - right) == pytest.approx(0, abs=0.02)


def test_a_generator_that_knows_no_hair_keeps_its_heads():
    generator = dc.PanoHead(small_generator())
    head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
    assert add_strands(generator, head) is head


def test_a_pale_patch_behind_takes_on_the_hair_s_colour(generator, heads):
    head = heads[0]
    size = head.size
    volume = head.planes.unflatten(2, (-1, head.depth)).clone()
    patch = slice(size * 7 // 16, size * 9 // 16)
    volume[0, 0, 4:7, :, patch, patch] *= 1.5  # the back's colours
    pale = head.replace(planes=volume.flatten(2, 3))
    camera = dc.Camera.look_at(180.0)

    def contrast(triplane):
        raw = generator.render(triplane, camera, super_resolve=False).raw[0] / 2 + 0.5
        return float(raw[:, 60:68, 60:68].mean() / raw[:, 60:68, 44:52].mean())

    before, after = contrast(pale), contrast(add_strands(generator, pale, strength=1e-6))
    plain = contrast(head)
    assert before > plain * 1.2 and abs(after - 1) < 0.87 * abs(before - 1)


def hues(generator, triplane, yaw=180.0):
    """Mean colour behind, each channel as a share of their mean."""
    raw = generator.render(triplane, dc.Camera.look_at(yaw), super_resolve=False).raw[0] / 2 + 0.5
    colour = raw[:, 50:80, 50:80].mean((1, 2))
    return colour / colour.mean()


def test_hidden_hair_takes_the_hue_of_the_photo_s(generator, heads):
    head, camera = heads[0], dc.Camera.look_at(0.0)
    seen = generator.render(head, camera)
    hair = seen.image / 2 + 0.5
    bluish = ((hair * torch.tensor([0.6, 0.9, 1.6])[:, None, None]) * 2 - 1).clamp(-1, 1)
    # The face keeps its colours: below the hairline.
    bluish[:, :, 200:] = seen.image[:, :, 200:]
    before = hues(generator, add_strands(generator, head))
    same = hues(generator, add_strands(generator, head, photos=(seen.image.clamp(-1, 1), camera, seen.alpha)))
    other = hues(generator, add_strands(generator, head, photos=(bluish, camera, seen.alpha)))
    assert float(other[2] - before[2]) > 0.1 and float(other[0] - before[0]) < -0.08
    assert float((same - before).abs().max()) < 0.06


def test_hair_that_the_photo_shows_keeps_its_hue(generator, heads):
    head, camera = heads[0], dc.Camera.look_at(90.0)
    seen = generator.render(head, camera)
    bluish = ((seen.image / 2 + 0.5) * torch.tensor([0.6, 0.9, 1.6])[:, None, None] * 2 - 1).clamp(-1, 1)
    shown = ((image, camera, seen.alpha) for image in (seen.image.clamp(-1, 1), bluish))
    plain, told = (add_strands(generator, head, photos=photos) for photos in shown)
    drawn = [
        [generator.render(h, dc.Camera.look_at(yaw), super_resolve=False).raw[..., 30:70, 40:90] for h in (plain, told)]
        for yaw in (90.0, -90.0)
    ]
    shown, hidden = (float((a - b).abs().mean()) for a, b in drawn)
    assert hidden > 0.02 and shown < 0.2 * hidden, (shown, hidden)


def test_somebody_bald_has_no_strands(generator, heads):
    head, camera = heads[0], dc.Camera.look_at(0.0)
    alpha = generator.render(head, camera).alpha
    skin = torch.full((1, 3, 512, 512), 0.3) + 0.02 * torch.randn(
        1, 3, 512, 512, generator=torch.Generator().manual_seed(0)
    )
    photos = (skin.clamp(-1, 1), camera, alpha)
    streaked, smooth = (add_strands(generator, head, photos=photos, strength=s) for s in (0.3, 1e-9))
    assert torch.allclose(streaked.planes, smooth.planes, atol=1e-5)


def test_light_makes_dark_hair_bright_and_not_fair_hair():
    dark, pink = torch.tensor([0.2, 0.15, 0.1]), torch.tensor([0.5, 0.4, 0.36])
    white = torch.tensor([0.9, 0.88, 0.86])
    assert float((dark * _gain_to(dark, torch.tensor([0.3, 0.225, 0.15]))).mean()) == pytest.approx(0.15, rel=0.06)
    # Black beside blond is more than light does.
    assert float(_gain_to(dark, torch.tensor([0.5, 0.4, 0.3])).mean()) > 1.4
    # What is dark may be a shadow.
    assert float((white * _gain_to(white, dark)).mean()) > 0.8
    whitened = pink * _gain_to(pink, white)
    assert float(whitened.mean()) == pytest.approx(0.85 * 0.88, rel=0.06)
    assert float(whitened[0] / whitened[2]) < 1.2 < float(pink[0] / pink[2])
    # What is bright already does not become darker.
    assert float((white * _gain_to(white, white)).mean()) == pytest.approx(0.88, rel=0.01)
