"""Measure every stage, the plain way and the fast ones in turn: time, what speed costs in decibels, and the work
(lookups, multiply-adds, bytes) with the time that it would take at the rates of this machine.

Writes bench.md and bench.json. --full takes a generator of the released size (random weights; an enlarged demo head, so
that the box is as empty as around a real head).
"""

from __future__ import annotations

import argparse
import dataclasses

from .options import add_device, add_generator, add_out, pick_device, whole

EXAMPLES = """  python -m dualenc_core bench --out out/bench
  python -m dualenc_core bench --full --repeats 3 --out out/bench-full
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser)
    add_generator(parser)
    parser.add_argument("--full", action="store_true", help="a generator of the released size")
    parser.add_argument("--seed", type=int, default=1, help="of the head (default: 1)")
    parser.add_argument("--rays", type=whole(16), nargs="+", default=[64, 128], help="along each side (64 128)")
    parser.add_argument("--repeats", type=whole(1), default=5, help="runs of each way (default: 5)")
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import sys

    import torch

    from ..encoders import load_encoder
    from ..evaluation.benchmark import full_size_head, run_benchmark
    from .folder import output_folder
    from .models import load_one_generator
    from .pipeline import write_json

    device = pick_device(args.device)
    generator = load_one_generator(args.generator, torch.device("cpu"))
    with torch.no_grad():
        triplane = generator.synthesize(generator.mapping(generator.latents(args.seed), truncation_psi=0.7))
        if args.full:
            generator, triplane = full_size_head(generator, triplane)
    encoders = None
    if args.generator == "demo" and not args.full:
        encoders = load_encoder("demo-e1", device), load_encoder("demo-e2", device)
    generator, triplane = generator.to(device), triplane.to(device)
    with output_folder(args.out) as folder:
        result = run_benchmark(
            generator,
            triplane,
            tuple(args.rays),
            args.repeats,
            progress=lambda text: print(f"{text}: done", file=sys.stderr),
            encoders=encoders,
        )
        table = result.markdown()
        (folder / "bench.md").write_text(table + "\n", encoding="utf-8")
        write_json(folder / "bench.json", dataclasses.asdict(result))
    print(table)
