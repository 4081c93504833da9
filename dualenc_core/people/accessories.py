"""Glasses and hats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .donors import GLASSES, HATS
from .pack import Pack
from .part import GLASSES as GLASSES_LABEL
from .part import HAT, Part
from .person import Person
from .scene import tracer
from .vectors import encoded, unit


def glasses(pack: Pack, person: Person, eyes: np.ndarray) -> list[Part]:
    """Frame and lenses before eyes with centres [2,3]."""
    arrays = pack.arrays("accessories.npz")
    name = GLASSES[person.glasses]
    wide = abs(eyes[:, 0]).mean() / float(arrays["eye_x"])

    def placed(vertices: np.ndarray) -> np.ndarray:
        return (vertices * [wide, 1, 1] + [0, *eyes[:, 1:].mean(0)]).astype(np.float32)

    lens = np.full((2, 2, 4), (20, 22, 25, 225 if person.tinted else 26), np.uint8)
    frame = np.tile(encoded(person.frame), (2, 2, 1))
    return [
        _plain(placed(arrays[f"{name}/frame_v"]), arrays[f"{name}/frame_f"], frame, "matte", GLASSES_LABEL),
        _plain(placed(arrays[f"{name}/lens_v"]), arrays[f"{name}/lens_f"], lens, "glass", GLASSES_LABEL),
    ]


def with_hat(pack: Pack, person: Person, parts: list[Part]) -> list[Part]:
    """The parts and a hat, widened to the head; what would stick out of it is pulled in towards its middle."""
    arrays = pack.arrays("accessories.npz")
    name = HATS[person.hat]
    middle = np.array([0, 0.13, -0.09])
    head = parts[0].vertices
    crown = head[head[:, 1] > 0.135 + 0.2 * head[:, 2]]
    wide = np.percentile(np.hypot(crown[:, 0] / 0.15, (crown[:, 2] - middle[2]) / 0.22), 95) * 0.98
    high = (max(0.343, np.percentile(crown[:, 1], 99) + 0.02) - 0.13) / 0.213
    vertices = ((arrays[f"{name}/v"] - middle) * [wide, high, wide] + middle).astype(np.float32)
    faces = arrays[f"{name}/f"].astype(int)
    scene, mesh = tracer(vertices[faces])
    inside = []
    for part in parts:
        away = part.vertices - middle
        length = np.maximum(np.linalg.norm(away, axis=1), 1e-6)
        origins = np.repeat(middle[None], len(away), 0).astype(np.float32)
        met = scene.run(origins, unit(away).astype(np.float32), output=True)
        limit = 0.92 * np.where(met["primID"] >= 0, met["tfar"], np.inf) / length
        inside.append(replace(part, vertices=(middle + away * np.minimum(1, limit)[:, None]).astype(np.float32)))
    del mesh
    texture = np.tile(encoded(person.hat_colour), (2, 2, 1))
    return [*inside, Part(vertices, faces, arrays[f"{name}/uv"], texture, "matte", HAT)]


def _plain(vertices: np.ndarray, faces: np.ndarray, texture: np.ndarray, kind: str, label: int) -> Part:
    return Part(vertices, faces.astype(int), np.zeros((len(vertices), 2), np.float32), texture, kind, label)
