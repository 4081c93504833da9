"""Average weights files tensor by tensor: the mean of several trainings of one network can be better than each.

The trainings must have begun from the same weights, or one from the other. All but the weights comes from the first
file; the result says what it is the mean of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import positive

EXAMPLES = """  python -m dualenc_core average runs/new/model.safetensors old.safetensors --out mean.safetensors
  python -m dualenc_core average a.safetensors b.safetensors c.safetensors --weights 2 1 1 --out mean.safetensors
  python -m dualenc_core average e1.safetensors old-e1.safetensors --generator mean.safetensors --out e1.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", help="two or more .safetensors files of one kind")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--weights",
        type=positive,
        nargs="+",
        metavar="W",
        help="how much each file counts, in their order; made to sum to 1 (default: all the same)",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="SETTING",
        help="settings that may differ, such as passes or lifted.plane_scale: those of the first file stay",
    )
    parser.add_argument("--generator", help="of encoders: the generator that the mean is for (a name or a file)")


def run(args: argparse.Namespace) -> None:
    from ..checkpoints import average
    from ..files import check_target
    from ..generator.loading import load_generator

    check_target(args.out)
    fingerprint = None if args.generator is None else load_generator(args.generator).fingerprint
    mean = average(args.files, args.out, args.weights, args.keep, fingerprint)
    print(f"{args.out} ({mean.kind}, {len(mean.state_dict)} tensors) is the mean of:")
    print("\n".join(f"  {line}" for line in mean.provenance["mean_of"]))
