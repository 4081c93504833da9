"""A saved head that moves: keyframes of attributes and of the camera, and mouths that talk, as a video.

Tracks are a JSON file such as

    {"seconds": 4, "fps": 24, "tracks": {
        "smile": [[0, 0], [1.5, 0.8], [4, 0.2, "linear"]],
        "camera.yaw": [[0, -40], [4, 40]]}}

with keys of time, value, and how the track comes there: smooth (if nothing is said), linear, in, out, hold. Tracks are
named like the options of "edit attributes" with _ for -, or camera.yaw, camera.pitch, camera.radius. Mouths are a text
file with lines of a name, start and end in seconds: "a 0.2 0.35". The video's format follows from its name, as for
orbit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .edit_attributes import add_directions
from .options import (
    add_background,
    add_device,
    add_generator,
    add_head,
    add_quality,
    add_resolution,
    positive,
)

if TYPE_CHECKING:
    from ..editing.animation import Animation

EXAMPLES = """  python -m dualenc_core animate head.safetensors --tracks smile.json --out out/smile.mp4
  python -m dualenc_core animate head.safetensors --visemes hello.txt --out out/hello.webm --background none
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("triplane", type=Path, help="a saved head")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as smile.mp4")
    parser.add_argument("--tracks", type=Path, metavar="FILE", help="keyframes as JSON (see above)")
    parser.add_argument("--visemes", type=Path, metavar="FILE", help="mouths with times (see above)")
    parser.add_argument("--seconds", type=positive, help="length (default: that of the tracks and mouths)")
    parser.add_argument("--fps", type=positive, help="frames a second (default: those of the tracks, or 24)")
    add_head(parser)
    add_directions(parser)
    add_background(parser)
    add_generator(parser)
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..editing import directions_of
    from ..editing.animation import animate
    from .film import check_film, save_film
    from .models import load_head

    background = check_film(args)
    animation = _animation(args)
    generator, head = load_head(args)
    quality = animation.quality(args.quality, generator, args.resolution)
    options = {"resolution": args.resolution, "quality": quality, "background": background}
    with torch.no_grad():
        path = animate(generator, head, animation, known=directions_of(generator, args.directions))
        views = (generator.render(edited, camera, **options) for edited, camera in path)
        save_film(args, views, animation.frames, animation.fps, {"head": dict(head.meta), "generator": head.generator})


def _animation(args: argparse.Namespace) -> Animation:
    from ..editing.animation import read_animation
    from ..editing.visemes import read_visemes
    from ..errors import DualEncError
    from ..files import read_text

    if args.tracks is None and args.visemes is None:
        raise DualEncError("there is nothing to animate; give --tracks, --visemes or both")
    text = "{}" if args.tracks is None else read_text(args.tracks)
    visemes = () if args.visemes is None else read_visemes(args.visemes)
    return read_animation(text, str(args.tracks), visemes, args.seconds, args.fps)
