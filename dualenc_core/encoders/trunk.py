"""The residual trunk "IR-SE-50" that every encoder here shares (encoders.md §1.1, §1.7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, DualEncError
from .bottleneck import Bottleneck
from .config import TrunkConfig
from .folded_trunk import FoldedTrunk


class Trunk(nn.Module):
    """Stem and four groups of bottlenecks; the networks derive from it, because the official keys have no prefix.

    In eval mode without gradients `FoldedTrunk` does the work.
    """

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.trunk_config = config
        stem = config.widths[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(config.in_channels, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        blocks, width = [], stem
        for out, count in zip(config.widths, config.blocks, strict=True):
            for index in range(count):
                blocks.append(Bottleneck(width, out, 2 if index == 0 else 1, config.squeeze_excite))
                width = out
        self.body = nn.Sequential(*blocks)
        self._folded: FoldedTrunk | None = None

    def taps(self, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of the chosen blocks, in ascending order, for an input [N,in_channels,S,S].

        Raises DualEncError when the input is not of the configured size: heads and decoder would silently mix
        pixels or batch entries.
        """
        channels, size = self.trunk_config.in_channels, self.trunk_config.input_size
        if x.ndim != 4 or x.shape[1:] != (channels, size, size):
            raise DualEncError(
                f"encoder input has shape {tuple(x.shape)}, expected [N,{channels},{size},{size}]; resize it first"
            )
        watched = any(block._forward_hooks or block._forward_pre_hooks for block in self.body)
        if not (self.training or torch.is_grad_enabled() or watched):
            self._folded = FoldedTrunk.of(self.input_layer, self.body, self._folded)
            return self._folded.taps(x, blocks)
        x = self.input_layer(x)
        outputs = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in blocks:
                outputs.append(x)
        return outputs

    def load_arcface(self, state: Mapping[str, Tensor], seed: int = 0) -> None:
        """Start from an ArcFace trunk (``model_ir_se50.pth``), as pSp and TriPlaneNet do.

        Input channels beyond RGB get unit-variance noise, which the following batch norm absorbs (§2.6).
        Raises CheckpointError when the file's trunk does not fit.
        """
        own = {k: v for k, v in self.state_dict().items() if k.startswith(("input_layer.", "body."))}
        given = {k: v for k, v in state.items() if k in own}
        stem = "input_layer.0.weight"
        if stem in given and given[stem].shape[1] == 3 and own[stem].shape[1] > 3:
            kernel = torch.randn(own[stem].shape, generator=torch.Generator().manual_seed(seed))
            kernel[:, :3] = given[stem]
            given[stem] = kernel
        wrong = [k for k in own if k not in given or given[k].shape != own[k].shape]
        if wrong:
            raise CheckpointError(
                f"this is not a fitting ArcFace trunk: {len(wrong)} of {len(own)} tensors are missing or of another "
                f"shape, first {wrong[0]}; expected model_ir_se50.pth and the default widths"
            )
        self.load_state_dict(given, strict=False)


class EqualLinear(nn.Module):
    """Linear layer with unit-variance weights, scaled at run time (StyleGAN2)."""

    def __init__(self, in_features: int, out_features: int, lr_mul: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.gain = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.gain, self.bias * self.lr_mul)
