"""``python -m dualenc_core train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import DualEncError
from . import paper_presets, presets
from .processes import Processes
from .run import RunOptions
from .run import run as run_training

if TYPE_CHECKING:
    from .encoder import EncoderTrainer
    from .generator import GeneratorTrainer
    from .truth import TruthSource
    from .truth_people import PeopleTruth

PRESETS = (
    "people-generator",
    "people-latent",
    "people-encoder1",
    "people-encoder2",
    "people-control",
    "demo-generator",
)
ENCODERS = {"latent": "latent", "encoder1": "fidelity", "encoder2": "realism", "control": "control"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--preset", choices=PRESETS + paper_presets.NAMES, help="what to train; paper, demo, smoke: the paper's trainer"
    )
    what.add_argument("--config", type=Path, help="the paper's trainer with a configuration file (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, e.g. schedule.batch=6"
    )
    parser.add_argument("--print-config", action="store_true", help="print the configuration as YAML, train nothing")
    parser.add_argument("--checkpoint", type=Path, help="the paper's trainer: go on from this state file")
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
        default=Path("runs/people"),
        help="people-*: folder of `people trace` (default runs/people)",
    )
    parser.add_argument("--generator", default="demo", help="generator of the encoders: demo, or a file")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on")
    parser.add_argument("--steps", type=int, help="stop after this many steps; the same command goes on")
    parser.add_argument("--fresh", action="store_true", help="start again instead of resuming")
    parser.add_argument("--seed", type=int, help="default 0, or the configuration's")
    parser.add_argument(
        "--device", default="cpu", help="of the demo presets: cpu (default) or cuda, which also has larger batches"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")


def run_command(args: argparse.Namespace) -> int:
    """Train; 0 when complete or stopped by a limit that was asked for."""
    if args.threads:
        torch.set_num_threads(args.threads)
    # Densities far outside the head underflow to denormal numbers, on which a CPU is ten times slower.
    torch.set_flush_denormal(True)
    if args.config is not None or args.preset in paper_presets.NAMES:
        return _train_like_the_paper(args)
    if args.set or args.print_config or args.checkpoint:
        raise DualEncError(f"--set, --print-config and --checkpoint are not for the preset {args.preset}")
    device = Processes.single(args.device).device
    # Batches of few shapes: the search for the fastest convolutions pays.
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(args.seed or 0)
    previews = 500 if device.type == "cpu" else 2000
    out = args.out or Path("runs") / args.preset
    options = RunOptions(out, args.minutes, args.steps, resume=not args.fresh, preview_steps=previews)
    run_training(_trainer(args, device), options)
    return 0


def _train_like_the_paper(args: argparse.Namespace) -> int:
    from .config_file import dump, read_config
    from .paper_run import overridden, train

    config = read_config(args.config) if args.config else paper_presets.preset(args.preset)
    changes = args.set + ([] if args.seed is None else [f"seed={args.seed}"])
    config = overridden(config, changes)
    if args.print_config:
        print(dump(config), end="")
        return 0
    if config.generator == paper_presets.DEMO_GENERATOR and not Path(config.generator).is_file():
        raise DualEncError(
            f"the preset demo needs a generator of procedural heads, and {config.generator} is not here: make it with "
            "`train --preset demo-generator`, or name one with --set generator=FILE"
        )
    out = args.out or Path("runs") / (args.config.stem if args.config else args.preset)
    train(config, out, args.minutes, args.steps, resume=not args.fresh, checkpoint=args.checkpoint)
    return 0


def _trainer(args: argparse.Namespace, device: torch.device) -> GeneratorTrainer | EncoderTrainer:
    rng = torch.Generator(device).manual_seed(args.seed or 0)
    if args.preset in ("demo-generator", "people-generator"):
        from .generator import GeneratorTrainer

        if args.preset == "demo-generator":
            from .truth_procedural import ProceduralTruth

            truth: TruthSource = ProceduralTruth()
            options = presets.GeneratorTraining(seed=args.seed or 0)
        else:
            truth, options = _people(args), presets.people_generator_training(args.seed or 0)
        options = options if device.type == "cpu" else options.on_accelerator()
        if args.phases:
            options = options.only(args.phases)
        elif args.start:
            options = options.continued()
        return GeneratorTrainer.create(options, truth, rng, args.start)
    from .encoder import EncoderTrainer
    from .views_people import PeopleViews

    paced = presets.people_encoder_training(ENCODERS[args.preset.removeprefix("people-")], args.seed or 0)
    paced = paced if device.type == "cpu" else paced.on_accelerator()
    return EncoderTrainer.create(paced, args.generator, args.start, PeopleViews(_people(args)), rng)


def _people(args: argparse.Namespace) -> PeopleTruth:
    from ...people import Pack
    from .truth_people import PeopleTruth

    described = (args.traced / "descriptions.npz").is_file()
    return PeopleTruth(args.traced, None if described else Pack.open(args.people))
