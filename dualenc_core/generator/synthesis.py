"""StyleGAN2 synthesis with skip connections: tri-grid backbone and background network (panohead.md §2.9-2.10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import SynthesisLayer, ToRGBLayer, fir_filter, upsample2d


class SynthesisBlock(nn.Module):
    """One resolution: conv0 (doubles the size), conv1, and a to-RGB branch added to the skip image.

    The first block (``in_channels`` 0) has a learned constant instead of conv0.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        image_channels: int,
        clamp: float | None = None,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.in_half = in_channels, half
        self.register_buffer("resample_filter", fir_filter())
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=True, clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, clamp=clamp)
        self.torgb = ToRGBLayer(out_channels, image_channels, w_dim, clamp=clamp)

    @property
    def num_convs(self) -> int:
        """Style rows that the block itself consumes; its to-RGB layer reads one more."""
        return 1 if self.in_channels == 0 else 2

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: str, fused: bool) -> tuple:
        """Features and skip image of the previous block, ws [N,num_convs+1,w_dim] → the same at this resolution."""
        dtype = torch.float16 if self.in_half and ws.is_cuda else torch.float32
        rows = iter(ws.unbind(1))
        if x is None:
            x = self.const.to(dtype).expand(len(ws), -1, -1, -1)
        else:
            x = self.conv0(x.to(dtype), next(rows), noise, fused)
        x = self.conv1(x, next(rows), noise, fused)
        if image is not None:
            image = upsample2d(image, self.resample_filter)
        rgb = self.torgb(x, next(rows), fused).float()
        return x, rgb if image is None else image + rgb


class SynthesisNetwork(nn.Module):
    """ws [N,num_ws,w_dim] → [N,image_channels,resolution,resolution] through blocks b4, b8, …"""

    def __init__(
        self,
        w_dim: int,
        resolution: int,
        image_channels: int,
        channel_base: int,
        channel_max: int,
        clamp: float | None = None,
        half_blocks: int = 0,
    ) -> None:
        super().__init__()
        self.resolutions = [2**i for i in range(2, resolution.bit_length())]
        first_half = max(2 * resolution // 2**half_blocks, 8)
        channels = 0
        for r in self.resolutions:
            width = min(channel_base // r, channel_max)
            block = SynthesisBlock(channels, width, w_dim, r, image_channels, clamp, half=r >= first_half)
            setattr(self, f"b{r}", block)
            channels = width
        self.num_ws = 2 * len(self.resolutions)

    def forward(self, ws: Tensor, noise: str = "const", resolution: int | None = None) -> Tensor:
        """``resolution`` stops at a lower block: the skip image there is a coarse version of the result."""
        x: Tensor | None = None
        image: Tensor | None = None
        row = 0
        for r in self.resolutions:
            block = getattr(self, f"b{r}")
            rows = ws[:, row : row + block.num_convs + 1]
            # Training scales activations: samples share one convolution, and its gradient is cheaper.
            x, image = block(x, image, rows, noise, fused=not self.training)
            row += block.num_convs
            if r == resolution:
                break
        assert image is not None  # there is a block of 4×4 always
        return image
