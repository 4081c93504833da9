"""The discriminator on occluded tri-grid cells (paper Table 6, encoders.md §5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import repeat
from torch import Tensor, nn

from ...errors import DualEncError


class TriplaneDiscriminator(nn.Sequential):
    """Masked planes [N,C,H,W] (or [N,3,C/3,H,W]) → logits [N,1].

    Five 3×3 convolutions without bias, then the mean over all positions; no sigmoid.

    Args:
        in_channels: channels of all three planes together (288 for PanoHead; 3 for the ablation on images).
        widths: channels of the first four convolutions.
        stride: of the three middle convolutions: 1 as in the paper's table, 2 is the light variant.
    """

    def __init__(self, in_channels: int = 288, widths: Sequence[int] = (64, 128, 256, 512), stride: int = 1):
        if stride not in (1, 2):
            raise DualEncError(f"discriminator stride is {stride}, expected 1 (the paper) or 2 (light)")
        if len(widths) != 4 or min(widths) < 1 or in_channels < 1:
            raise DualEncError(f"discriminator widths are {tuple(widths)}, expected four positive numbers")
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False), nn.LeakyReLU(0.2)]
        for previous, width in zip(widths[:-1], widths[1:], strict=True):
            layers += [
                nn.Conv2d(previous, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 3, 1, 0, bias=False))
        super().__init__(*layers)
        self.in_channels = in_channels

    def forward(self, planes: Tensor) -> Tensor:
        if planes.ndim == 5:
            planes = planes.flatten(1, 2)
        if planes.ndim != 4 or planes.shape[1] != self.in_channels:
            raise DualEncError(
                f"discriminator input has shape {tuple(planes.shape)}, expected {self.in_channels} channels in "
                "[N,C,H,W] or [N,3,C/3,H,W]"
            )
        return super().forward(planes).mean((2, 3))


def masked_planes(planes: Tensor, mask: Tensor) -> Tensor:
    """Planes [N,3,C·D,H,W] times a tri-grid mask [N,3,D,H,W]; the features of a cell share one value (paper Eq. 8)."""
    n, three, channels, height, width = planes.shape
    depth = mask.shape[2]
    if mask.shape != (n, three, depth, height, width) or channels % depth:
        raise DualEncError(
            f"mask has shape {tuple(mask.shape)}, expected [{n},3,D,{height},{width}] with D dividing {channels}"
        )
    return planes * repeat(mask, "n p d h w -> n p (c d) h w", c=channels // depth)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of d(sum of logits)/d(real); differentiable in the weights.

    Scale it by γ/2 · interval when it runs every ``interval`` iterations (10/2 · 16 = 80 in the paper).
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
