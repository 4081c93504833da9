"""The demo trainers at toy size: every phase runs, learns, resumes to the same numbers, and exports a usable file."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest
import torch

from dualenc_core.checkpoints.store import load_encoder_file, load_generator_file, save_generator
from dualenc_core.encoders import HeadEncoder
from dualenc_core.encoders.config import HeadEncoderConfig, LiftedConfig, StyleConfig, TrunkConfig
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.generator.loading import load_generator
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.training.config import TrainConfig
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.encoder_presets import preset
from dualenc_core.research.training.generator import GeneratorTrainer
from dualenc_core.research.training.objective import Judges
from dualenc_core.research.training.presets import GeneratorTraining
from dualenc_core.research.training.run import RunOptions, run
from dualenc_core.research.training.truth_procedural import ProceduralTruth
from dualenc_core.research.training.views import KnownBatch, ViewSource
from tests.research.training.views_procedural import ProceduralViews


def tiny_generator_training() -> GeneratorTraining:
    config = GeneratorConfig(
        z_dim=16,
        w_dim=16,
        plane_size=32,
        features=4,
        decoder_width=16,
        channel_base=512,
        channel_max=16,
        c_scale=0.0,
        neural_resolution=32,
        render=RenderOptions(samples=8, importance=4, near=2.28, far=3.12, box_warp=0.8),
        sr=SuperResolutionConfig(input_resolution=16, hidden_widths=(8, 8), w_dim=16),
    )
    return GeneratorTraining(
        config=config,
        mapping_steps=2,
        field_steps=((8, 2), (16, 2)),
        ray_steps=((32, 2),),
        super_resolution_steps=2,
        heads=2,
        points=64,
        rays=16,
    )


def tiny_encoder_config(variant: str, folder: Path, start: str | None = "e1") -> TrainConfig:
    """A preset of people for `tiny_generator_training`; its generator and ``start`` are runs in ``folder``."""
    style = StyleConfig(
        TrunkConfig(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1), input_size=32),
        n_styles=8,
        coarse=3,
        middle=5,
        w_dim=16,
        head_width=8,
    )
    first = variant == "encoder1"
    encoder = HeadEncoderConfig(
        style=style,
        refiner="lifted",
        lifted=LiftedConfig(features=4, plane_size=32, widths=(8, 8, 8), light=8),
        passes=2 if first else 1,
        render_resolution=16,
        super_resolve=False,
    )
    latent = 0 if start else 2
    return preset(f"people-{variant}").replace(
        generator=str(folder / "g" / "model.safetensors"),
        start=start and str(folder / start / "model.safetensors"),
        encoder=encoder,
        data={"size": 32},
        views={"others": 1, "known": 0.0},
        discriminator={"weight": 0.1, "widths": (8, 8, 8, 8), "r1_every": 2, "mask_resolution": 20},
        schedule={
            "steps": latent + 3,
            "latent_steps": latent,
            "stage_two_from": latent,
            "stage_one_until": latent,
            "batch": 2,
            "latent_batch": 4,
        },
        render={"resolution": 32, "rays": 16},
    )


def encoder_trainer(config: TrainConfig, views: ViewSource) -> EncoderTrainer:
    """From files, but with views of other heads than traced people."""
    start = None if config.start is None else load_encoder_file(config.start)[0]
    return EncoderTrainer(config, load_generator(config.generator), Judges(), views=views, start=start)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator and an Encoder 1 after a handful of steps, as files."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    trainer = GeneratorTrainer.create(tiny_generator_training(), ProceduralTruth(), torch.Generator().manual_seed(0))
    assert run(trainer, RunOptions(folder / "g", preview_steps=0))
    trainer = encoder_trainer(tiny_encoder_config("encoder1", folder, start=None), ProceduralViews(16))
    assert run(trainer, RunOptions(folder / "e1", preview_steps=0))
    return folder


def losses(path) -> list[tuple[str, str, str]]:
    with open(path, newline="") as file:
        return [tuple(row) for row in csv.reader(file) if row[1] != "seconds_per_step"]


def test_the_exported_generator_makes_pictures(trained):
    state, config, provenance = load_generator_file(trained / "g" / "model.safetensors")
    generator = PanoHead.from_config(config["init_kwargs"], config["rendering_kwargs"], state)
    assert generator.config.replace(neural_resolution=32) == tiny_generator_training().config
    assert provenance["data"] == "procedural heads" and provenance["steps"] == 10


def test_ray_training_learns():
    torch.manual_seed(0)
    options = dataclasses.replace(tiny_generator_training(), mapping_steps=0, field_steps=((8, 60),), points=256)
    trainer = GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator().manual_seed(0))
    values = [trainer.step(i)["field.occupancy"] for i in range(60)]
    assert sum(values[-10:]) < 0.8 * sum(values[:10])


def test_the_mapping_phase_makes_w_tell_the_head():
    torch.manual_seed(0)
    options = dataclasses.replace(tiny_generator_training(), mapping_steps=150)
    trainer = GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator().manual_seed(0))
    values = [trainer.step(i)["mapping.w"] for i in range(150)]
    assert values[-1] < 0.5 * values[0]
    settled = trainer.average.module.backbone.mapping
    z = torch.randn(4096, 16, generator=torch.Generator().manual_seed(1))
    w = trainer.generator.mapping(z)[:, 0]
    assert torch.allclose(settled.w_avg, w.mean(0), atol=0.1 * w.std().item())
    before = {k: v.clone() for k, v in trainer.generator.backbone.mapping.state_dict().items()}
    trainer.step(150)
    after = trainer.generator.backbone.mapping.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    def go(out, steps):
        torch.manual_seed(0)
        rng = torch.Generator().manual_seed(0)
        trainer = GeneratorTrainer.create(tiny_generator_training(), ProceduralTruth(), rng)
        return run(trainer, RunOptions(tmp_path / out, steps=steps, preview_steps=0, log_steps=1))

    assert go("whole", None)
    assert not go("parts", 5)
    assert not go("parts", 3)
    assert go("parts", None)
    assert losses(tmp_path / "whole" / "log.csv") == losses(tmp_path / "parts" / "log.csv")
    a, _, _ = load_generator_file(tmp_path / "whole" / "model.safetensors")
    b, _, _ = load_generator_file(tmp_path / "parts" / "model.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_encoder_one_exports_both_stages(trained):
    final, config, _ = load_encoder_file(trained / "e1" / "model.safetensors")
    early, _, _ = load_encoder_file(trained / "e1" / "latent.safetensors")
    assert HeadEncoder.from_config(config, final).config.refiner == "lifted"
    moved = [k for k in final if not torch.equal(final[k], early[k])]
    # One of Adam's and one of Muon's.
    assert {"stage_two.out.weight", "stage_two.down1.weight"} <= set(moved)
    # Stage one stays as it learned the latents: pictures alone would make it worse from other sides.
    assert not any(k.startswith("stage_one.") for k in moved)


@pytest.mark.parametrize("variant", ["encoder2", "control"])
def test_encoder_two_starts_from_encoder_one(trained, variant):
    trainer = encoder_trainer(tiny_encoder_config(variant, trained), ProceduralViews(16))
    first, config, _ = load_encoder_file(trained / "e1" / "model.safetensors")
    assert (config["passes"], trainer.encoder.config.passes) == (2, 1)
    own = trainer.encoder.state_dict()
    assert all(torch.equal(own[k], first[k]) for k in own)
    assert ("discriminator" in trainer.modules) == (variant == "encoder2")
    before = {k: v.clone() for name in trainer.modules for k, v in trainer.modules[name].state_dict().items()}
    values = [trainer.step(i) for i in range(3)]
    assert [("discriminator" in v, "r1" in v) for v in values] == (
        [(True, True), (True, False), (True, True)] if variant == "encoder2" else 3 * [(False, False)]
    )
    assert {"two.own", "two.other"} <= set(values[0])
    assert all(math.isfinite(v) for step in values for v in step.values())
    for name, module in trainer.modules.items():
        moved = {k.partition(".")[0] for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
        assert moved == {"stage_two"} if name == "encoder" else moved
    other = trainer.config.replace(encoder=trainer.config.encoder.replace(style=wider(trainer.config.encoder.style)))
    with pytest.raises(CheckpointError, match="stage one would not learn: stage_one"):
        encoder_trainer(other, ProceduralViews(16))
    with pytest.raises(DualEncError, match="set start"):
        encoder_trainer(trainer.config.replace(start=None), ProceduralViews(16))


def wider(style: StyleConfig) -> StyleConfig:
    return dataclasses.replace(style, trunk=dataclasses.replace(style.trunk, widths=(8, 8, 8, 16)))


class KnownViews(ProceduralViews):
    """Heads whose planes are all 0.3 where they count."""

    def known(self, count, size, shown, hidden, config, rng):
        found = self.batch(count, size, 0, True, rng)
        planes = torch.full((count, 3, config.plane_channels, config.plane_size, config.plane_size), 0.3)
        return KnownBatch(found.images, found.mattes, found.camera, planes, torch.full_like(planes, shown))


def test_stage_two_learns_tri_grids_that_are_known(trained):
    config = tiny_encoder_config("control", trained).replace(
        views={"known": 1.0}, schedule={"steps": 60, "learning_rate": 0.05}
    )
    trainer = encoder_trainer(config, KnownViews(16))
    values = [trainer.step(i)["two.planes"] for i in range(25)]
    assert sum(values[-5:]) < 0.8 * sum(values[:5])
    with pytest.raises(DualEncError, match="no heads whose tri-grids are known"):
        encoder_trainer(config, ProceduralViews(16))


def test_an_encoder_of_views_goes_on_as_if_it_had_not_stopped(trained, tmp_path):
    """Pictures and known tri-grids, passes at random, the discriminator: all draws come from the checkpoint's state."""
    config = tiny_encoder_config("encoder2", trained).replace(views={"known": 0.5}, schedule={"steps": 8})
    config = config.replace(encoder=config.encoder.replace(passes=2))

    def go(out, steps):
        trainer = encoder_trainer(config, KnownViews(16))
        return run(trainer, RunOptions(tmp_path / out, steps=steps, preview_steps=0, log_steps=1))

    assert go("whole", None)
    assert not go("parts", 3)
    assert go("parts", None)
    whole = losses(tmp_path / "whole" / "log.csv")
    assert losses(tmp_path / "parts" / "log.csv") == whole
    assert {"two.planes", "two.own", "discriminator"} <= {row[1] for row in whole}


