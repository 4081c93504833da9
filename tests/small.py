"""The smallest generator that has every part."""

from __future__ import annotations

from dualenc_core.generator import GeneratorConfig, SuperResolutionConfig


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
