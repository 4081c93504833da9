"""What can be directed on a generator of people: sliders in natural units, choices, colours, as moves of traits.

An attribute adds to the traits of a description (`traits.numbers`), in proportion to its value; light is turned and
balanced instead (`relighting`). A choice or a colour sets traits. Nothing here needs a generator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import DualEncError
from .donors import EXPRESSIONS, GLASSES, HATS, IRISES, STYLES, WIG_OWNERS
from .person import FRAMES, GREY, HAIR, RED, SKIN
from .relighting import LIGHT_TRAITS, LIGHTING

GROUPS = ("expression", "face", "hair", "light", "accessories")


@dataclass(frozen=True)
class Attribute:
    """Something that a slider changes; 0 = as it is.

    Attributes:
        name: as in ``--name`` and JSON.
        group: one of `GROUPS`, or what a file of directions says.
        unit: of values.
        low, high: usual range of a change.
        about: what more of it does.
        moves: traits, and how far one unit moves each.
        neutral: its value on a neutral face, None where there is no such thing.
    """

    name: str
    group: str
    unit: str
    low: float
    high: float
    about: str
    moves: Mapping[str, float] = field(default_factory=dict)
    neutral: float | None = None

    @property
    def traits(self) -> frozenset[str]:
        """What a generator must know of people to have it."""
        return frozenset(LIGHT_TRAITS if self.name in LIGHTING else self.moves)


@dataclass(frozen=True)
class Choice:
    """One of several things; ``options``: traits that each sets."""

    name: str
    group: str
    about: str
    options: Mapping[str, Mapping[str, float]]


# fmt: off
_EXPRESSIONS = {
    "smile": ("smile", "lips closed, corners up"), "smile_open": ("smile_open", "a smile that shows the teeth"),
    "sad": ("sad", "corners of the mouth down, inner brows up"), "brows_up": ("brow_up", "raised brows"),
    "brows_down": ("brow_down", "a frown"), "squint": ("squint", "narrowed eyes"),
    "eyes_closed": ("eyes_closed", "both eyes closed"), "eyes_wide": ("eyes_wide", "eyes wide open"),
    "mouth_open": ("mouth_open", "an open mouth"), "pout": ("pucker", "lips pushed out"),
    "viseme_a": ("vowel_a", "the mouth of an ah"), "viseme_e": ("vowel_e", "the mouth of an eh"),
    "viseme_o": ("vowel_o", "the mouth of an oh"), "viseme_u": ("vowel_u", "the mouth of an oo"),
    "viseme_f": ("vowel_f", "lower lip at the teeth"),
}
_SHAPES = {
    "face_fullness": "head/head-fat-incr", "head_width": "head/head-scale-horiz-incr",
    "head_height": "head/head-scale-vert-incr", "head_depth": "head/head-scale-depth-incr",
    "back_of_head": "head/head-back-scale-depth-incr", "forehead_height": "forehead/forehead-scale-vert-incr",
    "forehead_bulge": "forehead/forehead-nubian-incr", "temples": "forehead/forehead-temple-incr",
    "chin_width": "chin/chin-width-incr", "chin_height": "chin/chin-height-incr",
    "chin_forward": "chin/chin-prominent-incr", "chin_bones": "chin/chin-bones-incr",
    "jaw_forward": "chin/chin-prognathism-incr", "jaw_drop": "chin/chin-jaw-drop-incr",
    "cheekbones": "cheek/l-cheek-bones-incr", "cheek_fullness": "cheek/l-cheek-volume-incr",
    "mouth_width": "mouth/mouth-scale-horiz-incr", "mouth_up": "mouth/mouth-trans-up",
    "lower_lip": "mouth/mouth-lowerlip-volume-incr", "upper_lip": "mouth/mouth-upperlip-volume-incr",
    "cupids_bow": "mouth/mouth-cupidsbow-incr", "nose_length": "nose/nose-scale-vert-incr",
    "nose_width": "nose/nose-scale-horiz-incr", "nose_depth": "nose/nose-scale-depth-incr",
    "nose_hump": "nose/nose-hump-incr", "nose_tip_up": "nose/nose-point-up",
    "nostril_width": "nose/nose-nostrils-width-incr", "nostril_flare": "nose/nose-flaring-incr",
    "nose_up": "nose/nose-trans-up", "eye_size": "eyes/l-eye-scale-incr", "eye_distance": "eyes/l-eye-trans-out",
    "eye_tilt": "eyes/l-eye-corner2-up", "epicanthus": "eyes/l-eye-epicanthus-in",
    "eyelid_fold": "eyes/l-eye-eyefold-down", "eye_bags": "eyes/l-eye-bag-incr",
    "brow_height": "eyebrows/eyebrows-trans-up", "brow_angle": "eyebrows/eyebrows-angle-up",
    "ear_size": "ears/l-ear-scale-incr", "ear_wing": "ears/l-ear-wing-incr",
    "neck_width": "neck/neck-scale-horiz-incr", "double_chin": "neck/neck-double-incr",
}
# fmt: on


def _colour(trait: str, start: np.ndarray, end: np.ndarray) -> dict[str, float]:
    """How the numbers of a colour (square roots of linear RGB) go from one to another."""
    return {f"{trait}.{axis}": float(n) for axis, n in zip("rgb", np.sqrt(end) - np.sqrt(start), strict=True)}


ATTRIBUTES = (
    *(
        Attribute(name, "expression", "0..1", -1, 1, about, {trait: 1.0}, 0.0)
        for name, (trait, about) in _EXPRESSIONS.items()
    ),
    Attribute("gaze_yaw", "expression", "degrees", -20, 20, "looks to the viewer's right", {"gaze.left": 1.0}, 0.0),
    Attribute("gaze_pitch", "expression", "degrees", -20, 20, "looks up", {"gaze.up": 1.0}, 0.0),
    Attribute("age", "face", "years", -60, 60, "older", {"age": 1.0}),
    Attribute("masculinity", "face", "2 = from female to male", -2, 2, "more masculine", {"sex": 1.0}),
    Attribute("weight", "face", "1 = from average to heavy", -2, 2, "heavier", {"weight": 1.0}),
    *(
        Attribute(name, "face", "1 = a caricature", -1, 1, f"more {name.replace('_', ' ')}", {f"features.{trait}": 1.0})
        for name, trait in _SHAPES.items()
    ),
    Attribute("skin_tone", "face", "1 = from lightest to darkest", -1, 1, "darker", _colour("skin", SKIN[0], SKIN[-1])),
    Attribute(
        "hair_lightness", "hair", "1 = from black to blond", -1, 1, "lighter hair", _colour("hair", HAIR[0], HAIR[-1])
    ),
    Attribute("hair_redness", "hair", "1 = from brown to red", -1, 1, "redder hair", _colour("hair", HAIR[1], RED)),
    Attribute("hair_grey", "hair", "1 = from brown to white", -1, 1, "greyer hair", _colour("hair", HAIR[2], GREY)),
    *(
        Attribute(name, "hair", "0..1", -1, 1, about, {f"beard.{name.removeprefix('beard_')}": 1.0})
        for name, about in (("beard_stubble", "stubble"), ("beard_full", "a full beard"), ("beard_goatee", "a goatee"))
    ),
    Attribute("light_yaw", "light", "degrees", -180, 180, "turns the light to the viewer's right"),
    Attribute("light_pitch", "light", "degrees", -90, 90, "lifts the light"),
    Attribute("light_strength", "light", "stops", -2, 2, "brighter light"),
    Attribute("light_softness", "light", "share of light without a direction", -0.6, 0.6, "softer light"),
    Attribute("light_warmth", "light", "stops between red and blue", -2, 2, "warmer light"),
    Attribute("glasses_tint", "accessories", "0..1", -1, 1, "darker glasses, where there are any", {"tinted": 1.0}),
)
# Numbers of the colours at which lightness, redness, greyness and skin tone are 0.
ZERO = {
    f"{trait}.{axis}": float(n)
    for trait, colour in (("hair", HAIR[0]), ("skin", SKIN[0]))
    for axis, n in zip("rgb", np.sqrt(colour), strict=True)
}


def _one_of(kinds: Mapping[str, str], more: Mapping[str, float] | None = None) -> dict[str, dict[str, float]]:
    """Options, by their trait, and "none"; what has one does not have the others."""
    more = more or {}
    clear = dict.fromkeys((*kinds.values(), *more), 0.0)
    return {"none": clear} | {name: {**clear, **more, trait: 1.0} for name, trait in kinds.items()}


_HAIR = {s.name.removesuffix("_512"): f"style.{s.name}" for s in STYLES if s.name != "none"}
_FRAME = {f"frame.{axis}": float(n) for axis, n in zip("rgb", np.sqrt(FRAMES[0]), strict=True)}
_FELT = dict.fromkeys([f"hat_colour.{axis}" for axis in "rgb"], 0.2)
CHOICES = (
    Choice(
        "hair_style",
        "hair",
        "hair that is worn; wigs are the hair of scanned people",
        _one_of(_HAIR | {f"wig_{i}": f"wig.{owner}" for i, owner in enumerate(WIG_OWNERS, 1)}),
    ),
    Choice(
        "eye_colour",
        "face",
        "colour of the eyes",
        {k: v for k, v in _one_of({i: f"iris.{i}" for i in IRISES}).items() if k != "none"},
    ),
    Choice("glasses", "accessories", "glasses that are worn", _one_of({g: f"glasses.{g}" for g in GLASSES}, _FRAME)),
    Choice("hat", "accessories", "hat that is worn", _one_of({h: f"hat.{h}" for h in HATS}, _FELT)),
)
# Names of colours that can be set, and their trait and group.
COLOURS = {"hair_colour": ("hair", "hair"), "skin_colour": ("skin", "face"), "frame_colour": ("frame", "accessories")}
# Traits that another head can lend, by group.
LENT = {
    "expression": (*EXPRESSIONS, "gaze.left", "gaze.up"),
    "light": LIGHT_TRAITS,
    "hair": (*(f"hair.{axis}" for axis in "rgb"), *CHOICES[0].options["none"]),
    "accessories": (*CHOICES[2].options["none"], "tinted", *CHOICES[3].options["none"]),
}


def colour_traits(name: str, text: str) -> dict[str, float]:
    """Traits of "#rrggbb", for a name of `COLOURS`. Raises DualEncError for what is no such colour."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise DualEncError(f"{name} is {text!r}, expected #rrggbb, for example #8a3b12")
    encoded = np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return {f"{COLOURS[name][0]}.{axis}": float(n) for axis, n in zip("rgb", np.sqrt(encoded**2.2), strict=True)}
