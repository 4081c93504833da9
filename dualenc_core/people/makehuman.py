"""People of MakeHuman: any shape by targets, with skins, card hair, brows, lashes, teeth and a painted shirt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .colouring import capped, eyes, looking, morph, recolour, resized, skin_gain, with_alpha
from .donors import FEATURES, HELD_OUT_SKINS, IRISES, STYLES, opposite
from .pack import Pack
from .part import CLOTHES, HAIR, SKIN, TEETH, Part
from .person import Person
from .vectors import LINEAR, LUMINANCE, smoothstep, unit

_RACES = ("african", "asian", "caucasian")


def build(pack: Pack, person: Person, held_out: bool = False) -> tuple[list[Part], np.ndarray]:
    """Parts, and the centres of the eyes [2,3]."""
    mesh, targets = pack.arrays("makehuman/mesh.npz"), pack.arrays("makehuman/targets.npz")
    shape = mesh["base"].astype(np.float32).copy()
    morph(shape, targets, targets["delta"], targets_of(person))
    # Into PanoHead's frame: by the neutral face, which every expression leaves where it is.
    fit = similarity(shape[mesh["landmarks"]], mesh["landmark_pos"])
    race = _RACES[int(np.argmax(person.race))]
    units = {f"expression/units/{race}/{name}": weight for name, weight in expression(person).items()}
    morph(shape, targets, targets["delta"], units)
    placed = fit(shape).astype(np.float32)
    centres = looking(placed, [mesh["eye_l"], mesh["eye_r"]], person.gaze)
    linear, shirt, neckline, height = _skin(pack, person, held_out)
    faces, uv, source = mesh["f"].astype(int), mesh["uv"], mesh["src"].astype(int)
    labels = np.where(shirt > 0.5, CLOTHES, SKIN).astype(np.uint8)
    body = placed[source] + _cloth_lift(placed, mesh, source, faces, uv, neckline - height)
    parts = [
        Part(body, faces, uv, with_alpha(linear, 1 - shirt), "skin", SKIN, labels=labels, group=0),
        eyes(pack, IRISES[person.iris], placed, mesh["eye_f"].astype(int), mesh["eye_uv"]),
    ]
    parts += _attachments(pack, person, shape, fit)
    return parts, centres


def targets_of(person: Person) -> dict[str, float]:
    """Weights of MakeHuman's targets for race, sex, age, weight and features."""
    sex = "female" if person.female else "male"
    child = float(np.interp(person.age, [6, 19], [1, 0]))
    old = float(np.interp(person.age, [30, 78], [0, 1]))
    weights: dict[str, float] = {}
    for age, share in (("child", child), ("young", 1 - child - old), ("old", old)):
        if share <= 0:
            continue
        weights |= {f"macrodetails/{r}-{sex}-{age}": share * float(x) for r, x in zip(_RACES, person.race, strict=True)}
        build_ = f"macrodetails/universal-{sex}-{age}-averagemuscle-"
        weights[build_ + "maxweight"] = share * max(person.weight, 0)
        weights[build_ + "minweight"] = share * max(-person.weight, 0)
        weights[build_ + "averageweight"] = share * (1 - abs(person.weight))
    for name, value in zip(FEATURES, person.features, strict=True):
        target = name if value > 0 else opposite(name)
        for side in (target, target.replace("/l-", "/r-")):
            weights[side] = abs(float(value))
    weights["head/head-age-incr"] = 0.7 * old
    return weights


