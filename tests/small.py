"""The smallest generator that has every part, and encoders for it."""

from __future__ import annotations

from pathlib import Path

import torch

from dualenc_core import procedural
from dualenc_core.checkpoints import save_encoder, save_generator
from dualenc_core.encoders import HeadEncoder, HeadEncoderConfig, StyleConfig, TrunkConfig
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.rendering.renderer import RenderOptions


def small_generator(**changes) -> GeneratorConfig:
    """Planes 16² with 4 features, pictures of 32 pixels from 8² rays; ``changes`` as in `GeneratorConfig.replace`."""
    config = GeneratorConfig(
        z_dim=8,
        w_dim=16,
        plane_size=16,
        features=4,
        channel_base=256,
        channel_max=16,
        sr=SuperResolutionConfig(input_resolution=8, hidden_widths=(8, 8), w_dim=16),
        neural_resolution=8,
    )
    return config.replace(**changes)


def small_trunk(in_channels: int = 3) -> TrunkConfig:
    """Of pictures of 32 pixels."""
    return TrunkConfig(in_channels=in_channels, widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1), input_size=32)


def small_style(generator: GeneratorConfig, projection: str = "w+") -> StyleConfig:
    """Stage one for a generator."""
    return StyleConfig(
        trunk=small_trunk(),
        projection=projection,
        n_styles=generator.num_ws,
        coarse=2,
        middle=4,
        w_dim=generator.w_dim,
        z_dim=generator.z_dim,
        head_width=8,
    )


def small_encoder(generator: GeneratorConfig) -> HeadEncoderConfig:
    """Stage one alone."""
    return HeadEncoderConfig(style=small_style(generator), refiner=None, render_resolution=8)


def write_networks(folder: Path, z_dim: int = procedural.LATENT_DIM) -> dict[str, Path]:
    """Files generator, encoder1 and encoder2 of a few kilobytes, with random weights."""
    torch.manual_seed(0)
    config = small_generator(z_dim=z_dim, render=RenderOptions(samples=6, importance=4))
    generator = PanoHead(config)
    # A new generator is nearly empty space; more density makes depth, alpha and masks worth looking at.
    generator.decoder.net[-1].bias.data[0] += 8.0
    init, rendering = config.to_official()
    official = {"init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": 8}
    paths = {name: folder / f"{name}.safetensors" for name in ("generator", "encoder1", "encoder2")}
    save_generator(paths["generator"], generator.state_dict(), official, {"note": "random"})
    for name in ("encoder1", "encoder2"):
        encoder = HeadEncoder(small_encoder(config))
        encoder.use_average(generator)
        save_encoder(paths[name], encoder.state_dict(), encoder.config.to_dict(), {"note": "random"})
    return paths
