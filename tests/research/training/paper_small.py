"""The smallest generator, encoder and configuration of the trainer of encoders, on single photos."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dualenc_core.camera import Camera
from dualenc_core.checkpoints.store import save_generator
from dualenc_core.encoders.config import HeadEncoderConfig, TriPlaneConfig
from dualenc_core.generator import PanoHead
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.training.config import (
    DataConfig,
    DiscriminatorConfig,
    LossConfig,
    OutputConfig,
    RenderConfig,
    ScheduleConfig,
    TrainConfig,
)
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.objective import Judges
from tests.small import small_generator, small_style, small_trunk


def generator() -> PanoHead:
    """Random weights, but a head that is not transparent."""
    torch.manual_seed(0)
    network = PanoHead(small_generator(render=RenderOptions(samples=8, importance=4)))
    network.decoder.net[2].bias.data[0] = 3.0
    return network.eval().requires_grad_(False)


def generator_file(path: Path) -> Path:
    network = generator()
    init, rendering = network.config.to_official()
    config = {"init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": 8}
    save_generator(path, network.state_dict(), config, {})
    return path


def encoder_config(projection: str = "w+", upsampling: str = "nearest", mirrored: bool = True) -> HeadEncoderConfig:
    g = small_generator()
    triplane = TriPlaneConfig(
        small_trunk(in_channels=9),
        upsampling=upsampling,
        plane_channels=3 * g.plane_channels,
        plane_size=g.plane_size,
        mirrored=mirrored,
    )
    return HeadEncoderConfig(
        style=small_style(g, projection), triplane=triplane, render_resolution=8, super_resolve=False
    )


def paper_config(**changes) -> TrainConfig:
    """Encoder 1 on pictures of 32 pixels; ``changes`` as in `TrainConfig.replace`."""
    config = TrainConfig(
        trunk_weights=None,
        encoder=encoder_config(),
        data=DataConfig(kind="procedural", size=32, count=5, workers=0),
        losses=LossConfig(lpips=0, identity=0, l2=1.0, l1=0.5, alpha=0.1),
        discriminator=DiscriminatorConfig(
            weight=0.1, widths=(4, 4, 4, 4), r1=0.1, r1_every=2, mask_from="self", mask_resolution=16, image_size=16
        ),
        schedule=ScheduleConfig(steps=8, batch=2, stage_two_from=0, learning_rate=1e-3),
        render=RenderConfig(resolution=8, loss_size=32),
        output=OutputConfig(log_every=1, preview_every=0, save_every=2, keep_every=0, tensorboard=False),
    )
    return config.replace(**changes)


class Pictures(Dataset):
    """Noise on round mattes, seen from the front and the sides."""

    def __init__(self, count: int = 5, size: int = 32) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(index)
        x = torch.linspace(-1, 1, self.size)
        return {
            "image": 2 * torch.rand(3, self.size, self.size, generator=rng) - 1,
            "matte": ((x.square() + x.square()[:, None]) < 0.5).float()[None],
            "camera": Camera.look_at(15.0 * index - 30, 5.0).label[0],
        }


def trainer(config: TrainConfig, **objects) -> EncoderTrainer:
    return EncoderTrainer(config, generator(), Judges(), objects.pop("dataset", Pictures()), **objects)


def gradients(t: EncoderTrainer, step: int = 0) -> dict[str, Tensor]:
    """Gradients of one step without the step."""
    t.encoder.train()
    if t.config.batch_norm == "frozen":
        from dualenc_core.research.training.batchnorm import freeze

        freeze(t.encoder)
    t.accumulate(step, t.training_stages(step))
    modules = {"encoder": t.encoder} | ({} if t.adversary is None else {"d": t.adversary.network})
    return {
        f"{name}.{key}": p.grad.clone()
        for name, module in modules.items()
        for key, p in module.named_parameters()
        if p.grad is not None
    }
