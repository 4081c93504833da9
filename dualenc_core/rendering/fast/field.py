"""A head prepared for fast queries: texel tables, decoder weights, occupancy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...point_weight import PointWeight
from ...triplane import Triplane
from .gather import gather, texel_table
from .occupancy import Occupancy

# Where a blending weight is this close to 0 or 1, only one of the two tri-grids is read.
_CERTAIN = 1e-4
# Points whose texels and activations fit a CPU's cache.
_AT_ONCE = 8192


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
    def of(cls, net: torch.nn.Module) -> Decoder:
        """From ``OSGDecoder.net``."""
        first, _, second = net
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
        net: torch.nn.Module,
        box_warp: float,
        dtype: torch.dtype,
        rough: bool = False,
        limit: float = math.inf,
    ) -> FastField:
        """From a head of batch size 1.

        Args:
            net: ``generator.decoder.net``.
            dtype: of the tables.
            rough: find what is occupied quickly (`Occupancy.rough`), for one small picture.
            limit: look where |x| and |z| are at most this.
        """
        layers = [Layer(texel_table(triplane.planes[0], triplane.depth, dtype), None)]
        layers += [Layer(texel_table(o.planes[0], triplane.depth, dtype), o.weight) for o in triplane.overlays]
        device = triplane.planes.device
        anywhere = Occupancy.full(box_warp, device)
        field = cls(tuple(layers), Decoder.of(net), triplane.size, triplane.depth, box_warp, anywhere)

        def density(points: Tensor) -> Tensor:
            return field.density(field.hidden(points))

        find = Occupancy.rough if rough else Occupancy.find
        occupancy = find(density, box_warp, device, triplane.size, limit)
        return dataclasses.replace(field, occupancy=occupancy, limit=limit)

    def hidden(self, points: Tensor, out: Tensor | None = None) -> Tensor:
        """Hidden activations [M,64] of the decoder at world points [M,3], layers blended; written to ``out`` if given.

        Blending here equals blending density and colour: both are linear in the hidden activations.
        """
        result = self._hidden(self.layers[0].table, points, out)
        for layer in self.layers[1:]:
            weight = layer.weight(points[None])[0]
            some = (weight[:, 0] > _CERTAIN).nonzero()[:, 0]
            if len(some) == 0:
                continue
            above = self._hidden(layer.table, points[some])
            result.index_copy_(0, some, torch.lerp(result[some], above, weight[some]))
        return result

    def density(self, hidden: Tensor) -> Tensor:
        """Raw density [M]."""
        return torch.mv(hidden, self.decoder.density) + self.decoder.density_bias

    def colour(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Features [R,C] of hidden activations [R,64] that were summed with weights whose sum is ``weight`` [R]."""
        return hidden @ self.decoder.colour + weight[:, None] * self.decoder.colour_bias

    def _hidden(self, table: Tensor, points: Tensor, out: Tensor | None = None) -> Tensor:
        decoder = self.decoder
        result = points.new_empty(len(points), decoder.first.shape[1]) if out is None else out
        step = _AT_ONCE if points.device.type == "cpu" else max(len(points), 1)
        for part, rows in zip(points.split(step), result.split(step), strict=True):
            features = gather(table, part, self.size, self.depth, self.box_warp)
            torch.addmm(decoder.first_bias, features, decoder.first, out=rows)
            torch.ops.aten.softplus.out(rows, out=rows)
        return result
