"""What the generator promises beyond the reference's numbers."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.checkpoints.store import load_generator_file, save_generator
from dualenc_core.errors import CheckpointError, DualEncError, GeneratorMismatchError
from dualenc_core.generator import GeneratorConfig, PanoHead
from dualenc_core.rendering.renderer import RenderOptions, crop_mask
from tests.small import small_generator


def small(seed: int = 0, **changes) -> PanoHead:
    torch.manual_seed(seed)
    config = small_generator(decoder_width=8)
    generator = PanoHead(config.replace(**changes)).eval().requires_grad_(False)
    # Raw densities of a random decoder are near zero: spread them, so that pictures have a head in them.
    generator.decoder.net[2].weight[0] *= 60
    return generator


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    return small()


def heads(generator, count=2):
    return generator.synthesize(generator.mapping(torch.randn(count, 8, generator=torch.Generator().manual_seed(1))))


def test_full_size_configuration_is_the_released_one(tmp_path):
    generator = PanoHead().eval().requires_grad_(False)
    assert sum(p.numel() for p in generator.parameters()) == 53_741_548
    assert len(generator.state_dict()) == 296
    init, rendering = generator.config.to_official()
    config = {"init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": 64}
    save_generator(tmp_path / "full.safetensors", generator.state_dict(), config, {}, half=True)
    state, config, _ = load_generator_file(tmp_path / "full.safetensors")
    again = PanoHead.from_config(config["init_kwargs"], config["rendering_kwargs"], state)
    with torch.no_grad():
        ws = again.mapping(torch.randn(1, 512))
        out = again.render(again.synthesize(ws), Camera.look_at(yaw=30), resolution=16)
    assert ws.shape == (1, 14, 512)
    assert out.image.shape == (1, 3, 512, 512) and torch.isfinite(out.image).all()


def test_config_survives_the_official_arguments():
    uncropped = GeneratorConfig(render=RenderOptions(crop=0.01))
    given = GeneratorConfig(c_scale=0.0, background=False, conv_clamp=4.0)
    for config in (GeneratorConfig(), small().config, given, uncropped):
        init, rendering = config.to_official()
        assert GeneratorConfig.from_official(init, rendering, config.neural_resolution) == config


@pytest.mark.parametrize(
    "change, word",
    [
        ({"superresolution_module": "training.superresolution.SuperresolutionHybrid4X"}, "superresolution_module"),
        ({"ray_start": "auto"}, "auto"),
        ({"clamp_mode": "relu"}, "clamp_mode"),
        ({"triplane_size": 100}, "triplane_size"),
        ({"decoder_activation": "gelu"}, "decoder_activation"),
    ],
)
def test_unsupported_arguments_are_named(change, word):
    init, rendering = GeneratorConfig().to_official()
    with pytest.raises(DualEncError, match=word):
        GeneratorConfig.from_official(init, {**rendering, **change})


def test_heads_of_another_crop_are_of_the_same_generator():
    generator = small()
    render = dataclasses.replace(generator.config.render, crop=0.01)
    other = PanoHead(generator.config.replace(render=render)).eval()
    other.load_state_dict(generator.state_dict())
    assert other.fingerprint == generator.fingerprint
    # The back of a head goes on where other pictures end.
    far = torch.tensor([[[0.0, 0.0, -0.45]]])
    masks = [crop_mask(far, g.config.render) for g in (generator, other)]
    assert [bool(mask) for mask in masks] == [True, False]


def test_a_file_without_c_scale_is_unconditional():
    init, rendering = GeneratorConfig().to_official()
    del rendering["c_scale"]
    assert GeneratorConfig.from_official(init, rendering).c_scale == 0


def test_weights_that_do_not_fit_are_named(generator):
    init, rendering = generator.config.to_official()
    state = dict(generator.state_dict())
    state["decoder.net.0.weight"] = torch.zeros(3, 3)
    state["extra"] = torch.zeros(1)
    del state["torgb.bias"]
    with pytest.raises(CheckpointError, match=r"torgb\.bias.*extra.*decoder\.net\.0\.weight \(3, 3\) instead"):
        PanoHead.from_config(init, rendering, state)


def test_rendering_is_deterministic_and_independent_of_chunks_and_batch(generator):
    triplane, camera = heads(generator), Camera.look_at(yaw=[0.0, 130.0])
    with torch.no_grad():
        both = generator.render(triplane, camera)
        again = generator.render(triplane, camera)
        chunked = generator.render(triplane, camera, chunk=7)
        alone = generator.render(triplane[1], camera[1])
    assert torch.equal(both.image, again.image) and torch.equal(both.depth, again.depth)
    torch.testing.assert_close(chunked.image, both.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.image, both.image[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.depth, both.depth[1:], atol=1e-5, rtol=0)


def test_gradient_mode_gives_the_same_picture(generator):
    triplane, camera = heads(generator), Camera.look_at(yaw=[0.0, 130.0])
    with torch.no_grad():
        expected = generator.render(triplane, camera)
    with torch.enable_grad():
        actual = generator.render(triplane, camera)
    torch.testing.assert_close(actual.image, expected.image, atol=1e-5, rtol=0)


def test_empty_rays_have_no_alpha_and_the_far_depth(generator):
    nothing = heads(generator, 1)
    triplane = nothing.replace(planes=torch.zeros_like(nothing.planes))
    lonely = small(1)
    lonely.decoder.net[2].bias[0] = -1000.0
    with torch.no_grad():
        out = lonely.render(triplane.replace(generator=""), Camera.look_at())
    assert out.alpha.abs().max() == 0
    assert (out.depth == lonely.config.render.far).all()


def test_background_none_and_colour(generator):
    triplane, camera = heads(generator, 1), Camera.look_at()
    with torch.no_grad():
        own = generator.render(triplane, camera)
        red = generator.render(triplane, camera, background=(1.0, 0.0, 0.0))
        none = generator.render(triplane, camera, background="none")
        empty = small(2)
        empty.decoder.net[2].bias[0] = -1000.0
        ghost = heads(empty, 1)
        pure = empty.render(ghost, camera, background=(0.25, 0.5, 1.0)).image
    assert not torch.equal(own.image, red.image)
    assert torch.equal(own.alpha, red.alpha) and torch.equal(own.depth, red.depth)
    assert none.image.min() >= -1 and none.image.max() <= 1
    # Where there is no head at all, the colour comes out exactly.
    expected = torch.tensor([-0.5, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(pure)
    torch.testing.assert_close(pure, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("background", ["white", (0.1, 0.2), (2.0, 0.0, 0.0), 7])
def test_wrong_backgrounds_are_refused(generator, background):
    with pytest.raises((DualEncError, TypeError)):
        generator.render(heads(generator, 1), Camera.look_at(), background=background)


def test_a_triplane_of_another_generator_is_refused(generator):
    other = small(5)
    assert other.fingerprint != generator.fingerprint
    with pytest.raises(GeneratorMismatchError, match=other.fingerprint):
        generator.render(heads(other), Camera.look_at())


def test_batches_that_do_not_match_are_refused(generator):
    with pytest.raises(DualEncError, match="2"):
        generator.render(heads(generator, 3), Camera.look_at(yaw=[0.0, 1.0]))


def test_progress_counts_frames(generator):
    seen = []
    with torch.no_grad():
        generator.render(heads(generator, 1), Camera.orbit(4), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_truncation_moves_towards_the_average(generator):
    z = torch.randn(3, 8)
    ws = generator.mapping(z)
    assert torch.equal(generator.mapping(z, truncation_psi=0)[0, 0], generator.w_avg)
    half = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(half[:, 2:], ws[:, 2:]) and not torch.equal(half[:, :2], ws[:, :2])
    torch.testing.assert_close(generator.truncate(ws, 0.5)[:, :2], half[:, :2])


def test_a_latent_depends_on_its_seed_alone(generator):
    batch = generator.latents(5, 3)
    assert batch.shape == (3, generator.config.z_dim)
    assert torch.equal(batch[2:], generator.latents(7))
    assert not torch.equal(batch[0], batch[1])
