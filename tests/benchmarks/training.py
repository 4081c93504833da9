"""Time and peak memory of training steps at full size, with random weights everywhere: no file is needed.

    python -m tests.benchmarks.training --variant encoder2 --out runs/full-size.json

Losses mean nothing here; every network, render and gradient of the preset ``paper`` is computed all the same. Step 0
includes R1 (one step in sixteen does).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dualenc_core.camera import Camera
from dualenc_core.encoders import ArcFace, HeadEncoder
from dualenc_core.files import atomic_path
from dualenc_core.generator import GeneratorConfig, PanoHead
from dualenc_core.metrics.lpips import LPIPS
from dualenc_core.research.training import memory
from dualenc_core.research.training.config import TrainConfig
from dualenc_core.research.training.encoder import EncoderTrainer
from dualenc_core.research.training.encoder_run import report
from dualenc_core.research.training.objective import Judges
from dualenc_core.research.training.processes import Processes

# AlexNet's convolutions: number in ``features``, channels, side of the kernel.
_ALEXNET = ((0, 3, 64, 11), (3, 64, 192, 5), (6, 192, 384, 3), (8, 384, 256, 3), (10, 256, 256, 3))


class NoisePictures(Dataset):
    """Pictures of noise with a round matte."""

    def __init__(self, size: int, count: int = 8) -> None:
        self.size, self.count = size, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(index)
        x = torch.linspace(-1, 1, self.size)
        return {
            "image": 2 * torch.rand(3, self.size, self.size, generator=rng) - 1,
            "matte": ((x.square() + x.square()[:, None]) < 0.5).float()[None],
            "camera": Camera.look_at(10.0 * index - 40).label[0],
        }


def random_generator(seed: int = 0) -> PanoHead:
    """The released model's configuration with initial weights."""
    torch.manual_seed(seed)
    return PanoHead(GeneratorConfig()).eval().requires_grad_(False)


def random_judges(seed: int = 0) -> Judges:
    """LPIPS and ArcFace with initial weights."""
    torch.manual_seed(seed)
    backbone, linear = {}, {}
    for index, (number, inputs, outputs, side) in enumerate(_ALEXNET):
        backbone[f"features.{number}.weight"] = torch.randn(outputs, inputs, side, side) / (inputs * side**2) ** 0.5
        backbone[f"features.{number}.bias"] = torch.zeros(outputs)
        linear[f"lin{index}.model.1.weight"] = torch.rand(1, outputs, 1, 1)
    return Judges(LPIPS(backbone, linear), ArcFace())


def measure(config: TrainConfig, steps: int, device: str = "auto") -> dict:
    """Seconds and losses of ``steps`` steps, memory before and at the peak."""
    processes = Processes.single(device)
    generator = random_generator().to(processes.device)
    encoder1 = None
    if config.needs_encoder1:
        encoder1 = HeadEncoder.from_config(config.encoder).to(processes.device)
    dataset = NoisePictures(config.data.size)
    trainer = EncoderTrainer(config, generator, random_judges(), dataset, encoder1=encoder1, processes=processes)
    before = memory.peak_gib(processes.device)
    seconds, losses = [], {}
    for step in range(steps):
        start = time.perf_counter()
        losses = trainer.step(step)
        seconds.append(round(time.perf_counter() - start, 2))
        print(f"step {step}: {seconds[-1]} s, peak {memory.peak_gib(processes.device):.2f} GiB", flush=True)
    return {
        **report(trainer, sum(seconds)),
        "seconds_per_step": seconds,
        "gib_before_first_step": round(before, 3),
        "losses": losses,
        "config": config.to_dict(),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("encoder1", "encoder2"), default="encoder2")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--plain", action="store_true", help="without activation checkpointing")
    parser.add_argument("--mask-from", choices=("encoder1", "self"), default="encoder1")
    parser.add_argument("--out", type=Path, help="JSON report")
    args = parser.parse_args(argv)
    torch.set_flush_denormal(True)
    base = TrainConfig(variant=args.variant, start="random") if args.variant == "encoder2" else TrainConfig()
    config = base.replace(
        trunk_weights=None,
        data={"workers": 0},
        discriminator={"mask_from": args.mask_from},
        schedule={"batch": args.batch, "stage_two_from": 0, "steps": args.steps},
        compute={"precision": args.precision, "checkpointing": not args.plain},
    )
    found = measure(config, args.steps, args.device)
    print(json.dumps({k: v for k, v in found.items() if k not in ("config", "losses")}, indent=1))
    if args.out:
        with atomic_path(args.out) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
