"""The picture that shows what was found: boxes, mesh, pose axes, crop square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .alignment import HeadPose
from .geometry import Quad
from .photo import Photo
from .weights import load_face_model

LONGEST = 1024
_CHOSEN, _OTHER, _CROP = (80, 220, 120), (170, 170, 170), (255, 210, 60)
_MESH, _LINES = (120, 220, 255), (255, 255, 255)
_AXES = ((255, 70, 70), (70, 220, 70), (80, 130, 255))


def draw_overlay(
    photo: Photo,
    quad: Quad,
    boxes: Sequence[tuple[float, float, float, float]] = (),
    chosen: int | None = None,
    points: np.ndarray | None = None,
    pose: HeadPose | None = None,
) -> Tensor:
    """The photo, its longer side at most 1024 px, with everything drawn on it.

    Args: all coordinates in photo pixels; ``boxes`` of every face, ``chosen`` among them; ``points`` [468,3] mesh;
    ``pose`` for the axes (red +x, green +y, blue +z out of the face). Returns [1,3,H,W] in 0..1.
    """
    small = photo.reduced(LONGEST)
    pixels = small.pixels
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels / (65535 if pixels.dtype == np.uint16 else 1) * 255.0).astype(np.uint8)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    ratio = small.width / photo.width
    stroke = max(round(max(picture.size) / 320), 1)

    def at(point: Sequence[float] | np.ndarray) -> tuple[float, float]:
        return float(point[0] * ratio), float(point[1] * ratio)

    def line(
        a: Sequence[float] | np.ndarray,
        b: Sequence[float] | np.ndarray,
        colour: tuple[int, int, int],
        width: int = stroke,
    ) -> None:
        draw.line([at(a), at(b)], fill=colour, width=width)

    corners = quad.corners
    for i in range(4):
        line(corners[i], corners[(i + 1) % 4], _CROP)
    for index, box in enumerate(boxes):
        colour = _CHOSEN if index == chosen else _OTHER
        draw.rectangle([at(box[:2]), at(box[2:])], outline=colour, width=stroke)
        draw.text((at(box[:2])[0] + 2 * stroke, at(box[:2])[1] + stroke), str(index), fill=colour)
    if points is not None:
        radius = max(stroke / 3, 0.6)
        for x, y in points[:, :2] * ratio:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_MESH)
        for edges in load_face_model().regions.values():
            for a, b in edges:
                line(points[a], points[b], _LINES, max(stroke // 2, 1))
    if pose is not None:
        for axis, colour in enumerate(_AXES):
            tip = pose.origin + pose.scale * 0.22 * pose.rotation[:2, axis]
            line(pose.origin, tip, colour, stroke + 1)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
