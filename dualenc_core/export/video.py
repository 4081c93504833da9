"""Frames as an MP4 file that every player opens: H.264, yuv420p, BT.709."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import DualEncError, require
from ..files import atomic_path
from .images import to_uint8

_BT709 = 1
_TV_RANGE = 1


def save_video(
    frames: Iterable[Tensor],
    path: str | Path,
    fps: float = 30.0,
    crf: int = 18,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write an MP4 file, atomically.

    Args:
        frames: pictures [3,H,W] in [-1,1], all of one size; may be a generator, so that only one is in memory. Odd
            sides are extended by one repeated row or column, which the format needs.
        fps: frames a second.
        crf: quality of x264, 0 (lossless) to 51; 18 looks like the frames.
        progress: called with the number of frames written, after each.

    Raises DualEncError for a path without .mp4, no frame, frames of different sizes, NaN, or a wrong fps or crf;
    MissingDependencyError without PyAV.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise DualEncError(f"the video {path} must end in .mp4")
    if not 0 < fps <= 1000 or not 0 <= crf <= 51:
        raise DualEncError(f"fps is {fps} and crf {crf}, expected 0 < fps <= 1000 and 0 <= crf <= 51")
    av = require("av", "av")
    with atomic_path(path) as temporary:
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(crf), "preset": "medium"}
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _TV_RANGE
            size = None
            count = 0
            for frame in frames:
                pixels = _even(to_uint8(frame))
                if size is None:
                    size = pixels.shape
                    stream.height, stream.width = size[:2]
                elif pixels.shape != size:
                    raise DualEncError(f"frame {count} has size {pixels.shape[:2]}, expected {size[:2]} like the first")
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_TV_RANGE)
                container.mux(stream.encode(picture))
                count += 1
                if progress is not None:
                    progress(count)
            if count == 0:
                raise DualEncError(f"there are no frames for {path}")
            container.mux(stream.encode(None))
    return path


def _even(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
