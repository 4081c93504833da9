"""A `ColourMap` fitted by Gauss-Newton, in closed form, so that decoded features become others; density stays."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..generator import PanoHead
from ..rendering.fast.field import Decoder
from .linear_map import ColourMap

# How much it counts that density stays, beside the colours, and that the map is small.
_KEEP_DENSITY = 2.0
_RIDGE = 1e-3
# From dark to blond hair the first takes away three quarters of the error, two 94 %, four no more.
_STEPS = 2


class Linearised(NamedTuple):
    """What the decoder should answer at S points of one head.

    Attributes:
        features: [S,C], what it reads now.
        slopes: [S,1+C,C], derivatives of its answers (density, then colours) by what it reads.
        wrong: [S,1+C], what is missing to the right answers.
        weight: [S,1+C], how much each counts.
    """

    features: Tensor
    slopes: Tensor
    wrong: Tensor
    weight: Tensor


def fit_decoded(generator: PanoHead, features: Tensor, colours: Tensor, keep: Tensor) -> ColourMap:
    """The map of one head after which the decoder answers ``colours`` [M,C] where it reads ``features`` [M,C].

    Args:
        keep: [K,C], what it reads where density must stay too.
    """
    c = features.shape[1]
    total = ColourMap(features.new_zeros(1, c, c), features.new_zeros(1, c))
    for _ in range(_STEPS):
        now = total.at(features[None])[0]
        total = total.then(solve(linearise(generator, now, colours, total.at(keep[None])[0])))
    return total


def linearise(generator: PanoHead, features: Tensor, colours: Tensor, keep: Tensor) -> Linearised:
    """These colours [M,C] for these features [M,C], and unchanged density for them and for ``keep`` [K,C]."""
    x = torch.cat([features, keep])
    decoder = Decoder.of(generator.decoder.net)
    before = torch.addmm(decoder.first_bias, x, decoder.first)
    last = torch.cat([decoder.density[:, None], decoder.colour], dim=1)
    slopes = torch.einsum("sh,ih,ho->soi", before.sigmoid(), decoder.first, last)
    hidden = F.softplus(before)
    sigma = torch.mv(hidden, decoder.density)
    m = len(features)
    now = torch.addmm(decoder.colour_bias, hidden[:m], decoder.colour)
    wrong, weight = torch.zeros(2, len(x), 1 + x.shape[1]).to(x)
    wrong[:m, 1:] = colours - now
    # One of the two may be of one colour.
    weight[:m, 1:] = 1 / (torch.maximum(now.var(0), colours.var(0)).clamp_min(1e-6) * now.numel())
    weight[:, 0] = _KEEP_DENSITY / (sigma.var().clamp_min(1e-6) * len(x))
    return Linearised(x, slopes, wrong, weight)


def solve(problem: Linearised) -> ColourMap:
    """The map that is best for the linearised decoder: a step of Gauss-Newton."""
    x, slopes, wrong, weight = problem
    c = x.shape[1]
    inputs = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    # Normal equations of Σ weight·(slopes·map·inputs - wrong)² for the C·(C+1) numbers of the map.
    outer = torch.einsum("soi,so,soj->sij", slopes, weight, slopes).flatten(1)
    inner = (inputs[:, :, None] * inputs[:, None]).flatten(1)
    normal = (outer.T @ inner).reshape(c, c, c + 1, c + 1).transpose(1, 2).reshape(c * (c + 1), -1)
    # Features that are the same everywhere must not make it singular: the second part is more than rounding.
    ridge = _RIDGE * inputs.square().mean(0).repeat(c) + 1e-6 * normal.diagonal().max()
    normal.diagonal().add_(ridge)
    right = torch.einsum("soi,so,sj->ij", slopes, weight * wrong, inputs).flatten()
    # In float64, which MPS has not.
    device = torch.device("cpu") if x.device.type == "mps" else x.device
    factor = torch.linalg.cholesky(normal.to(device, torch.float64))
    found = torch.cholesky_solve(right.to(device, torch.float64)[:, None], factor).to(x).reshape(1, c, c + 1)
    return ColourMap(found[..., :-1], found[..., -1])
