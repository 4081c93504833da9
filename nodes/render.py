"""Heads and cameras → pictures."""

from __future__ import annotations

import re

import torch

from .. import dualenc_core as dc
from ..dualenc_core.choices import QUALITIES
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, GENERATOR, TRIPLANE, choice, socket, switch, whole
from .inputs import colour as colour_widget

BACKGROUNDS = GENERATOR_BACKGROUND, COLOUR, TRANSPARENT = "generator", "colour", "transparent"
_FRAMES_AT_ONCE = 8
_FOUR_CHANNELS = (
    "background is transparent, so the frames have a fourth (alpha) channel, which Create Video and Save Video do not "
    "take; save them with DualEnc Save Video, or set background to colour"
)


class DualEncRender:
    """Triplane and camera → picture, alpha, depth, normals."""

    CATEGORY = "DualEnc/render"
    DESCRIPTION = (
        "Draws heads from cameras. A batch of cameras gives a batch of pictures; several heads give all cameras of the "
        "first head, then of the second, and so on."
    )
    SEARCH_ALIASES = [
        "novel view",
        "render head",
        "draw head",
        "head render",
        "volume rendering",
        "nerf",
        "depth map",
        "normal map",
        "alpha",
    ]
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE", "IMAGE")
    RETURN_NAMES = ("image", "alpha", "depth", "normal")
    OUTPUT_TOOLTIPS = (
        "The pictures.",
        "The head: 1 = head, 0 = background.",
        "Depth for ControlNet: near = white, background = black.",
        "Normals in camera axes, for ControlNet: red = right, green = up, blue = towards the viewer.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head or heads."),
                "camera": socket(CAMERA, "One camera, or as many as pictures are wanted."),
                "background": choice(
                    BACKGROUNDS,
                    "generator: what it invents; colour: one colour; transparent: a fourth (alpha) channel, over the "
                    "colour where there is no head. Save Video takes no transparent pictures.",
                ),
                "colour": colour_widget("Background colour as #rrggbb, for colour and transparent."),
                "resolution": whole(
                    0, 0, 1024, "Rays along each side before super-resolution; 0 = the generator's own.", advanced=True
                ),
                "samples": whole(
                    0, 0, 256, "Samples along each ray in each of the two passes; 0 = the generator's.", advanced=True
                ),
                "super_resolution": switch(True, "Off: the raw picture of the volume renderer.", advanced=True),
                "quality": choice(
                    QUALITIES,
                    "exact: no visible or measurable loss; high and draft: faster with full-size models; reference: "
                    "the slow plain renderer.",
                    advanced=True,
                ),
            }
        }

    def run(self, generator, triplane, camera, background, colour, resolution, samples, super_resolution, quality):
        if 0 < samples < 4:
            raise DualEncError(f"samples is {samples}, expected at least 4, or 0 for the generator's own")
        device = runtime.use(generator)
        options = {
            "resolution": resolution or None,
            "samples": samples or None,
            "super_resolve": super_resolution,
            "background": background_of(background, colour),
            "quality": quality,
        }
        frames = len(triplane) * len(camera)
        report = runtime.progress(frames)
        parts = []
        for i in range(len(triplane)):
            head = triplane[i].to(device)
            for start in range(0, len(camera), _FRAMES_AT_ONCE):
                views = camera[start : start + _FRAMES_AT_ONCE].to(device)
                before = i * len(camera) + start
                parts.append(_frames(generator.module, head, views, options, report, before, frames))
        if device.type != "cpu":
            # ComfyUI does not know of the memory that a prepared head takes; the copy of the head is new every time.
            generator.module.release_prepared()
        image, alpha, depth = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        cameras = dc.Camera.cat([camera] * len(triplane))
        size = image.shape[-1]
        coverage = resized(alpha, size)
        picture = images.to_comfy(image)
        if background == TRANSPARENT:
            picture = _with_alpha(picture, coverage, parse_colour(colour))
        result = (
            picture,
            images.mask_to_comfy(coverage),
            images.to_comfy(resized(dc.rendering.relative_depth(depth, alpha), size), low=0.0),
            images.to_comfy(resized(dc.rendering.normals(depth, alpha, cameras.to(depth.device)), size)),
        )
        if background == TRANSPARENT and frames > 1:
            return {"ui": {"dualenc_warnings": [_FOUR_CHANNELS]}, "result": result}
        return result


def background_of(background: str, colour: str) -> str | tuple[float, float, float]:
    """What `PanoHead.render` takes for the widgets."""
    return {GENERATOR_BACKGROUND: "generator", TRANSPARENT: "none"}.get(background) or parse_colour(colour)


def parse_colour(colour: str) -> tuple[float, float, float]:
    """ "#rgb" or "#rrggbb" → three numbers in 0..1."""
    digits = colour.strip().removeprefix("#")
    if re.fullmatch(r"[0-9a-fA-F]{3}", digits):
        digits = "".join(d * 2 for d in digits)
    if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
        raise DualEncError(f"colour is {colour!r}, expected #rrggbb, for example #808080")
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def _frames(network, head, views, options, report, before, total):
    def draw(chunk):
        return network.render(
            head, views, chunk=chunk, progress=lambda done, _: report(before + done, total), **options
        )

    view = runtime.back_off(draw)
    # Waiting frames do not take the memory of the device that computes.
    return tuple(tensor.to(runtime.result_device()) for tensor in (view.image, view.alpha, view.depth))


def resized(picture, size):
    """[N,C,h,w] → [N,C,size,size], or of a height and width."""
    size = (size, size) if isinstance(size, int) else tuple(size)
    return torch.nn.functional.interpolate(picture, size, mode="bilinear", align_corners=False)


def _with_alpha(picture, coverage, colour):
    alpha = coverage.movedim(1, -1).clamp(0, 1).cpu()
    # Straight colours: whoever ignores the alpha sees the plain colour behind the head.
    picture = torch.where(alpha > 0.05, picture, torch.tensor(colour))
    return torch.cat([picture, alpha], dim=-1)
