"""What a renderer returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rendering:
    """Pictures of N cameras.

    Attributes:
        image: [N,3,H,W], nominally -1..1, not clamped.
        raw: [N,3,r,r], the same before super-resolution.
        depth: [N,1,r,r], distance along the unit ray in world units; empty rays hold the far end of the ray.
        alpha: [N,1,r,r], accumulated opacity 0..1.
    """

    image: Tensor
    raw: Tensor
    depth: Tensor
    alpha: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int) -> Rendering:
        """One camera's, with the batch dimension (N = 1)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"rendering {index} of {len(self)}")
        return Rendering(*(getattr(self, f.name)[index : index + 1 or None] for f in fields(self)))

    def to(self, device: torch.device | str) -> Rendering:
        """The same, in another memory."""
        return Rendering(*(getattr(self, f.name).to(device) for f in fields(self)))

    @classmethod
    def cat(cls, renderings: Sequence[Rendering]) -> Rendering:
        """Concatenate batches of equal sizes."""
        return cls(*(torch.cat([getattr(r, f.name) for r in renderings]) for f in fields(cls)))
