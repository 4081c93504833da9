"""The 512-pixel super-resolution network, 8XDC in the reference (panohead.md §2.13)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .config import SuperResolutionConfig
from .synthesis import SynthesisBlock

# Pixels of the input that an output pixel depends on, to each side: each doubling reads 1, and the 3×3 convolutions at
# twice and four times the size add ½, ½ (the second doubling) and ¼.
REACH = 3
# The reference clamps activations of float16-capable blocks, in float32 too.
_CLAMP = 256.0


class SuperResolution(nn.Module):
    """Rendered features and raw image → an image four times as large as ``config.input_resolution``."""

    def __init__(self, features: int, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config = config
        clamp = _CLAMP if config.half else None
        first, second = config.hidden_widths
        size = config.input_resolution
        self.block0 = SynthesisBlock(features, first, config.w_dim, 2 * size, 3, clamp, config.half)
        self.block1 = SynthesisBlock(first, second, config.w_dim, 4 * size, 3, clamp, config.half)

    def forward(self, raw: Tensor, features: Tensor, ws: Tensor) -> Tensor:
        """raw [N,3,r,r], features [N,C,r,r], ws [N,num_ws,w_dim] (the last row is used) → [N,3,4s,4s], not clamped."""
        size = self.config.input_resolution
        if features.shape[-1] != size:
            raw, features = (resize(t, size, self.config.antialias) for t in (raw, features))
        return self.upscale(raw, features, ws)

    def picture(self, raw: Tensor, features: Tensor, ws: Tensor) -> Tensor:
        """`forward`, with the features continued beyond the border where the network needs it."""
        if not self.config.continues:
            return self(raw, features, ws)
        raw, features = (
            continued(resize(t, self.config.input_resolution, self.config.antialias)) for t in (raw, features)
        )
        return within(self.upscale(raw, features, ws))

    def upscale(self, raw: Tensor, features: Tensor, ws: Tensor) -> Tensor:
        """The two blocks without the resize; works on patches of any size when there is no noise."""
        rows = ws[:, -1:].expand(-1, 3, -1)
        fused = not self.training
        x, image = self.block0(features, raw, rows, self.config.noise, fused)
        return self.block1(x, image, rows, self.config.noise, fused)[1]


def continued(x: Tensor) -> Tensor:
    """Pictures [N,C,s,s] with their border pixels repeated outside, further than the network looks."""
    return F.pad(x, (REACH,) * 4, mode="replicate")


def within(image: Tensor) -> Tensor:
    """The output of the network for `continued` pictures without what is outside."""
    margin = 4 * REACH
    return image[..., margin:-margin, margin:-margin]


def resize(x: Tensor, size: int, antialias: bool = True) -> Tensor:
    """Bilinear [N,C,h,w] → [N,C,size,size] with half-pixel centres."""
    if x.shape[-2:] == (size, size):
        return x
    # MPS has no antialiased kernel; it matters only when the image shrinks.
    shrinks = antialias and size < x.shape[-1]
    if shrinks and x.device.type == "mps":
        return F.interpolate(x.cpu(), (size, size), mode="bilinear", antialias=True).to(x.device)
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=shrinks)
