"""The trunk for inference: batch norms that follow a convolution are folded into it, and channels lie in memory
as the device likes.

Made from a `Trunk` in eval mode when it is first used without gradients, and again after its weights have changed.
Training, state dicts and files do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..devices import layout
from .bottleneck import Bottleneck


@dataclass(frozen=True)
class Convolution:
    """Convolution and the batch norm after it."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int

    @classmethod
    def of(cls, conv: nn.Module, norm: nn.Module) -> Convolution:
        """From an ``nn.Conv2d`` and an ``nn.BatchNorm2d``."""
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None and not isinstance(conv.padding, str)
        fused, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        weight = fused.detach().contiguous(memory_format=layout(fused.device, fused.dtype))
        return cls(weight, bias.detach(), conv.stride[0], conv.padding[0])

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


@dataclass(frozen=True)
class FoldedBottleneck:
    """`Bottleneck` with two of its norms folded; the first comes before a padded convolution and stays.

    Attributes:
        start: norm, convolution and activation.
        last: the second convolution.
        gate: squeeze-excite, if there is one.
        shortcut: a convolution, or a layer that subsamples.
    """

    start: nn.Module
    last: Convolution
    gate: nn.Module | None
    shortcut: Convolution | nn.Module

    @classmethod
    def of(cls, block: nn.Module) -> FoldedBottleneck:
        """From a `Bottleneck` in eval mode, whose other layers are shared."""
        assert isinstance(block, Bottleneck)
        layers = block.res_layer
        shortcut: Convolution | nn.Module = block.shortcut_layer
        gate = layers[5] if len(layers) > 5 else None
        if isinstance(shortcut, nn.Sequential):
            shortcut = Convolution.of(*shortcut)
        return cls(layers[:3], Convolution.of(layers[3], layers[4]), gate, shortcut)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.last(self.start(x))
        if self.gate is not None:
            y = self.gate(y)
        return y + self.shortcut(x)


@dataclass(frozen=True)
class FoldedTrunk:
    """`Trunk.taps` without gradients.

    Attributes:
        signature: of the tensors it was made from.
    """

    stem: Convolution
    activation: nn.Module
    blocks: tuple[FoldedBottleneck, ...]
    signature: tuple

    @classmethod
    @torch.no_grad()
    def of(cls, stem: nn.Sequential, body: nn.Sequential, known: FoldedTrunk | None = None) -> FoldedTrunk:
        """Of a trunk's two parts in eval mode; ``known`` itself if it was made from the same weights."""
        signature = tuple(_identity(tensor) for part in (stem, body) for tensor in _tensors(part))
        if known is not None and known.signature == signature:
            return known
        conv, norm, activation = stem
        blocks = tuple(FoldedBottleneck.of(block) for block in body)
        return cls(Convolution.of(conv, norm), activation, blocks, signature)

    def taps(self, x: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """As `Trunk.taps`, whose checks have been made."""
        x = self.activation(self.stem(x.contiguous(memory_format=layout(x.device, x.dtype))))
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in wanted:
                outputs.append(x)
        return outputs


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _identity(tensor: Tensor) -> tuple:
    # Inference tensors do not count their versions; nobody changes them.
    return id(tensor), tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
