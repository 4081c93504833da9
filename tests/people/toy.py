"""People of two boxes, so that tests need no pack: a head of skin and a cap of hair behind it."""

from __future__ import annotations

import numpy as np

from dualenc_core.people.light import Light
from dualenc_core.people.part import HAIR, SKIN, Part


def box(low, high, colour, kind="matte", label=SKIN, **options) -> Part:
    """An axis-aligned box with one colour, 0..255 and perhaps an alpha."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    vertices = np.asarray(low, np.float32) + corners * (np.asarray(high, np.float32) - np.asarray(low, np.float32))
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    texture = np.tile(np.array(colour, np.uint8), (2, 2, 1))
    return Part(vertices, faces, np.full((8, 2), 0.5, np.float32), texture, kind, label, **options)


def parts() -> list[Part]:
    head = box((-0.12, -0.2, 0.0), (0.12, 0.2, 0.15), (200, 150, 120))
    return [head, box((-0.13, -0.1, -0.2), (0.13, 0.25, 0.0), (40, 60, 90), label=HAIR)]


def light(level: float = 1.0) -> Light:
    """The same from everywhere, no key light."""
    harmonics = np.zeros((9, 3), np.float32)
    harmonics[0] = level / 0.282095
    even = np.full((4, 8, 3), level, np.float32)
    up = np.array([0, 1, 0], np.float32)
    return Light(harmonics, up, np.zeros(3, np.float32), even, even, np.eye(3, dtype=np.float32))
