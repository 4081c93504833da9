"""The demo trainings keep everything on one device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dualenc_core.encoders import HeadEncoder
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.generator import GeneratorTrainer
from dualenc_core.research.training.objective import Judges
from dualenc_core.research.training.paper import PaperTrainer
from dualenc_core.research.training.presets import GeneratorTraining, demo_encoder_config, people_encoder_training
from dualenc_core.research.training.processes import Processes
from dualenc_core.research.training.run import RunOptions, run
from dualenc_core.research.training.truth_procedural import ProceduralTruth
from dualenc_core.research.training.views_procedural import ProceduralViews
from tests.fake_accelerator import accelerator
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


@pytest.mark.parametrize("variant", ["fidelity", "realism"])
def test_encoder_training_stays_on_its_device(variant, tmp_path):
    options = dataclasses.replace(
        people_encoder_training(variant),
        config=demo_encoder_config(),
        refine_steps=2,
        known=0.0,
        photo_size=128,
        batch=2,
        latent_batch=2,
        rays=24,
        r1_interval=2,
    )
    if variant == "fidelity":
        options = dataclasses.replace(options, latent_steps=1)
    with accelerator() as device:
        rng = torch.Generator(device).manual_seed(0)
        trainer = EncoderTrainer.create(options, GENERATOR, ENCODER_1, ProceduralViews(16), rng)
        assert run(trainer, RunOptions(tmp_path, preview_steps=trainer.total_steps, log_steps=1))


@pytest.mark.parametrize("source", ["real", "both"])
@pytest.mark.parametrize("kind", ["occluded", "image"])
def test_training_like_the_paper_stays_on_its_device(source, kind):
    config = paper_config(variant="encoder2", start="random", discriminator={"kind": kind}, data={"source": source})
    with accelerator() as device:
        network = generator().to(device)
        encoder1 = HeadEncoder.from_config(encoder_config()).to(device)
        trainer = PaperTrainer(config, network, Judges(), Pictures(), encoder1, processes=Processes(device))
        for step in range(2):
            losses = trainer.step(step)
    assert "discriminator" in losses
