"""Features that colours are made of and densities are not: what may change and leave a head's shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..generator import PanoHead
from ..rendering.fast.field import Decoder

# The density does not read a feature that moves it less than this share of what the one moves it that it reads most.
_UNREAD = 0.01
# Steps of Gauss-Newton towards a colour, and how little they may trust a slope, as a share of the mean one.
_STEPS, _DAMPING = 2, 0.02


def unread_features(generator: PanoHead) -> Tensor:
    """Indices [K] of the features that colours are made of, and densities are not."""
    first, last = generator.decoder.layers
    read = last.weight[0].abs() @ first.weight.abs()
    return (read < _UNREAD * read.max()).nonzero()[:, 0]


@torch.no_grad()
def repainted(generator: PanoHead, features: Tensor, colour: Tensor, share: Tensor) -> Tensor:
    """Features [M,C], means over the planes, whose decoded RGB is nearer to a colour; what densities read stays.

    Args:
        colour: [M,3] in -1..1.
        share: [M], how far to go there, 0..1.
    """
    decoder, unread = Decoder.of(generator.decoder.net), unread_features(generator)
    rows, bias = decoder.colour[:, :3], decoder.colour_bias[:3]
    start = F.softplus(features @ decoder.first + decoder.first_bias) @ rows + bias
    goal, features = torch.lerp(start, colour, share[:, None]), features.clone()
    for _ in range(_STEPS):
        hidden = features @ decoder.first + decoder.first_bias
        lack = goal - (F.softplus(hidden) @ rows + bias)
        slopes = torch.einsum("ch,mh,hk->mck", decoder.first[unread], hidden.sigmoid(), rows)
        stay = _DAMPING * slopes.square().sum((1, 2)).mean() * torch.eye(3).to(slopes)
        steps = slopes @ torch.linalg.solve(slopes.mT @ slopes + stay, lack[..., None])
        features[:, unread] += steps[..., 0]
    return features
