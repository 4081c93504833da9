"""Super-resolution with the style folded into its weights, drawn only where the picture changes (rendering.md §4).

The styles of a head do not change while a camera moves, so modulation and demodulation are done once, and what remains
are plain convolutions, in the memory layout and type that the device likes. Where no ray meets the head, the network's
input is the background, which does not change either: those pixels are taken from a picture of the background alone.

On CPUs the rest is done in bands of rows, so that activations stay small: fresh memory costs as much as a convolution.
Accelerators draw whole pictures, several at once, and double the size by one convolution instead of two: to insert
zeros and low-pass channel by channel is mostly waiting for memory there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices import full_float32, layout
from .layers import LEAK, SQRT2, SynthesisLayer, ToRGBLayer, upsample2d
from .superresolution import REACH, SuperResolution, continued, resize, within
from .synthesis import SynthesisBlock

# `REACH` for what each layer must deliver to the ones after it, in pixels of its output: conv0, conv1 of both blocks.
_HALO = ((3, 2), (1, 0))
_BAND = 16


@dataclass(frozen=True)
class Window:
    """Rows and columns of a picture, half open."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, rows: int, columns: int, size: int) -> Window:
        """Larger to all sides, within a picture of ``size``."""
        return Window(
            max(self.top - rows, 0),
            min(self.bottom + rows, size),
            max(self.left - columns, 0),
            min(self.right + columns, size),
        )

    def scaled(self, factor: int) -> Window:
        """The same part of a picture that is ``factor`` times as large."""
        return Window(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)

    def of(self, x: Tensor, inside: Window | None = None) -> Tensor:
        """This part of pictures [N,C,h,w]; ``inside`` is the window that x itself shows (None: all)."""
        top, left = (0, 0) if inside is None else (inside.top, inside.left)
        return x[:, :, self.top - top : self.bottom - top, self.left - left : self.right - left]


@dataclass(frozen=True)
class FoldedConvolution:
    """3×3 convolution, bias (with noise), leaky ReLU. ``up`` doubles the size and low-passes.

    Attributes:
        fir: the low-pass after a transposed convolution; None where there is none, or it is in the weight.
        phases: the output's four pixels for one of the input are channels of the convolution.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None
    fir: Tensor | None
    clamp: float | None
    phases: bool = False

    @classmethod
    def of(cls, layer: SynthesisLayer, w: Tensor, noise: str, dtype: torch.dtype) -> FoldedConvolution:
        """From a layer and its style vector [w_dim]."""
        styles = layer.affine(w[None])[0]
        weight = layer.weight * styles[None, :, None, None]
        weight = weight * (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        # Leaky ReLU commutes with positive factors, so its gain of √2 goes into weight and bias.
        added = None
        if noise == "const" and bool(layer.noise_strength):
            added = (layer.noise_const * layer.noise_strength * SQRT2).to(dtype)[None, None]
        bias, phases = layer.bias * SQRT2, False
        fir: Tensor | None = None
        if layer.up:
            taps = layer.resample_filter * (4 * SQRT2)
            if phases := doubles_at_once(w.device, dtype):
                weight, bias = doubling(weight, taps), bias.repeat(4)
            else:
                weight = weight.transpose(0, 1)
                fir = taps.expand(layer.weight.shape[0], 1, 4, 4).to(dtype).contiguous()
        else:
            weight = weight * SQRT2
        weight = weight.to(dtype).contiguous(memory_format=layout(w.device, dtype))
        return cls(weight, bias.to(dtype), added, fir, layer.clamp, phases)

    def __call__(self, x: Tensor, shown: Window) -> Tensor:
        """``shown`` is the part of the whole output that is computed, for the noise."""
        if self.fir is None:
            x = F.conv2d(x, self.weight, self.bias, padding=1)
            x = _interleaved(x) if self.phases else x
        else:
            x = F.conv_transpose2d(x, self.weight, stride=2)
            x = F.conv2d(x, self.fir, self.bias, padding=1, groups=x.shape[1])
        if self.noise is not None:
            x += shown.of(self.noise)
        F.leaky_relu_(x, LEAK)
        return x if self.clamp is None else x.clamp_(-self.clamp, self.clamp)


def doubles_at_once(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether one convolution, four times the work, is faster than a transposed one and a low-pass."""
    return device.type != "cpu"


