"""A turntable of a saved head as a video.

The format follows from the name: .mp4, .gif, .webp (animated), .webm (VP9) or .mov (ProRes 4444); .png writes numbered
pictures NAME-0000.png, …. With --background none the head stands free, in all of them but MP4.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import (
    add_background,
    add_device,
    add_generator,
    add_head,
    add_quality,
    add_resolution,
    positive,
    whole,
)

EXAMPLES = """  python -m dualenc_core orbit out/photo/triplane.safetensors --out out/turn.mp4
  python -m dualenc_core orbit out/photo/triplane.safetensors --out out/nod.webp --from -40 --to 40 --swing --frames 48
  python -m dualenc_core orbit out/photo/triplane.safetensors --out out/free.webm --background none
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as turn.mp4 (see above)")
    parser.add_argument("--frames", type=whole(1), default=72, help="default: 72")
    parser.add_argument("--fps", type=positive, default=24.0, help="frames a second (default: 24)")
    parser.add_argument("--from", dest="start", type=float, default=0.0, metavar="YAW", help="degrees (default: 0)")
    parser.add_argument("--to", dest="end", type=float, default=360.0, metavar="YAW", help="degrees (default: 360)")
    parser.add_argument("--pitch", type=float, default=0.0, help="degrees above the horizon")
    parser.add_argument("--swing", action="store_true", help="there and back, slowly at the turns")
    add_head(parser)
    add_background(parser)
    add_generator(parser)
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..camera import Camera
    from .film import check_film, save_film
    from .models import load_head

    background = check_film(args)
    move = Camera.swing if args.swing else Camera.orbit
    cameras = move(args.frames, args.start, args.end, args.pitch)
    generator, head = load_head(args)
    with torch.no_grad():
        options = {"resolution": args.resolution, "quality": args.quality, "background": background}
        views = generator.stream(head, cameras, **options)
        save_film(args, views, args.frames, args.fps, {"head": dict(head.meta), "generator": head.generator})
