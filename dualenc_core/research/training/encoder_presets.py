"""Named configurations of the trainer of encoders."""

from __future__ import annotations

import dataclasses

from ...encoders.config import HeadEncoderConfig, LiftedConfig, StyleConfig, TriPlaneConfig, TrunkConfig
from ...errors import DualEncError
from .config import (
    ComputeConfig,
    DataConfig,
    DiscriminatorConfig,
    LossConfig,
    OutputConfig,
    RenderConfig,
    ScheduleConfig,
    TrainConfig,
    ViewConfig,
)
from .presets import demo_encoder_config, demo_generator_config, people_encoder_config, people_generator_config

NAMES = ("paper", "demo", "smoke", "people-latent", "people-encoder1", "people-encoder2", "people-control")
# What `train --preset demo-generator` writes.
DEMO_GENERATOR = "runs/demo-generator/model.safetensors"
WEIGHT_FREE = LossConfig(lpips=0.0, identity=0.0, l1=1.0, l2=2.0, alpha=0.3)


def preset(name: str) -> TrainConfig:
    """Encoder 1 of a preset: "paper" (every value of the paper), "demo" (procedural heads and the generator that
    `train --preset demo-generator` makes, two CPU cores) or "smoke" (does it run? one minute).

    On traced people, for two CPU cores: "people-latent" (stage one alone, on known latents), "people-encoder1",
    "people-encoder2" (views from all around, and the discriminator) and "people-control" (Encoder 2 without it).

    Raises DualEncError for another name.
    """
    if name not in NAMES:
        raise DualEncError(f"preset is {name!r}, expected one of {', '.join(NAMES)}")
    if name.startswith("people-"):
        return _people(name.removeprefix("people-"))
    return {"paper": TrainConfig, "demo": _demo, "smoke": _smoke}[name]()


def on_accelerator(config: TrainConfig) -> TrainConfig:
    """A preset of people with the batches that fill a large GPU."""
    return config.replace(
        schedule={"latent_batch": 64, "batch": 16}, render={"rays": 512}, output={"preview_every": 2000}
    )


def _people(name: str) -> TrainConfig:
    """Stage one is trained alone: batches as small as those of stage two lead it away from heads that the generator
    makes well from every side (weights/README.md)."""
    encoder = people_encoder_config()
    # A second pass makes Encoder 1 truer to the photo, and worse behind, which is Encoder 2's.
    encoder = encoder.replace(
        passes=2 if name in ("latent", "encoder1") else 1,
        outline=name != "latent",
        detail=0 if name == "latent" else 12,
        both_sides=name != "latent",
    )
    steps = 3000
    latent = steps if name == "latent" else 0
    views, rate = ViewConfig(), 1e-3
    if name == "encoder1":
        views, rate = ViewConfig(known=0.45, unseen=0.4), 2e-3
    elif name != "latent":
        views = ViewConfig(others=2, near=False, own=0.5, other=0.75, hidden=1.0, known=0.8, unseen=1.5)
    lifted = encoder.lifted
    return TrainConfig(
        variant="encoder2" if name in ("encoder2", "control") else "encoder1",
        generator="demo",
        trunk_weights=None,
        encoder=encoder,
        data=DataConfig(kind="people", path="runs/people", size=256),
        views=views,
        losses=dataclasses.replace(WEIGHT_FREE, latent=1.0),
        discriminator=DiscriminatorConfig(
            kind="occluded" if name == "encoder2" else "none",
            weight=0.05,
            widths=(48, 64, 96, 128),
            stride=2,
            # The penalty is a sum over all numbers of a tri-grid.
            r1=10 / (3 * lifted.features * lifted.depth * lifted.plane_size**2),
            learning_rate=1e-3,
            optimizer="adam",
            momentum=0.5,
            mask_from="self",
            # Fewer rays than a mask in use has, and the holes between them closed.
            mask_resolution=5 * lifted.plane_size // 8,
            mask_closing=2,
            real="descriptions",
            scale_planes=True,
        ),
        schedule=ScheduleConfig(
            steps=steps,
            batch=4,
            latent_steps=latent,
            stage_two_from=latent,
            stage_one_until=latent,
            one_pass=True,
            latent_batch=32,
            latent_rate=2e-3,
            learning_rate=rate,
            matrix_rate=rate / (4 if name == "latent" else 2),
            optimizer="adam",
            linear_pace=10.0,
            decay="cosine",
            warmup=50,
        ),
        render=RenderConfig(resolution=128, super_resolve=False, rays=256),
        compute=ComputeConfig(device="cpu", precision="auto"),
        output=OutputConfig(preview_every=500, save_every=0, save_minutes=3.0, keep_every=0, tensorboard=False),
    )


def _demo() -> TrainConfig:
    """Latents first, then rays; stage two alone."""
    encoder, latent = demo_encoder_config(), 3400
    style = dataclasses.replace(encoder.style, z_dim=demo_generator_config().z_dim)
    return TrainConfig(
        generator=DEMO_GENERATOR,
        trunk_weights=None,
        batch_norm="batch",
        encoder=encoder.replace(style=style),
        data=DataConfig(kind="procedural", size=style.trunk.input_size, count=2048, rebalance=False, workers=0),
        losses=dataclasses.replace(WEIGHT_FREE, latent=1.0),
        discriminator=DiscriminatorConfig(
            weight=0.03,
            widths=(48, 64, 96, 128),
            stride=2,
            # The paper's 10 is for the sum over 288·256² numbers in the generator's own units.
            r1=1e-4,
            learning_rate=1e-3,
            optimizer="adam",
            mask_from="self",
            mask_resolution=40,
            mask_closing=2,
            image_size=64,
            scale_planes=True,
        ),
        schedule=ScheduleConfig(
            steps=latent + 2400,
            batch=4,
            latent_steps=latent,
            stage_two_from=latent,
            stage_one_until=latent,
            learning_rate=1e-3,
            optimizer="adam",
            decay="cosine",
        ),
        render=RenderConfig(resolution=64, super_resolve=False, rays=256),
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
