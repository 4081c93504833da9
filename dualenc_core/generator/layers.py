"""StyleGAN2 layers: fully connected, FIR resampling, modulated convolution (panohead.md §2.1-2.8)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = math.sqrt(2)
LEAK = 0.2


class FullyConnectedLayer(nn.Module):
    """Equalised linear layer: weights ~ N(0,1)/λ, scaled by λ/√in at run time (§2.1)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ("linear", "lrelu"):
            raise ValueError(f"activation is {activation!r}, expected linear or lrelu")
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight.to(x.dtype) * self.weight_gain, self.bias.to(x.dtype) * self.bias_gain)
        return F.leaky_relu(y, LEAK) * SQRT2 if self.activation == "lrelu" else y


def bias_act(
    x: Tensor, bias: Tensor | None, activation: str, gain: float | None = None, clamp: float | None = None
) -> Tensor:
    """clamp(act(x + bias)·gain, ±clamp); ``bias`` per channel of dimension 1, ``gain`` None = √2 for lrelu (§2.2)."""
    if bias is not None:
        x = x + bias.to(x.dtype).view(1, -1, *([1] * (x.ndim - 2)))
    if activation == "lrelu":
        x = F.leaky_relu(x, LEAK)
    gain = (SQRT2 if activation == "lrelu" else 1.0) if gain is None else gain
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def fir_filter() -> Tensor:
    """The [1,3,3,1] low-pass as a 4×4 kernel that sums to 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def upfirdn2d(
    x: Tensor,
    kernel: Tensor,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    padding: tuple[int, int, int, int] | tuple[int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Tensor:
    """Insert zeros, pad (or crop), convolve with ``kernel``·gain, keep every ``down``-th sample (§2.5).

    Args:
        x: [N,C,H,W].
        kernel: [h,w]; convolved, or correlated with ``flip``.
        up, down: a factor, or (x, y) factors.
        padding: (x0, x1, y0, y1), or (x, y) for both ends; negative crops.
    """
    upx, upy = (up, up) if isinstance(up, int) else up
    downx, downy = (down, down) if isinstance(down, int) else down
    if len(padding) == 2:
        padding = (padding[0], padding[0], padding[1], padding[1])
    n, c, h, w = x.shape
    if upx > 1 or upy > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, upx - 1, 0, 0, 0, upy - 1)).reshape(n, c, h * upy, w * upx)
    x = F.pad(x, padding)
    kernel = (kernel if flip else kernel.flip((0, 1))) * gain
    kernel = kernel.to(x.dtype).expand(c, 1, *kernel.shape)
    return F.conv2d(x, kernel, stride=(downy, downx), groups=c)


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the size, low-passed."""
    return upfirdn2d(x, kernel, up=2, padding=(2, 1, 2, 1), gain=4)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: bool = False,
    kernel: Tensor | None = None,
    demodulate: bool = True,
    fused: bool = True,
) -> Tensor:
    """Convolution whose weights are scaled per sample by ``styles`` (§2.6).

    Args:
        x: [N,I,H,W].
        weight: [O,I,k,k], k odd.
        styles: [N,I].
        noise: broadcastable to the output, added after demodulation.
        up: double the size by a transposed convolution and the FIR ``kernel``.
        demodulate: give every output filter unit norm.
        fused: scale the weights and convolve in groups; otherwise scale the activations. Equal up to rounding.
    """
    n, out_channels, in_channels, size = x.shape[0], *weight.shape[:3]
    if x.dtype == torch.float16 and demodulate:
        # Keeps float16 sums in range; demodulation cancels both factors.
        peak = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
        weight = weight / (math.sqrt(in_channels * size * size) * peak)
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    if demodulate:
        # The norm of every filter after scaling its inputs, without building the N·O scaled filters.
        scale = (styles.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()
    if fused:
        modulated = weight[None] * styles[:, None, :, None, None]
        if demodulate:
            modulated = modulated * scale[:, :, None, None, None]
        kernels = modulated.to(x.dtype).reshape(n * out_channels, in_channels, size, size)
        y = _convolve(x.reshape(1, n * in_channels, *x.shape[2:]), kernels, up, kernel, groups=n)
        y = y.reshape(n, out_channels, *y.shape[2:])
    else:
        y = _convolve(x * styles.to(x.dtype)[:, :, None, None], weight.to(x.dtype), up, kernel, groups=1)
        if demodulate:
            y = y * scale.to(x.dtype)[:, :, None, None]
    return y if noise is None else y + noise.to(y.dtype)


def _convolve(x: Tensor, weight: Tensor, up: bool, kernel: Tensor | None, groups: int) -> Tensor:
    size = weight.shape[-1]
    if not up:
        return F.conv2d(x, weight, padding=size // 2, groups=groups)
    if size != 3:
        raise ValueError(f"an up-sampling convolution has a {size}×{size} kernel, expected 3×3")
    out_channels, in_channels = weight.shape[0] // groups, weight.shape[1]
    # conv_transpose2d wants [groups·I, O, k, k]; the stored kernel is used as it is, i.e. as a true convolution.
    weight = weight.reshape(groups, out_channels, in_channels, size, size).transpose(1, 2)
    weight = weight.reshape(groups * in_channels, out_channels, size, size)
    y = F.conv_transpose2d(x, weight, stride=2, groups=groups)
    if kernel is None:
        raise ValueError("an up-sampling convolution has no FIR kernel; give one, as fir_filter()")
    return upfirdn2d(y, kernel, padding=(1, 1, 1, 1), gain=4)


class SynthesisLayer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU (§2.7)."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.clamp = resolution, up, clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", fir_filter())
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: str = "const", fused: bool = True) -> Tensor:
        styles = self.affine(w)
        added = None
        if noise == "const":
            added = self.noise_const * self.noise_strength
        elif noise == "random":
            added = torch.randn(len(x), 1, self.resolution, self.resolution, device=x.device) * self.noise_strength
        elif noise != "none":
            raise ValueError(f"noise is {noise!r}, expected 'const', 'random' or 'none'")
        x = modulated_conv2d(x, self.weight, styles, added, self.up, self.resample_filter, fused=fused)
        return bias_act(x, self.bias, "lrelu", clamp=self.clamp)


class ToRGBLayer(nn.Module):
    """Modulated 1×1 convolution without demodulation (§2.8)."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor, fused: bool = True) -> Tensor:
        styles = self.affine(w) * self.style_gain
        x = modulated_conv2d(x, self.weight, styles, demodulate=False, fused=fused)
        return bias_act(x, self.bias, "linear", clamp=self.clamp)
