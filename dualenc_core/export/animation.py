"""Frames as a GIF or an animated WebP, which pages and chats play without a player."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, features

from ..errors import DualEncError

# Browsers slow a GIF down to ten frames a second when a frame lasts less than two hundredths.
GIF_MOST_FPS = 50
WEBP_QUALITY = 90
_PALETTE_FRAMES = 16
# The last entry of a palette, where there is transparency.
_CLEAR = 255
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>'
)


def write_gif(
    pixels: Iterable[np.ndarray],
    path: Path,
    fps: float,
    loop: bool,
    comment: str,
    progress: Callable[[int], None] | None,
) -> None:
    """Write a GIF of frames [H,W,3 or 4] uint8, which are all held in memory.

    One palette serves all frames, or still surfaces would shimmer. A GIF knows no half transparent pixels: those below
    one half are clear. Raises DualEncError for more than 50 frames a second.
    """
    if fps > GIF_MOST_FPS:
        raise DualEncError(f"fps is {fps}, but a GIF plays at most {GIF_MOST_FPS}; use fewer, or .webp or .mp4")
    frames = list(pixels)
    clear = frames[0].shape[-1] == 4
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _PALETTE_FRAMES)).round().astype(int)
    sample = Image.fromarray(np.concatenate([frames[i][..., :3] for i in chosen]))
    palette = sample.quantize(_CLEAR if clear else 256, Image.Quantize.MEDIANCUT)

    def quantized():
        for i, frame in enumerate(frames):
            colours = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
            picture = colours.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
            if clear:
                picture.paste(_CLEAR, mask=Image.fromarray(np.where(frame[..., 3] < 128, 255, 0).astype(np.uint8)))
            yield picture
            if progress is not None:
                progress(i + 1)

    images = quantized()
    options: dict[str, Any] = {"loop": 0} if loop else {}
    if clear:
        # Each frame replaces the one before, or that would show through.
        options |= {"transparency": _CLEAR, "disposal": 2}
    if comment:
        options["comment"] = comment.encode()
    durations = [10 * ticks for ticks in frame_ticks(len(frames), 100 / fps)]
    first = next(images)
    first.save(path, "GIF", save_all=True, append_images=images, duration=durations, optimize=False, **options)


def write_webp(
    pixels: Iterable[np.ndarray],
    path: Path,
    fps: float,
    loop: bool,
    comment: str,
    progress: Callable[[int], None] | None,
) -> None:
    """Write an animated WebP of frames [H,W,3 or 4] uint8, which are all held in memory.

    Raises DualEncError where Pillow has no WebP.
    """
    if not features.check("webp"):
        raise DualEncError("this Pillow was built without WebP; write a .gif or .mp4, or reinstall pillow")
    images = []
    for frame in pixels:
        images.append(Image.fromarray(frame))
        if progress is not None:
            progress(len(images))
    images[0].save(
        path,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=frame_ticks(len(images), 1000 / fps),
        loop=0 if loop else 1,
        quality=WEBP_QUALITY,
        method=4,
        xmp=_XMP.format(escape(comment)).encode() if comment else b"",
    )


def frame_ticks(count: int, ticks: float) -> list[int]:
    """Whole durations of frames that last ``ticks`` on average, such that the whole does not drift."""
    ends = [round(i * ticks) for i in range(count + 1)]
    return [b - a for a, b in zip(ends, ends[1:], strict=False)]
