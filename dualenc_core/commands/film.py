"""Rendered views as a video file, of commands that make one: orbit, animate, interpolate."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from ..export import check_video, save_video, with_alpha
from ..files import check_target
from ..generator.background import Background, read_background
from ..rendering.output import Rendering
from .feedback import progress_bar
from .pipeline import provenance


def check_film(args: argparse.Namespace) -> Background:
    """The background that ``--background`` asks for. Raises DualEncError where ``--out`` cannot be written with it."""
    background = read_background(args.background)
    check_target(check_video(args.out, transparent=background == "none"))
    return background


def save_film(
    args: argparse.Namespace, views: Iterable[Rendering], count: int, fps: float, made_of: dict[str, Any]
) -> None:
    """Write ``count`` views to ``--out``, with a note of what they were made of, and say so."""
    frames = (with_alpha(v.image[0], v.alpha[0]) if args.background == "none" else v.image[0] for v in views)
    with progress_bar("frames") as progress:
        comment = provenance(made_of)
        out = save_video(frames, args.out, fps, progress=lambda n: progress(n, count), comment=comment)
    print(f"{count} frames are in {out}{' and the following files' if out != args.out else ''}")