def doubling(weight: Tensor, taps: Tensor) -> Tensor:
    """Transposed convolution of stride 2 with ``weight`` [O,I,3,3], then the symmetric filter ``taps`` [4,4], as one
    convolution [4·O,I,3,3] with a border of 1: its channels are the output's pixels (0,0), (0,1), (1,0), (1,1)."""
    outputs, inputs = weight.shape[:2]
    wide = F.conv2d(weight.reshape(-1, 1, 3, 3), taps[None, None].flip((2, 3)), padding=3)
    # Output 2p+φ reads input p+j with tap 2+φ-2j of the six, j from -1 to 1.
    places = torch.tensor([[4, 2, 0], [5, 3, 1]], device=weight.device)
    parts = wide[:, 0][:, places[:, :, None, None], places]
    return parts.permute(1, 3, 0, 2, 4).reshape(4 * outputs, inputs, 3, 3)


def _interleaved(x: Tensor) -> Tensor:
    """[N,4·O,h,w] of `doubling` → [N,O,2h,2w] in the same layout."""
    n, _, height, width = x.shape
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    x = x.unflatten(1, (2, 2, -1))
    if last:
        return x.permute(0, 4, 1, 5, 2, 3).reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, 2 * height, 2 * width)


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
        weight, bias = rgb.weight * styles[None, :, None, None], rgb.bias.detach()
        if w.device.type != "cpu":
            # Matrix units want channels by eights.
            weight, bias = F.pad(weight, (0,) * 7 + (-len(bias) % 8,)), F.pad(bias, (0, -len(bias) % 8))
        return cls(
            FoldedConvolution.of(block.conv0, w, noise, dtype),
            FoldedConvolution.of(block.conv1, w, noise, dtype),
            weight.to(dtype),
            bias.to(dtype),
            rgb.clamp,
            block.resample_filter,
        )

    def __call__(self, x: Tensor, image: Tensor, shown: Window, wanted: tuple[Window, Window]) -> tuple[Tensor, Tensor]:
        """Features and image of the window ``shown`` of this block's input → those of the last of ``wanted``.

        Args:
            wanted: what conv0 and conv1 deliver, windows of this block's output. Beyond them lie pixels that the cut
                edges of the window have spoilt.
        """
        doubled, (first, last) = shown.scaled(2), wanted
        # Whole rows are one piece of memory; columns are cut once, at the end.
        rows = Window(first.top, first.bottom, doubled.left, doubled.right)
        x = rows.of(self.conv0(x, doubled), doubled)
        x = last.of(self.conv1(x, rows), rows)
        rgb = F.conv2d(x, self.rgb_weight, self.rgb_bias)[:, : image.shape[1]].float()
        if self.rgb_clamp is not None:
            rgb = rgb.clamp(-self.rgb_clamp, self.rgb_clamp)
        return x, last.of(upsample2d(image, self.fir), doubled) + rgb


@dataclass(frozen=True)
class BackgroundCache:
    """What a head is drawn over: the network's input [1,C,s,s] and output [1,3,4s,4s] for the background alone.

    ``whole`` is the output with what lies beyond the border, where the network sees that.
    """

    features: Tensor
    whole: Tensor
    continues: bool

    @property
    def image(self) -> Tensor:
        """The picture itself."""
        return within(self.whole) if self.continues else self.whole


