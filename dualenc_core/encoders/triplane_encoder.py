"""Stage two: TriPlaneNet, a U-net from image residuals to planes (encoders.md §2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import DualEncError
from .config import TriPlaneConfig
from .trunk import Trunk


class DoubleConv(nn.Module):
    """BN · conv · PReLU · conv · PReLU · PReLU; the second PReLU is in the reference, with slopes of its own."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1),
            nn.PReLU(out_channels),
            nn.PReLU(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


def upsample(x: Tensor, factor: int, mode: str) -> Tensor:
    """Enlarge [N,C,H,W]: "nearest" keeps C, "pixelshuffle" divides it by factor²."""
    if factor == 1:
        return x
    if mode == "pixelshuffle":
        return nn.functional.pixel_shuffle(x, factor)
    return nn.functional.interpolate(x, scale_factor=factor, mode="nearest")


class Up(nn.Module):
    """Enlarge the deep map, concatenate it *after* the skip map, convolve."""

    def __init__(self, skip_channels: int, deep_channels: int, out_channels: int, factor: int, mode: str):
        super().__init__()
        self.factor, self.mode = factor, mode
        self.out_channels = out_channels
        deep_channels = deep_channels // factor**2 if mode == "pixelshuffle" else deep_channels
        self.conv = DoubleConv(skip_channels + deep_channels, out_channels)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, upsample(deep, self.factor, self.mode)], dim=1))


class TriPlaneEncoder(Trunk):
    """Residual images [N,9,S,S] and planes [N,P,H,H] → refined planes (version 2) or an offset (version 1).

    ``forward(residuals, planes)`` is the reference's output; `delta` is what it adds to the planes in either version.
    """

    def __init__(self, config: TriPlaneConfig | None = None):
        config = config or TriPlaneConfig()
        super().__init__(config.trunk)
        self.config = config
        mode = config.upsampling
        w1, w2, w3, w4 = config.trunk.widths
        outs = (w4, w3, w2, w1) if mode == "nearest" else (w4, 3 * w3 // 2, 2 * w2, 3 * w1 // 2)
        if mode == "pixelshuffle" and any(width % 4 for width in outs):
            raise DualEncError(f"pixelshuffle needs decoder widths divisible by 4; trunk widths give {outs}")
        self.up1 = Up(w4, w4, outs[0], 1, mode)
        self.up2 = Up(w3, outs[0], outs[1], 2, mode)
        self.up3 = Up(w2, outs[1], outs[2], 2, mode)
        self.up4 = Up(w1, outs[2], outs[3], 2, mode)
        self.last_factor = 2 * config.plane_size // config.trunk.input_size
        up5 = outs[3] // self.last_factor**2 if mode == "pixelshuffle" else outs[3]
        p = config.plane_channels
        head = nn.Sequential(
            nn.Conv2d(up5 + (p if config.version == 2 else 0), p, 3, 1, 1),
            nn.PReLU(p),
            nn.Conv2d(p, p, 3, 1, 1),
            nn.PReLU(p),
            nn.Conv2d(p, p, 1),
        )
        self.head_name = "final_head_two" if config.version == 2 else "final_head"
        self.add_module(self.head_name, head)

    def delta(self, residuals: Tensor, planes: Tensor) -> Tensor:
        """What to add to the planes [N,P,H,H]."""
        config, trunk = self.config, self.config.trunk
        expected = (len(residuals), config.plane_channels, config.plane_size, config.plane_size)
        if planes.shape != expected:
            raise DualEncError(f"planes have shape {tuple(planes.shape)}, the refiner expects {expected}")
        # The fourth skip map is the *first* block of the last group; the trunk's output is the last one.
        first_deep = trunk.last(2) + 1
        taps = self.taps(residuals, [trunk.last(0), trunk.last(1), trunk.last(2), first_deep, trunk.last(3)])
        c0, c1, c2, c3, x = taps if len(taps) == 5 else (*taps, taps[-1])
        x = self.up1(x, c3)
        x = self.up2(x, c2)
        x = self.up3(x, c1)
        x = self.up4(x, c0)
        x = upsample(x, self.last_factor, config.upsampling)
        head = getattr(self, self.head_name)
        return head(torch.cat([planes, x], dim=1) if config.version == 2 else x)

    def forward(self, residuals: Tensor, planes: Tensor) -> Tensor:
        delta = self.delta(residuals, planes)
        return planes + delta if self.config.version == 2 else delta
