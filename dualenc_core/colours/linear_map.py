"""A linear change of tri-grid features, by which decoded colours change.

The same change in all cells commutes with the lookup and the mean over planes, so that it can be fitted at points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..triplane import Overlay, Triplane


@dataclass(frozen=True)
class ColourMap:
    """f → f + matrix f + offset for the features of every cell.

    Attributes:
        matrix: [N,C,C].
        offset: [N,C].
    """

    matrix: Tensor
    offset: Tensor

    @classmethod
    def identity(cls, count: int, like: Triplane) -> ColourMap:
        """Of ``count`` heads such as ``like``, changing nothing."""
        c = like.features
        return cls(like.planes.new_zeros(count, c, c), like.planes.new_zeros(count, c))

    def at(self, features: Tensor) -> Tensor:
        """Features [N,M,C], changed."""
        return features + features @ self.matrix.mT + self.offset[:, None]

    def then(self, other: ColourMap) -> ColourMap:
        """This change and then the other, as one."""
        matrix = self.matrix + other.matrix + other.matrix @ self.matrix
        return ColourMap(matrix, other.at(self.offset[:, None])[:, 0])

    def apply(self, triplane: Triplane, strength: float = 1.0) -> Triplane:
        """All tri-grids of N heads, changed."""

        def change(planes: Tensor) -> Tensor:
            cells = rearrange(planes, "n p (c d) h w -> n p c d h w", d=triplane.depth)
            added = torch.einsum("nij,npjdhw->npidhw", self.matrix, cells) + self.offset[:, None, :, None, None, None]
            return planes + strength * rearrange(added, "n p c d h w -> n p (c d) h w")

        overlays = tuple(Overlay(change(overlay.planes), overlay.weight) for overlay in triplane.overlays)
        return triplane.replace(planes=change(triplane.planes), overlays=overlays)

    @classmethod
    def stack(cls, maps: list[ColourMap]) -> ColourMap:
        """One of as many heads."""
        return cls(torch.cat([m.matrix for m in maps]), torch.cat([m.offset for m in maps]))
