"""A saved head as Gaussian splats: .ply as 3D Gaussian Splatting has it, or .spz, a seventh as large; in metres."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_generator, add_head, whole

EXAMPLES = """  python -m dualenc_core splat out/photo/triplane.safetensors --out out/head.ply
  python -m dualenc_core splat out/photo/triplane.safetensors --out out/head.spz --count 80000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .ply or .spz file")
    add_generator(parser)
    parser.add_argument("--count", type=whole(1000), default=150_000, help="most splats (default: 150000)")
    parser.add_argument("--threshold", type=float, help="density of the surface (default: a step is half opaque)")
    add_head(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from .. import export
    from ..errors import DualEncError
    from ..files import check_target
    from .feedback import progress_bar
    from .models import load_head

    if args.out.suffix.lower() not in (".ply", ".spz"):
        raise DualEncError(f"--out is {args.out}, expected a file that ends in .ply or .spz")
    check_target(args.out)
    generator, head = load_head(args)
    with progress_bar("views") as progress:
        views = export.colour_views(generator, head, progress=progress)
    with progress_bar("splats") as progress:
        splats = export.bake_splats(generator, head, args.count, args.threshold, views, progress)
    export.save_splats(splats, args.out)
    print(f"{len(splats)} splats are in {args.out}")
