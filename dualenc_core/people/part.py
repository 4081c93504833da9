"""Parts of a person: meshes with textures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Labels of a picture's pixels; 0 where nothing is.
LABELS = ("none", "skin", "hair", "eyes", "teeth", "clothes", "glasses", "hat")
SKIN, HAIR, EYES, TEETH, CLOTHES, GLASSES, HAT = range(1, len(LABELS))

KINDS = ("skin", "matte", "eye", "teeth", "hair", "card", "glass")


@dataclass(frozen=True)
class Part:
    """One mesh.

    Attributes:
        vertices: [n,3] in PanoHead's world.
        faces: [m,3].
        uv: [n,2], origin at the top left of the texture.
        texture: uint8 [H,W,3|4]; the fourth channel is opacity, but for "skin", where it says where skin is (255) and
            where painted hair or cloth (0).
        kind: how it takes light, one of `KINDS`. Cards cast no shadow.
        label: one of the numbers of `LABELS`.
        labels: uint8 [h,w] over the texture, where one mesh shows several; None = ``label`` everywhere.
        tint: factor on the texture's linear colour.
        gloss: factor on highlights.
        group: parts of one group share the vertices at their seams; None = a part by itself.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    kind: str
    label: int
    labels: np.ndarray | None = None
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gloss: float = 1.0
    group: int | None = None
