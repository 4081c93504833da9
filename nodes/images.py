"""Pictures of ComfyUI ↔ pictures of the library."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime


def to_core(image: Tensor) -> Tensor:
    """IMAGE [B,H,W,3 or 4] in 0..1 → [B,3,H,W] in [-1,1]; a fourth channel is left out.

    ComfyUI's own nodes leave values a little outside, as bicubic does; they are clamped.
    """
    check(image)
    return image[..., :3].movedim(-1, 1).float().clamp(0, 1) * 2 - 1


def to_comfy(image: Tensor, low: float = -1.0) -> Tensor:
    """[B,1 or 3,H,W] in low..1 → IMAGE [B,H,W,3] in 0..1 on the CPU."""
    image = ((image.detach().float() - low) / (1 - low)).clamp(0, 1)
    return image.expand(-1, 3, -1, -1).movedim(1, -1).cpu().contiguous()


def around(draw: Callable[[float], Tensor]) -> Tensor:
    """Pictures [B,3,H,W] that ``draw`` makes at four turns, in degrees, side by side as an IMAGE."""
    views = []
    for turn in (0.0, 90.0, 180.0, 270.0):
        runtime.check_interrupt()
        views.append(draw(turn))
    return to_comfy(torch.cat(views, dim=3))


def shown(image: Tensor, name: str) -> list[dict[str, str]]:
    """An IMAGE as pictures in temp/, for a node's ``ui``."""
    lines = []
    for picture in image:
        path, line = runtime.new_preview(name)
        dc.export.save_png(picture.movedim(-1, 0) * 2 - 1, path)
        lines.append(line)
    return lines


def mask_to_core(mask: Tensor | None, count: int | None = None) -> Tensor | None:
    """MASK → [B,1,H,W] in 0..1 (`dualenc_core.portrait.read_masks`); None when it is Load Image's "no mask".

    Args: ``count`` of pictures that there must be masks for: as many, or one.
    """
    masks = None if mask is None else dc.portrait.read_masks(mask)
    if masks is not None and count is not None and len(masks) not in (1, count):
        raise DualEncError(f"there are {len(masks)} masks for {count} images; expected as many, or one")
    return masks


def mask_to_comfy(mask: Tensor) -> Tensor:
    """[B,1,H,W] → MASK [B,H,W] in 0..1 on the CPU."""
    return mask[:, 0].detach().float().clamp(0, 1).cpu().contiguous()


def check(image: Tensor) -> None:
    """Raise DualEncError unless it is an IMAGE: its shape, at least one picture, numbers near 0..1."""
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[-1] not in (3, 4):
        shape = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise DualEncError(f"IMAGE has shape {shape}, expected [batch, height, width, 3 or 4]")
    if image.numel() == 0:
        raise DualEncError(f"IMAGE is empty: it has shape {tuple(image.shape)}, expected at least one picture")
    low, high = (float(value) for value in image.float().aminmax())
    worst = dc.portrait.photo.OVERSHOOT
    if not (-worst <= low and high <= 1 + worst):
        raise DualEncError(
            f"IMAGE has values from {low:g} to {high:g}, expected 0..1 without NaN; bring it there first: (x + 1) / 2 "
            "for -1..1, x / 255 for 0..255"
        )
    if low < -dc.portrait.photo.NOTABLE or high > 1 + dc.portrait.photo.NOTABLE:
        runtime.log.warning("IMAGE has values from %g to %g; they were clamped to 0..1", low, high)