def expression(person: Person) -> dict[str, float]:
    """Weights of MakeHuman's expression units."""
    a = person.amount
    weights = {
        "mouth-corner-puller": min(a("smile") + a("smile_open"), 1),
        "mouth-elevation": 0.5 * a("smile_open"),
        "mouth-depression": 0.7 * a("sad"),
        "mouth-open": 0.4 * a("mouth_open") + 0.2 * a("smile_open") + 0.35 * a("vowel_a") + 0.2 * a("vowel_e"),
        "mouth-parling": 0.5 * a("vowel_e"),
        "mouth-pursing": 0.6 * a("pucker") + 0.6 * a("vowel_u"),
        "mouth-protusion": 0.6 * a("vowel_o"),
        "mouth-compression": 0.5 * a("vowel_f"),
    }
    for side in ("left", "right"):
        weights[f"eyebrows-{side}-up"] = a("brow_up")
        weights[f"eyebrows-{side}-down"] = a("brow_down")
        weights[f"eyebrows-{side}-inner-up"] = 0.7 * a("sad")
        weights[f"eye-{side}-closure"] = a("eyes_closed")
        weights[f"eye-{side}-slit"] = 0.6 * a("squint")
        weights[f"eye-{side}-opened-up"] = 0.6 * a("eyes_wide")
    return weights


