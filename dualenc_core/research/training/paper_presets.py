"""Named configurations of the paper's trainer."""

from __future__ import annotations

import dataclasses

from ...encoders.config import HeadEncoderConfig, LiftedConfig, StyleConfig, TriPlaneConfig, TrunkConfig
from ...errors import DualEncError
from .config import (
    DataConfig,
    DiscriminatorConfig,
    LossConfig,
    OutputConfig,
    RenderConfig,
    ScheduleConfig,
    TrainConfig,
)
from .presets import EncoderTraining, demo_generator_config, people_generator_config

NAMES = ("paper", "demo", "smoke")
# What `train --preset demo-generator` writes.
DEMO_GENERATOR = "runs/demo-generator/model.safetensors"
WEIGHT_FREE = LossConfig(lpips=0.0, identity=0.0, l1=1.0, l2=2.0, alpha=0.3)


def preset(name: str) -> TrainConfig:
    """Encoder 1 of a preset: "paper" (every value of the paper), "demo" (procedural heads and the generator that
    `train --preset demo-generator` makes, two CPU cores) or "smoke" (does it run? one minute).

    Raises DualEncError for another name.
    """
    if name not in NAMES:
        raise DualEncError(f"preset is {name!r}, expected one of {', '.join(NAMES)}")
    return {"paper": TrainConfig, "demo": _demo, "smoke": _smoke}[name]()


def _demo() -> TrainConfig:
    """The schedule of `presets.EncoderTraining` in this trainer's terms: latents first, then rays, stage two last."""
    demo = EncoderTraining()
    total = demo.latent_steps + demo.refine_steps
    style = dataclasses.replace(demo.config.style, z_dim=demo_generator_config().z_dim)
    return TrainConfig(
        generator=DEMO_GENERATOR,
        trunk_weights=None,
        batch_norm="batch",
        encoder=demo.config.replace(style=style),
        data=DataConfig(
            kind="procedural", size=demo.config.style.trunk.input_size, count=2048, rebalance=False, workers=0
        ),
        losses=dataclasses.replace(WEIGHT_FREE, latent=1.0),
        discriminator=DiscriminatorConfig(
            weight=0.03,
            widths=demo.discriminator_widths,
            stride=2,
            # The paper's 10 is for the sum over 288·256² numbers in the generator's own units.
            r1=1e-4,
            r1_every=demo.r1_interval,
            learning_rate=1e-3,
            optimizer="adam",
            mask_from="self",
            mask_resolution=40,
            mask_closing=2,
            image_size=64,
            scale_planes=True,
        ),
        schedule=ScheduleConfig(
            steps=total,
            batch=demo.batch,
            latent_steps=demo.latent_steps,
            stage_two_from=demo.latent_steps,
            stage_one_until=demo.latent_steps,
            learning_rate=demo.learning_rate,
            optimizer="adam",
            decay="cosine",
        ),
        render=RenderConfig(resolution=64, super_resolve=False, rays=demo.rays),
        output=OutputConfig(preview_every=500, save_every=200, keep_every=0),
    )


def _smoke() -> TrainConfig:
    """Both stages of a toy encoder, paper flavour, on the bundled generator; no weights beyond the repository's."""
    generator = people_generator_config()
    widths, blocks = (16, 16, 24, 32), (1, 1, 2, 1)
    encoder = HeadEncoderConfig(
        style=StyleConfig(
            TrunkConfig(widths=widths, blocks=blocks, input_size=generator.plane_size),
            n_styles=generator.num_ws,
            coarse=3,
            middle=6,
            w_dim=generator.w_dim,
            z_dim=generator.z_dim,
            head_width=32,
        ),
        triplane=TriPlaneConfig(
            TrunkConfig(in_channels=9, widths=widths, blocks=blocks, input_size=generator.plane_size),
            plane_channels=3 * generator.plane_channels,
            plane_size=generator.plane_size,
        ),
        lifted=LiftedConfig(
            features=generator.features, plane_size=generator.plane_size, widths=(16, 16, 16), light=16
        ),
        render_resolution=32,
        render_samples=(12, 8),
        super_resolve=False,
    )
    return TrainConfig(
        generator="demo",
        trunk_weights=None,
        encoder=encoder,
        data=DataConfig(kind="procedural", size=64, count=16, rebalance=False, workers=0),
        losses=dataclasses.replace(WEIGHT_FREE, gradient=0.5),
        discriminator=DiscriminatorConfig(
            widths=(16, 16, 32, 32),
            stride=2,
            r1=1e-4,
            r1_every=4,
            mask_from="self",
            mask_resolution=32,
            image_size=32,
            scale_planes=True,
        ),
        schedule=ScheduleConfig(steps=20, batch=2, stage_two_from=5, learning_rate=1e-3),
        render=RenderConfig(resolution=32, samples=(12, 8), super_resolve=False, loss_size=32),
        output=OutputConfig(log_every=5, preview_every=10, preview_heads=2, save_every=5, keep_every=0),
    )
