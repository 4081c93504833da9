"""People of Rocketbox: whole heads in new colours, with expressions of the face's bones."""

from __future__ import annotations

import numpy as np

from .colouring import capped, eyes, looking, morph, recolour, resized, skin_gain, with_alpha
from .donors import IRISES, ROCKETBOX
from .pack import Pack
from .part import CLOTHES, HAIR, SKIN, Part
from .person import Person
from .vectors import LINEAR, LUMINANCE, encoded


def build(pack: Pack, person: Person) -> tuple[list[Part], np.ndarray]:
    """Parts, and the centres of the eyes [2,3]."""
    name = ROCKETBOX[person.donor].name
    arrays = pack.arrays(f"rocketbox/{name}.npz")
    vertices = arrays["v"].astype(np.float32) * np.float32(arrays["scale"])
    faces, part, uv = arrays["f"].astype(int), arrays["part"], arrays["uv"]
    morph(vertices, arrays, arrays["delta"], expression(person))
    balls = np.unique(faces[part == 2])
    left = vertices[balls, 0] > 0
    centres = looking(vertices, [balls[left], balls[~left]], person.gaze)
    linear, labels, skin = _head(pack, person, name)
    body = LINEAR[pack.image(f"rocketbox/{name}_body.webp")[..., :3]]
    if person.recoloured:
        body = recolour(body, np.full(body.shape[:2], 0.85, np.float32), person.cloth)
    return [
        Part(vertices, faces[part == 0], uv, with_alpha(linear, skin), "skin", SKIN, labels=labels, group=0),
        Part(vertices, faces[part == 1], uv, encoded(body), "matte", CLOTHES, group=0),
        eyes(pack, IRISES[person.iris], vertices, faces[part == 2], uv),
    ], centres


def expression(person: Person) -> dict[str, float]:
    """Weights of Rocketbox's morphs; there are no vowels."""
    a = person.amount
    smile = min(a("smile") + a("smile_open"), 1)
    open_ = (
        0.5 * a("mouth_open") + 0.15 * a("smile_open") + 0.4 * a("vowel_a") + 0.25 * a("vowel_e") + 0.25 * a("vowel_o")
    )
    return {
        "smile_l": smile,
        "smile_r": smile,
        "jaw_open": open_,
        "frown": a("sad"),
        "brow_up": a("brow_up"),
        "brow_down": a("brow_down"),
        "blink": min(a("eyes_closed") + 0.3 * a("squint"), 1),
    }


def _head(pack: Pack, person: Person, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    raw = pack.image(f"rocketbox/{name}_head.webp")[..., :3]
    mask = resized(pack.image(f"rocketbox/{name}_mask.webp"), raw.shape) / np.float32(255)
    hair, skin, brow = mask[..., 0], mask[..., 1], mask[..., 0] * mask[..., 2]
    linear = LINEAR[raw]
    own = np.median(linear[::2, ::2][skin[::2, ::2] > 0.85], 0)
    linear = linear * (1 + skin[..., None] * (skin_gain(own, person) - 1))
    # Painted black hair cannot become white.
    mean = float(((linear @ LUMINANCE) * hair).sum() / max(hair.sum(), 1))
    colour = capped(person.hair, max(9 * mean, 0.03))
    linear = recolour(recolour(linear, hair - brow, colour), brow, np.minimum(colour * 0.7, 0.12))
    labels = np.where(hair - brow > 0.5, HAIR, SKIN).astype(np.uint8)
    return linear, labels, skin
