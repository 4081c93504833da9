"""What is behind the head: the generator's own background, nothing, or a colour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DualEncError

Background = str | Sequence[float]


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
    """None = the generator's own, () = none, three numbers = a colour."""
    if background == "generator":
        return None
    if background == "none":
        return ()
    if not isinstance(background, str) and len(background) == 3 and all(0 <= float(v) <= 1 for v in background):
        return [float(v) for v in background]
    raise DualEncError(f"background is {background!r}, expected 'generator', 'none' or three numbers in 0..1")
