"""Frames as a video: MP4 that every player opens, WebM and MOV with transparency, GIF, animated WebP, numbered PNGs."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..choices import VIDEOS
from ..errors import DualEncError, require
from ..files import TEMPORARY, atomic_path, make_folder
from .animation import write_gif, write_webp
from .images import to_uint8

VIDEO_SUFFIXES = tuple(f".{name}" for name in VIDEOS)
_BT709 = 1
_TV_RANGE = 1


@dataclass(frozen=True)
class _Film:
    """How PyAV writes one kind of file; ``clear`` is its pixel format for pictures with transparency."""

    container: str
    codec: str
    opaque: str
    clear: str | None
    even: bool
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


def _film(suffix: str, crf: int) -> _Film:
    if suffix == ".webm":
        # VP9 counts quality to 63. Its hidden reference frames cannot be had with transparency.
        options = {"crf": str(round(crf * 63 / 51)), "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        return _Film("webm", "libvpx-vp9", "yuv420p", "yuva420p", True, options | {"auto-alt-ref": "0"})
    if suffix == ".mov":
        options = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
        return _Film("mov", "prores_ks", "yuv444p10le", "yuva444p10le", False, options)
    options = {"crf": str(crf), "preset": "medium"}
    return _Film("mp4", "libx264", "yuv420p", None, True, options, {"movflags": "+faststart"})


def check_video(path: str | Path, transparent: bool = False) -> Path:
    """The path, if a video of this suffix can be written; before the work. Raises DualEncError for other suffixes, and
    for transparency in a format that has none."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise DualEncError(
            f"the video {path} must end in .mp4, .gif or .webp, in .webm or .mov, or in .png for a numbered sequence"
        )
    if transparent and suffix == ".mp4":
        raise DualEncError(
            f"the video {path} cannot be transparent, because MP4 knows no transparency; use .webm, .mov, .webp, .gif "
            "or .png, or another background"
        )
    return path


def save_video(
    frames: Iterable[Tensor],
    path: str | Path,
    fps: float = 30.0,
    crf: int = 18,
    progress: Callable[[int], None] | None = None,
    loop: bool = True,
    comment: str = "",
) -> Path:
    """Write a video in the format of the path's suffix, atomically.

    ======  ===========================================  ============================
    suffix  what is written                              transparency
    ======  ===========================================  ============================
    .mp4    H.264, yuv420p, BT.709                       none
    .webm   VP9                                          full (browsers, OBS)
    .mov    ProRes 4444                                  full (editing programs)
    .webp   animated WebP                                full
    .gif    GIF                                          clear or not
    .png    NAME-0000.png, NAME-0001.png …               full
    ======  ===========================================  ============================

    Args:
        frames: pictures [3,H,W] in [-1,1], or [4,H,W] with a fourth channel that is 1 where the picture covers and -1
            where it is clear (`with_alpha`), in straight colours; all of one size; may be a generator. Except for GIF
            and WebP only one is in memory. For MP4 and WebM odd sides are extended by one repeated row or column.
        fps: frames a second; GIF plays at most 50.
        crf: (MP4, WebM) quality, 0 (lossless) to 51; 18 looks like the frames.
        progress: called with the number of frames written, after each.
        loop: (GIF, WebP) play for ever; others leave that to the player.
        comment: text that is kept in the file, for example where it comes from; not in PNGs.

    Returns the path; of a sequence that of the first picture. A longer sequence of the same name loses the pictures
    that this one does not replace. When a disk fills up, the finished pictures of a sequence are kept.

    Raises DualEncError for another suffix, no frame, frames of different sizes, NaN, transparency in an MP4, or a wrong
    fps or crf; MissingDependencyError for MP4, WebM and MOV without PyAV.
    """
    path = check_video(path)
    suffix = path.suffix.lower()
    if not 0 < fps <= 1000 or not 0 <= crf <= 51:
        raise DualEncError(f"fps is {fps} and crf {crf}, expected 0 < fps <= 1000 and 0 <= crf <= 51")
    pixels = _pixels(frames, path)
    if suffix == ".png":
        return _write_sequence(pixels, path, progress)
    with atomic_path(path) as temporary:
        if suffix == ".gif":
            write_gif(pixels, temporary, fps, loop, comment, progress)
        elif suffix == ".webp":
            write_webp(pixels, temporary, fps, loop, comment, progress)
        else:
            _write_film(pixels, temporary, _film(suffix, crf), fps, comment, progress)
    return path


def _pixels(frames: Iterable[Tensor], path: Path) -> Iterator[np.ndarray]:
    """Frames [H,W,3 or 4] uint8; raises DualEncError unless there is one and all are of one size."""
    size = None
    for i, frame in enumerate(frames):
        pixels = to_uint8(frame[:3])
        if frame.shape[0] == 4:
            check_video(path, transparent=True)
            pixels = np.concatenate([pixels, to_uint8(frame[3:].expand(3, -1, -1))[..., :1]], axis=-1)
        if size is None:
            size = pixels.shape
        elif pixels.shape != size:
            raise DualEncError(f"frame {i} has size {pixels.shape}, expected {size} like the first")
        yield pixels
    if size is None:
        raise DualEncError(f"there are no frames for {path}")


def _write_film(
    frames: Iterable[np.ndarray],
    path: Path,
    film: _Film,
    fps: float,
    comment: str,
    progress: Callable[[int], None] | None,
) -> None:
    av = require("av", "av")
    # Without "bitexact" a WebM has a random number in it.
    options = {"fflags": "+bitexact", **film.container_options}
    with av.open(str(path), "w", format=film.container, options=options) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream(film.codec, rate=Fraction(fps).limit_denominator(1001))
        stream.options = film.options
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _TV_RANGE
        for i, frame in enumerate(frames):
            pixels = _even(frame) if film.even else np.ascontiguousarray(frame)
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = film.clear if pixels.shape[-1] == 4 else film.opaque
            picture = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[-1] == 4 else "rgb24")
            picture = picture.reformat(format=stream.pix_fmt, dst_colorspace=_BT709, dst_color_range=_TV_RANGE)
            container.mux(stream.encode(picture))
            if progress is not None:
                progress(i + 1)
        container.mux(stream.encode(None))


def _write_sequence(frames: Iterable[np.ndarray], path: Path, progress: Callable[[int], None] | None) -> Path:
    """NAME-0000.png …, which appear together."""

    def numbered(number: int) -> Path:
        return path.with_name(f"{path.stem}-{number:04}.png")

    staging = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=make_folder(path.parent)))
    done: list[Path] = []
    keep = False
    try:
        for frame in frames:
            picture = staging / str(len(done))
            with atomic_path(picture) as temporary:
                Image.fromarray(frame).save(temporary, format="PNG", compress_level=6)
            done.append(picture)
            if progress is not None:
                progress(len(done))
        keep = True
    except OSError:
        keep = True
        raise
    finally:
        for number, picture in enumerate(done if keep else ()):
            os.replace(picture, numbered(number))
        shutil.rmtree(staging, ignore_errors=True)
    # What an earlier, longer sequence left.
    with contextlib.suppress(FileNotFoundError):
        for number in itertools.count(len(done)):
            numbered(number).unlink()
    return numbered(0)


def _even(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
