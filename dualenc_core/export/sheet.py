"""Labelled contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import DualEncError
from .images import to_uint8

MARGIN = 6
PAPER = (250, 250, 250)
EMPTY = (232, 232, 232)
INK = (40, 40, 40)


def contact_sheet(
    rows: Sequence[Sequence[Tensor | None] | Tensor],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell: int = 192,
) -> Tensor:
    """One picture of many.

    Args:
        rows: pictures [3,h,w] in [-1,1] of any square size; None leaves the place empty. Rows may differ in length.
        row_labels: one for each row, written to its left; empty = none.
        column_labels: one for each column, written above; empty = none.
        cell: side of a picture in pixels.

    Returns [3,H,W] in [-1,1], on the CPU.

    Raises DualEncError for no picture, pictures of another shape, or labels that do not match.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or cell < 8:
        raise DualEncError(f"a contact sheet needs a picture and cells of 8 pixels, got {columns} columns of {cell}")
    for name, labels, count in (("row", row_labels, len(rows)), ("column", column_labels, columns)):
        if labels and len(labels) != count:
            raise DualEncError(f"there are {len(labels)} {name} labels for {count} {name}s")

    font = _font(max(11, cell // 12))
    left = MARGIN + (max(int(font.getlength(label)) for label in row_labels) + MARGIN if row_labels else 0)
    top = MARGIN + (sum(font.getmetrics()) + MARGIN if column_labels else 0)
    step = cell + MARGIN
    paper = Image.new("RGB", (left + columns * step, top + len(rows) * step), PAPER)
    draw = ImageDraw.Draw(paper)
    for j, label in enumerate(column_labels):
        draw.text((left + j * step + cell // 2, top - MARGIN), label, INK, font, anchor="ms")
    for i, row in enumerate(rows):
        y = top + i * step
        if row_labels:
            draw.text((left - MARGIN, y + cell // 2), row_labels[i], INK, font, anchor="rm")
        for j in range(columns):
            x = left + j * step
            picture = row[j] if j < len(row) else None
            if picture is None:
                draw.rectangle((x, y, x + cell - 1, y + cell - 1), EMPTY)
            else:
                paper.paste(_fitted(picture, cell), (x, y))
    return _tensor(paper)


def _fitted(picture: Tensor, cell: int) -> Image.Image:
    if picture.ndim != 3 or picture.shape[1] != picture.shape[2]:
        raise DualEncError(f"picture has shape {tuple(picture.shape)}, expected [3,h,h]")
    image = Image.fromarray(to_uint8(picture))
    return image if image.width == cell else image.resize((cell, cell), Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise DualEncError("this Pillow was built without FreeType, so labels cannot be written; reinstall pillow")
    return font


def _tensor(image: Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.height, image.width, 3)
    return pixels.permute(2, 0, 1).float() / 127.5 - 1
