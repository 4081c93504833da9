"""A head prepared for fast queries: texel tables, decoder weights, occupancy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...point_weight import PointWeight
from ...triplane import Triplane
from .gather import read, texel_table, texels
from .grid import GridTable, blocks
from .occupancy import EMPTY_BELOW, Occupancy, density_above

# Where a blending weight is this close to 0 or 1, only one of the two tri-grids is read.
_CERTAIN = 1e-4
# Points whose texels and activations fit a CPU's cache.
_AT_ONCE = 8192
# Cells of a grid at once where memory is the only limit.
_MANY_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Decoder:
    """The decoder's weights with gains folded in: hidden = softplus(x·A + a); density and colour = hidden·B + b."""

    first: Tensor
    first_bias: Tensor
    density: Tensor
    density_bias: Tensor
    colour: Tensor
    colour_bias: Tensor

    @classmethod
    def of(cls, net: torch.nn.Sequential) -> Decoder:
        """From ``OSGDecoder.net``."""
        first: Any = net[0]
        second: Any = net[2]
        a, b = first.weight * first.weight_gain, second.weight * second.weight_gain
        c, d = first.bias * first.bias_gain, second.bias * second.bias_gain
        return cls(a.T.contiguous(), c, b[0].contiguous(), d[0], b[1:].T.contiguous(), d[1:])


@dataclass(frozen=True)
class Layer:
    """One tri-grid of the head; ``weight`` blends it over the ones below (None for the lowest)."""

    table: Tensor
    weight: PointWeight | None


@dataclass(frozen=True)
class FastField:
    """One head (a batch of 1), ready for `render_rays_fast`.

    Attributes:
        layers: tri-grids, lowest first.
        decoder: folded weights.
        size, depth, box_warp: of the tri-grids.
        occupancy: which parts of the box may hold anything.
        limit: the occupancy is only known where |x| and |z| are at most this.
    """

    layers: tuple[Layer, ...]
    decoder: Decoder
    size: int
    depth: int
    box_warp: float
    occupancy: Occupancy
    limit: float = math.inf

    @classmethod
    @torch.no_grad()
    def build(
        cls,
        triplane: Triplane,
        net: torch.nn.Sequential,
        box_warp: float,
        dtype: torch.dtype,
        rough: bool = False,
        limit: float = math.inf,
    ) -> FastField:
        """From a head of batch size 1.

        Args:
            net: ``generator.decoder.net``.
            dtype: of the tables.
            rough: find what is occupied quickly (`Occupancy.find`), for one small picture.
            limit: look where |x| and |z| are at most this.
        """
        layers = [Layer(texel_table(triplane.planes[0], triplane.depth, dtype), None)]
        layers += [Layer(texel_table(o.planes[0], triplane.depth, dtype), o.weight) for o in triplane.overlays]
        device = triplane.planes.device
        anywhere = Occupancy.full(box_warp, device)
        field = cls(tuple(layers), Decoder.of(net), triplane.size, triplane.depth, box_warp, anywhere)
        occupancy = Occupancy.find(field.density_at, box_warp, device, triplane.size, limit, rough, field.above)
        return dataclasses.replace(field, occupancy=occupancy, limit=limit)

    def hidden(self, points: Tensor, out: Tensor | None = None) -> Tensor:
        """Hidden activations [M,64] of the decoder at world points [M,3], layers blended; written to ``out`` if given.

        Blending here equals blending density and colour: both are linear in the hidden activations.
        """
        result = points.new_empty(len(points), self.decoder.first.shape[1]) if out is None else out
        step = _AT_ONCE if points.device.type == "cpu" else max(len(points), 1)
        for part, rows in zip(points.split(step), result.split(step), strict=True):
            self._blend(part, rows)
        return result

    def density(self, hidden: Tensor) -> Tensor:
        """Raw density [M]."""
        return torch.mv(hidden, self.decoder.density) + self.decoder.density_bias

    def density_at(self, points: Tensor) -> Tensor:
        """Raw density [M] at world points [M,3]."""
        return self.density(self.hidden(points))

    def above(self, where: Tensor) -> Tensor:
        """As `density_above` with `density_at`, in less than half of the time.

        Not point by point but block by block (`GridTable`), and with max(x, 0) instead of softplus, which is larger by
        0 to log 2. Nearly all densities are so far from the limit that this tells. The others are looked up, and so are
        those of which one layer says yes and another no.
        """
        grids = [GridTable.of(layer.table, self.size, self.depth, len(where)) for layer in self.layers]
        weights, bias = self.decoder.density, self.decoder.first_bias
        less, more = (math.log(2) * float(part.sum()) for part in (weights.clamp(max=0), weights.clamp(min=0)))
        # As max(x + a, 0) = max(x, -a) + a, the first bias can be added last.
        limit = EMPTY_BELOW - float(self.decoder.density_bias + bias @ weights)
        surely, maybe = torch.zeros_like(where), torch.zeros_like(where)
        # Fresh memory costs as much as the sums.
        hidden = weights.new_empty(0, len(weights))
        for block in blocks(where, _AT_ONCE if where.device.type == "cpu" else _MANY_AT_ONCE):
            asked = where[block]
            places = asked.flatten().nonzero()[:, 0]
            if len(hidden) < len(places):
                hidden = weights.new_empty(len(places), len(weights))
            values = []
            for grid in grids:
                features = grid.block(*block).flatten(0, 2)
                features = features[places] if len(places) < len(features) else features
                some = torch.mm(features, self.decoder.first, out=hidden[: len(places)])
                values.append(torch.mv(torch.maximum(some, -bias, out=some), weights))
            least, most = torch.stack(values).aminmax(dim=0)
            surely[block] = asked.masked_scatter(asked, least > limit - less)
            maybe[block] = asked.masked_scatter(asked, most > limit - more)
        return surely | density_above(self.density_at, self.box_warp, maybe & ~surely)

    def colour(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Features [R,C] of hidden activations [R,64] that were summed with weights whose sum is ``weight`` [R]."""
        return hidden @ self.decoder.colour + weight[:, None] * self.decoder.colour_bias

    def _blend(self, points: Tensor, out: Tensor) -> None:
        """`hidden` of few points."""
        index, weight = texels(points, self.size, self.depth, self.box_warp)
        if len(self.layers) == 1:
            self._decode(self.layers[0].table, index, weight, out)
            return
        shares, left = [], points.new_ones(len(points), 1)
        # Marching stores coordinates first, which a product with a camera's matrix takes twice as long to read.
        rows = points.contiguous()[None]
        for layer in self.layers[:0:-1]:
            assert layer.weight is not None  # only the first layer is everywhere
            above = layer.weight(rows)[0]
            above = above.masked_fill(above < _CERTAIN, 0).masked_fill_(above > 1 - _CERTAIN, 1)
            shares.append(left * above)
            left = left * (1 - above)
        out.zero_()
        for layer, share in zip(self.layers, (left, *reversed(shares)), strict=True):
            some = share[:, 0].nonzero()[:, 0]
            # To pick points costs as much as to decode a few in vain.
            if len(some) > 0.8 * len(points):
                out.addcmul_(self._decode(layer.table, index, weight), share)
            elif len(some):
                hidden = self._decode(layer.table, index[some], weight[some])
                out.index_add_(0, some, hidden.mul_(share[some]))

    def _decode(self, table: Tensor, index: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        """Hidden activations from the texels of one layer."""
        hidden = torch.addmm(self.decoder.first_bias, read(table, index, weight), self.decoder.first, out=out)
        return torch.ops.aten.softplus.out(hidden, out=hidden)
