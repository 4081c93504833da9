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
        sigma, colour = out[..., :1], out[..., 1:]
        if self.activation == "sigmoid":
            colour = torch.sigmoid(colour) * 1.002 - 0.001
        elif self.activation == "lrelu":
            colour = F.leaky_relu(colour, LEAK) * SQRT2
        return sigma, colour
