"""Stage two as a lifted residual: one small U-net that refines each plane from image errors scattered into it.

The named alternative to TriPlaneNet for small training budgets (demo.md §1): the geometry of the input view does the
warp from image to world, the network only cleans up and fills in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..devices import layout
from ..errors import DualEncError
from .config import LiftedConfig
from .unprojection import SURFACE_CHANNELS, VOLUME_CHANNELS, Observation, surface_maps, volume_maps


class ResidualBlock(nn.Module):
    """Norm · LReLU · conv, twice, plus the input."""

    def __init__(self, channels: int):
        super().__init__()
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class LiftedRefiner(nn.Module):
    """Observations and planes [N,3,C·D,H,H] → what to add to the planes; zero before training.

    The three planes pass through the same weights and differ by a learned bias, and by first and last layers where
    these are their own. Most of the work is done at half resolution and below.
    """

    def __init__(self, config: LiftedConfig | None = None):
        super().__init__()
        config = config or LiftedConfig()
        self.config = config
        half, quarter, eighth = config.widths
        light = config.light
        planes = config.features * config.depth
        views = 2 if config.mirrored else 1
        surface = SURFACE_CHANNELS * config.depth * views if config.surface else 0
        volume = VOLUME_CHANNELS * config.depth * views if config.volume_grid else 0
        self._groups = 3 if config.own_ends else 1
        self.entry = self._end(planes + surface, light)
        self.down1 = nn.Conv2d(light, half, 3, 2, 1)
        self.down2 = nn.Conv2d(half, quarter, 3, 2, 1)
        self.volume = nn.Conv2d(volume, quarter, 3, 1, 1, bias=False) if volume else None
        self.down3 = nn.Conv2d(quarter, eighth, 3, 2, 1)
        self.deep = nn.Sequential(ResidualBlock(eighth), ResidualBlock(eighth))
        self.up3 = nn.Conv2d(eighth, quarter, 1)
        self.middle = ResidualBlock(quarter)
        self.up2 = nn.Conv2d(quarter, half, 1)
        self.fine = ResidualBlock(half)
        self.up1 = nn.Conv2d(half, light, 1)
        self.light = nn.Conv2d(light, light, 3, 1, 1)
        self.out = self._end(light, planes)
        self.direct = self._end(surface, planes, bias=False) if surface else None
        self.plane_bias = nn.ParameterList(nn.Parameter(torch.zeros(3, width)) for width in (light, quarter, eighth))
        # Training starts at stage one's result.
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)

    def lift(self, views: Sequence[Observation], box_warp: float) -> tuple[Tensor | None, Tensor | None]:
        """Surface maps [N,3,K,H,H] at plane resolution and volume maps [N,3,K',H/4,H/4]; no gradient.

        Raises DualEncError unless there is one observation, or two (photo and mirrored photo) when configured.
        """
        config = self.config
        if len(views) != (2 if config.mirrored else 1):
            raise DualEncError(f"{len(views)} observations for a lifted refiner with mirrored={config.mirrored}")
        surface = volume = None
        # Where a pixel's cells are needs more than 16 bits.
        with torch.no_grad(), torch.autocast(views[0].depth.device.type, enabled=False):
            if config.surface:
                surface = torch.cat([surface_maps(v, config.plane_size, config.depth, box_warp) for v in views], 2)
            if config.volume_grid:
                # Coarse rays leave holes in a full-size plane, not in a quarter-size one.
                grid = (config.plane_size // 4, config.depth, box_warp)
                ray = (config.volume_grid, config.volume_grid, config.volume_extent)
                volume = torch.cat([volume_maps(v, *ray, *grid) for v in views], 2)
        return surface, volume

    def delta(self, views: Sequence[Observation], planes: Tensor, box_warp: float = 1.0) -> Tensor:
        """What to add to the planes [N,3,C·D,H,H]."""
        config = self.config
        expected = (len(planes), 3, config.features * config.depth, config.plane_size, config.plane_size)
        if planes.shape != expected:
            raise DualEncError(f"planes have shape {tuple(planes.shape)}, the refiner expects {expected}")
        surface, volume = self.lift(views, box_warp)
        scaled = planes / config.plane_scale
        full = (scaled if surface is None else torch.cat([scaled, surface], dim=2)).flatten(0, 1)
        delta = self._network(full, None if volume is None else volume.flatten(0, 1))
        if self.direct is not None:
            assert surface is not None
            delta = delta + self._at_end(self.direct, surface.flatten(0, 1))
        return (delta * config.plane_scale).reshape(planes.shape)

    def forward(self, views: Sequence[Observation], planes: Tensor, box_warp: float = 1.0) -> Tensor:
        return planes + self.delta(views, planes, box_warp)

    def _network(self, full: Tensor, volume: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled():
            full = full.contiguous(memory_format=layout(full.device, full.dtype))
        x0 = F.leaky_relu(self._biased(self._at_end(self.entry, full), 0), 0.2)
        x1 = F.leaky_relu(self.down1(x0), 0.2)
        x2 = self.down2(x1)
        if self.volume is not None:
            x2 = x2 + self.volume(volume)
        x2 = F.leaky_relu(self._biased(x2, 1), 0.2)
        x3 = F.leaky_relu(self._biased(self.down3(x2), 2), 0.2)
        x3 = self.deep(x3)
        x2 = self.middle(x2 + _double(self.up3(x3)))
        x1 = self.fine(x1 + _double(self.up2(x2)))
        x0 = F.leaky_relu(x0 + _double(self.up1(x1)), 0.2)
        return self._at_end(self.out, F.leaky_relu(self.light(x0), 0.2))

    def _end(self, inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
        return nn.Conv2d(inputs * self._groups, outputs * self._groups, 1, groups=self._groups, bias=bias)

    def _at_end(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """A first or last layer on planes [N·3,K,H,H]."""
        if self._groups == 1:
            return layer(x)
        return layer(x.unflatten(0, (-1, 3)).flatten(1, 2)).unflatten(1, (3, -1)).flatten(0, 1)

    def _biased(self, x: Tensor, level: int) -> Tensor:
        bias = self.plane_bias[level]
        return (x.unflatten(0, (-1, 3)) + bias[None, :, :, None, None]).flatten(0, 1)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
