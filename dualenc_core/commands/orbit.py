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
    add_quality,
    add_resolution,
    pick_device,
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
    parser.add_argument("--head", type=whole(0), default=0, metavar="N", help="which head of a batch (default: 0)")
    add_background(parser)
    add_generator(parser)
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..camera import Camera
    from ..errors import DualEncError
    from ..export import check_video, save_video, with_alpha
    from ..files import check_target
    from ..generator.background import read_background
    from ..triplane import Triplane
    from .feedback import progress_bar
    from .models import load_one_generator
    from .pipeline import provenance

    background = read_background(args.background)
    check_target(check_video(args.out, transparent=background == "none"))
    heads = Triplane.load(args.triplane)
    if args.head >= len(heads):
        raise DualEncError(f"--head is {args.head}, but {args.triplane} holds {len(heads)} head(s), counted from 0")
    move = Camera.swing if args.swing else Camera.orbit
    cameras = move(args.frames, args.start, args.end, args.pitch)
    generator = load_one_generator(args.generator, pick_device(args.device))
    head = heads[args.head].to(generator.w_avg.device)
    with torch.no_grad(), progress_bar("frames") as progress:
        options = {"resolution": args.resolution, "quality": args.quality, "background": background}
        views = generator.stream(head, cameras, **options)
        frames = (with_alpha(v.image[0], v.alpha[0]) if background == "none" else v.image[0] for v in views)
        comment = provenance({"head": dict(head.meta), "generator": head.generator})
        path = save_video(frames, args.out, args.fps, progress=lambda n: progress(n, args.frames), comment=comment)
    print(f"{args.frames} frames are in {path}{' and the following files' if path != args.out else ''}")
