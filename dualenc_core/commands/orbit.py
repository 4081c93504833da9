"""A turntable of a saved head as a video: MP4, GIF or animated WebP."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_generator, add_quality, add_resolution, pick_device, positive, whole

EXAMPLES = """  python -m dualenc_core orbit out/photo/triplane.safetensors --out out/turn.mp4
  python -m dualenc_core orbit out/photo/triplane.safetensors --out out/nod.webp --from -40 --to 40 --swing --frames 48
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .mp4, .gif or .webp file")
    parser.add_argument("--frames", type=whole(1), default=72, help="default: 72")
    parser.add_argument("--fps", type=positive, default=24.0, help="frames a second (default: 24)")
    parser.add_argument("--from", dest="start", type=float, default=0.0, metavar="YAW", help="degrees (default: 0)")
    parser.add_argument("--to", dest="end", type=float, default=360.0, metavar="YAW", help="degrees (default: 360)")
    parser.add_argument("--pitch", type=float, default=0.0, help="degrees above the horizon")
    parser.add_argument("--swing", action="store_true", help="there and back, slowly at the turns")
    parser.add_argument("--head", type=whole(0), default=0, metavar="N", help="which head of a batch (default: 0)")
    add_generator(parser)
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..camera import Camera
    from ..errors import DualEncError
    from ..export import save_video
    from ..triplane import Triplane
    from .feedback import progress_bar
    from .models import load_one_generator
    from .pipeline import provenance

    heads = Triplane.load(args.triplane)
    if args.head >= len(heads):
        raise DualEncError(f"--head is {args.head}, but {args.triplane} holds {len(heads)} head(s), counted from 0")
    path = Camera.swing if args.swing else Camera.orbit
    cameras = path(args.frames, args.start, args.end, args.pitch)
    generator = load_one_generator(args.generator, pick_device(args.device))
    head = heads[args.head].to(generator.w_avg.device)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), progress_bar("frames") as progress:
        views = generator.stream(head, cameras, resolution=args.resolution, quality=args.quality)
        frames = (view.image[0] for view in views)
        comment = provenance({"head": dict(head.meta), "generator": head.generator})
        save_video(frames, args.out, args.fps, progress=lambda done: progress(done, args.frames), comment=comment)
    print(f"{args.frames} frames are in {args.out}")