def test_rates_rise_and_fall_in_each_phase(trained):
    config = tiny_encoder_config("encoder1", trained, start=None).replace(
        schedule={"steps": 30, "latent_steps": 10, "stage_two_from": 10, "stage_one_until": 10, "warmup": 4}
    )
    trainer, s = encoder_trainer(config, ProceduralViews(16)), config.schedule

    def rates(step):
        trainer._set_rate(step)
        return {name: [g["lr"] for g in o.param_groups] for name, o in trainer.optimizers.items()}

    assert set(rates(0)) == {"one", "one_matrices", "two", "two_matrices"}
    latents = s.latent_rate / s.learning_rate * s.matrix_rate
    assert rates(5)["one_matrices"] == pytest.approx([latents / 2])
    assert rates(0)["one"] == pytest.approx([s.latent_rate / 4, 10 * s.latent_rate / 4])
    assert rates(5)["one"] == pytest.approx([s.latent_rate / 2, 10 * s.latent_rate / 2])
    assert rates(10)["two"] + rates(10)["two_matrices"] == pytest.approx([s.learning_rate / 4, s.matrix_rate / 4])
    assert rates(20)["two"] + rates(20)["two_matrices"] == pytest.approx([s.learning_rate / 2, s.matrix_rate / 2])
    assert rates(29)["two"][0] < 0.01 * s.learning_rate


