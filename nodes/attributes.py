"""Heads that are directed: sliders, what another head lends, keyframes."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError, DualEncError
from ..dualenc_core.people.attributes import ATTRIBUTES, CHOICES
from . import images, runtime, weights
from .inputs import CAMERA, GENERATOR, TRIPLANE, choice, decimal, linked_text, socket, switch, text, whole
from .inputs import colour as colour_widget
from .render import BACKGROUNDS, QUALITIES, background_of, resized

AS_IT_IS = "as it is"
NOTHING = "nothing"
NEUTRAL = {
    NOTHING: (),
    "expression": ("expression",),
    "light": ("light",),
    "expression and light": ("expression", "light"),
}
# What has a slider of its own; the rest goes by name in ``others``.
SLIDERS = (
    *("smile", "smile_open", "mouth_open", "pout", "brows_up", "brows_down", "eyes_closed", "eyes_wide"),
    *("gaze_yaw", "gaze_pitch", "age", "masculinity", "weight", "face_fullness", "chin_width", "nose_width"),
    *("eye_size", "skin_tone", "hair_lightness", "hair_redness", "hair_grey", "beard_stubble", "beard_full"),
    *("beard_goatee", "light_yaw", "light_pitch", "light_strength", "light_softness", "light_warmth", "glasses_tint"),
)
_PICKED = ("hair_style", "eye_colour", "glasses")
# Rays along a side of previews: they are small, and super-resolution brings the detail.
_RAYS = 64
EXAMPLE = """{
  "tracks": {
    "smile": [[0, 0], [1.5, 0.8], [4, 0]],
    "camera.yaw": [[0, -35], [4, 35]]
  }
}"""


def _slider(name: str):
    a = next(a for a in ATTRIBUTES if a.name == name)
    step = 1.0 if a.unit in ("degrees", "years") else 0.05
    return decimal(0.0, a.low, a.high, step, f"{a.about[0].upper()}{a.about[1:]}, or the opposite below 0 ({a.unit}).")


def _pick(name: str):
    c = next(c for c in CHOICES if c.name == name)
    return choice((AS_IT_IS, *c.options), f"{c.about[0].upper()}{c.about[1:]}.")


class DualEncAttributes:
    """A slider for everything that a generator of people knows."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Directs a head: smile, gaze, age, hair, beard, glasses, light. 0 = as the photo. For generators of people; "
        "for others make a file of directions (see the help). The node shows the head from four sides."
    )
    SEARCH_ALIASES = [
        "age slider",
        "smile",
        "expression editor",
        "face editor",
        "change expression",
        "relight",
        "relight head",
        "change age",
        "hair colour",
        "hair color",
        "beard",
        "glasses",
        "gaze",
        "latent directions",
        "neutral expression",
    ]
    RETURN_TYPES = (TRIPLANE, "IMAGE")
    RETURN_NAMES = ("triplane", "preview")
    OUTPUT_TOOLTIPS = ("The directed head or heads.", "Each of them from four sides, as a draft.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head or heads."),
                **{name: _slider(name) for name in SLIDERS},
                **{name: _pick(name) for name in _PICKED},
                "hair_colour": colour_widget("Colour of the hair as #rrggbb, for hair_colour_amount."),
                "hair_colour_amount": decimal(
                    0.0, 0.0, 1.0, 0.05, "How far the hair takes on that colour; 0 = not at all."
                ),
                "neutral": choice(
                    tuple(NEUTRAL),
                    "What is made neutral first: expression = a still face that looks straight ahead, light = even "
                    "light, as for a mesh; nothing: neither.",
                ),
                "others": text(
                    "",
                    'More by name, as JSON such as "nose_hump": 0.4 between braces (see the help).',
                    multiline=True,
                    dynamicPrompts=False,
                    advanced=True,
                ),
            },
            "optional": {"values": linked_text("From DualEnc Attributes From: what another head lends.")},
        }

    def run(self, generator, triplane, hair_colour, hair_colour_amount, neutral, others, values="", **sliders):
        device = runtime.use(generator)
        edits = dc.editing.attributes
        lent, traits = edits.read_wishes(values)
        wished, more = edits.read_wishes(others, "others")
        wished = lent | wished | {name: sliders[name] for name in SLIDERS if sliders[name]}
        wished |= {f"{name}={sliders[name]}": 1.0 for name in _PICKED if sliders[name] != AS_IT_IS}
        if hair_colour_amount:
            wished[f"hair_colour={hair_colour}"] = hair_colour_amount
        director = _director(generator, triplane, device)
        still = edits.neutral_traits(director.known, director.triplane, NEUTRAL[neutral])
        result = director(wished, {**still, **traits, **more})
        preview = images.around(lambda turn: _draft(generator.module, result, turn))
        if device.type != "cpu":
            generator.module.release_prepared()
        return {
            "ui": {"images": images.shown(preview, "dualenc_attributes")},
            "result": (runtime.rest(result), preview),
        }


