"""A head and keyframes → frames."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.choices import QUALITIES
from . import images, runtime
from .attributes import known_of, one_of
from .inputs import CAMERA, GENERATOR, TRIPLANE, choice, decimal, socket, text, whole
from .inputs import colour as colour_widget
from .render import BACKGROUNDS, background_of, resized

EXAMPLE = """{
  "tracks": {
    "smile": [[0, 0], [1.5, 0.8], [4, 0]],
    "camera.yaw": [[0, -35], [4, 35]]
  }
}"""


class DualEncAnimate:
    """A head and keyframes → frames."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Pictures of a head that moves: keyframes of attributes and of the camera, and mouths that talk, for Create "
        "Video or DualEnc Save Video."
    )
    SEARCH_ALIASES = [
        "animate head",
        "animate face",
        "keyframes",
        "talking head",
        "lip sync",
        "visemes",
        "head video",
        "smile video",
    ]
    RETURN_TYPES = ("IMAGE", "MASK", "FLOAT")
    RETURN_NAMES = ("image", "alpha", "fps")
    OUTPUT_TOOLTIPS = (
        "One picture a frame.",
        "The head: 1 = head, 0 = background.",
        "Frames a second, for Create Video.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head, or a batch of which one is taken."),
                "tracks": text(
                    EXAMPLE,
                    "Keyframes as JSON: for each attribute, and for camera.yaw, camera.pitch, camera.radius, a list of "
                    "[seconds, value] or [seconds, value, ease] (see the help).",
                    multiline=True,
                    dynamicPrompts=False,
                ),
                "mouths": text(
                    "",
                    "Talking: a line for each mouth, such as: a 0.2 0.35 (name, start and end in seconds).",
                    multiline=True,
                    dynamicPrompts=False,
                ),
                "seconds": decimal(0.0, 0.0, 600.0, 0.1, "Length; 0 = as long as the tracks and mouths."),
                "fps": decimal(0.0, 0.0, 120.0, 1.0, "Frames a second; 0 = as the tracks say, or 24."),
                "background": choice(BACKGROUNDS[:2], "generator: what it invents; colour: one colour.", advanced=True),
                "colour": colour_widget("Background colour as #rrggbb, for colour.", advanced=True),
                "quality": choice(
                    QUALITIES,
                    "exact: no visible or measurable loss; high and draft: faster with full-size models; reference: "
                    "the slow plain renderer.",
                    advanced=True,
                ),
                "head": whole(0, 0, 4095, "Which head of a batch, counted from 0.", advanced=True),
            },
            "optional": {
                "camera": socket(CAMERA, "Instead of the camera tracks: one camera, or a move over all frames."),
            },
        }

    def run(self, generator, triplane, tracks, mouths, seconds, fps, background, colour, quality, head, camera=None):
        editing = dc.editing
        talk = editing.parse_visemes(mouths, "mouths") if mouths.strip() else ()
        animation = editing.read_animation(tracks or "{}", "tracks", talk, seconds or None, fps or None)
        one = one_of(triplane, head)
        device = runtime.use(generator)
        network, behind = generator.module, background_of(background, colour)
        path = editing.animate(network, one.to(device), animation, camera, known_of(generator))
        quality = animation.quality(quality, network)
        report = runtime.progress(animation.frames)
        pictures, alphas = [], []
        for i, (edited, view) in enumerate(path):

            def draw(chunk, edited=edited, view=view):
                return network.render(edited, view, chunk=chunk, background=behind, quality=quality)

            frame = runtime.back_off(draw)
            pictures.append(images.to_comfy(frame.image))
            alphas.append(images.mask_to_comfy(resized(frame.alpha, frame.image.shape[-1])))
            report(i + 1, animation.frames)
        if device.type != "cpu":
            network.release_prepared()
        return torch.cat(pictures), torch.cat(alphas), animation.fps
