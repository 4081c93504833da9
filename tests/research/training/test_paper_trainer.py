"""The trainer of encoders on single photos, at toy size: every switch, the same numbers however they are computed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.checkpoints.store import load_encoder_file
from dualenc_core.encoders import ArcFace, HeadEncoder
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.research.training import objective as objectives
from dualenc_core.research.training.adversary import Adversary
from dualenc_core.research.training.batches import HeadBatch
from dualenc_core.research.training.config import LossConfig
from dualenc_core.research.training.draws import named
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.objective import Judges
from tests.benchmarks.training import random_judges
from tests.research.training.paper_small import Pictures, encoder_config, generator, gradients, paper_config, trainer

ENCODER2 = {"variant": "encoder2"}


def assert_equal(a: dict, b: dict, tolerance: float = 0.0) -> None:
    assert a.keys() == b.keys() and a
    for name in a:
        scale = float(a[name].abs().max()) + 1e-8
        assert float((a[name] - b[name]).abs().max()) <= tolerance * scale, name


# ------------------------------------------------------------------------------------------------------------- switches


@pytest.mark.parametrize(
    "encoder",
    [
        encoder_config("z"),
        encoder_config("z+"),
        encoder_config("w"),
        encoder_config(upsampling="pixelshuffle"),
        encoder_config(mirrored=False),
        encoder_config().replace(refiner=None),
    ],
    ids=["z", "z+", "w", "pixelshuffle", "not mirrored", "no stage two"],
)
def test_every_encoder_learns(encoder):
    t = trainer(paper_config(encoder=encoder))
    before = {k: v.clone() for k, v in t.encoder.named_parameters()}
    values = t.step(0)
    assert "one.l2" in values and ("two.l2" in values) == (encoder.refiner is not None)
    moved = {k.split(".")[0] for k, v in t.encoder.named_parameters() if not torch.equal(v, before[k])}
    assert moved == ({"stage_one", "stage_two"} if encoder.refiner else {"stage_one"})


@pytest.mark.parametrize("projection", ["z", "z+", "w+"])
def test_an_exported_encoder_is_the_trained_one(projection, tmp_path):
    t = trainer(paper_config(encoder=encoder_config(projection)))
    t.step(0)
    t.export(tmp_path / "e.safetensors", {"steps": 1})
    state, config, provenance = load_encoder_file(tmp_path / "e.safetensors")
    loaded = HeadEncoder.from_config(config, state)
    batch = t.batches.sample(0)
    a, b = (e.encode(t.generator, batch.image, batch.camera) for e in (t.encoder, loaded))
    assert float((a.planes - b.planes).abs().max()) < 2e-2 * float(a.planes.std())
    assert provenance["run"] == t.config.to_dict()


def test_files_do_not_name_the_folders_of_the_machine(tmp_path):
    t = trainer(paper_config(generator=str(tmp_path / "run" / "model.safetensors")))
    t.export(tmp_path / "e.safetensors", {})
    _, _, provenance = load_encoder_file(tmp_path / "e.safetensors")
    assert provenance["run"]["generator"] == "run/model.safetensors"
    assert str(tmp_path) not in str(provenance)


@pytest.mark.parametrize("kind", ["none", "image", "triplane", "occluded"])
def test_every_discriminator_learns_beside_the_encoder(kind):
    t = trainer(paper_config(**ENCODER2, discriminator={"kind": kind}))
    values = [t.step(0), t.step(1)]
    assert ("discriminator" in values[0]) == ("adversarial" in values[0]) == (kind != "none")
    assert "r1" not in values[1] and ("r1" in values[0]) == (kind != "none")
    assert ("discriminator" in t.modules) == (kind != "none")


def test_encoder_one_has_no_discriminator():
    assert set(trainer(paper_config()).modules) == {"encoder"}


def test_the_adversarial_gradient_reaches_stage_two_alone_and_only_through_hidden_cells():
    t = trainer(paper_config(**ENCODER2))
    batch = t.batches.heads(0, 0, range(2))
    out = t.encoder(t.generator, batch.image, batch.camera)
    planes = out.refined.planes.detach().requires_grad_(True)
    pair = t.adversary.pair(out.refined.replace(planes=planes), batch, 0, out.refined)
    (gradient,) = torch.autograd.grad(t.adversary.encoder_loss(pair), planes)
    hidden = t.adversary.occluded(out.refined, batch.camera)
    visible = (hidden == 0)[:, :, None].expand(-1, -1, 4, -1, -1, -1).flatten(2, 3)
    assert 0 < visible.float().mean() < 1
    assert (gradient[visible] == 0).all() and (gradient[~visible] != 0).any()
    assert (pair.real.reshape(planes.shape)[visible] == 0).all()
    whole = trainer(paper_config(**ENCODER2, discriminator={"kind": "triplane"}))
    other = whole.adversary.pair(out.refined, batch, 0)
    assert torch.allclose(other.real.reshape(planes.shape)[~visible], pair.real.reshape(planes.shape)[~visible])
    t.adversary.encoder_loss(t.adversary.pair(out.refined, batch, 0, out.refined)).backward()
    assert all(p.grad is None for p in t.encoder.stage_one.parameters())
    assert any(p.grad is not None for p in t.encoder.stage_two.parameters())
    assert all(p.grad is None for p in t.adversary.network.parameters())


def test_encoder_one_says_what_is_occluded():
    config = paper_config(variant="encoder2", start="e1", discriminator={"mask_from": "encoder1"})
    with pytest.raises(DualEncError, match="encoder1"):
        trainer(config)
    asked = []

    class Spy(HeadEncoder):
        def encode(self, *args):
            asked.append(args)
            return super().encode(*args)

    t = trainer(config, encoder1=Spy(encoder_config()))
    t.step(0)
    assert len(asked) == 1


def test_stages_come_and_go_on_schedule():
    schedule = {"stage_two_from": 2, "stage_one_until": 4, "latent_steps": 1}
    t = trainer(paper_config(schedule=schedule, losses={"latent": 1.0}), dataset=Known())
    assert [t.training_stages(i) for i in range(5)] == [
        ("latent",),
        ("one",),
        ("one", "two"),
        ("one", "two"),
        ("two",),
    ]
    assert t.milestones == {1: "latent"}
    assert set(t.step(0)) == {"latent"}
    before = {k: v.clone() for k, v in t.encoder.stage_one.named_parameters()}
    assert "one.l2" not in t.step(4)
    assert all(torch.equal(before[k], v) for k, v in t.encoder.stage_one.named_parameters())


class Known(Pictures):
    """Pictures whose latents are known."""

    def __getitem__(self, index):
        return super().__getitem__(index) | {"latent": torch.full((8,), float(index))}


def test_known_latents_are_learned_and_unknown_ones_do_not_count():
    schedule = {"latent_steps": 8, "learning_rate": 1e-2, "optimizer": "adam"}
    t = trainer(paper_config(losses={"latent": 1.0}, schedule=schedule, data={"mirror": 0.0}), dataset=Known())
    values = [t.step(0)["latent"] for _ in range(12)]
    assert values[-1] < 0.8 * values[0]
    ws = torch.zeros(2, 6, 16, requires_grad=True)
    known = torch.stack([torch.ones(6, 16), torch.full((6, 16), float("nan"))])
    loss = objectives.latent_loss(ws, known)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5 * (1 - 0.05))
    assert (ws.grad[1] == 0).all() and (ws.grad[0] != 0).all()


# ----------------------------------------------------------------------------------- the same numbers in other ways


@pytest.mark.parametrize("kind", ["occluded", "image"])
def test_accumulation_changes_memory_not_gradients(kind):
    changes = ENCODER2 | {"batch_norm": "frozen", "discriminator": {"kind": kind}}
    whole = trainer(paper_config(**changes, schedule={"batch": 4}))
    parts = trainer(paper_config(**changes, schedule={"batch": 4, "accumulate": 4}))
    for t in (whole, parts):
        # Batch statistics of the discriminator are those of a part: there the two must differ.
        t.adversary.network.eval()
    assert_equal(gradients(whole), gradients(parts), 2e-4)


def test_checkpointing_changes_memory_not_results():
    plain = trainer(paper_config(**ENCODER2))
    saving = trainer(paper_config(**ENCODER2, compute={"checkpointing": True}))
    assert_equal(gradients(plain), gradients(saving), 1e-5)
    a, b = plain.encoder.state_dict(), saving.encoder.state_dict()
    assert_equal({k: v.float() for k, v in a.items()}, {k: v.float() for k, v in b.items()}, 1e-6)
    assert a["stage_one.input_layer.1.num_batches_tracked"] == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_full_precision(precision):
    full, half = (trainer(paper_config(**ENCODER2, compute={"precision": p})) for p in ("fp32", precision))
    for step in range(2):
        a, b = full.step(step), half.step(step)
        assert a.keys() == b.keys()
        assert all(b[k] == pytest.approx(a[k], rel=0.1, abs=0.02) for k in a)
    if precision == "fp16":
        assert float(half.modules["scaler"].state_dict()["scale"]) > 1
        half.modules["scaler"].load_state_dict({"scale": torch.tensor(8.0), "_growth_tracker": torch.tensor(3.0)})
        assert half.scaler.get_scale() == 8.0


def test_a_step_depends_on_its_number_alone():
    a, b = trainer(paper_config(**ENCODER2)), trainer(paper_config(**ENCODER2))
    torch.manual_seed(99)
    a.batches.heads(5, 0, range(2))
    assert_equal(gradients(a, 3), gradients(b, 3))
    other = trainer(paper_config(**ENCODER2, seed=1))
    assert not torch.equal(other.encoder.stage_one.input_layer[0].weight, a.encoder.stage_one.input_layer[0].weight)


def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_scale():
    for mode, stays in (("frozen", True), ("batch", False), ("sync", False)):
        t = trainer(paper_config(batch_norm=mode))
        norm = t.encoder.stage_one.input_layer[1]
        mean, scale = norm.running_mean.clone(), norm.weight.clone()
        t.step(0)
        assert torch.equal(norm.running_mean, mean) == stays
        assert not torch.equal(norm.weight, scale)


def test_the_averaged_encoder_is_what_is_exported(tmp_path):
    t = trainer(paper_config(schedule={"ema": 0.5}))
    for step in range(3):
        t.step(step)
    name = "stage_one.input_layer.0.weight"
    assert not torch.equal(t.result.state_dict()[name], t.encoder.state_dict()[name])
    t.export(tmp_path / "e.safetensors", {})
    saved = load_encoder_file(tmp_path / "e.safetensors")[0][name]
    assert torch.allclose(saved, t.ema.module.state_dict()[name], atol=1e-3)
    assert set(t.modules) == {"encoder", "ema"}


# --------------------------------------------------------------------------------------------------------------- losses


def test_missing_weights_of_a_loss_are_an_error_until_its_weight_is_zero(tmp_path, monkeypatch):
    monkeypatch.setenv("DUALENC_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="losses.lpips is 0.8.*set losses.lpips to 0"):
        Judges.load(LossConfig())
    with pytest.raises(CheckpointError, match="losses.identity is 0.5.*set losses.identity to 0"):
        Judges.load(LossConfig(lpips=0))
    judges = Judges.load(LossConfig(lpips=0, identity=0))
    assert judges.lpips is None and judges.identity is None


def test_the_papers_losses_are_weighted_as_in_the_paper():
    t = trainer(paper_config())
    judges = random_judges()
    assert isinstance(judges.identity, ArcFace) and not any(p.requires_grad for p in judges.parameters())
    image, target = 2 * torch.rand(2, 1, 3, 256, 256, generator=named(1)) - 1
    with torch.no_grad():
        paper = dataclasses.replace(t.objective, losses=LossConfig(), judges=judges)
        parts = paper.compare(image, target, image[:, :1], image[:, :1])
    assert set(parts) == {"l2", "lpips", "identity"}
    assert float(parts["l2"]) == pytest.approx(float((image - target).square().mean()))
    assert 0 < float(parts["identity"]) <= 2 and float(parts["lpips"]) > 0


def test_rays_see_what_pictures_show():
    """Through pixel centres both ways of comparing give the same colours."""
    t = trainer(paper_config())
    g, r = t.generator, t.config.render.resolution
    batch = t.batches.sample(1)
    triplane = g.synthesize(g.mapping(g.latents(0)))
    plain = dataclasses.replace(t.config.render, jitter=False, super_resolve=False)
    o = dataclasses.replace(t.objective, render=plain)
    image, alpha = o.view(triplane, batch.camera, [])
    out = g.render_rays(triplane, *camera_rays(batch.camera, r), g.render_options(None, batch.camera))
    scene = torch.nn.functional.interpolate(g.background_features(triplane.ws), (r, r), mode="bilinear")
    features = out.features.transpose(1, 2).reshape(1, -1, r, r)
    front = g.to_rgb(features + (1 - alpha) * scene, triplane.ws)
    expected = front + (1 - alpha) * (t.backdrop[:, None, None] - g.to_rgb(scene, triplane.ws))
    assert float((image - expected).abs().max()) < 1e-5
    # A finer picture of the same head is what random rays see, up to interpolation between its pixels.
    fine = dataclasses.replace(t.objective, render=dataclasses.replace(plain, resolution=96))
    rays = dataclasses.replace(t.objective, render=dataclasses.replace(plain, rays=400))
    image, alpha = (x.detach() for x in fine.view(triplane, batch.camera, []))
    errors = [
        rays(triplane, HeadBatch(picture, alpha, batch.camera, batch.styles, (0,)), 0, "x")[1]["l1"]
        for picture in (image, image.flip(-1))
    ]
    assert errors[0] < 0.1 * errors[1], errors


def test_rays_train_both_stages():
    t = trainer(paper_config(render={"rays": 64}))
    assert {"one.l2", "two.l2", "two.alpha"} <= t.step(0).keys()


def test_training_fits_two_heads():
    t = trainer(
        paper_config(schedule={"learning_rate": 1e-2, "optimizer": "adam", "steps": 24}, data={"mirror": 0.0}),
        dataset=Pictures(2),
    )
    values = [t.step(i) for i in range(24)]
    for name in ("one.l2", "two.l2"):
        assert sum(v[name] for v in values[-5:]) < 0.9 * sum(v[name] for v in values[:5])


def test_divergence_is_said_at_once():
    t = trainer(paper_config())
    t.encoder.stage_one.input_layer[0].weight.data.fill_(float("nan"))
    with pytest.raises(DualEncError, match="diverged"):
        t.step(0)


def test_previews_show_photo_both_stages_and_more_sides(tmp_path):
    from PIL import Image

    t = trainer(paper_config(output={"preview_heads": 3}))
    t.preview(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (8 * 32, 3 * 32)


def test_real_samples_do_not_depend_on_the_encoder():
    t = trainer(paper_config(**ENCODER2))
    batch = t.batches.heads(0, 0, range(2))
    a = t.adversary.pair(t.encoder(t.generator, batch.image, batch.camera).refined, batch, 0, _flat(t, batch))
    t.step(0)
    b = t.adversary.pair(t.encoder(t.generator, batch.image, batch.camera).refined, batch, 0, _flat(t, batch))
    assert torch.equal(a.real, b.real) and not torch.equal(a.fake, b.fake)
    assert isinstance(t.adversary, Adversary) and isinstance(t, EncoderTrainer)


def _flat(t, batch):
    return t.generator.synthesize(t.generator.mapping(t.generator.latents(1, len(batch))))


def test_the_encoder_knows_its_backdrop_and_generator():
    t = trainer(paper_config(render={"backdrop": (1.0, 1.0, 1.0)}))
    assert t.encoder.config.background == (1.0, 1.0, 1.0)
    assert t.encoder.config.generator == generator().fingerprint
    batch = t.batches.sample(0)
    assert (batch.image[batch.matte.expand_as(batch.image) == 0] == 1).all()
    assert Camera.from_label(batch.camera.label).label.shape == (1, 25)
