"""A `ColourMap` fitted in closed form (damped Gauss-Newton): a decoder gives the wished answers, and density stays."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..generator import PanoHead
from ..rendering.fast.field import Decoder
from ..rendering.trigrid import lookup
from ..triplane import Triplane
from .linear_map import ColourMap

# World units around a surface point where density must stay too.
NEAR = 0.03
# How much it counts that density stays, beside the colours, and that the map is small.
_KEEP_DENSITY = 2.0
_RIDGE = 1e-3
# A step that makes it worse, as the whole one may where much is to change, is tried again with more of this.
_DAMPING = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0)


class Reading(NamedTuple):
    """What the decoder reads at S points of one head in each of L tri-grids: its own, and its overlays'.

    Attributes:
        features: [L,S,C], means over the planes.
        whole: [S,1], the share of a lookup inside the box: an offset fades at its sides as features do.
        share: [L,S,1], of each tri-grid in what is decoded.
    """

    features: Tensor
    whole: Tensor
    share: Tensor

    @classmethod
    def of(cls, generator: PanoHead, head: Triplane, points: Tensor) -> Reading:
        """At world points [S,3] of one head."""
        box = generator.config.render.box_warp

        def read(planes: Tensor) -> Tensor:
            return lookup(planes, points[None], head.depth, box).mean(1)[0]

        shares, left = [], torch.ones_like(points[:, :1])
        for overlay in reversed(head.overlays):
            above = overlay.weight(points[None])[0]
            shares.append(left * above)
            left = left * (1 - above)
        return cls(
            torch.stack([read(head.planes), *(read(overlay.planes) for overlay in head.overlays)]),
            read(torch.ones_like(head.planes[:, :, : head.depth])),
            torch.stack([left, *reversed(shares)]),
        )

    def then(self, other: Reading) -> Reading:
        """The points of both."""
        features, share = (torch.cat(pair, dim=1) for pair in ((self[0], other[0]), (self[2], other[2])))
        return Reading(features, torch.cat([self.whole, other.whole]), share)

    def changed(self, by: ColourMap) -> Reading:
        """After a map [1,C,C] of the head."""
        return self._replace(features=self.features + self.features @ by.matrix[0].T + self.whole * by.offset[0])


class Linearised(NamedTuple):
    """What is missing at S points, and what changes it.

    Attributes:
        inputs: [L,S,C+1], what the map multiplies.
        slopes: [L,S,1+K,C], derivatives of the answers (density, then K others) by what is read in each tri-grid.
        wrong: [S,1+K], what is missing to the right answers.
        weight: [S,1+K], how much each counts.
    """

    inputs: Tensor
    slopes: Tensor
    wrong: Tensor
    weight: Tensor

    @property
    def loss(self) -> float:
        """What is missing in all."""
        return float((self.weight * self.wrong.square()).sum())


def near(points: Tensor) -> Tensor:
    """Points [M,3] each moved by up to `NEAR` along every axis, always in the same way."""
    noise = torch.rand(points.shape, generator=torch.Generator().manual_seed(0)).to(points) * 2 - 1
    return points + NEAR * noise


@torch.no_grad()
def fit(
    generator: PanoHead,
    rows: Tensor,
    reading: Reading,
    wanted: Tensor,
    keep: Reading,
    weight: Tensor | None = None,
    steps: int = 2,
) -> ColourMap:
    """The map of one head after which ``rows`` [K,C] of decoded colours answer ``wanted`` [M,K].

    Args:
        reading: at M points.
        keep: where density must stay too.
        weight: [M,K]; None = all alike, in units of their variance.
        steps: of Gauss-Newton. From dark to blond hair the first takes away three quarters of the error, two 94 %, four
            no more.
    """
    every, c = reading.then(keep), rows.shape[1]
    total = ColourMap(rows.new_zeros(1, c, c), rows.new_zeros(1, c))
    now = _linearise(generator, rows, every, every, wanted, weight)
    for _ in range(steps):
        for damping in _DAMPING:
            trial = total.then(_solve(now, damping))
            after = _linearise(generator, rows, every, every.changed(trial), wanted, weight)
            if after.loss < now.loss:
                total, now = trial, after
                break
        else:
            break
    return total


def _linearise(
    generator: PanoHead,
    rows: Tensor,
    first: Reading,
    now: Reading,
    wanted: Tensor,
    weight: Tensor | None,
) -> Linearised:
    """``wanted`` at the first points, the density of ``first`` at all."""
    decoder, m, k = Decoder.of(generator.decoder.net), len(wanted), len(rows)
    before = now.features @ decoder.first + decoder.first_bias
    gain, hidden = before.sigmoid(), F.softplus(before)
    raw = hidden[:, :m] @ decoder.colour + decoder.colour_bias
    made = (now.share[:, :m] * generator.decoder.activated(raw)).sum(0) @ rows.T
    sigma, own = (
        (now.share[..., 0] * (h @ decoder.density)).sum(0)
        for h in (hidden, F.softplus(first.features @ decoder.first + decoder.first_bias))
    )
    slopes = raw.new_zeros(*before.shape[:2], 1 + k, rows.shape[1])
    slopes[:, :, 0] = torch.einsum("lsh,ih,h->lsi", gain, decoder.first, decoder.density)
    by_raw = torch.einsum("lsh,ih,hc->lsci", gain[:, :m], decoder.first, decoder.colour)
    slopes[:, :m, 1:] = torch.einsum("kc,lsc,lsci->lski", rows, generator.decoder.activated_slope(raw), by_raw)
    wrong, counts = raw.new_zeros(2, len(sigma), 1 + k)
    wrong[:, 0], wrong[:m, 1:] = own - sigma, wanted - made
    counts[:, 0] = _KEEP_DENSITY / (own.var().clamp_min(1e-6) * len(own))
    # One of the two may be of one colour.
    unit = torch.maximum(made.var(0), wanted.var(0)).clamp_min(1e-6)
    counts[:m, 1:] = 1 / (unit * made.numel()) if weight is None else weight
    inputs = torch.cat([now.features, now.whole.expand(len(now.features), -1, -1)], dim=2)
    return Linearised(inputs, slopes * now.share[..., None], wrong, counts)


def _solve(problem: Linearised, damping: float) -> ColourMap:
    """The map that is best for the linearised decoder, or less of it: a step of Gauss-Newton, damped."""
    inputs, slopes, wrong, weight = problem
    c = slopes.shape[-1]
    # Normal equations of Σ weight·(Σ slopes·map·inputs - wrong)² for the C·(C+1) numbers of the map.
    outer = torch.einsum("lsoi,so,msoj->lmsij", slopes, weight, slopes).flatten(0, 2).flatten(1)
    inner = torch.einsum("lsj,msk->lmsjk", inputs, inputs).flatten(0, 2).flatten(1)
    normal = (outer.T @ inner).reshape(c, c, c + 1, c + 1).transpose(1, 2).reshape(c * (c + 1), -1)
    right = torch.einsum("lsoi,so,lsj->ij", slopes, weight * wrong, inputs).flatten()
    # Features that are the same everywhere must not make it singular: the second part is more than rounding.
    ridge = _RIDGE * inputs.square().mean((0, 1)).repeat(c) + 1e-6 * normal.diagonal().max()
    diagonal = normal.diagonal().clone()
    normal.diagonal().add_(ridge + damping * (diagonal + 1e-3 * diagonal.max()))
    # In float64, which MPS has not.
    device = torch.device("cpu") if inputs.device.type == "mps" else inputs.device
    factor = torch.linalg.cholesky(normal.to(device, torch.float64))
    found = torch.cholesky_solve(right.to(device, torch.float64)[:, None], factor).to(inputs).reshape(1, c, c + 1)
    return ColourMap(found[..., :-1], found[..., -1])
