"""Measure every stage, the plain way and the fast ones in turn: time, what speed costs in decibels, and the work
(lookups, multiply-adds, bytes) with the time that it would take at the rates of this machine.

Writes bench.md and bench.json. On an accelerator they are written after every row: orbits, frames, inversions, stages
and memory, with PSNR against the exact way. --full takes a generator of the released size (random weights; an enlarged
demo head, so that the box is as empty as around a real head). --heads measures decibels only, of many heads all around.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import torch

from dualenc_core.commands.folder import output_folder
from dualenc_core.commands.models import load_one_generator
from dualenc_core.commands.options import add_device, add_generator, add_out, pick_device, positive, whole
from dualenc_core.commands.pipeline import write_json
from dualenc_core.encoders import load_encoder
from dualenc_core.errors import DualEncError
from dualenc_core.files import write_text

from .devices import (
    DeviceBenchmark,
    Standing,
    describe,
    fill_with_fog,
    full_size_encoder,
    measure_inversion,
    measure_rendering,
)
from .fidelity import fidelity
from .stages import full_size_head, run_benchmark

EXAMPLES = """  python -m tests.benchmarks --out out/bench
  python -m tests.benchmarks --heads 24 --out out/bench
  python -m tests.benchmarks --full --repeats 3 --out out/bench-full
  python -m tests.benchmarks --full --device cuda --seconds 80 --out out/bench-gpu
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser)
    add_generator(parser)
    parser.add_argument("--full", action="store_true", help="a generator of the released size")
    parser.add_argument("--heads", type=whole(1), help="only decibels of so many sampled heads, 8 views each")
    parser.add_argument("--seed", type=int, default=1, help="of the head, or of the first one (default: 1)")
    parser.add_argument("--rays", type=whole(16), nargs="+", default=[64, 128], help="(CPU) along each side (64 128)")
    parser.add_argument("--repeats", type=whole(1), default=5, help="runs of each way (default: 5)")
    parser.add_argument(
        "--seconds", type=positive, default=90.0, help="(accelerators) begin no row later than this (default: 90)"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    device = pick_device(args.device)
    if args.heads is not None:
        _fidelity(args, device)
        return
    if device.type != "cpu":
        _on_accelerator(args, device)
        return
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
        write_text(folder / "bench.md", table + "\n")
        write_json(folder / "bench.json", dataclasses.asdict(result))
    print(table)


def _fidelity(args: argparse.Namespace, device) -> None:
    if args.full:
        raise DualEncError("--heads and --full exclude each other: heads are sampled from the generator; leave one out")
    generator = load_one_generator(args.generator, device)

    def head(number: int):
        with torch.no_grad():
            return generator.synthesize(generator.mapping(generator.latents(args.seed + number), truncation_psi=0.7))

    with output_folder(args.out) as folder:
        found = fidelity(
            generator, head, args.heads, progress=lambda *done: print("{} of {} heads".format(*done), file=sys.stderr)
        )
        rows = [f"| {name} | {v['least']:.1f} | {v['mean']:.1f} |" for name, v in found.items()]
        title = (
            f"PSNR in dB of {args.heads} heads × 8 views: exact against the plain renderer, the others against exact"
        )
        table = "\n".join([title, "", "| quality | least | mean |", "|---|---|---|", *rows])
        write_text(folder / "fidelity.md", table + "\n")
        write_json(folder / "fidelity.json", found)
    print(table)


def _on_accelerator(args: argparse.Namespace, device) -> None:
    def save(benchmark: DeviceBenchmark) -> None:
        row = benchmark.rows[-1]
        time = "" if row.milliseconds is None else f"{row.milliseconds:.2f} ms"
        print(f"{row.stage} | {row.way}: {time} {row.note}", file=sys.stderr, flush=True)
        write_text(args.out / "bench.md", benchmark.markdown() + "\n")
        write_json(args.out / "bench.json", benchmark.content())

    args.out.mkdir(parents=True, exist_ok=True)
    benchmark = DeviceBenchmark(device, args.repeats, args.seconds, save)
    small = load_one_generator(args.generator, torch.device("cpu"))
    with torch.no_grad():
        head = small.synthesize(small.mapping(small.latents(args.seed), truncation_psi=0.7))
        large = full_size_head(small, head) if args.full else None

    def demo_inversion() -> None:
        encoders = load_encoder("demo-e1", device), load_encoder("demo-e2", device)
        measure_inversion(benchmark, "demo", small, encoders, head)

    def full_inversion() -> None:
        encoders = full_size_encoder(1).to(device), full_size_encoder(2).to(device)
        with Standing(generator, triplane):
            measure_inversion(benchmark, "full, sparse head", generator, encoders, triplane)
        fill_with_fog(generator, triplane.ws)
        measure_inversion(benchmark, "full, fog", generator, encoders, generator.synthesize(triplane.ws))

    benchmark.attempt("machine", lambda: describe(benchmark))
    if large is not None:
        generator, triplane = large[0].to(device), large[1].to(device)
        benchmark.attempt("full", lambda: measure_rendering(benchmark, "full", generator, triplane))
        benchmark.attempt("full: inversion", full_inversion)
    small, head = small.to(device), head.to(device)
    name = "demo" if args.generator == "demo" else "generator"
    benchmark.attempt(name, lambda: measure_rendering(benchmark, name, small, head))
    if args.generator == "demo":
        benchmark.attempt("demo: inversion", demo_inversion)
    save(benchmark)
    print(benchmark.markdown())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    try:
        run(parser.parse_args(argv))
    except DualEncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
