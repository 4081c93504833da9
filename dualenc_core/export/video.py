"""Frames as a video: MP4 that every player opens (H.264, yuv420p, BT.709), GIF or animated WebP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import DualEncError, require
from ..files import atomic_path
from .animation import write_gif, write_webp
from .images import to_uint8

_BT709 = 1
_TV_RANGE = 1


def save_video(
    frames: Iterable[Tensor],
    path: str | Path,
    fps: float = 30.0,
    crf: int = 18,
    progress: Callable[[int], None] | None = None,
    loop: bool = True,
    comment: str = "",
) -> Path:
    """Write a video in the format of the path's suffix, .mp4, .gif or .webp, atomically.

    Args:
        frames: pictures [3,H,W] in [-1,1], all of one size; may be a generator. For MP4 only one is in memory, and odd
            sides are extended by one repeated row or column, which the format needs.
        fps: frames a second; GIF plays at most 50.
        crf: (MP4) quality of x264, 0 (lossless) to 51; 18 looks like the frames.
        progress: called with the number of frames written, after each.
        loop: (GIF, WebP) play for ever; an MP4 leaves that to the player.
        comment: text that is kept in the file, for example where it comes from.

    Raises DualEncError for another suffix, no frame, frames of different sizes, NaN, or a wrong fps or crf;
    MissingDependencyError for MP4 without PyAV.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".mp4", ".gif", ".webp"):
        raise DualEncError(f"the video {path} must end in .mp4, .gif or .webp")
    if not 0 < fps <= 1000 or not 0 <= crf <= 51:
        raise DualEncError(f"fps is {fps} and crf {crf}, expected 0 < fps <= 1000 and 0 <= crf <= 51")
    pixels = _pixels(frames, path)
    with atomic_path(path) as temporary:
        if suffix == ".gif":
            write_gif(pixels, temporary, fps, loop, comment, progress)
        elif suffix == ".webp":
            write_webp(pixels, temporary, fps, loop, comment, progress)
        else:
            _write_mp4(pixels, temporary, fps, crf, comment, progress)
    return path


def _pixels(frames: Iterable[Tensor], path: Path) -> Iterator[np.ndarray]:
    """Frames [H,W,3] uint8; raises DualEncError unless there is one and all are of one size."""
    size = None
    for i, frame in enumerate(frames):
        pixels = to_uint8(frame)
        if size is None:
            size = pixels.shape
        elif pixels.shape != size:
            raise DualEncError(f"frame {i} has size {pixels.shape[:2]}, expected {size[:2]} like the first")
        yield pixels
    if size is None:
        raise DualEncError(f"there are no frames for {path}")


def _write_mp4(
    frames: Iterable[np.ndarray],
    path: Path,
    fps: float,
    crf: int,
    comment: str,
    progress: Callable[[int], None] | None,
) -> None:
    av = require("av", "av")
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _TV_RANGE
        for i, frame in enumerate(frames):
            pixels = _even(frame)
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_TV_RANGE)
            container.mux(stream.encode(picture))
            if progress is not None:
                progress(i + 1)
        container.mux(stream.encode(None))


def _even(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
