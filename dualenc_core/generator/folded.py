"""Super-resolution with the style folded into its weights.

The styles of a head do not change while a camera moves, so modulation and demodulation are done once, and what remains
are plain convolutions, in the memory layout and type that the device likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import LEAK, SQRT2, SynthesisLayer, ToRGBLayer, upsample2d
from .superresolution import SuperResolution, resize
from .synthesis import SynthesisBlock


@dataclass(frozen=True)
class FoldedConvolution:
    """3×3 convolution, bias (with noise), leaky ReLU. ``up`` doubles the size and low-passes."""

    weight: Tensor
    bias: Tensor
    fir: Tensor | None
    clamp: float | None

    @classmethod
    def of(cls, layer: SynthesisLayer, w: Tensor, noise: str, dtype: torch.dtype) -> FoldedConvolution:
        """From a layer and its style vector [w_dim]."""
        styles = layer.affine(w[None])[0]
        weight = layer.weight * styles[None, :, None, None]
        weight = weight * (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        # Leaky ReLU commutes with positive factors, so its gain of √2 goes into weight and bias.
        bias = layer.bias.view(1, -1, 1, 1) * SQRT2
        if noise == "const" and bool(layer.noise_strength):
            bias = bias + layer.noise_const * layer.noise_strength * SQRT2
        fir = None
        if layer.up:
            weight = weight.transpose(0, 1)
            taps = layer.resample_filter * (4 * SQRT2)
            fir = taps.expand(layer.weight.shape[0], 1, 4, 4).to(dtype).contiguous()
        else:
            weight = weight * SQRT2
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return cls(weight, bias.to(dtype), fir, None if layer.clamp is None else layer.clamp)

    def __call__(self, x: Tensor) -> Tensor:
        if self.fir is None:
            x = F.conv2d(x, self.weight, padding=1)
        else:
            x = F.conv_transpose2d(x, self.weight, stride=2)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1)), self.fir, groups=x.shape[1])
        x = F.leaky_relu(x + self.bias, LEAK)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


@dataclass(frozen=True)
class FoldedBlock:
    """Two convolutions and the to-RGB branch of one resolution."""

    conv0: FoldedConvolution
    conv1: FoldedConvolution
    rgb_weight: Tensor
    rgb_bias: Tensor
    rgb_clamp: float | None
    fir: Tensor

    @classmethod
    def of(cls, block: SynthesisBlock, w: Tensor, noise: str, dtype: torch.dtype) -> FoldedBlock:
        rgb: ToRGBLayer = block.torgb
        styles = rgb.affine(w[None])[0] * rgb.style_gain
        return cls(
            FoldedConvolution.of(block.conv0, w, noise, dtype),
            FoldedConvolution.of(block.conv1, w, noise, dtype),
            (rgb.weight * styles[None, :, None, None]).to(dtype),
            rgb.bias.to(dtype),
            rgb.clamp,
            block.resample_filter,
        )

    def __call__(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(self.conv0(x))
        rgb = F.conv2d(x, self.rgb_weight, self.rgb_bias).float()
        if self.rgb_clamp is not None:
            rgb = rgb.clamp(-self.rgb_clamp, self.rgb_clamp)
        return x, upsample2d(image, self.fir) + rgb


@dataclass(frozen=True)
class FoldedSuperResolution:
    """`SuperResolution` for one head."""

    blocks: tuple[FoldedBlock, FoldedBlock]
    input_resolution: int
    antialias: bool
    dtype: torch.dtype

    @classmethod
    @torch.no_grad()
    def of(cls, network: SuperResolution, w: Tensor, dtype: torch.dtype = torch.float32) -> FoldedSuperResolution:
        """From the network and the last row of ws [w_dim]."""
        noise = network.config.noise
        blocks = tuple(FoldedBlock.of(block, w, noise, dtype) for block in (network.block0, network.block1))
        return cls(blocks, network.config.input_resolution, network.config.antialias, dtype)

    def __call__(self, raw: Tensor, features: Tensor) -> Tensor:
        """raw [N,3,r,r], features [N,C,r,r] → [N,3,4s,4s], as `SuperResolution.forward` with this head's ws."""
        raw, features = (resize(t, self.input_resolution, self.antialias) for t in (raw, features))
        x, image = features.to(self.dtype, memory_format=torch.channels_last), raw
        for block in self.blocks:
            x, image = block(x, image)
        return image
