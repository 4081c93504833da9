"""A video of saved heads that turn into one another."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..choices import MIXES
from .options import add_background, add_device, add_generator, add_resolution, pick_device, positive, whole

EXAMPLES = """  python -m dualenc_core interpolate a.safetensors b.safetensors --out out/morph.mp4
  python -m dualenc_core interpolate a.safetensors b.safetensors c.safetensors --out out/morph.webp --loop --turn 360
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, nargs="+", help="saved heads, in order; a file may hold several")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="such as morph.mp4 (formats as for orbit)"
    )
    parser.add_argument("--frames", type=whole(2), default=72, help="default: 72")
    parser.add_argument("--fps", type=positive, default=24.0, help="frames a second (default: 24)")
    parser.add_argument("--loop", action="store_true", help="back to the first head at the end")
    parser.add_argument("--space", choices=MIXES, default=MIXES[0], help="what is mixed")
    parser.add_argument("--yaw", type=float, default=0.0, help="degrees of the camera (default: 0)")
    parser.add_argument("--pitch", type=float, default=0.0, help="degrees above the horizon")
    parser.add_argument("--turn", type=float, default=0.0, metavar="DEGREES", help="how far the camera goes round")
    add_background(parser)
    add_generator(parser)
    add_resolution(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..camera import Camera
    from ..editing import interpolate
    from ..errors import DualEncError
    from ..triplane import Triplane
    from .film import check_film, save_film
    from .models import load_one_generator

    background = check_film(args)
    loaded = [Triplane.load(path) for path in args.triplane]
    generator = load_one_generator(args.generator, pick_device(args.device))
    heads = [part[i].to(generator.w_avg.device) for part in loaded for i in range(len(part))]
    if len(heads) < 2:
        raise DualEncError("there is one head; give at least two to go from one to another")
    yaw = [args.yaw + args.turn * i / args.frames for i in range(args.frames)]
    cameras = Camera.look_at(yaw, args.pitch)
    with torch.no_grad():
        path = interpolate(heads, args.frames, loop=args.loop, space=args.space, generator=generator)
        options = {"resolution": args.resolution, "background": background}
        views = (generator.render(head, cameras[i], **options) for i, head in enumerate(path))
        made_of = {"heads": [dict(head.meta) for head in heads], "generator": heads[0].generator}
        save_film(args, views, args.frames, args.fps, made_of)
