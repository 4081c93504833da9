"""``python -m dualenc_core train``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import DualEncError
from . import encoder_presets, presets
from .processes import Processes
from .run import RunOptions
from .run import run as run_training

if TYPE_CHECKING:
    from .config import TrainConfig
    from .generator import GeneratorTrainer
    from .truth import TruthSource

GENERATORS = ("people-generator", "demo-generator")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--preset",
        choices=GENERATORS + encoder_presets.NAMES,
        help="a generator, or encoders: the paper's, of people, …",
    )
    what.add_argument("--config", type=Path, help="encoders by a configuration file (YAML)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of encoders: change one value, e.g. schedule.batch=6",
    )
    parser.add_argument("--print-config", action="store_true", help="print the configuration as YAML, train nothing")
    parser.add_argument("--checkpoint", type=Path, help="of encoders: go on from this state file")
    parser.add_argument("--out", type=Path, default=None, help="folder of the run (default runs/PRESET)")
    parser.add_argument(
        "--start",
        help="weights to begin with: of the generator (on a shorter schedule), or of an encoder (demo-e1, a file)",
    )
    parser.add_argument(
        "--phases", nargs="+", choices=presets.PHASES, help="of a generator: only these, with --start what came before"
    )
    parser.add_argument("--people", type=Path, help="people-*: the asset pack (default: DUALENC_PEOPLE)")
    parser.add_argument(
        "--traced",
        type=Path,
        help="people-*: folder of `people trace` (default runs/people)",
    )
    parser.add_argument("--generator", help="generator of the encoders: demo, or a file (default: the configuration's)")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on")
    parser.add_argument("--steps", type=int, help="stop after this many steps; the same command goes on")
    parser.add_argument("--fresh", action="store_true", help="start again instead of resuming")
    parser.add_argument("--seed", type=int, help="default 0, or the configuration's")
    parser.add_argument(
        "--device", help="cpu or cuda, which also has larger batches of people (default: cpu, or the configuration's)"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")


def run_command(args: argparse.Namespace) -> int:
    """Train; 0 when complete or stopped by a limit that was asked for."""
    if args.threads:
        torch.set_num_threads(args.threads)
    # Densities far outside the head underflow to denormal numbers, on which a CPU is ten times slower.
    torch.set_flush_denormal(True)
    # Batches of few shapes: the search for the fastest convolutions pays.
    torch.backends.cudnn.benchmark = True
    if args.config is not None or args.preset in encoder_presets.NAMES:
        return _train_encoder(args)
    if args.set or args.print_config or args.checkpoint:
        raise DualEncError(f"--set, --print-config and --checkpoint are not for the preset {args.preset}")
    device = Processes.single(args.device or "cpu").device
    torch.manual_seed(args.seed or 0)
    previews = 500 if device.type == "cpu" else 2000
    out = args.out or Path("runs") / args.preset
    options = RunOptions(out, args.minutes, args.steps, resume=not args.fresh, preview_steps=previews)
    run_training(_generator_trainer(args, device), options)
    return 0


def _train_encoder(args: argparse.Namespace) -> int:
    from .config_file import dump
    from .encoder_run import train

    config = _encoder_config(args)
    if args.print_config:
        print(dump(config), end="")
        return 0
    if config.generator == encoder_presets.DEMO_GENERATOR and not Path(config.generator).is_file():
        raise DualEncError(
            f"the preset demo needs a generator of procedural heads, and {config.generator} is not here: make it with "
            "`train --preset demo-generator`, or name one with --set generator=FILE"
        )
    out = args.out or Path("runs") / (args.config.stem if args.config else args.preset)
    train(config, out, args.minutes, args.steps, resume=not args.fresh, checkpoint=args.checkpoint)
    return 0


def _encoder_config(args: argparse.Namespace) -> TrainConfig:
    """Of the preset or file, changed as the other options say; ``--set`` has the last word."""
    from .config_file import read_config
    from .encoder_run import overridden

    config = read_config(args.config) if args.config else encoder_presets.preset(args.preset)
    if config.data.kind == "people" and args.device and Processes.single(args.device).device.type != "cpu":
        config = encoder_presets.on_accelerator(config)
    given = {
        "generator": args.generator,
        "start": args.start,
        "compute.device": args.device,
        "data.path": args.traced if config.data.kind == "people" else None,
        "data.pack": args.people if config.data.kind == "people" else None,
        "seed": args.seed,
    }
    named = [f"{key}={json.dumps(value, default=str)}" for key, value in given.items() if value is not None]
    return overridden(config, [*named, *args.set])


def _generator_trainer(args: argparse.Namespace, device: torch.device) -> GeneratorTrainer:
    from .generator import GeneratorTrainer

    rng = torch.Generator(device).manual_seed(args.seed or 0)
    if args.preset == "demo-generator":
        from .truth_procedural import ProceduralTruth

        truth: TruthSource = ProceduralTruth()
        options = presets.GeneratorTraining(seed=args.seed or 0)
    else:
        from .truth_people import open_people

        truth, options = open_people(args.traced, args.people), presets.people_generator_training(args.seed or 0)
    options = options if device.type == "cpu" else options.on_accelerator()
    if args.phases:
        options = options.only(args.phases)
    elif args.start:
        options = options.continued()
    return GeneratorTrainer.create(options, truth, rng, args.start)
