"""Names of what the pack holds, and what the sampler must know of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Donor:
    """A person of the pack; ``held_out``: kept back from training, for evaluation."""

    name: str
    held_out: bool = False


@dataclass(frozen=True)
class Style:
    """One of MakeHuman's hair meshes; ``sexes``: who wears it, "f", "m" or "fm"; ``african``: only then."""

    name: str
    sexes: str
    african: bool = False

    def worn_by(self, female: bool, african: float) -> bool:
        """Whether someone like that wears it."""
        return ("f" if female else "m") in self.sexes and (not self.african or african > 0.4)


HELD_OUT = ("White_M_3", "Black_F_3", "Asian_F_1", "Hispanic_M_1", "f009", "m017")
# fmt: off
VALID = tuple(
    Donor(name, name in HELD_OUT)
    for name in (
        "AIAN_F_1", "AIAN_F_2", "AIAN_M_1", "AIAN_M_2", "Asian_F_1", "Asian_F_2", "Asian_F_3", "Asian_M_1",
        "Asian_M_3", "Black_F_1", "Black_F_2", "Black_F_3", "Black_M_2", "Black_M_3", "Hispanic_F_2", "Hispanic_F_3",
        "Hispanic_M_1", "Hispanic_M_2", "Hispanic_M_3", "MENA_F_1", "MENA_M_1", "MENA_M_2", "NHPI_M_1", "NHPI_M_2",
        "White_F_1", "White_F_3", "White_M_1", "White_M_2", "White_M_3", "X_AIAN_F_1", "X_AIAN_M_1", "X_MENA_F_1",
        "X_NHPI_F_1", "X_NHPI_F_2", "X_NHPI_F_3", "X_NHPI_M_1",
    )
)
ROCKETBOX = tuple(Donor(n, n in HELD_OUT) for n in ("f001", "f005", "f009", "f012", "m002", "m006", "m017"))
WIG_OWNERS = (
    "AIAN_F_1", "AIAN_F_2", "AIAN_M_1", "AIAN_M_2", "Asian_F_3", "Black_F_2", "Hispanic_F_3", "White_F_1", "White_F_3",
    "X_NHPI_F_3", "Asian_F_2",
)
# fmt: on
OUTFITS = ("Casual", "Busi", "Util")
STYLES = (
    Style("bob02", "f"),
    Style("braid01", "f"),
    Style("bob01_512", "f"),
    Style("long01_512", "f"),
    Style("ponytail01_512", "f"),
    Style("short03", "f"),
    Style("short01", "m"),
    Style("short04", "m"),
    Style("none", "m"),
    Style("afro01_512", "fm", african=True),
)
# MakeHuman's skins that training never sees.
HELD_OUT_SKINS = ("young_lightskinned_male3",)
IRISES = ("dark", "brownlight", "blue", "bluegreen", "green", "grey", "ice", "lightblue")
GLASSES = ("round_thin", "round_thick", "oval", "square_thin", "square_thick", "large")
HATS = ("fedora", "fedora_cocked")
LIGHTS = tuple(
    [f"pmndrs_{n}" for n in "apartment bridge city dawn esplanade forest hall lab lobby night park sky".split()]
    + [f"pmndrs_{n}" for n in "studio sunrise sunset venice warehouse workshop".split()]
    + [f"world_{n}" for n in "city courtyard forest interior night studio sunrise sunset".split()]
)
# fmt: off
EXPRESSIONS = (
    "smile", "smile_open", "sad", "brow_up", "brow_down", "squint", "eyes_closed", "eyes_wide", "mouth_open", "pucker",
    "vowel_a", "vowel_e", "vowel_o", "vowel_u", "vowel_f",
)
# Both ways of a MakeHuman target, named by the way that is positive; "l-" stands for both sides.
FEATURES = (
    "head/head-fat-incr", "head/head-scale-horiz-incr", "head/head-scale-vert-incr", "head/head-scale-depth-incr",
    "head/head-back-scale-depth-incr", "forehead/forehead-scale-vert-incr", "forehead/forehead-nubian-incr",
    "forehead/forehead-temple-incr", "chin/chin-width-incr", "chin/chin-height-incr", "chin/chin-prominent-incr",
    "chin/chin-bones-incr", "chin/chin-prognathism-incr", "chin/chin-jaw-drop-incr", "cheek/l-cheek-bones-incr",
    "cheek/l-cheek-volume-incr", "mouth/mouth-scale-horiz-incr", "mouth/mouth-trans-up",
    "mouth/mouth-lowerlip-volume-incr", "mouth/mouth-upperlip-volume-incr", "mouth/mouth-cupidsbow-incr",
    "nose/nose-scale-vert-incr", "nose/nose-scale-horiz-incr", "nose/nose-scale-depth-incr", "nose/nose-hump-incr",
    "nose/nose-point-up", "nose/nose-nostrils-width-incr", "nose/nose-flaring-incr", "nose/nose-trans-up",
    "eyes/l-eye-scale-incr", "eyes/l-eye-trans-out", "eyes/l-eye-corner2-up", "eyes/l-eye-epicanthus-in",
    "eyes/l-eye-eyefold-down", "eyes/l-eye-bag-incr", "eyebrows/eyebrows-trans-up", "eyebrows/eyebrows-angle-up",
    "ears/l-ear-scale-incr", "ears/l-ear-wing-incr", "neck/neck-scale-horiz-incr", "neck/neck-double-incr",
)
# fmt: on
OPPOSITES = {"incr": "decr", "up": "down", "down": "up", "in": "out", "out": "in"}
_MELANIN = {"AIAN": 0.42, "Asian": 0.16, "Black": 0.93, "Hispanic": 0.40, "MENA": 0.40, "NHPI": 0.38, "White": 0.20}
_MELANIN_OF_BOX = {"f001": 0.38, "f005": 0.62, "f009": 0.55, "f012": 0.45, "m002": 0.8, "m006": 0.97, "m017": 0.36}


def female_donor(name: str) -> bool:
    """VALID's names carry the sex."""
    return "_F_" in name


def melanin_of(name: str) -> float:
    """0 light … 1 dark: where a donor's own skin lies on `person.SKIN`, measured on the textures."""
    return _MELANIN_OF_BOX.get(name) or _MELANIN[name.removeprefix("X_").split("_")[0]]


def opposite(feature: str) -> str:
    """The target of the other way: incr ↔ decr, up ↔ down, in ↔ out."""
    stem, _, way = feature.rpartition("-")
    return f"{stem}-{OPPOSITES[way]}"
