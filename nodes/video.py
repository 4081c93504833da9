"""Frames → files that play."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.choices import VIDEOS
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import choice, decimal, socket, text
from .render import resized

# What the browser shows below a node.
_SHOWN = ("mp4", "webm", "webp", "gif")


class DualEncSaveVideo:
    """Frames → video or numbered pictures in output/, with their transparency."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = (
        "Saves frames as a video in the output folder, and keeps their transparency where the format has one: that of "
        "four-channel images, such as DualEnc Render makes with a transparent background, or a linked alpha."
    )
    SEARCH_ALIASES = ["turntable video", "transparent video", "webm alpha", "prores 4444", "png sequence", "save gif"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("The file, relative to the output folder; of a sequence the first picture.",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": socket("IMAGE", "The frames, for example from DualEnc Render."),
                "fps": decimal(24.0, 1.0, 120.0, 1.0, "Frames a second; link fps of DualEnc Orbit."),
                "filename_prefix": text("dualenc/turn", "Start of the file name; may name a folder inside output."),
                "format": choice(
                    VIDEOS,
                    "mp4: plays everywhere, without transparency; webm: VP9 for the web; mov: ProRes 4444 for editing; "
                    "webp and gif: loops; png: a numbered sequence.",
                ),
            },
            "optional": {
                "alpha": socket(
                    "MASK", "1 = covered, 0 = clear, for each frame or one for all; replaces a fourth channel."
                )
            },
        }

    def run(self, image, fps, filename_prefix, format, alpha=None):
        pictures = images.to_core(image)
        covered = _coverage(image, alpha)
        if covered is not None and format == "mp4":
            raise DualEncError(
                "these frames are transparent, and mp4 knows no transparency; choose webm, mov, webp, gif or png, or "
                "render with another background"
            )
        report = runtime.progress(len(pictures))
        height, width = pictures.shape[-2:]
        frames = (
            picture if covered is None else dc.export.with_alpha(picture, covered[min(i, len(covered) - 1)])
            for i, picture in enumerate(pictures)
        )
        # The name of a sequence's first picture is the one that is taken.
        ending = "-0000.png" if format == "png" else f".{format}"
        with runtime.new_output(filename_prefix, ending, (width, height)) as (path, line):
            target = path.with_name(path.name.removesuffix(ending) + f".{format}")
            dc.export.save_video(frames, target, fps, progress=lambda done: report(done, len(pictures)))
        lines = [line] if format != "png" else _sequence(path, len(pictures))
        name = "/".join(part for part in (line["subfolder"], line["filename"]) if part)
        ui = {"files": lines, "text": [f"{name}\n{len(pictures)} frames of {width}×{height}"]}
        if format in _SHOWN:
            ui |= {"images": [line], "animated": (True,)}
        elif format == "png":
            ui |= {"images": lines}
        return {"ui": ui, "result": (name,)}


def _coverage(image, alpha):
    """[B or 1,1,H,W] in 0..1, None for frames that are opaque."""
    if alpha is None:
        return image[..., 3][:, None].float() if image.shape[-1] == 4 else None
    covered = images.mask_to_core(alpha)
    if covered is None:
        return None
    if len(covered) not in (1, len(image)):
        raise DualEncError(f"alpha has {len(covered)} masks for {len(image)} frames; expected as many, or one")
    return resized(covered, image.shape[1:3])


def _sequence(first, count):
    stem = first.name.removesuffix("-0000.png")
    return [runtime.output_line(first.with_name(f"{stem}-{number:04}.png")) for number in range(count)]
