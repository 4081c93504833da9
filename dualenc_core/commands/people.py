"""Synthetic people from an asset pack: look at them, trace them from all round for training, or measure how they move.

The pack is not part of this program: --people names its folder, or the environment variable DUALENC_PEOPLE.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .options import whole

if TYPE_CHECKING:
    from ..people import Pack

EXAMPLES = """  python -m dualenc_core people sheet --people pack/ --out people.png --count 16 --yaw 0,60,180
  python -m dualenc_core people trace --people pack/ --out runs/people --count 2000 --part 0/2
  python -m dualenc_core people motions --people pack/ --out motions.safetensors --count 24
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=("sheet", "trace", "motions"), help="a contact sheet, the training set, or the table of motions"
    )
    parser.add_argument("--people", type=Path, help="the asset pack (default: DUALENC_PEOPLE)")
    parser.add_argument("--out", type=Path, required=True, help="the picture, the training set's folder, or the table")
    parser.add_argument("--count", type=whole(1), default=16, help="how many people (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0; from 1000000 up for evaluation")
    parser.add_argument("--yaw", default="0,60,120,180", help="sheet: sides in degrees (default: 0,60,120,180)")
    parser.add_argument("--held-out", action="store_true", help="sheet: of the donors that training never sees")
    parser.add_argument(
        "--part", default="0/1", metavar="I/N", help="trace: every N-th person from number I on, one process each"
    )


def run(args: argparse.Namespace) -> None:
    from ..people import Pack

    pack = Pack.open(args.people)
    if args.what == "sheet":
        _sheet(args, pack)
    elif args.what == "motions":
        _motions(args, pack)
    else:
        _trace(args, pack)


def _motions(args: argparse.Namespace, pack: Pack) -> None:
    from ..research.data.motions import measure_motions
    from .feedback import progress_bar

    with progress_bar("people") as progress:
        motions = measure_motions(pack, args.count, args.seed, progress)
    motions.save(args.out)
    print(f"{args.out}: ways of {len(motions.points)} points for {len(motions.knots)} traits ({motions.source})")


def _sheet(args: argparse.Namespace, pack: Pack) -> None:
    from ..camera import Camera
    from ..errors import DualEncError
    from ..export.images import save_png
    from ..export.sheet import contact_sheet
    from ..people import People, render
    from .feedback import progress_bar

    try:
        yaws = [float(yaw) for yaw in args.yaw.split(",")]
    except ValueError as error:
        raise DualEncError(f"--yaw is {args.yaw!r}, expected degrees with commas between, such as 0,60,180") from error
    people = People.sample(pack, args.count, args.seed, args.held_out)
    rows = []
    with progress_bar("people") as progress:
        for i in range(len(people)):
            rows.append(list(render(people[[i]], Camera.look_at(yaws), 192).image))
            progress(i + 1, len(people))
    save_png(contact_sheet(rows, [str(i) for i in range(len(people))], [f"{yaw:g}°" for yaw in yaws]), args.out)
    print(f"{len(people)} people are in {args.out}")


def _trace(args: argparse.Namespace, pack: Pack) -> None:
    from ..errors import DualEncError
    from ..people.shards import make_shards
    from .feedback import progress_bar

    first, _, parts = args.part.partition("/")
    if not (first.isdecimal() and parts.isdecimal() and int(first) < int(parts)):
        raise DualEncError(f"--part is {args.part!r}, expected I/N with I below N, such as 0/2 and 1/2")
    with progress_bar("people") as progress:
        made = make_shards(args.out, pack, args.count, args.seed, int(first), int(parts), progress=progress)
    print(f"{made} people traced into {args.out}")
