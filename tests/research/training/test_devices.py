"""The demo trainings keep everything on one device."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.checkpoints.store import load_encoder_file
from dualenc_core.encoders import HeadEncoder
from dualenc_core.generator.loading import load_generator
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.encoder_presets import preset
from dualenc_core.research.training.generator import GeneratorTrainer
from dualenc_core.research.training.objective import Judges
from dualenc_core.research.training.presets import GeneratorTraining, demo_encoder_config
from dualenc_core.research.training.processes import Processes
from dualenc_core.research.training.run import RunOptions, run
from dualenc_core.research.training.truth_procedural import ProceduralTruth
from tests.fake_accelerator import accelerator
from tests.research.training.views_procedural import ProceduralViews
from tests.stylised import ENCODER_1, GENERATOR

from .paper_small import Pictures, encoder_config, generator, paper_config


def test_generator_training_stays_on_its_device(tmp_path):
    options = GeneratorTraining(
        mapping_steps=2,
        field_steps=((32, 1),),
        ray_steps=((64, 1), (128, 1)),
        super_resolution_steps=1,
        heads=1,
        rays=24,
        points=24,
        patches=1,
        truth_steps=2,
    )
    with accelerator() as device:
        for steps in (3, None):
            trainer = GeneratorTrainer.create(options, ProceduralTruth(), torch.Generator(device).manual_seed(0))
            done = run(trainer, RunOptions(tmp_path, steps=steps, preview_steps=0, log_steps=1))
    assert done and all((tmp_path / f"{name}.safetensors").is_file() for name in ("mapping", "rays", "model"))


@pytest.mark.parametrize("variant", ["encoder1", "encoder2"])
def test_encoder_training_stays_on_its_device(variant, tmp_path):
    latent = 1 if variant == "encoder1" else 0
    config = preset(f"people-{variant}").replace(
        encoder=demo_encoder_config(),
        data={"size": 128},
        views={"known": 0.0},
        discriminator={"r1_every": 2},
        schedule={
            "steps": latent + 2,
            "latent_steps": latent,
            "stage_two_from": latent,
            "stage_one_until": latent,
            "batch": 2,
            "latent_batch": 2,
        },
        render={"rays": 24},
    )
    start = load_encoder_file(ENCODER_1)[0]
    with accelerator() as device:
        network = load_generator(GENERATOR, device)
        trainer = EncoderTrainer(
            config, network, Judges(), views=ProceduralViews(16), start=start, processes=Processes(device)
        )
        assert run(trainer, RunOptions(tmp_path, preview_steps=trainer.total_steps, log_steps=1))


@pytest.mark.parametrize("source", ["real", "both"])
@pytest.mark.parametrize("kind", ["occluded", "image"])
def test_training_like_the_paper_stays_on_its_device(source, kind):
    config = paper_config(variant="encoder2", start="random", discriminator={"kind": kind}, data={"source": source})
    with accelerator() as device:
        network = generator().to(device)
        encoder1 = HeadEncoder.from_config(encoder_config()).to(device)
        trainer = EncoderTrainer(config, network, Judges(), Pictures(), encoder1=encoder1, processes=Processes(device))
        for step in range(2):
            losses = trainer.step(step)
    assert "discriminator" in losses
