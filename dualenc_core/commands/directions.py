"""What can be directed on heads of a generator; or directions for one whose file names none, such as PanoHead's.

Without --out, prints the attributes with their ranges. With it, writes a file of directions: the main axes of w, the
factors of the style layers, directions by labels of sampled heads, and directions of others. The first two have numbers
for names: look at each with "edit attributes --directions FILE --set principal_1=3", then give it a name with --rename.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .edit_attributes import add_directions
from .options import add_device, add_generator, pick_device, whole

if TYPE_CHECKING:
    from ..editing import Directions
    from ..editing.direction_file import VectorDirections
    from ..generator import PanoHead

EXAMPLES = """  python -m dualenc_core directions --generator people.safetensors
  python -m dualenc_core directions --generator panohead.safetensors --out panohead.directions.safetensors
  python -m dualenc_core directions --generator panohead.safetensors --out p.directions.safetensors --labels 300
  python -m dualenc_core directions --generator p.safetensors --out p.directions.safetensors --add smile=smile.npy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_generator(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="such as panohead.directions.safetensors")
    parser.add_argument("--principal", type=whole(0), default=8, help="main axes of w (default: 8)")
    parser.add_argument("--factors", type=whole(0), default=8, help="factors of the style layers (default: 8)")
    parser.add_argument(
        "--labels",
        type=whole(0),
        default=0,
        metavar="N",
        help="smile, open mouth and eyes, proportions, hair and skin: N random heads are drawn and measured, "
        "some 300 are enough (default: 0, none)",
    )
    parser.add_argument(
        "--add", nargs="+", default=[], metavar="NAME=FILE", help="directions of others, .npy or .safetensors"
    )
    parser.add_argument(
        "--rename", nargs="+", default=[], metavar="OLD=NEW", help="other names: principal_1=age, and so on"
    )
    parser.add_argument("--samples", type=whole(2), default=4096, help="random heads to measure w on (default: 4096)")
    parser.add_argument("--seed", type=int, default=0, help="of the random heads (default: 0)")
    add_directions(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ..editing import directions_of
    from ..errors import DualEncError
    from ..files import check_target
    from .models import load_one_generator

    if args.out is not None:
        check_target(args.out)
        if args.out.suffix != ".safetensors":
            raise DualEncError(f"the file {args.out} must end in .safetensors")
    generator = load_one_generator(args.generator, pick_device(args.device))
    if args.out is None:
        _print(directions_of(generator, args.directions))
        return
    path = _make(args, generator).save(args.out)
    print(f"{path} holds directions for generator {generator.fingerprint}")


def _make(args: argparse.Namespace, generator: PanoHead) -> VectorDirections:
    from ..editing import find_directions, load_direction, load_directions
    from ..editing.direction_file import joined, with_directions
    from ..editing.labels import labelled_directions
    from .feedback import progress_bar

    if args.directions is not None:
        known = load_directions(args.directions, generator)
    elif args.principal + args.factors == 0 and (args.add or args.labels):
        known = None
    else:
        known = find_directions(generator, args.principal, args.factors, args.samples, args.seed)
    if args.labels:
        with progress_bar("heads") as progress:
            labelled = labelled_directions(generator, args.labels, args.seed, progress)
        known = labelled if known is None else joined(known, labelled)
    added = {name: load_direction(file, generator) for name, file in _pairs("--add", args.add)}
    known = with_directions(known, generator, added) if added or known is None else known
    return known.renamed(dict(_pairs("--rename", args.rename)))


def _pairs(option: str, texts: list[str]) -> list[tuple[str, str]]:
    from ..errors import DualEncError

    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise DualEncError(f"{option} is {text!r}, expected two parts with = between")
        pairs.append((name, value))
    return pairs


def _print(known: Directions) -> None:
    for a in known.attributes:
        print(f"{a.name:<18} {a.group:<12} {a.low:g} to {a.high:g} ({a.unit}): {a.about}")
    for choice in known.choices:
        print(f"{choice.name:<18} {choice.group:<12} one of {', '.join(choice.options)}")
    for name in known.colours:
        print(f"{name:<18} {'colour':<12} #rrggbb")
