"""Pictures of a saved head from any camera, and optionally a video of them.

Pictures and video of an earlier run into the same folder are replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import VIDEOS
from .options import (
    add_background,
    add_device,
    add_generator,
    add_out,
    add_quality,
    add_resolution,
    pick_device,
    positive,
    whole,
)

if TYPE_CHECKING:
    from ..camera import Camera

EXAMPLES = """  python -m dualenc_core render out/photo/triplane.safetensors --out out/views --yaw -30 0 30 180
  python -m dualenc_core render out/photo/triplane.safetensors --out out/views --orbit 90 --pitch 15 --video
  python -m dualenc_core render out/photo/triplane.safetensors --out out/views --camera out/photo/report.json
  python -m dualenc_core render out/photo/triplane.safetensors --out out/clear --orbit 60 --background none --video webm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a head: triplane.safetensors of reconstruct, or a file of sample")
    add_out(parser)
    add_generator(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--yaw", type=float, nargs="+", metavar="DEGREES", help="0 = front, 90 = the viewer's right")
    where.add_argument("--orbit", type=whole(1), metavar="FRAMES", help="a full turn")
    where.add_argument("--camera", metavar="FILE", help="25 numbers, a file with them, or a report.json")
    parser.add_argument("--pitch", type=float, default=0.0, help="degrees above the horizon")
    parser.add_argument("--roll", type=float, default=0.0, help="degrees around the viewing direction")
    parser.add_argument("--radius", type=positive, default=2.7, help="distance of the camera (default: 2.7)")
    parser.add_argument("--fov", type=positive, help="field of view in degrees (default: 13.374, the generator's)")
    add_background(parser)
    parser.add_argument("--samples", type=whole(4), help="samples a ray in each of the two passes")
    parser.add_argument("--depth", action="store_true", help="also write 16-bit depth and 8-bit alpha pictures")
    parser.add_argument(
        "--video",
        nargs="?",
        const="mp4",
        choices=VIDEOS[:-1],
        metavar="FORMAT",
        help="also write a video: mp4 (default; without transparency), webm, mov (ProRes 4444), webp or gif",
    )
    parser.add_argument("--fps", type=positive, default=24.0, help="frames a second of the video (default: 24)")
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..export import save_alpha, save_depth, save_png, save_video, with_alpha
    from ..generator.background import read_background
    from ..triplane import Triplane
    from .feedback import progress_bar
    from .folder import output_folder
    from .models import load_one_generator

    background = read_background(args.background)
    camera = _camera(args)
    triplane = Triplane.load(args.triplane)
    generator = load_one_generator(args.generator, pick_device(args.device))
    triplane = triplane.to(generator.w_avg.device)
    options = generator.config.render
    count = len(camera) * len(triplane)
    clear = background == "none" and args.video != "mp4"
    number = "[0-9]" * 4
    stale = [f"{name}-{number}.png" for name in ("view", "depth", "alpha")] + [f"video.{s}" for s in VIDEOS[:-1]]
    with (
        output_folder(args.out, stale, keep_finished=True) as folder,
        torch.no_grad(),
        progress_bar("views") as progress,
    ):

        def pictures():
            """The pictures in order, each in its file before the next is made."""
            n = 0
            for h in range(len(triplane)):
                views = generator.stream(
                    triplane[h],
                    camera,
                    resolution=args.resolution,
                    background=background,
                    samples=args.samples,
                    quality=args.quality,
                )
                for view in views:
                    save_png(
                        view.image[0], folder / f"view-{n:04d}.png", view.alpha[0] if background == "none" else None
                    )
                    if args.depth:
                        save_depth(view.depth[0], folder / f"depth-{n:04d}.png", options.near, options.far)
                        save_alpha(view.alpha[0], folder / f"alpha-{n:04d}.png")
                    n += 1
                    progress(n, count)
                    yield with_alpha(view.image[0], view.alpha[0]) if clear else view.image[0]

        if args.video:
            save_video(pictures(), folder / f"video.{args.video}", args.fps)
        else:
            for _ in pictures():
                pass
    print(f"{count} pictures are in {args.out}")


def _camera(args: argparse.Namespace) -> Camera:
    from ..camera import Camera
    from .photo import read_camera

    if args.camera:
        return read_camera(args.camera)
    yaw = [360 * i / args.orbit for i in range(args.orbit)] if args.orbit else args.yaw or [0.0]
    return Camera.look_at(yaw, args.pitch, args.roll, args.radius, args.fov)
