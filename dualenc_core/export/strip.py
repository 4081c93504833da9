"""A grid of views of a head, yaw by pitch, that a viewer can turn without a generator."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError

JPEG_QUALITY = 88
# Pixels of all views together: what a browser decodes takes four bytes each.
MOST_PIXELS = 48_000_000


@dataclass(frozen=True)
class Strip:
    """A full turn in ``views`` steps of yaw, at ``rows`` pitches from -tilt to +tilt degrees.

    View number row · views + column is at yaw 360 · column / views and pitch ``pitches[row]``.

    Raises DualEncError for numbers below 1, a tilt outside of 0..90, or more pixels than `MOST_PIXELS`.
    """

    views: int
    rows: int
    tilt: float
    size: int

    def __post_init__(self) -> None:
        if min(self.views, self.rows, self.size) < 1 or not 0 <= self.tilt <= 90:
            raise DualEncError(
                f"views is {self.views}, rows {self.rows}, size {self.size} and tilt {self.tilt}, expected at least 1 "
                "each and 0 to 90 degrees"
            )
        if len(self) * self.size**2 > MOST_PIXELS:
            raise DualEncError(
                f"{len(self)} views of {self.size}² pixels take {len(self) * self.size**2 * 4 / 1e6:.0f} MB in a "
                f"browser, expected at most {MOST_PIXELS * 4 / 1e6:.0f}; make fewer or smaller ones"
            )

    def __len__(self) -> int:
        return self.views * self.rows

    @property
    def pitches(self) -> tuple[float, ...]:
        """Degrees of each row, ascending; a single row is level."""
        if self.rows == 1:
            return (0.0,)
        return tuple(self.tilt * (2 * row / (self.rows - 1) - 1) for row in range(self.rows))

    @property
    def level(self) -> int:
        """The row nearest to the horizon; of two, the upper one."""
        return self.rows // 2

    @property
    def order(self) -> tuple[int, ...]:
        """All views, so that early ones show the head from all round: every fourth yaw of the level row first."""

        def turn(view: int) -> tuple[int, int, int]:
            row, column = divmod(view, self.views)
            fineness = 0 if column % 4 == 0 else 1 if column % 2 == 0 else 2
            return fineness, abs(row - self.level), column

        return tuple(sorted(range(len(self)), key=turn))

    def camera(self, view: Sequence[int]) -> Camera:
        """Cameras of views, at the usual distance."""
        yaw = [360 * (number % self.views) / self.views for number in view]
        return Camera.look_at(yaw=yaw, pitch=[self.pitches[number // self.views] for number in view])


def shrunk(picture: Tensor, size: int) -> Tensor:
    """[3,H,H] in -1..1 → [size,size,3] uint8 on the CPU, by averaging where it gets smaller."""
    mode = "area" if picture.shape[-1] >= size else "bilinear"
    options = {} if mode == "area" else {"align_corners": False}
    resized = torch.nn.functional.interpolate(picture[None].float(), (size, size), mode=mode, **options)[0]
    return ((resized + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, -1).cpu().contiguous()


def jpeg(picture: Tensor) -> bytes:
    """A JPEG file of [H,W,3] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def atlas(pictures: Tensor) -> tuple[Tensor, int]:
    """[N,s,s,3] → one picture with all of them, row by row in about a square, and how many stand in a row."""
    count, size = pictures.shape[:2]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = torch.cat([pictures, pictures.new_zeros(rows * columns - count, *pictures.shape[1:])])
    grid = padded.view(rows, columns, size, size, 3).transpose(1, 2)
    return grid.reshape(rows * size, columns * size, 3), columns