@dataclass(frozen=True)
class FoldedSuperResolution:
    """`SuperResolution` for one head; ``continues`` as in `SuperResolutionConfig`."""

    blocks: tuple[FoldedBlock, FoldedBlock]
    input_resolution: int
    antialias: bool
    dtype: torch.dtype
    continues: bool = False

    @classmethod
    @torch.no_grad()
    def of(
        cls, network: SuperResolution, w: Tensor, dtype: torch.dtype = torch.float32, continues: bool = False
    ) -> FoldedSuperResolution:
        """From the network and the last row of ws [w_dim]: its `picture` if ``continues``, else its `forward`."""
        noise = network.config.noise
        with full_float32():
            first, second = (FoldedBlock.of(block, w, noise, dtype) for block in (network.block0, network.block1))
        config = network.config
        return cls((first, second), config.input_resolution, config.antialias, dtype, continues)

    def __call__(self, raw: Tensor, features: Tensor, cache: BackgroundCache | None = None) -> Tensor:
        """raw [N,3,r,r], features [N,C,r,r] → [N,3,4s,4s], as the `SuperResolution` with this head's ws.

        Args:
            cache: its pixels are used wherever the features are exactly the background's (on CPUs). raw must be a
                function of the features.
        """
        raw, features = self.resized(raw), self.resized(features)
        whole = self._whole(raw, features, cache)
        return within(whole) if self.continues else whole

    def cache(self, raw: Tensor, features: Tensor) -> BackgroundCache:
        """Of a background's raw image and features, as in a call."""
        raw, features = self.resized(raw), self.resized(features)
        return BackgroundCache(features, self._whole(raw, features, None), self.continues)

    def _whole(self, raw: Tensor, features: Tensor, cache: BackgroundCache | None) -> Tensor:
        if raw.device.type != "cpu":
            # Large pieces keep an accelerator busy, and to ask it what has changed would make it wait.
            x = features.to(self.dtype, memory_format=layout(raw.device, self.dtype))
            return self._part(raw, x, Window(0, raw.shape[-1], 0, raw.shape[-1]))
        return torch.cat([self._draw(*one, cache) for one in zip(raw.split(1), features.split(1), strict=True)])

    def resized(self, x: Tensor) -> Tensor:
        """Pictures at the network's input size, continued beyond their border where the network needs it."""
        # Bilinear kernels of different memory layouts round differently, and equal pixels must stay equal.
        x = resize(x.contiguous(), self.input_resolution, self.antialias)
        return continued(x) if self.continues else x

    def _draw(self, raw: Tensor, features: Tensor, cache: BackgroundCache | None) -> Tensor:
        size = raw.shape[-1]
        image = raw.new_empty(1, 3, 4 * size, 4 * size) if cache is None else cache.whole.clone()
        x = features.to(self.dtype, memory_format=torch.channels_last)
        for window in _windows(features, cache):
            window.scaled(4).of(image).copy_(self._part(raw, x, window))
        return image

    def _part(self, image: Tensor, x: Tensor, window: Window) -> Tensor:
        """The output [1,3,h,w] that belongs to a window of the input."""
        size = x.shape[-1]
        shown = window.grown(REACH, REACH, size)
        x, image = shown.of(x), shown.of(image)
        for scale, block, halos in zip((2, 4), self.blocks, _HALO, strict=True):
            first, second = (window.scaled(scale).grown(halo, halo, scale * size) for halo in halos)
            x, image = block(x, image, shown, (first, second))
            shown = second
        return image


def _windows(features: Tensor, cache: BackgroundCache | None) -> Iterator[Window]:
    """Windows of the input [1,C,s,s] that together hold every pixel whose output differs from the background's."""
    size = features.shape[-1]
    if cache is None:
        columns = torch.ones(size, size, dtype=torch.bool)
    else:
        changed = (features != cache.features).any(1, keepdim=True).float()
        columns = F.max_pool2d(changed, 2 * REACH + 1, 1, REACH)[0, 0] > 0
    for top in range(0, size, _BAND):
        bottom = min(top + _BAND, size)
        used = columns[top:bottom].any(0).nonzero()[:, 0].tolist()
        if used:
            yield Window(top, bottom, used[0], used[-1] + 1)
