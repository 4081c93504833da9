"""A coloured triangle mesh of a saved head, as GLB, PLY, OBJ or STL: upright, facing +z, in metres.

With --texture an OBJ comes with NAME.mtl and NAME-texture.png, without it with colours of vertices. An STL has no
colours; its unit is the metre too, so scale it by 1000 for programs that print and count in millimetres.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_generator, add_head, whole

EXAMPLES = """  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.glb
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.glb --decimate 8000 --texture 1024
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.ply --grid 320
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/head.obj --texture 2048
  python -m dualenc_core mesh out/photo/triplane.safetensors --out out/print.stl --smooth 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .glb, .ply, .obj or .stl file")
    add_generator(parser)
    parser.add_argument("--grid", type=whole(16), default=256, help="cells along a side of the head (default: 256)")
    parser.add_argument("--threshold", type=float, help="density of the surface (default: a step is half opaque)")
    parser.add_argument("--smooth", type=whole(0), default=0, help="rounds of smoothing (default: 0)")
    parser.add_argument("--decimate", type=whole(100), metavar="FACES", help="reduce to about this many triangles")
    parser.add_argument("--texture", type=whole(64), metavar="SIZE", help="(GLB, OBJ) also a texture, so wide")
    parser.add_argument("--all-pieces", action="store_true", help="keep pieces that are not joined to the head")
    add_head(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from .. import export
    from ..errors import DualEncError
    from ..files import check_target
    from .feedback import progress_bar
    from .models import load_head

    if args.out.suffix.lower() not in export.MESH_SUFFIXES:
        raise DualEncError(f"--out is {args.out}, expected a file that ends in .glb or .ply, or in .obj or .stl")
    if args.texture and args.out.suffix.lower() not in (".glb", ".obj"):
        raise DualEncError(
            f"--texture is for .glb and .obj files, and --out is {args.out}; leave it out, or choose one"
        )
    check_target(args.out)
    generator, head = load_head(args)
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
    export.save_mesh(mesh, args.out)
    print(f"{len(mesh.vertices)} vertices and {len(mesh.faces)} triangles are in {args.out}")
    for path in export.companions(args.out, mesh):
        print(f"and {path}")
