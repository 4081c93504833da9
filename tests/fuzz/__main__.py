"""Broken inputs through the real entry points; whatever is not one clear DualEncError is a finding.

    python -m tests.fuzz photos                     20,000 mutated photos of every kind
    python -m tests.fuzz masks --count 500 --seed 7
    python -m tests.fuzz --keep out/findings        everything; inputs of findings are kept

Every module of this package that has COUNT and trials(count, seed, folder) is a subject. The same seed gives the same
inputs.
Exit code 1 when something was uncaught.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

import tests.fuzz as package

from .trial import judge, table


def subjects() -> list[str]:
    """Names of the modules with trials."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [name for name in names if name not in ("__main__", "trial")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subject", nargs="*", help=f"some of {', '.join(subjects())} (default: all)")
    parser.add_argument("--count", type=int, help="of inputs of each subject (default: its own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    args = parser.parse_args(arguments)
    if unknown := set(args.subject) - set(subjects()):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(subjects())}")
    uncaught = 0
    for name in args.subject or subjects():
        module = importlib.import_module(f"tests.fuzz.{name}")
        count = module.COUNT if args.count is None else args.count
        with tempfile.TemporaryDirectory() as folder:
            keep = None if args.keep is None else args.keep / name
            outcome = judge(module.trials(count, args.seed, Path(folder)), keep, _progress(name, count))
        print(f"\n## {name}\n\n{table(outcome)}\n")
        total = sum(outcome.accepted.values()) + sum(outcome.refused.values())
        for kind, number, text in outcome.findings[:20]:
            print(f"{kind}, number {number}:\n{text}")
        print(f"{total} of {count} in {outcome.seconds:.0f} s, {len(outcome.findings)} uncaught")
        uncaught += len(outcome.findings)
    return int(uncaught > 0)


def _progress(name: str, count: int):
    def report(done: int) -> None:
        if sys.stderr.isatty() and (done % 50 == 0 or done == count):
            print(f"\r{name} {done}/{count}", end="", file=sys.stderr, flush=True)

    return report


if __name__ == "__main__":
    sys.exit(main())
