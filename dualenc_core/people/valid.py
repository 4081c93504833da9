"""People of the VALID avatars: scalp, neck and clothes of one donor, the faces of several, painted hair or a wig."""

from __future__ import annotations

import functools

import numpy as np

from .colouring import capped, eyes, looking, morph, recolour, resized, skin_gain, with_alpha
from .donors import IRISES, OUTFITS, VALID, WIG_OWNERS
from .pack import Pack
from .part import CLOTHES, HAIR, SKIN, TEETH, Part
from .person import Person
from .vectors import LINEAR, LUMINANCE, encoded, smoothstep

# Share of the atlas that the head's island fills.
_ISLAND = (1112 / 1632, 1336 / 2048)
# Faces with less than this share move vertices only: many textures mixed are a blur.
_TEXTURED = 2


def build(pack: Pack, person: Person) -> tuple[list[Part], np.ndarray]:
    """Parts, and the centres of the eyes [2,3]."""
    mesh, people = pack.arrays("valid/mesh.npz"), pack.arrays("valid/people.npz")
    known = [str(name) for name in people["names"]]
    base = known.index(VALID[person.donor].name)
    shares = {known.index(d.name): float(w) for d, w in zip(VALID, person.faces, strict=True) if w > 0}
    wig = None if person.wig < 0 else WIG_OWNERS[person.wig]
    vertices = _shape(pack, person, base, shares, wig)
    faces = functools.partial(_faces_of, mesh["f"].astype(int), mesh["part"])
    centres = looking(vertices, [np.unique(faces(1)), np.unique(faces(2))], person.gaze)
    linear, labels, skin = _texture(pack, person, known, base, shares, painted=wig is None)
    raw = pack.image(f"valid/atlas/{known[base]}_{OUTFITS[person.outfit]}.webp")[..., :3]
    uv = mesh["uv"]
    parts = [
        Part(vertices, faces(0, 8, 9), uv, with_alpha(linear, skin), "skin", SKIN, labels=labels, group=0),
        eyes(pack, IRISES[person.iris], vertices, faces(1, 2), uv),
        Part(vertices, faces(3, 4, 7), uv, raw, "teeth", SKIN, group=0),
        Part(vertices, faces(5, 6), uv, raw, "teeth", TEETH),
    ]
    if wig is not None:
        parts.append(_wig(pack, person, wig))
    return parts, centres


def _faces_of(faces: np.ndarray, part: np.ndarray, *numbers: int) -> np.ndarray:
    return faces[np.isin(part, numbers)]


def _shape(pack: Pack, person: Person, base: int, shares: dict[int, float], wig: str | None) -> np.ndarray:
    mesh, people, morphs = (pack.arrays(f"valid/{n}.npz") for n in ("mesh", "people", "morphs"))

    def shape(k: int, outfit: int = 0) -> np.ndarray:
        return people["v"][k, outfit].astype(np.float32) * np.float32(people["scale"])

    own = shape(base)
    mixed = sum(w * shape(k) for k, w in shares.items())
    vertices = shape(base, person.outfit) + mesh["face_w"][:, None] * (mixed - own)
    names = [str(name) for name in people["names"]]
    if wig is not None and wig != names[base]:
        # A wig fits the scalp of its owner.
        vertices += mesh["scalp_w"][:, None] * (shape(names.index(wig)) - own)
    gestures = expression(person)
    delta = sum(w * morphs["delta"][k].astype(np.float32) for k, w in shares.items() if w > 0.02)
    delta = delta / sum(w for w in shares.values() if w > 0.02)
    morph(vertices, morphs, delta, gestures)
    for k, teeth in zip(morphs["teeth_morph"], morphs["teeth_delta"], strict=True):
        vertices[morphs["teeth_vert"]] += gestures.get(str(morphs["names"][k]), 0) * teeth.astype(np.float32)
    return vertices


def expression(person: Person) -> dict[str, float]:
    """Weights of VALID's morphs."""
    a = person.amount
    sides = {
        "smileClose": a("smile"),
        "smileOpen": a("smile_open"),
        "mouthSad": a("sad"),
        "sad": a("sad"),
        "browUp": a("brow_up"),
        "browDown": a("brow_down"),
        "squint": 0.6 * a("squint"),
        "eyeClose": a("eyes_closed"),
        "eyeOpen": 0.7 * a("eyes_wide"),
    }
    weights = {side + name: weight for name, weight in sides.items() for side in "RL"}
    weights["RRbrowUp"] = weights["LLbrowUp"] = a("brow_up")
    vowels = {"vowel_a": "AE_AA", "vowel_e": "Ax_E", "vowel_o": "UH_OO", "vowel_u": "UW_U", "vowel_f": "FV"}
    weights |= {morph: 0.6 * a(name) for name, morph in vowels.items()}
    weights["MouthOpen"] = 0.5 * a("mouth_open") + 0.2 * a("smile_open")
    weights["Kiss"] = 0.7 * a("pucker")
    return weights


