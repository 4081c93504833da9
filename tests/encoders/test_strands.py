"""Strands on hidden hair: streaks where hair is, and nothing else."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.encoders.strands import _hair, _pattern, _pattern_at, add_strands
from dualenc_core.encoders.tones import known_tones
from tests.small import small_generator


@pytest.fixture(scope="module")
def generator():
    return dc.load_generator("demo")


@pytest.fixture(scope="module")
def heads(generator):
    with torch.no_grad():
        return generator.synthesize(generator.mapping(generator.latents(seed=2, count=2), truncation_psi=0.6))


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


def test_hair_is_above_and_behind(generator, heads):
    hair = _hair(generator, heads.ws, known_tones(generator))
    size = hair.shape[-1]
    assert float(hair.min()) >= 0 and float(hair.max()) <= 1
    middle = slice(size * 3 // 8, size * 5 // 8)
    front, back = hair[:, 0, size // 2 : size * 5 // 8, middle], hair[:, 1, middle, middle]
    assert float(back.mean()) > 0.5 > 0.2 > float(front.mean())


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