def test_a_generator_goes_on_from_a_file(trained):
    options = dataclasses.replace(tiny_generator_training(), mapping_steps=0, field_steps=())
    path = trained / "g" / "model.safetensors"
    trainer = GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator().manual_seed(1), path)
    state = load_generator_file(path)[0]
    assert torch.equal(trainer.generator.state_dict()["decoder.net.0.weight"], state["decoder.net.0.weight"])
    assert trainer.phase(0)[0] == "rays"
    assert all(torch.isfinite(torch.as_tensor(v)) for v in trainer.step(0).values())
    changed = trainer.generator.state_dict()["decoder.net.0.weight"]
    assert not torch.equal(changed, state["decoder.net.0.weight"])
    # What other phases train may be missing, but nothing else.
    kept = {k: v for k, v in state.items() if not k.startswith(("backbone.mapping.", "superresolution."))}
    save_generator(trained / "part.safetensors", kept, *load_generator_file(path)[1:])
    trainer = GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator(), trained / "part.safetensors")
    assert torch.equal(trainer.average.module.state_dict()["decoder.net.0.weight"], state["decoder.net.0.weight"])
    less = {k: v for k, v in kept.items() if "b8." not in k}
    save_generator(trained / "less.safetensors", less, *load_generator_file(path)[1:])
    with pytest.raises(DualEncError, match="does not fit"):
        GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator(), trained / "less.safetensors")
    other = dataclasses.replace(options, config=dataclasses.replace(options.config, plane_size=16))
    with pytest.raises(DualEncError, match="does not fit"):
        GeneratorTrainer.create(other, ProceduralTruth(), torch.Generator().manual_seed(1), path)
