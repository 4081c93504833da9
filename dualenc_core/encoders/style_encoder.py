"""Stage one: image → style vectors, pSp's GradualStyleEncoder and its single-vector variant (encoders.md §1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import StyleConfig
from .trunk import EqualLinear, Trunk


class StyleHead(nn.Module):
    """Feature map [N,C,S,S] → vector [N,out]: strided convolutions down to one pixel, then a linear layer."""

    def __init__(self, in_channels: int, width: int, out_features: int, size: int):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(size.bit_length() - 1):
            layers += [nn.Conv2d(width if index else in_channels, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


def upsample_add(deep: Tensor, lateral: Tensor) -> Tensor:
    """Bilinear resize (align_corners) of ``deep`` to the size of ``lateral``, plus ``lateral``."""
    size = lateral.shape[-2:]
    return nn.functional.interpolate(deep, size, mode="bilinear", align_corners=True) + lateral


class GradualStyleEncoder(Trunk):
    """Image [N,3,S,S] in [-1,1] → [N,n_styles,out_dim]: offsets from the average latent, or latents of Z+.

    A three-level feature pyramid over the trunk; every style row has its own head. The caller adds the average
    latent: it is not part of the network (§1.4).
    """

    def __init__(self, config: StyleConfig | None = None):
        config = config or StyleConfig()
        super().__init__(config.trunk)
        self.config = config
        _, fine, middle, deep = config.trunk.widths
        width = config.head_width or deep
        self.latlayer1 = nn.Conv2d(middle, deep, 1)
        self.latlayer2 = nn.Conv2d(fine, deep, 1)
        self.styles = nn.ModuleList(
            StyleHead(deep, width, config.out_dim, config.trunk.input_size // self._stride(row))
            for row in range(config.n_styles)
        )

    def _stride(self, row: int) -> int:
        return 16 if row < self.config.coarse else 8 if row < self.config.middle else 4

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at 1/16, 1/8 and 1/4 of the input size, all with the trunk's last width."""
        trunk = self.config.trunk
        c1, c2, c3 = self.taps(image, [trunk.last(1), trunk.last(2), trunk.last(3)])
        p2 = upsample_add(c3, self.latlayer1(c2))
        p1 = upsample_add(p2, self.latlayer2(c1))
        return c3, p2, p1

    def forward(self, image: Tensor) -> Tensor:
        c3, p2, p1 = self.pyramid(image)
        maps = {16: c3, 8: p2, 4: p1}
        return torch.stack([head(maps[self._stride(row)]) for row, head in enumerate(self.styles)], dim=1)


class SingleStyleEncoder(Trunk):
    """Image [N,3,S,S] in [-1,1] → one offset or latent [N,out_dim] (pSp's BackboneEncoderUsingLastLayerIntoW, §1.5)."""

    def __init__(self, config: StyleConfig | None = None):
        config = config or StyleConfig(projection="w")
        super().__init__(config.trunk)
        self.config = config
        self.linear = EqualLinear(config.trunk.widths[3], config.out_dim)

    def forward(self, image: Tensor) -> Tensor:
        (x,) = self.taps(image, [self.config.trunk.last(3)])
        return self.linear(x.mean((2, 3)))