def similarity(points: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The similarity that takes points [n,3] best to targets [n,3]."""
    a, b = points - points.mean(0), targets - targets.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    scale, turn, middle, goal = s.sum() / (a**2).sum(), u @ v, points.mean(0), targets.mean(0)
    return lambda q: scale * (q - middle) @ turn + goal


def attach(
    attachments: Mapping[str, np.ndarray], name: str, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and uv of an attachment on a shape: bound to triangles, with offsets that scale with the head."""
    at = {key: attachments[f"{name}/{key}"] for key in ("idx", "w", "off", "scale_ref", "scale_len", "src", "f", "uv")}
    ends = at["scale_ref"].astype(int)
    scale = np.array([abs(shape[ends[k, 0], k] - shape[ends[k, 1], k]) for k in range(3)]) / at["scale_len"]
    bound = (shape[at["idx"]] * at["w"][..., None]).sum(1) + at["off"] * scale
    return bound[at["src"]], at["f"].astype(int), at["uv"]


def _skin(pack: Pack, person: Person, held_out: bool) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Linear texture [H,W,3], where the shirt is [H,W]; height of the neckline, and of every texel's place [h,w]."""
    dark = float(person.skin @ LUMINANCE) < 0.16
    names = [n for n in pack.names("makehuman/skins", ".webp") if _fits(n, person, dark, held_out)]
    # Which of those that fit is no trait; the shape decides it, so that a description has one look.
    name = names[int(1000 * float(person.features[0] + person.features[5]) + 1000 * len(names)) % len(names)]
    raw = pack.image(f"makehuman/skins/{name}.webp")[..., :3]
    linear = LINEAR[raw]
    places = pack.arrays("makehuman/atlas_position.npz")
    place = places["pos"].astype(np.float32) * np.float32(places["scale"])
    x, y, z = abs(place[..., 0]), place[..., 1], place[..., 2]
    face = resized(((abs(y + 0.03) < 0.05) & (x < 0.1) & (z > 0.1)).astype(np.uint8), raw.shape) > 0
    linear = linear * skin_gain(np.median(linear[face], 0), person)
    if person.beard.any():
        where = resized(pack.image("makehuman/beard.webp", 1), raw.shape) / np.float32(255)
        shaded = (where * person.beard.astype(np.float32)).sum(-1).clip(0, 0.95)
        colour = capped(person.hair, float(person.skin @ LUMINANCE) * (0.8 if person.age > 55 else 0.45))
        linear = linear + shaded[..., None] * (colour - linear)
    front = smoothstep((z + 0.05) / 0.15)
    deep = 0.075 + 0.045 * person.neckline
    line = -0.275 - front * (deep + (1.1 if person.neckline > 0.35 else 0.0) * np.maximum(0.13 - x, 0))
    shirt = np.clip((line - y) / 0.008 + 0.5, 0, 1).astype(np.float32)
    wave = smoothstep(2 * np.sin(y * 110)) * person.stripes
    shirt, wave = resized(shirt, raw.shape), resized(wave.astype(np.float32), raw.shape)
    cloth = person.cloth + wave[..., None] * (person.stripe - person.cloth)
    weave = 1 + 0.04 * np.random.default_rng(0).normal(size=raw.shape[:2])
    linear = linear + shirt[..., None] * (cloth * weave[..., None] - linear)
    return linear.astype(np.float32), shirt, line, y


def _fits(name: str, person: Person, dark: bool, held_out: bool) -> bool:
    if (name in HELD_OUT_SKINS) != held_out and not dark:
        # Only a light skin is kept back.
        return False
    if ("dark" in name) != dark:
        return False
    old = person.age > 52
    if dark:
        return ("old" in name) == old
    if held_out:
        return True
    return ("female" in name) == person.female and not (old and "young" in name)


def _cloth_lift(
    placed: np.ndarray,
    mesh: Mapping[str, np.ndarray],
    source: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    below: np.ndarray,
) -> np.ndarray:
    """Cloth lies a little above the skin: an offset [n,3] along the normals."""
    h, w = below.shape
    column, row = (uv * [w - 1, h - 1]).astype(int).T
    lift = smoothstep(below[row, column] / 0.05)
    lift[np.unique(faces[mesh["part"] > 1])] = 0
    triangles = placed[source[faces]]
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals = np.zeros_like(placed)
    for k in range(3):
        np.add.at(normals, source[faces[:, k]], cross)
    return (0.008 * lift[:, None] * unit(normals)[source]).astype(np.float32)


def _attachments(pack: Pack, person: Person, shape: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]) -> list[Part]:
    bound = pack.arrays("makehuman/attachments.npz")

    def part(name: str, texture: np.ndarray, kind: str, label: int, forward: float = 0.0, **options: Any) -> Part:
        vertices, faces, uv = attach(bound, name, shape)
        placed = (fit(vertices) + [0, 0, forward]).astype(np.float32)
        return Part(placed, faces, uv, texture, kind, label, **options)

    # Brows, lashes and teeth are no traits: they follow from the shape.
    pick = int(1000 * float(abs(person.features).sum()))
    worn = (2, 5, 6, 8, 10, 11) if person.female else (1, 8, 9, 12)
    brow = f"{worn[pick % len(worn)]:03d}"
    lash = f"{1 + pick % 4:02d}"
    dark_hair = np.minimum(person.hair * 0.6, 0.12)
    brows = _tinted(pack.image(f"makehuman/brows/{brow}.webp", 1), dark_hair)
    thin = np.array([0.2, 0.2, 0.2, 0.6 if person.female else 0.35])
    lashes = (pack.image(f"makehuman/lashes/{lash}.webp", 1) * thin).astype(np.uint8)
    parts = [
        part(f"brow_{brow}", brows, "card", SKIN, forward=0.002, gloss=0.0),
        part(f"lash_{lash}", lashes, "card", SKIN, gloss=0.0),
        part(
            f"teeth_shape0{1 + pick % 5}", pack.image("makehuman/teeth.webp", 1), "teeth", TEETH, tint=(1.3, 1.2, 1.02)
        ),
        part("tongue", pack.image("makehuman/tongue.webp", 1), "teeth", SKIN),
    ]
    if person.style >= 0:
        style = STYLES[person.style].name
        curly = "afro" in style
        colour = np.minimum(person.hair, [0.08, 0.06, 0.045]) if curly else person.hair
        texture = _tinted(pack.image(f"makehuman/hair/{style}.webp", 1), colour, 0 if curly else 25)
        parts.append(part(f"hair_{style.replace('_512', '')}", texture, "card", HAIR))
    return parts


def _tinted(texture: np.ndarray, colour: np.ndarray, cut: int = 0) -> np.ndarray:
    """A card's texture in another colour; ``cut``: its faintest opacity, of 255, becomes nothing."""
    opacity = smoothstep(texture[..., 3] / np.float32(200))
    shaded = recolour(LINEAR[texture[..., :3]], opacity, colour)
    linear = colour + opacity[..., None] * (shaded - colour)
    return with_alpha(linear, (texture[..., 3].astype(np.float32) - cut) / (255.0 - 2 * cut))
