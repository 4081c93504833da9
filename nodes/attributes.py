"""Heads that are directed: sliders, and what another head lends."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError, DualEncError
from ..dualenc_core.generator.prepared import FEW_DRAFTS
from ..dualenc_core.people.attributes import ATTRIBUTES, CHOICES
from . import images, runtime, weights
from .inputs import GENERATOR, TRIPLANE, Declaration, choice, decimal, linked_text, socket, switch, text, whole
from .inputs import colour as colour_widget

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


def _slider(name: str) -> Declaration:
    a = next(a for a in ATTRIBUTES if a.name == name)
    step = 1.0 if a.unit in ("degrees", "years") else 0.05
    return decimal(0.0, a.low, a.high, step, f"{a.about[0].upper()}{a.about[1:]}, or the opposite below 0 ({a.unit}).")


def _pick(name: str) -> Declaration:
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
        one = one_of(triplane, head).to(device)
        generator.module.check(one)
        known = known_of(generator)
        traits = known.traits(one.ws, [name for name, taken in groups.items() if taken])
        found = known.values(one.ws)
        lines = [f"{a.name}: {float(found[a.name]):.2f} ({a.unit})" for a in known.attributes]
        return dc.editing.attributes.write_wishes({}, traits), "\n".join(lines)


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
    _last = (weakref.ref(generator, _forget), weakref.ref(triplane), director) if device.type == "cpu" else None
    return director


def _forget(_: weakref.ref) -> None:
    """The director keeps the network, which would never leave the memory."""
    global _last
    _last = None


def _draft(network: Any, heads: Any, turn: float) -> torch.Tensor:
    rays = min(_RAYS, network.config.neural_resolution)
    return network.render(heads, dc.Camera.look_at(turn), resolution=rays, quality=FEW_DRAFTS).image


def one_of(triplane: Any, head: int) -> Any:
    """One head of a batch."""
    if head >= len(triplane):
        raise DualEncError(f"head is {head}, but the batch holds {len(triplane)} head(s), counted from 0")
    return triplane[head]
