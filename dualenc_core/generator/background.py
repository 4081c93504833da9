"""What is behind the head: the generator's own background, nothing, or a colour."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DualEncError

Background = str | Sequence[float]
_EXPECTED = "generator, none, a colour like #ffffff or #fff, or three numbers 0..1 like 1,1,1"


def replace_background(front: Tensor, back: Tensor, alpha: Tensor, colour: Sequence[float]) -> Tensor:
    """Another background: front [N,3,H,W] shows a head before ``back``, which is replaced by ``colour`` according to
    alpha [N,1,r,r]; an empty ``colour`` leaves straight colours on black."""
    # What super-resolution made of the background alone is taken out where the head lets it through, so that no
    # fringe of the old background stays around the hair.
    alpha = torch.nn.functional.interpolate(alpha.clamp(0, 1), front.shape[-2:], mode="bilinear", align_corners=False)
    head = front - (1 - alpha) * back
    if not colour:
        straight = head / alpha.clamp(min=0.05)
        return torch.where(alpha > 0.05, straight.clamp(-1, 1), torch.full_like(straight, -1.0))
    target = torch.tensor(colour, device=front.device, dtype=front.dtype).view(1, 3, 1, 1) * 2 - 1
    return head + (1 - alpha) * target


def parse_background(background: Background) -> Sequence[float] | None:
    """None = the generator's own, () = none, three numbers in 0..1 = a colour ("#rrggbb" and "#rgb" are read too)."""
    if background == "generator":
        return None
    if background == "none":
        return ()
    if isinstance(background, str):
        return read_colour(background)
    if len(background) == 3 and all(0 <= float(v) <= 1 for v in background):
        return [float(v) for v in background]
    raise DualEncError(f"background is {background!r}, expected {_EXPECTED}")


def read_background(text: str) -> Background:
    """What a person types ("generator", "none", "#fff", "1,1,1") as `PanoHead.render` takes it."""
    return text if text in ("generator", "none") else read_colour(text)


def read_colour(text: str) -> tuple[float, float, float]:
    """ "#rgb", "#rrggbb" or "R,G,B" in 0..1 → three numbers in 0..1. Raises DualEncError for anything else."""
    digits = text.strip().removeprefix("#")
    if re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", digits):
        step = len(digits) // 3
        red, green, blue = (int(digits[i : i + step] * (3 - step), 16) / 255 for i in range(0, len(digits), step))
        return red, green, blue
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        red = green = blue = math.nan
    if not all(0 <= value <= 1 for value in (red, green, blue)):
        raise DualEncError(f"the background is {text!r}, expected {_EXPECTED}")
    return red, green, blue
