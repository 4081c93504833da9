"""Strands on hair that no photo shows: what regression makes of it is smooth as a bald head, with pale patches.

For generators whose planes are what five sides see (`people.relief`) and whose w knows the colour of hair. Light and
dark streaks run from the crown downwards; their place is chance, always the same, and says nothing of anybody.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..generator import PanoHead
from ..people.relief import CHANNELS, DISTANCE_SCALE, SIDES
from ..rendering.trigrid import PLANE_AXES
from ..triplane import Triplane
from .outline_rim import distance_feature, reads_distances
from .tones import known_tones

# By how much light and dark differ from the mean colour, one standard deviation.
_STRENGTH = 0.09
# The crown's axis, world units: strands begin above it.
_AXIS = (0.0, 0.02, -0.02)
# Cells of the pattern from the crown down and around, and what it is made of: width and length of streaks in its cells,
# and how much of them.
_PATTERN = (96, 256)
_STREAKS = ((1.3, 8.0, 1.0), (2.8, 12.0, 0.5), (7.0, 16.0, 0.3))
# A cell is hair where a hair's colour moves it by so much more of what moves most than skin's does: from, up to.
_FROM, _UP_TO = 0.5, 0.75
_LEAST = 0.05
# How far hair goes to its middle colour: pale patches are no one's. And the most that it may change for that.
_EVEN, _MOST = 0.35, (0.4, 2.0)
# Sides but for the front, by their number.
_OTHERS = dict(enumerate(SIDES[1:], 1))


@torch.no_grad()
def add_strands(
    generator: PanoHead, triplane: Triplane, coarse: Triplane | None = None, strength: float = _STRENGTH
) -> Triplane:
    """Heads with hair of one colour and with streaks in it, but for the front; shape and the middle colour stay.

    Args:
        triplane: N heads; overlays stay.
        coarse: what the generator makes of their ws, where that is known already.
        strength: standard deviation of the streaks, as a share of the hair's brightness.

    Heads of generators that do not know what is hair (official ones) come back unchanged.
    """
    tones = known_tones(generator)
    if tones is None or strength == 0 or not reads_distances(generator):
        return triplane
    volume = triplane.planes.unflatten(2, (-1, triplane.depth)).clone()
    hair = _hair(generator, triplane.ws, tones, coarse)[:, 1:]
    box_warp = generator.config.render.box_warp
    places = torch.stack(
        [
            _surface(volume[:, plane, distance_feature(k)], plane, sign, box_warp)
            for k, (plane, sign) in _OTHERS.items()
        ],
        1,
    )
    gains = _evening(generator, triplane, hair, places)
    gains = gains * (1 + strength * hair * _pattern_at(places)).clamp(0.3, 2.0)[:, :, None]
    for i, (side, (plane, _)) in enumerate(_OTHERS.items()):
        volume[:, plane, side * CHANNELS : distance_feature(side)] *= gains[:, i, :, None]
    return triplane.replace(planes=volume.flatten(2, 3))


def _evening(generator: PanoHead, heads: Triplane, hair: Tensor, places: Tensor) -> Tensor:
    """[N,4,3,S,S] factors that bring hair [N,4,S,S] at places [N,4,S,S,3] part of the way to its middle colour."""
    gains = torch.ones(*hair.shape, 3).to(hair)
    for i in range(len(heads)):
        some = hair[i] > _LEAST
        colour = (generator.query(heads[i], places[i][some][None])[1][0, :, :3] + 1) / 2
        sure = hair[i][some] > 0.5
        if bool(sure.any()):
            ratio = colour[sure].median(0).values / colour.clamp(min=0.02)
            gains[i][some] = ratio.clamp(*_MOST) ** (_EVEN * hair[i][some][:, None])
    smooth = F.avg_pool2d(gains.flatten(0, 1).permute(0, 3, 1, 2), 7, 1, 3, count_include_pad=False)
    return smooth.unflatten(0, hair.shape[:2])


def _hair(generator: PanoHead, ws: Tensor, tones: Tensor, coarse: Triplane | None = None) -> Tensor:
    """[N,5,S,S] in 0..1 where the sides see hair, by what its colour moves."""

    def colours(ws: Tensor, made: Triplane | None = None) -> Tensor:
        planes = (made or generator.synthesize(ws, noise="const")).planes
        middle = planes.unflatten(2, (-1, generator.config.plane_depth))[:, :, :, generator.config.plane_depth // 2]
        sides = [middle[:, plane, k * CHANNELS : (k + 1) * CHANNELS - 1] for k, (plane, _) in enumerate(SIDES)]
        return torch.stack(sides, 1)

    now = colours(ws, coarse)
    hair, skin = (_relative((colours(ws + 0.5 * tone.sum(0)) - now).abs().mean(2)) for tone in tones)
    share = hair / (hair + skin).clamp(min=1e-3)
    return ((share - _FROM) / (_UP_TO - _FROM)).clamp(0, 1) * (hair > _LEAST)


def _relative(moves: Tensor) -> Tensor:
    """[N,5,S,S] as a share of what moves most on each head."""
    most = torch.stack([torch.quantile(head.flatten(), 0.98) for head in moves.float()])
    return moves / most.clamp(min=1e-6)[:, None, None, None]


def _surface(distance: Tensor, plane: int, sign: int, box_warp: float) -> Tensor:
    """Places [N,S,S,3] that a side sees, from its distances [N,D,S,S]: before the surface, three times as large."""
    depth, size = distance.shape[1:3]
    middle = ((depth // 2 + 0.5) * 2 / depth - 1) * box_warp / 2
    along = middle - distance[:, depth // 2] / (3 * DISTANCE_SCALE * sign)
    line = ((torch.arange(size) + 0.5) / size - 0.5).to(distance) * box_warp
    down, across = torch.meshgrid(line, line, indexing="ij")
    axes = dict(zip(PLANE_AXES[plane], (across.expand_as(along), down.expand_as(along), along), strict=True))
    return torch.stack([axes[axis] for axis in range(3)], -1)


def _pattern_at(places: Tensor) -> Tensor:
    """Streaks [N,K,S,S] of mean 0 and deviation 1 at places [N,K,S,S,3]."""
    away = places - torch.tensor(_AXIS).to(places)
    around = torch.atan2(away[..., 0], away[..., 2]) / math.pi
    down = torch.acos((away[..., 1] / away.norm(dim=-1).clamp(min=1e-6)).clamp(-1, 1)) * (2 / math.pi) - 1
    pattern = F.pad(_pattern().to(places), (1, 1, 0, 0), mode="circular")
    width = pattern.shape[-1]
    grid = torch.stack([around * (width - 2) / width, down], -1).flatten(1, 2)
    read = F.grid_sample(pattern.expand(len(places), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return read.reshape(places.shape[:-1])


@functools.lru_cache(maxsize=1)
def _pattern() -> Tensor:
    """[1,1,H,W] over the angle from the crown and around, which is a circle."""
    chance, total = torch.Generator().manual_seed(0), torch.zeros(1, 1, *_PATTERN)
    for width, length, share in _STREAKS:
        noise = torch.randn(1, 1, *_PATTERN, generator=chance)
        streaks = _smoothed(_smoothed(noise, width).mT, length).mT
        total += share * streaks / streaks.std()
    return (total - total.mean()) / total.std()


def _smoothed(values: Tensor, sigma: float) -> Tensor:
    """A Gaussian along the last axis, as if it were a circle."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    return F.conv2d(F.pad(values, (reach, reach, 0, 0), mode="circular"), (kernel / kernel.sum())[None, None, None])