def _texture(
    pack: Pack, person: Person, known: list[str], base: int, shares: dict[int, float], painted: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear colours [H,W,3], labels [H,W] and where skin is [H,W] of the atlas."""

    def atlas(kind: str, k: int, outfit: int) -> np.ndarray:
        return pack.image(f"valid/{kind}/{known[k]}_{OUTFITS[outfit]}.webp", 2 if kind == "atlas" else 1)

    raw = atlas("atlas", base, person.outfit)[..., :3]
    linear = LINEAR[raw]
    mask = resized(atlas("mask", base, person.outfit), raw.shape) / np.float32(255)
    hair, skin, blend = mask[..., 0], mask[..., 1], mask[..., 2]
    rows, columns = int(_ISLAND[0] * raw.shape[0]), int(_ISLAND[1] * raw.shape[1])
    island = np.s_[:rows, :columns]

    def face_colour(t: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.median(t[::3, ::3][(q[..., 1] * q[..., 2])[::3, ::3] > 0.85], 0)

    own = face_colour(linear, mask)
    largest = sorted(shares, key=shares.__getitem__, reverse=True)[:_TEXTURED]
    mix: np.ndarray = np.zeros(3, np.float32)
    total: np.ndarray = np.full(1, 1e-4, np.float32)
    for k in largest:
        if k == base:
            t, q = linear, mask
        else:
            t = LINEAR[atlas("atlas", k, 0)[..., :3]]
            q = resized(atlas("mask", k, 0), t.shape) / np.float32(255)
        weight = np.float32(shares[k]) * q[island][..., 2:]
        mix = mix + weight * t[island] * (own / face_colour(t, q)).astype(np.float32)
        total = total + weight
    known_share = np.minimum(total / (0.5 * sum(shares[k] for k in largest)), 1)
    face = linear[island]
    face = face + blend[island][..., None] * known_share * (mix / total - face)
    # Skin, then brows and painted hair, then the beard.
    h, s = hair[island], skin[island]
    face = face * (1 + s[..., None] * (skin_gain(own, person) - 1))
    brow = np.minimum(h, smoothstep(blend[island] * 2))
    face = recolour(face, h - brow, person.hair)
    face = recolour(face, brow, np.minimum(person.hair * 0.7, 0.12))
    if person.beard.any():
        where = pack.image("valid/beard.webp")[: h.shape[0], : h.shape[1]] / np.float32(255)
        shaded = (where * person.beard.astype(np.float32)).sum(-1).clip(0, 0.95) * (1 - h)
        face = face + shaded[..., None] * (capped(person.hair, 0.5 * float(person.skin @ LUMINANCE)) - face)
    linear = linear.copy()
    linear[island] = face
    # The neck and arms lie outside of the island.
    outside = skin.copy()
    outside[island] = 0
    linear = linear * (1 + outside[..., None] * (skin_gain(own, person) - 1))
    cloth = smoothstep((1 - np.clip(skin + hair, 0, 1)) * 2 - 0.6)
    top, left, right = int(0.147 * raw.shape[0]), int(0.21 * raw.shape[1]), int(0.44 * raw.shape[1])
    # Inside of the mouth and under the lids.
    cloth[:top, :left] = cloth[:top, right:columns] = 0
    if person.recoloured:
        linear = recolour(linear, cloth, person.cloth)
    labels = np.where(cloth > 0.5, CLOTHES, SKIN).astype(np.uint8)
    if painted:
        whole_brow = np.zeros_like(hair)
        whole_brow[island] = brow
        labels[hair - whole_brow > 0.5] = HAIR
    return linear, labels, skin


def _wig(pack: Pack, person: Person, owner: str) -> Part:
    wigs = pack.arrays("valid/wigs.npz")
    k = [str(name) for name in wigs["owners"]].index(owner)
    kind = str(wigs["types"][k])
    # Black strands are too dark to be lightened.
    fair = float(person.hair @ LUMINANCE) > 0.06
    strands = ("blond_streaked" if kind == "bob" else "brown") if fair else str(wigs["strands"][k])
    linear = LINEAR[pack.image(f"valid/wigs/{strands}.webp")[..., :3]]
    linear = recolour(linear, np.ones(linear.shape[:2], np.float32), person.hair, 0.12)
    vertices = wigs[f"{owner}_v"].astype(np.float32) / np.float32(32768)
    return Part(vertices, wigs[f"{kind}_f"].astype(int), wigs[f"{kind}_uv"], encoded(linear), "hair", HAIR)
