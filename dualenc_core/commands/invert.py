"""Turn photos into heads as files: one photo, or a folder in parallel.

A folder of any photos is searched with its subfolders, and each is aligned; a folder with dataset.json, such as
`prepare` writes, is taken as it is. Writes heads/ (triplanes, for `render` and all other verbs), previews/, and a
report of what was rejected and why (report.md, report.json). The same command goes on where it was stopped. The exit
code is 1 when there is no head. For one photo with everything about it, see `reconstruct`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_encoders, add_engine, add_generator, add_out, add_stitch, pick_device

EXAMPLES = """  python -m dualenc_core invert photos/ --out heads/
  python -m dualenc_core invert dataset/ --out heads/ --workers 4 --half --no-previews
  python -m dualenc_core invert /shared/dataset --out /shared/heads --engine ray --workers 16 --device cuda \\
      --generator weights/panohead.safetensors --encoder1 weights/e1.safetensors --encoder2 weights/e2.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, help="a photo, a folder of photos, or a folder that `prepare` wrote")
    add_out(parser)
    add_generator(parser)
    add_encoders(parser)
    add_stitch(parser)
    parser.add_argument("--keep-background", action="store_true", help="do not replace what is not head")
    parser.add_argument("--half", action="store_true", help="write heads in half precision: half the size")
    parser.add_argument("--no-previews", action="store_true", help="heads and report only, no pictures")
    add_engine(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from ..encoders.networks import NetworkFiles
    from ..research.data import InvertSettings, invert_folder
    from .feedback import progress_bar

    device = pick_device(args.device)
    networks = NetworkFiles.find(str(device), args.generator, encoder1=args.encoder1, encoder2=args.encoder2)
    settings = InvertSettings(args.stitch, args.hidden_colours, args.keep_background, args.half, not args.no_previews)
    with progress_bar("photos") as progress:
        result = invert_folder(args.photos, args.out, networks, settings, args.engine, args.workers, progress)
    before = f" ({result.resumed} were done before)" if result.resumed else ""
    print(f"{result.accepted} heads, {len(result.rejected)} photos rejected{before}")
    for name, (code, reason) in list(result.rejected.items())[:10]:
        print(f"  {' '.join(name.split())}: {code}: {reason}")
    if result.accepted:
        print(f"same view: PSNR {result.psnr:.2f} dB, mean over photos")
    print(f"heads are in {args.out / 'heads'}, the whole report in {args.out / 'report.md'}")
    return 0 if result.accepted else 1
