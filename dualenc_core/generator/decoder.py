"""The decoder from tri-grid features to density and colour features (panohead.md §2.11)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LEAK, SQRT2, FullyConnectedLayer


class OSGDecoder(nn.Module):
    """[N,3,M,C] per-plane features → raw density [N,M,1] and colour features [N,M,C]; planes are averaged first."""

    def __init__(self, features: int = 32, width: int = 64, lr_multiplier: float = 1.0, activation: str = "none"):
        super().__init__()
        self.activation = activation
        self.net = nn.Sequential(
            FullyConnectedLayer(features, width, lr_multiplier=lr_multiplier),
            nn.Softplus(),
            FullyConnectedLayer(width, 1 + features, lr_multiplier=lr_multiplier),
        )

    @property
    def layers(self) -> tuple[FullyConnectedLayer, FullyConnectedLayer]:
        """The hidden layer and the one that gives density and colour."""
        first, last = self.net[0], self.net[2]
        assert isinstance(first, FullyConnectedLayer) and isinstance(last, FullyConnectedLayer)
        return first, last

    def forward(self, sampled: Tensor) -> tuple[Tensor, Tensor]:
        out = self.net(sampled.mean(1))
        return out[..., :1], self.activated(out[..., 1:])

    def activated(self, colour: Tensor) -> Tensor:
        """Colour features as they come out."""
        if self.activation == "sigmoid":
            return torch.sigmoid(colour) * 1.002 - 0.001
        return F.leaky_relu(colour, LEAK) * SQRT2 if self.activation == "lrelu" else colour

    def activated_slope(self, colour: Tensor) -> Tensor:
        """The derivative of `activated`."""
        if self.activation == "sigmoid":
            share = torch.sigmoid(colour)
            return 1.002 * share * (1 - share)
        one = torch.ones_like(colour)
        return torch.where(colour > 0, one, LEAK) * SQRT2 if self.activation == "lrelu" else one