class DualEncAttributesFrom:
    """What a head lends another: its expression, its light."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Reads the expression and the light of a head, and what it wears if you like, for DualEnc Attributes: another "
        "head takes them over."
    )
    SEARCH_ALIASES = [
        "copy expression",
        "expression transfer",
        "transfer expression",
        "transfer light",
        "light transfer",
        "match light",
        "face reenactment",
        "estimate age",
    ]
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("values", "report")
    OUTPUT_TOOLTIPS = ("For the input values of DualEnc Attributes.", "An estimate of every attribute of the head.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head that lends, or a batch of which one is taken."),
                "expression": switch(True, "Take mouth, brows, lids and gaze."),
                "light": switch(True, "Take the light: from where, how strong, soft and warm."),
                "hair": switch(False, "Take the hair: its style and colour."),
                "accessories": switch(False, "Take glasses and hat, or take them off."),
                "head": whole(0, 0, 4095, "Which head of a batch, counted from 0.", advanced=True),
            }
        }

    def run(self, generator, triplane, head, **groups):
        device = runtime.use(generator)
        one = _one(triplane, head).to(device)
        generator.module.check(one)
        known = known_of(generator)
        traits = known.traits(one.ws, [name for name, taken in groups.items() if taken])
        found = known.values(one.ws)
        lines = [f"{a.name}: {float(found[a.name]):.2f} ({a.unit})" for a in known.attributes]
        return dc.editing.attributes.write_wishes({}, traits), "\n".join(lines)


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
        one = _one(triplane, head)
        device = runtime.use(generator)
        network, behind = generator.module, background_of(background, colour)
        path = editing.animate(network, one.to(device), animation, camera, known_of(generator))
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


def known_of(generator: runtime.Network) -> Any:
    """Directions of a generator: its own, or those of a file for it in models/dualenc."""
    network = generator.module
    if "traits" not in network.provenance:
        for name in weights.direction_files():
            path = runtime.find_model(name)
            try:
                if path is not None and dc.editing.direction_file.read_generator(path) == network.fingerprint:
                    return dc.editing.load_directions(path, network)
            except CheckpointError as error:
                runtime.log.warning("DualEnc: %s", error)
    return dc.editing.directions_of(network)


# The director of the last run: while a slider moves, the head stays the same.
_last: tuple[weakref.ref, weakref.ref, Any] | None = None


def _director(generator: runtime.Network, triplane: Any, device: torch.device) -> Any:
    global _last
    if _last is not None and _last[0]() is generator and _last[1]() is triplane:
        return _last[2]
    head = triplane.to(device)
    generator.module.check(head)
    director = dc.editing.Director(generator.module, head, known_of(generator))
    # ComfyUI does not know of the memory that it takes on an accelerator.
    _last = (weakref.ref(generator), weakref.ref(triplane), director) if device.type == "cpu" else None
    return director


def _draft(network: Any, heads: Any, turn: float) -> torch.Tensor:
    rays = min(_RAYS, network.config.neural_resolution)
    return network.render(heads, dc.Camera.look_at(turn), resolution=rays, quality="draft").image


def _one(triplane: Any, head: int) -> Any:
    if head >= len(triplane):
        raise DualEncError(f"head is {head}, but the batch holds {len(triplane)} head(s), counted from 0")
    return triplane[head]
