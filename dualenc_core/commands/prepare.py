"""Crop a folder of photos as PanoHead expects them, and estimate the camera of each.

Writes images/ with dataset.json (the format of PanoHead and EG3D), masks/, and a report of what was rejected and why
(report.md, report.json). The same command goes on where it was stopped. The exit code is 1 when no photo was accepted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_engine, add_out, positive, whole

EXAMPLES = """  python -m dualenc_core prepare photos/ --out dataset/
  python -m dualenc_core prepare photos/ --out dataset/ --workers 4 --least-side 200
  python -m dualenc_core prepare /shared/photos --out /shared/dataset --engine ray --workers 64
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, help="folder of photos, searched with its subfolders")
    add_out(parser)
    parser.add_argument("--size", type=whole(16), default=512, help="side of the crops in pixels (default: 512)")
    parser.add_argument(
        "--least-confidence", type=float, default=0.5, metavar="C", help="of the face, 0..1 (default: 0.5)"
    )
    parser.add_argument(
        "--least-side", type=positive, default=256.0, metavar="PIXELS", help="of the crop in the photo (default: 256)"
    )
    parser.add_argument(
        "--most-outside",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the crop outside the photo (default: 0.25)",
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    from ..research.data import PrepareSettings, prepare_folder
    from .feedback import progress_bar

    settings = PrepareSettings(
        size=args.size,
        least_confidence=args.least_confidence,
        least_side=args.least_side,
        most_outside=args.most_outside,
    )
    with progress_bar("photos") as progress:
        result = prepare_folder(args.photos, args.out, settings, args.engine, args.workers, progress)
    before = f" ({result.resumed} were done before)" if result.resumed else ""
    print(f"{result.accepted} photos accepted, {len(result.rejected)} rejected{before}")
    for name, (code, reason) in list(result.rejected.items())[:10]:
        print(f"  {' '.join(name.split())}: {code}: {reason}")
    print(f"labels are in {args.out / 'images' / 'dataset.json'}, the whole report in {args.out / 'report.md'}")
    return 0 if result.accepted else 1
