"""The description of a person: named traits, drawn from a latent of standard normal numbers.

The description is the latent of the generator that is trained on people: `traits.numbers` turns it into a vector, and
w is a fixed linear map of that (`standard.styles_of`). So every trait is a direction of w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DualEncError
from .donors import (
    EXPRESSIONS,
    FEATURES,
    GLASSES,
    IRISES,
    LIGHTS,
    ROCKETBOX,
    STYLES,
    VALID,
    WIG_OWNERS,
    female_donor,
    melanin_of,
)
from .vectors import smoothstep

FAMILIES = ("valid", "makehuman", "rocketbox")
# How often each is drawn. Rocketbox has the best skin and few people; MakeHuman all ages and shapes.
FAMILY_SHARE = (0.56, 0.33, 0.11)
# Skin from light to dark, linear RGB at even steps of melanin.
SKIN = np.array([[0.78, 0.48, 0.34], [0.55, 0.27, 0.16], [0.33, 0.14, 0.075], [0.085, 0.026, 0.012]])
# Hair from dark to light, linear RGB at even steps; then grey to white, then red.
HAIR = np.array(
    [[0.018, 0.016, 0.015], [0.045, 0.027, 0.017], [0.10, 0.055, 0.03], [0.2, 0.12, 0.065], [0.40, 0.29, 0.15]]
)
GREY, RED = np.array([0.33, 0.325, 0.315]), np.array([0.24, 0.075, 0.022])
DYES = np.array([[0.03, 0.08, 0.3], [0.5, 0.12, 0.25], [0.05, 0.22, 0.1], [0.35, 0.02, 0.02]])
FRAMES = np.array([[0.01, 0.01, 0.01], [0.05, 0.02, 0.01], [0.3, 0.3, 0.32], [0.3, 0.2, 0.08]])


@dataclass(frozen=True)
class Person:
    """One description. Vectors are numpy arrays; colours linear RGB.

    Attributes:
        family: 0 VALID, 1 MakeHuman, 2 Rocketbox: which meshes it is made of.
        sex: -1 female … 1 male.
        age: years.
        weight: -1 … 1, 0 = average (MakeHuman).
        race: [3] african, asian, caucasian, sum 1 (MakeHuman's macro targets).
        features: [K] shape of the face, `donors.FEATURES`, about -1 … 1 (MakeHuman).
        donor: whose scalp, neck and clothes (VALID), or who (Rocketbox); -1 none.
        faces: [K] share of each VALID donor in the face, sum 1; 0 for other families.
        wig: owner of the wig (`donors.WIG_OWNERS`), -1 none.
        style: MakeHuman's hair (`donors.STYLES`), -1 none.
        skin, hair: [3] colours.
        iris: `donors.IRISES`.
        gaze: [2] degrees to the person's left, and up.
        expression: [K] `donors.EXPRESSIONS`, 0 … 1.
        beard: [3] stubble, full, goatee, 0 … 1.
        glasses: `donors.GLASSES`, -1 none; ``frame`` [3] its colour; ``tinted`` 1 = sunglasses.
        hat: `donors.HATS`, -1 none; ``hat_colour`` [3].
        outfit: VALID's clothes; ``cloth``, ``stripe`` [3] colours; ``recoloured`` 1 = VALID's clothes take ``cloth``.
        neckline: -1 high … 1 low (MakeHuman). stripes: 0 … 1.
        light: `donors.LIGHTS`; ``turn`` [2] cosine and sine of its turn; ``level``, ``key``, ``warmth``: see
            `light.make_light`.
    """

    family: int
    sex: float
    age: float
    weight: float
    race: np.ndarray
    features: np.ndarray
    donor: int
    faces: np.ndarray
    wig: int
    style: int
    skin: np.ndarray
    hair: np.ndarray
    iris: int
    gaze: np.ndarray
    expression: np.ndarray
    beard: np.ndarray
    glasses: int
    frame: np.ndarray
    tinted: float
    hat: int
    hat_colour: np.ndarray
    outfit: int
    cloth: np.ndarray
    recoloured: float
    stripe: np.ndarray
    neckline: float
    stripes: float
    light: int
    turn: np.ndarray
    level: float
    key: float
    warmth: float

    @property
    def female(self) -> bool:
        """Which of the two sets of hair, brows and clothes it takes."""
        return self.sex < 0

    def amount(self, expression: str) -> float:
        """How much of a named expression it shows."""
        return float(self.expression[EXPRESSIONS.index(expression)])


# Latent numbers by what they decide, and how many.
SLOTS = {
    "family": 1,
    "sex": 1,
    "age": 1,
    "weight": 1,
    "race": 3,
    "features": len(FEATURES),
    "donor": len(VALID),
    "faces": len(VALID),
    "wig": 1 + len(WIG_OWNERS),
    "skin": 3,
    "hair": 5,
    "iris": len(IRISES),
    "gaze": 2,
    "expression": 1 + len(EXPRESSIONS),
    "beard": 2,
    "glasses": 4,
    "hat": 3,
    "clothes": 12,
    "light": len(LIGHTS),
    "lighting": 5,
}
LATENT_DIM = sum(SLOTS.values())
_STARTS = dict(zip(SLOTS, np.cumsum([0, *SLOTS.values()])[:-1].tolist(), strict=True))


def people_from_latent(z: np.ndarray, held_out: bool = False) -> list[Person]:
    """Descriptions of latents [N,`LATENT_DIM`], which are first scaled to unit RMS as the mapping network does.

    Args:
        held_out: draw the donors that training never sees, instead of all others.

    Raises DualEncError for another shape, NaN or infinity, or a row of zeros.

    Examples:
        >>> import numpy as np
        >>> someone = people_from_latent(np.random.default_rng(3).normal(size=(1, LATENT_DIM)))[0]
        >>> 0 <= someone.amount("smile") <= 1
        True
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[1] != LATENT_DIM:
        raise DualEncError(f"latents of people have shape {z.shape}, expected [N,{LATENT_DIM}]")
    scale = np.sqrt((z**2).mean(1, keepdims=True))
    if not np.isfinite(z).all() or (scale == 0).any():
        raise DualEncError(
            "latents of people hold NaN, infinity or a row of zeros; draw them from a normal distribution"
        )
    return [_person(row, held_out) for row in z / scale]


def sample_latents(count: int, seed: int) -> np.ndarray:
    """Latents [count,`LATENT_DIM`]; number i of a seed is always the same."""
    return np.stack([latent_of(seed, i) for i in range(count)])


def latent_of(seed: int, index: int) -> np.ndarray:
    """Latent number ``index`` of a seed, [`LATENT_DIM`]."""
    return np.random.default_rng((seed, index)).normal(size=LATENT_DIM)


def sample_people(count: int, seed: int, held_out: bool = False) -> list[Person]:
    """Random descriptions; number i of a seed is always the same. See `people_from_latent`."""
    return people_from_latent(sample_latents(count, seed), held_out)


def _person(z: np.ndarray, held_out: bool) -> Person:
    part = {name: z[_STARTS[name] : _STARTS[name] + size] for name, size in SLOTS.items()}
    female = bool(part["sex"][0] < 0)
    family = int(np.searchsorted(np.cumsum(FAMILY_SHARE)[:-1], _normal_cdf(part["family"][0])))
    known = [i for i, d in enumerate(ROCKETBOX) if d.held_out == held_out and (d.name[0] == "f") == female]
    if family == 2 and not known:
        family = 0
    if family == 0:
        who, melanin = _of_valid(part, female, held_out)
    elif family == 1:
        who, melanin = _of_makehuman(part, female)
    else:
        donor = known[int(np.argmax(part["donor"][known]))]
        who, melanin = {"donor": donor}, melanin_of(ROCKETBOX[donor].name)
    who = {**_NOBODY, "faces": np.zeros(len(VALID)), "features": np.zeros(len(FEATURES)), "race": np.zeros(3), **who}
    melanin = float(np.clip(melanin + 0.16 * part["skin"][0], 0, 1))
    hat = int(part["hat"][1] > 0) if part["hat"][0] > 1.9 and who["wig"] < 0 else -1
    clothes, lighting = part["clothes"], part["lighting"]
    return Person(
        **who,
        **_glasses(part["glasses"]),
        family=family,
        sex=-1.0 if female else 1.0,
        skin=_ramp(SKIN, melanin) * np.exp(0.05 * part["skin"][1] + 0.05 * part["skin"][2] * np.array([1, -0.3, -1])),
        hair=_hair(part["hair"], melanin, who["age"], part["age"][0]),
        iris=_iris(part["iris"], melanin),
        gaze=np.clip(4.0 * part["gaze"], -12, 12),
        expression=_expression(part["expression"]),
        beard=np.zeros(3) if female or who["age"] <= 16 else _beard(part["beard"]),
        hat=hat,
        hat_colour=_cloth(clothes[8:12]) if hat >= 0 else np.zeros(3),
        outfit=int(np.searchsorted([-0.43, 0.43], clothes[0])) if family == 0 else -1,
        cloth=_cloth(clothes[0:4]),
        recoloured=float(clothes[11] > -0.3),
        stripe=_cloth(clothes[4:8]),
        neckline=float(np.clip(clothes[5], -1, 1)),
        stripes=float(clothes[10] > 0.8),
        light=int(np.argmax(part["light"])),
        turn=np.array([lighting[0], lighting[1]]) / max(math.hypot(lighting[0], lighting[1]), 1e-6),
        level=float(np.clip(1.0 + 0.13 * lighting[2], 0.65, 1.4)),
        key=float(np.clip(0.55 + 0.16 * lighting[3], 0.2, 0.9)),
        warmth=float(0.16 * lighting[4]),
    )


# What only some families say.
_NOBODY: dict[str, Any] = {"donor": -1, "wig": -1, "style": -1, "weight": 0.0, "age": 30.0}


def _of_valid(part: dict[str, np.ndarray], female: bool, held_out: bool) -> tuple[dict[str, Any], float]:
    """Fields of one of VALID, and how dark the skin is."""
    known = [i for i, d in enumerate(VALID) if d.held_out == held_out and female_donor(d.name) == female]
    donor = known[int(np.argmax(part["donor"][known]))]
    name = VALID[donor].name
    mix = np.exp(2.2 * part["faces"][known])
    faces = np.zeros(len(VALID))
    faces[known] = mix / mix.sum()
    owners = [i for i, n in enumerate(WIG_OWNERS) if _held_out(n) == held_out and female_donor(n) == female]
    wig = -1
    if name in WIG_OWNERS:
        wig = WIG_OWNERS.index(name)
    elif owners and part["wig"][0] > (0.4 if female else 2.0):
        wig = owners[int(np.argmax(part["wig"][1:][owners]))]
    return {"donor": donor, "faces": faces, "wig": wig}, melanin_of(name)


def _of_makehuman(part: dict[str, np.ndarray], female: bool) -> tuple[dict[str, Any], float]:
    """Fields of one of MakeHuman, and how dark the skin is."""
    race = np.exp(1.6 * part["race"])
    race /= race.sum()
    # A fifth are children, a third old.
    age = float(np.interp(_normal_cdf(part["age"][0]), [0, 0.2, 0.35, 0.65, 1], [5, 15, 22, 45, 82]))
    allowed = [i for i, s in enumerate(STYLES) if s.worn_by(female, race[0])]
    wish = part["donor"][: len(STYLES)] - np.array([0.9 * (s.name == "none") for s in STYLES])
    style = allowed[int(np.argmax(wish[allowed]))]
    fields = {
        "race": race,
        "features": 0.26 * part["features"] * (np.abs(part["features"]) > 0.4),
        "weight": float(np.clip(0.45 * part["weight"][0], -1, 1)),
        "age": age,
        "style": -1 if STYLES[style].name == "none" else style,
    }
    return fields, float(race @ [0.88, 0.22, 0.14])


def _beard(z: np.ndarray) -> np.ndarray:
    beard = np.zeros(3)
    if z[0] > 0.1:
        beard[int(np.searchsorted([-0.2, 0.7], z[1]))] = min(0.45 + 0.3 * z[0], 0.95)
    return beard


def _glasses(z: np.ndarray) -> dict[str, Any]:
    if not z[0] > 1.2:
        return {"glasses": -1, "frame": np.zeros(3), "tinted": 0.0}
    return {
        "glasses": int(np.floor(_normal_cdf(z[1]) * len(GLASSES))),
        "frame": FRAMES[int(np.floor(_normal_cdf(z[2]) * len(FRAMES)))],
        "tinted": float(z[3] > 1.0),
    }


def _held_out(name: str) -> bool:
    return next(d for d in VALID if d.name == name).held_out


def _hair(z: np.ndarray, melanin: float, age: float, aged: float) -> np.ndarray:
    """Dark skin mostly has dark hair, old people mostly grey; one in twenty-five is dyed."""
    shade = float(np.clip(_normal_cdf(z[0] - 1.6 * (melanin - 0.25)), 0, 1))
    colour = _ramp(HAIR, shade * 1.05 - 0.05)
    colour = colour + smoothstep((z[1] - 1.0) / 0.8) * (RED * (0.5 + shade) - colour) * (melanin < 0.6)
    grey = smoothstep((age - 45) / 30 + 0.5 * z[2]) if age > 40 else smoothstep(z[2] - 2.0)
    colour = colour + 0.9 * grey * (GREY * (0.75 + 0.25 * np.tanh(z[1])) - colour)
    if z[3] > 1.75:
        colour = DYES[int(np.floor(_normal_cdf(z[4]) * len(DYES)))]
    return np.clip(colour, 0.004, 0.6)


def _expression(z: np.ndarray) -> np.ndarray:
    """Nobody smiles and frowns; half of the people do nothing but one thing."""
    mood, rest = z[0], z[1:]
    amount = np.clip((rest - 1.1) / 1.2, 0, 1)
    found = dict(zip(EXPRESSIONS, amount, strict=True))
    found["smile"] = float(np.clip((mood - 0.2) / 1.0, 0, 1))
    found["sad"] = float(np.clip((-mood - 1.2) / 1.2, 0, 1))
    # Teeth show in half of the broad smiles.
    found["smile_open"] = found["smile"] * float(np.clip(rest[EXPRESSIONS.index("smile_open")] + 0.2, 0, 1))
    found["smile"] -= found["smile_open"]
    found["eyes_closed"] = float(rest[EXPRESSIONS.index("eyes_closed")] > 2.0)
    for name in ("brow_down", "sad", "pucker", "vowel_o", "vowel_u", "vowel_f"):
        found[name] *= 1 - min(found["smile"] + found["smile_open"], 1)
    found["brow_down"] *= 1 - found["brow_up"]
    mouth = [n for n in EXPRESSIONS if n.startswith("vowel") or n in ("pucker", "mouth_open")]
    loudest = max(mouth, key=found.__getitem__)
    return np.array([0.0 if n in mouth and n != loudest else found[n] for n in EXPRESSIONS])


def _iris(z: np.ndarray, melanin: float) -> int:
    """Dark eyes are the most common, and nearly the only ones with dark skin."""
    favour = np.array([1.6 + 3 * melanin, 0.9, *[-1.2 * melanin] * (len(IRISES) - 2)])
    return int(np.argmax(z + favour))


def _cloth(z: np.ndarray) -> np.ndarray:
    """Linear colour: hue and saturation from three numbers, brightness from the fourth."""
    hue = np.exp(0.55 * z[:3])
    return np.clip(hue / hue.mean() * 0.6 * np.exp(np.clip(-1.9 + 0.9 * z[3], -3.6, -0.4)), 0.004, 0.8)


def _ramp(colours: np.ndarray, t: float) -> np.ndarray:
    """Along a row of colours, even steps over 0..1, as light mixes (geometric)."""
    place = min(max(t, 0.0), 1.0) * (len(colours) - 1)
    i = min(int(place), len(colours) - 2)
    return np.exp((1 - place + i) * np.log(colours[i]) + (place - i) * np.log(colours[i + 1]))


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
