"""The two-stage encoder on a tiny generator: shapes, gradients, determinism, bad input, files."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.encoders import (
    HeadEncoder,
    HeadEncoderConfig,
    LiftedConfig,
    StyleConfig,
    TriPlaneConfig,
    TrunkConfig,
)
from dualenc_core.errors import CheckpointError, DualEncError, GeneratorMismatchError
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.rendering.renderer import RenderOptions

FEATURES, DEPTH, SIZE = 4, 3, 32
TRUNK = TrunkConfig(widths=(8, 8, 16, 16), blocks=(1, 1, 1, 2), input_size=32)
STYLE = StyleConfig(TRUNK, n_styles=8, coarse=2, middle=4, w_dim=16, head_width=8)
RESIDUAL_TRUNK = TrunkConfig(in_channels=9, widths=(8, 8, 16, 16), blocks=(1, 1, 1, 2), input_size=32)


def config(refiner="lifted", **changes) -> HeadEncoderConfig:
    values = dict(
        style=STYLE,
        refiner=refiner,
        triplane=TriPlaneConfig(RESIDUAL_TRUNK, plane_channels=3 * FEATURES * DEPTH, plane_size=SIZE),
        lifted=LiftedConfig(FEATURES, DEPTH, SIZE, widths=(8, 8, 16), light=8, plane_scale=0.5),
        render_resolution=16,
    )
    return HeadEncoderConfig(**(values | changes))


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    settings = GeneratorConfig(
        z_dim=8,
        w_dim=16,
        plane_size=SIZE,
        plane_depth=DEPTH,
        features=FEATURES,
        decoder_width=8,
        channel_base=512,
        channel_max=16,
        neural_resolution=16,
        render=RenderOptions(samples=8, importance=8),
        sr=SuperResolutionConfig(input_resolution=16, hidden_widths=(8, 8), w_dim=16),
    )
    generator = PanoHead(settings).eval().requires_grad_(False)
    generator.backbone.mapping.w_avg.copy_(torch.randn(16))
    # A random decoder is nearly empty; the lift needs a surface.
    generator.decoder.net[2].bias[0] += 8
    return generator


def encoder_for(refiner="lifted", **changes) -> HeadEncoder:
    torch.manual_seed(1)
    return HeadEncoder(config(refiner, **changes), name="tiny").eval()


@pytest.fixture
def photo():
    grid = torch.linspace(-1, 1, 64)
    image = torch.stack([grid[:, None] * grid, grid[:, None].expand(64, 64), grid.expand(64, 64)])
    return torch.stack([image, image.flip(0)]) * 0.9


CAMERAS = Camera.look_at(yaw=[10.0, -30.0])


@pytest.mark.parametrize("refiner", ["lifted", "triplanenet", None])
@pytest.mark.parametrize("projection", ["w+", "w"])
def test_encode_returns_heads_of_the_generator(generator, photo, refiner, projection):
    style = StyleConfig(TRUNK, projection, 8, 2, 4, 16, 8)
    encoder = encoder_for(refiner, style=style)
    triplane = encoder.encode(generator, photo, CAMERAS)
    assert triplane.planes.shape == (2, 3, FEATURES * DEPTH, SIZE, SIZE)
    assert triplane.ws.shape == (2, 8, 16)
    assert torch.isfinite(triplane.planes).all() and not triplane.planes.requires_grad
    assert triplane.generator == generator.fingerprint
    assert triplane.meta["encoder"] == "tiny" and triplane.meta["refiner"] == refiner
    assert len(triplane.meta["camera"]) == len(triplane) and len(triplane.meta["camera"][0]) == 25
    json.dumps(dict(triplane.meta))
    assert generator.render(triplane, CAMERAS).image.shape == (2, 3, 64, 64)
    assert torch.equal(triplane.planes, encoder.encode(generator, photo, CAMERAS).planes)
    if projection == "w":
        assert torch.equal(triplane.ws[:, 0], triplane.ws[:, -1])


def test_the_average_is_added_to_stage_one(generator, photo):
    encoder = encoder_for(None)
    ws = encoder.encode(generator, photo, CAMERAS).ws
    assert torch.equal(encoder.latent_avg, generator.w_avg)
    small = torch.nn.functional.avg_pool2d(photo, 2)
    assert torch.allclose(ws, encoder.stage_one(small) + generator.w_avg, atol=1e-6)


def test_batch_does_not_mix(generator, photo):
    for refiner in ("lifted", "triplanenet"):
        encoder = encoder_for(refiner)
        together = encoder.encode(generator, photo, CAMERAS).planes
        alone = encoder.encode(generator, photo[1:], CAMERAS[1]).planes
        assert torch.allclose(together[1:], alone, atol=1e-4)


def test_an_untrained_lifted_refiner_changes_nothing(generator, photo):
    output = encoder_for("lifted")(generator, photo, CAMERAS)
    assert torch.equal(output.refined.planes, output.coarse.planes)


@pytest.mark.parametrize("refiner", ["lifted", "triplanenet"])
def test_gradients_stay_in_their_stage(generator, photo, refiner):
    encoder = encoder_for(refiner).train()
    output = encoder(generator, photo, CAMERAS)
    output.refined.planes.square().sum().backward(retain_graph=True)
    assert all(p.grad is None for p in encoder.stage_one.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.stage_two.parameters())
    encoder.zero_grad()
    output.coarse.planes.square().sum().backward()
    assert all(p.grad is None for p in encoder.stage_two.parameters())
    assert any(p.grad.abs().sum() > 0 for p in encoder.stage_one.parameters())


def test_refine_false_skips_stage_two(generator, photo):
    output = encoder_for("triplanenet")(generator, photo, CAMERAS, refine=False)
    assert output.refined is output.coarse


def test_the_mirrored_residual_is_the_photo_seen_from_the_mirrored_camera(generator, photo):
    encoder = encoder_for("triplanenet")
    coarse = encoder(generator, photo, CAMERAS).coarse
    nine = encoder._residuals(generator, coarse, photo, CAMERAS)
    six = encoder._residuals(generator, coarse, photo.flip(-1), CAMERAS.mirrored)
    assert nine.shape == (2, 9, 32, 32)
    assert torch.allclose(nine[:, 6:], six[:, 3:6], atol=1e-5)
    small = torch.nn.functional.avg_pool2d(photo, 2)
    assert torch.allclose(nine[:, :3] + nine[:, 3:6], small, atol=1e-5)
    plain = TriPlaneConfig(RESIDUAL_TRUNK, plane_channels=36, plane_size=SIZE, mirrored=False)
    off = encoder_for("triplanenet", triplane=plain)._residuals(generator, coarse, photo, CAMERAS)
    assert torch.equal(off[:, :6], nine[:, :6]) and not off[:, 6:].any()


def test_lifted_training_reduces_the_image_error(generator, photo):
    encoder = encoder_for("lifted", passes=2)
    optimiser = torch.optim.Adam(encoder.stage_two.parameters(), lr=3e-3)
    target = torch.nn.functional.avg_pool2d(photo, 4)
    errors = []
    for _ in range(12):
        refined = encoder(generator, photo, CAMERAS).refined
        error = (generator.render(refined, CAMERAS, super_resolve=False).raw - target).square().mean()
        errors.append(float(error.detach()))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert errors[-1] < 0.9 * errors[0], errors


def test_encoding_while_training_leaves_batch_statistics_alone(generator, photo):
    encoder = encoder_for("triplanenet").train()
    before = {k: v.clone() for k, v in encoder.state_dict().items() if k != "latent_avg"}
    encoder.encode(generator, photo, CAMERAS)
    assert encoder.training and encoder.stage_one.body[0].training
    assert all(torch.equal(encoder.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :2], r"\[N,3,S,S\]"),
        (lambda x: x[0], r"\[N,3,S,S\]"),
        (lambda x: x[:, :, :48], r"\[N,3,S,S\]"),
        (lambda x: x[:, :, :16, :16], "at least 32"),
        (lambda x: (x + 1) * 127.5, "divide 8-bit"),
        (lambda x: ((x + 1) * 127.5).byte(), "floating point"),
        (lambda x: x.masked_fill(x > 0.5, float("nan")), "NaN"),
        (lambda x: x[:0], "empty"),
        (lambda x: torch.cat([x, x]), "2 cameras for 4 images"),
    ],
)
def test_bad_images_are_refused(generator, photo, change, message):
    with pytest.raises(DualEncError, match=message):
        encoder_for(None).encode(generator, change(photo), CAMERAS)


def test_bad_mattes_are_refused(generator, photo):
    for matte in (torch.ones(2, 3, 64, 64), torch.full((2, 1, 64, 64), 255.0)):
        with pytest.raises(DualEncError, match="matte"):
            encoder_for("lifted").encode(generator, photo, CAMERAS, matte)


def test_a_foreign_generator_is_refused(generator, photo):
    with pytest.raises(GeneratorMismatchError, match="trained for the generator"):
        encoder_for(None, generator="0123456789abcdef").encode(generator, photo, CAMERAS)
    encoder_for(None, generator=generator.fingerprint).encode(generator, photo, CAMERAS)
    with pytest.raises(GeneratorMismatchError, match="10 styles"):
        encoder_for(None, style=StyleConfig(TRUNK, n_styles=10, w_dim=16)).encode(generator, photo, CAMERAS)
    with pytest.raises(DualEncError, match="planes have shape"):
        encoder_for("lifted", lifted=LiftedConfig(8, DEPTH, SIZE)).encode(generator, photo, CAMERAS)


def test_save_and_load(tmp_path, generator, photo):
    from dualenc_core.checkpoints import save_encoder
    from dualenc_core.encoders import load_encoder

    for refiner in ("lifted", "triplanenet"):
        encoder = encoder_for(refiner)
        expected = encoder.encode(generator, photo, CAMERAS).planes
        path = tmp_path / f"{refiner}.safetensors"
        save_encoder(path, encoder.state_dict(), encoder.config.to_dict(), {"trained": "never"})
        loaded = load_encoder(path)
        assert loaded.config == encoder.config and loaded.name == refiner and not loaded.training
        assert torch.equal(loaded.encode(generator, photo, CAMERAS).planes, expected)
        # The average of a file wins over the generator's.
        assert torch.equal(loaded.latent_avg, encoder.latent_avg)


def test_a_file_without_average_takes_the_generators(generator, photo):
    encoder = encoder_for("triplanenet")
    expected = encoder.encode(generator, photo, CAMERAS).planes
    state = {k: v.half() if v.is_floating_point() else v for k, v in encoder.state_dict().items() if k != "latent_avg"}
    converted = HeadEncoder.from_config(encoder.config, state)
    planes = converted.encode(generator, photo, CAMERAS).planes
    assert torch.equal(converted.latent_avg, generator.w_avg)
    assert planes.dtype == torch.float32
    assert float((planes - expected).norm() / expected.norm()) < 0.02


def test_a_missing_average_is_that_of_the_generator_in_use(generator, photo):
    encoder = encoder_for("triplanenet")
    encoder.load_weights({k: v for k, v in encoder.state_dict().items() if k != "latent_avg"})
    other = copy.deepcopy(generator)
    other.backbone.mapping.w_avg.add_(1.0)
    first = encoder.encode(generator, photo, CAMERAS)
    assert not torch.allclose(encoder.encode(other, photo, CAMERAS).ws, first.ws)
    assert torch.equal(encoder.encode(generator, photo, CAMERAS).ws, first.ws)


@pytest.mark.parametrize(("planes", "shuffle"), [(288, False), (288, True), (96, False)])
def test_converted_files_have_the_names_of_our_networks(planes, shuffle):
    from dualenc_core.checkpoints import encoder_layout

    with torch.device("meta"):
        encoder = HeadEncoder(HeadEncoderConfig.from_dict({"n_styles": 14, "planes": planes, "pixelshuffle": shuffle}))
    shapes = {k: tuple(v.shape) for k, v in encoder.state_dict().items()}
    expected = {f"stage_one.{k}": v for k, v in encoder_layout.stage_one().items()}
    expected |= {f"stage_two.{k}": v for k, v in encoder_layout.stage_two(planes, shuffle).items()}
    assert shapes == expected | {"latent_avg": (512,)}


def test_weights_that_do_not_fit_are_named():
    state = encoder_for("lifted").state_dict()
    with pytest.raises(CheckpointError, match="missing.*stage_two.input_layer"):
        HeadEncoder.from_config(config("triplanenet").to_dict(), state)
    with pytest.raises(CheckpointError, match="another shape"):
        HeadEncoder.from_config(config(lifted=LiftedConfig(FEATURES, DEPTH, SIZE)).to_dict(), state)
    fresh = HeadEncoder(config("triplanenet"))
    state["latent_avg"] = torch.arange(16.0)
    kept = fresh.start_from(state)
    assert kept and all(name.startswith("stage_two.") for name in kept)
    assert torch.equal(fresh.state_dict()["stage_one.latlayer1.weight"], state["stage_one.latlayer1.weight"])


def test_a_loaded_average_is_not_replaced_by_the_generators(generator, photo):
    encoder, average = encoder_for(None), torch.arange(16.0)
    encoder.load_state_dict(encoder.state_dict() | {"latent_avg": average})
    encoder.encode(generator, photo, CAMERAS)
    assert torch.equal(encoder.latent_avg, average)


def test_config_round_trip_and_errors():
    for settings in (HeadEncoderConfig(), config("lifted", passes=3), config(background=(0.0, 0.5, 1.0))):
        assert HeadEncoderConfig.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    converted = HeadEncoderConfig.from_dict({"n_styles": 14, "planes": 96, "pixelshuffle": True})
    assert converted.triplane.plane_channels == 96 and converted.triplane.upsampling == "pixelshuffle"
    with pytest.raises(DualEncError, match="unknown fields.*widht"):
        HeadEncoderConfig.from_dict({"lifted": {"widht": 3}})
    for bad in (
        lambda: config("mirror"),
        lambda: config(passes=0),
        lambda: StyleConfig(TrunkConfig(input_size=100)),
        lambda: StyleConfig(coarse=8, middle=4),
        lambda: StyleConfig(projection="s"),
        lambda: TrunkConfig(widths=(8, 8, 8)),
        lambda: TriPlaneConfig(TrunkConfig(in_channels=6)),
        lambda: TriPlaneConfig(upsampling="bicubic"),
        lambda: TriPlaneConfig(plane_size=64),
        lambda: LiftedConfig(plane_size=100),
        lambda: LiftedConfig(plane_scale=0),
        lambda: LiftedConfig(surface=False, volume_rays=0),
    ):
        with pytest.raises(DualEncError):
            bad()


@torch.no_grad()
@pytest.mark.parametrize("refiner", ["lifted", "triplanenet"])
def test_fast_renders_give_the_same_head(generator, photo, refiner):
    encoder = encoder_for(refiner)
    if refiner == "lifted":
        # It starts at zero.
        torch.nn.init.normal_(encoder.stage_two.out.weight, std=0.1)
    coarse = encoder(generator, photo, CAMERAS, refine=False).refined
    plain, fast = (encoder(generator, photo, CAMERAS, quality=q).refined for q in ("reference", "exact"))
    assert (plain.planes - coarse.planes).abs().max() > 1e-2
    assert torch.allclose(fast.planes, plain.planes, atol=1e-3 * float(plain.planes.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize(("size", "way"), [(8, "reference"), (48, "single use"), (160, "exact")])
def test_heads_are_prepared_only_where_that_pays(generator, photo, monkeypatch, size, way):
    asked = []
    render = PanoHead.render
    monkeypatch.setattr(PanoHead, "render", lambda *a, **k: asked.append(k["quality"]) or render(*a, **k))
    generator.release_prepared()
    encoder_for("lifted", render_resolution=size).encode(generator, photo, CAMERAS)
    assert asked and set(asked) == {way}
    assert not generator._prepared.heads or way == "exact"
