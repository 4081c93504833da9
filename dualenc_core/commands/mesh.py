"""A coloured triangle mesh of a saved head, as GLB or PLY: upright, facing +z, in metres."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_generator, pick_device, whole

EXAMPLES = """  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.glb
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.glb --decimate 8000 --texture 1024
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.ply --grid 320
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .glb or .ply file")
    add_generator(parser)
    parser.add_argument("--grid", type=whole(16), default=256, help="cells along a side of the head (default: 256)")
    parser.add_argument("--threshold", type=float, help="density of the surface (default: a step is half opaque)")
    parser.add_argument("--smooth", type=whole(0), default=0, help="rounds of smoothing (default: 0)")
    parser.add_argument("--decimate", type=whole(100), metavar="FACES", help="reduce to about this many triangles")
    parser.add_argument("--texture", type=whole(64), metavar="SIZE", help="(GLB) also a texture of this many texels")
    parser.add_argument("--all-pieces", action="store_true", help="keep pieces that are not joined to the head")
    parser.add_argument("--head", type=whole(0), default=0, metavar="N", help="which head of a batch (default: 0)")
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from .. import export
    from ..errors import DualEncError
    from ..triplane import Triplane
    from .feedback import progress_bar
    from .models import load_one_generator

    if args.out.suffix.lower() not in (".glb", ".ply"):
        raise DualEncError(f"--out is {args.out}, expected a file that ends in .glb or .ply")
    heads = Triplane.load(args.triplane)
    if args.head >= len(heads):
        raise DualEncError(f"--head is {args.head}, but {args.triplane} holds {len(heads)} head(s), counted from 0")
    generator = load_one_generator(args.generator, pick_device(args.device))
    head = heads[args.head].to(generator.w_avg.device)
    with torch.no_grad():
        with progress_bar("surface") as progress:
            mesh = export.extract_mesh(
                generator,
                head,
                args.grid,
                args.threshold,
                not args.all_pieces,
                args.smooth,
                args.decimate,
                progress=progress,
            )
        with progress_bar("colours") as progress:
            views = export.colour_views(generator, head, progress=progress)
        mesh = export.colour_mesh(generator, head, mesh, views)
        if args.texture:
            mesh = export.bake_texture(mesh, views, args.texture)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export.save_mesh(mesh, args.out)
    print(f"{len(mesh.vertices)} vertices and {len(mesh.faces)} triangles are in {args.out}")
