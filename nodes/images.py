"""Pictures of ComfyUI ↔ pictures of the library."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime


def to_core(image: Tensor) -> Tensor:
    """IMAGE [B,H,W,3 or 4] in 0..1 → [B,3,H,W] in [-1,1]; a fourth channel is left out."""
    _check_image(image)
    return image[..., :3].movedim(-1, 1).float() * 2 - 1


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


def mask_to_core(mask: Tensor) -> Tensor:
    """MASK [B,H,W] or [H,W] → [B,1,H,W]."""
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise DualEncError(f"MASK has shape {tuple(mask.shape)}, expected [batch, height, width]")
    return mask[:, None].float()


def mask_to_comfy(mask: Tensor) -> Tensor:
    """[B,1,H,W] → MASK [B,H,W] in 0..1 on the CPU."""
    return mask[:, 0].detach().float().clamp(0, 1).cpu().contiguous()


def _check_image(image: Tensor) -> None:
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[-1] not in (3, 4):
        shape = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise DualEncError(f"IMAGE has shape {shape}, expected [batch, height, width, 3 or 4]")
