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

from ..camera import Camera
from ..generator import PanoHead
from ..people.relief import CHANNELS, SIDES
from ..point_weight import Visibility
from ..triplane import Triplane
from .hair import DARK, LEAST, PhotographedHair, hair_shares, photographed_hair, seen_by
from .sides import distance_feature, places_on, reads_distances, smooth, surfaces_of
from .tones import known_tones

# By how much light and dark differ from the mean colour, one standard deviation.
_STRENGTH = 0.09
# The crown's axis, world units: strands begin above it.
_AXIS = (0.0, 0.02, -0.02)
# Cells of the pattern from the crown down and around, and what it is made of: width and length of streaks in its cells,
# and how much of them; by how many cells they are bent aside, one standard deviation, and how far that goes on.
_PATTERN = (128, 320)
_STREAKS = ((1.2, 6.0, 1.0), (2.4, 10.0, 0.5))
_BEND, _BEND_WIDTH, _BEND_LENGTH = 5.0, 14.0, 10.0
# Cells over which hair is smooth before, and the most that it may change for that: the ghost of a face is faint.
_PATCHES, _FAINT = 9, (0.8, 1.25)
# How far hair goes to its middle colour, as pale patches are no one's, and from how far away at most.
_EVEN, _PALE = 0.2, (0.6, 1.6)
# How far the middle colour goes to the hue of the photo's hair; logarithms by which other hair is like that colour.
_HUE, _ALIKE = 0.8, 0.4
# Logarithms by which hair is brighter in photos than behind, where light is not, and by how much more it may be before
# hidden hair becomes brighter. Never darker: photos have shadows.
_IN_FRONT, _LIT = 0.08, 0.4
# The most that hidden hair may change for the photo's.
_MOST = (0.4, 2.0)
# Light makes dark hair bright, and not fair hair: from the first to the second brightness, hidden hair becomes at least
# so bright a share of it. White hair is none that training knows.
_FAIR, _AS_BRIGHT = (0.45, 0.7), 0.85
# Sides but for the front, by their number.
_OTHERS = dict(enumerate(SIDES[1:], 1))


@torch.no_grad()
def add_strands(
    generator: PanoHead,
    triplane: Triplane,
    coarse: Triplane | None = None,
    photos: tuple[Tensor, Camera, Tensor] | None = None,
    strength: float = _STRENGTH,
    quality: str = "exact",
) -> Triplane:
    """Heads with hair of one colour, of the photo's hue, and with streaks in it, but for the front; shape stays.

    Where the photo has skin instead of hair, so have they, without streaks.

    Args:
        triplane: N heads; overlays stay.
        coarse: what the generator makes of their ws, where that is known already.
        photos: images [N,3,S,S] in -1..1, N cameras, mattes [N,1,S',S'] in 0..1; None = hair keeps its hue.
        strength: standard deviation of the streaks, as a share of the hair's brightness.
        quality: of the renders that are compared with photos (`PanoHead.render`).

    Heads of generators that do not know what is hair (official ones) come back unchanged.
    """
    tones = known_tones(generator)
    if tones is None or strength == 0 or not reads_distances(generator):
        return triplane
    shares = hair_shares(generator, triplane.ws, tones, None if coarse is None else coarse.planes)
    box_warp = generator.config.render.box_warp
    volume = triplane.planes.unflatten(2, (-1, triplane.depth)).clone()
    places = torch.stack([places_on(surfaces_of(features, box_warp), box_warp)[1:] for features in volume])
    gains, strengths = [], []
    for i in range(len(triplane)):
        head, found, hidden = triplane[i], None, torch.zeros_like(shares[i, 1:])
        if photos is not None:
            images, cameras, mattes = photos
            seen = seen_by(generator, head, cameras[i], quality)
            photo = images[i : i + 1], cameras[i], mattes[i : i + 1]
            found = photographed_hair(generator, head, shares[i], *photo, seen)
            visible = Visibility(cameras[i], seen.depth, seen.alpha)
            hidden = visible.complement(places[i].reshape(1, -1, 3)).reshape_as(hidden)
        gains.append(_evening(generator, head, shares[i, 1:], places[i], found, hidden))
        strengths.append(strength * (1 - found.bald if found else 1.0))
    amounts = shares[:, 1:] * shares.new_tensor(strengths)[:, None, None, None]
    streaks = (1 + amounts * _pattern_at(places)).clamp(0.3, 2.0)
    factors = torch.stack(gains) * streaks[:, :, None]
    for i, (side, (plane, _)) in enumerate(_OTHERS.items()):
        volume[:, plane, side * CHANNELS : distance_feature(side)] *= factors[:, i, :, None]
    return triplane.replace(planes=volume.flatten(2, 3))


def _evening(
    generator: PanoHead, head: Triplane, hair: Tensor, places: Tensor, found: PhotographedHair | None, hidden: Tensor
) -> Tensor:
    """[4,3,S,S] factors that bring hair [4,S,S] at places [4,S,S,3] part of the way to one colour.

    Args:
        found: the photo's hair, whose hue that one has where the photo does not show hair.
        hidden: [4,S,S] in 0..1.
    """
    gains, smoothed = torch.ones(2, *hair.shape, 3).to(hair)
    some = hair > LEAST
    sure = hair[some] > 0.5
    if bool(sure.any()):
        features = generator.query(head, places[some][None])[1]
        colour = ((generator.to_rgb(features.mT[..., None], head.ws)[0, :, :, 0].mT + 1) / 2).clamp(min=0.02)
        middle = colour[sure].median(0).values
        # A scarf in the place of hair keeps its own, and so do cells whose surface another side denies.
        away = ((colour + DARK) / (middle + DARK)).log().square().mean(1, keepdim=True)
        share = hair[some][:, None]
        alike = share / (1 + away / _ALIKE**2)
        unseen = hidden[some][:, None] * alike
        smoothed[some] = (_around(colour, alike, some) / colour).clamp(*_FAINT) ** unseen
        gains[some] = (middle / colour).clamp(*_PALE) ** (_EVEN * share)
        if found is not None:
            gains[some] *= _gain_to(middle, found.colour.to(middle)) ** unseen
    return F.avg_pool2d(gains.permute(0, 3, 1, 2), 7, 1, 3, count_include_pad=False) * smoothed.permute(0, 3, 1, 2)


def _around(colour: Tensor, share: Tensor, some: Tensor) -> Tensor:
    """[M,3] mean colours about M cells, where there is some hair [4,S,S], by colours [M,3] and shares [M,1]."""
    weighted = torch.zeros(*some.shape, 4).to(colour)
    weighted[some] = torch.cat([colour, torch.ones_like(share)], 1) * share
    *total, weight = (smooth(weighted[..., i], _PATCHES)[some] for i in range(4))
    return torch.stack(total, 1) / weight[:, None].clamp(min=1e-6)


def _gain_to(colour: Tensor, wanted: Tensor) -> Tensor:
    """Factors [3] that bring a colour [3] to the hue of the photo's hair, and nearer to it than light could explain."""
    ratio = (wanted + DARK) / (colour + DARK)
    hue = (ratio / ratio.log().mean().exp()) ** _HUE
    fair = ((wanted.mean() - _FAIR[0]) / (_FAIR[1] - _FAIR[0])).clamp(0, 1)
    brighter = (wanted.mean() / colour.mean()).log() - _IN_FRONT - _LIT
    light = torch.maximum(brighter.exp(), fair * _AS_BRIGHT * wanted.mean() / colour.mean()).clamp(min=1)
    return (hue * light).clamp(*_MOST)


def _pattern_at(places: Tensor) -> Tensor:
    """Streaks [N,K,S,S] of mean 0 and deviation 1 at places [N,K,S,S,3]."""
    away = places - torch.tensor(_AXIS).to(places)
    around = torch.atan2(away[..., 0], away[..., 2]) / math.pi
    down = torch.acos((away[..., 1] / away.norm(dim=-1).clamp(min=1e-6)).clamp(-1, 1)) * (2 / math.pi) - 1
    return _read(_pattern().to(places), around, down)


@functools.lru_cache(maxsize=1)
def _pattern() -> Tensor:
    """[1,1,H,W] over the angle from the crown and around, which is a circle."""
    chance = torch.Generator().manual_seed(0)

    def streaks(width: float, length: float) -> Tensor:
        noise = _smoothed(_smoothed(torch.randn(1, 1, *_PATTERN, generator=chance), width).mT, length).mT
        return noise / noise.std()

    straight = torch.cat([share * streaks(width, length) for width, length, share in _STREAKS]).sum(0, keepdim=True)
    down, around = torch.meshgrid(*(torch.arange(size) + 0.5 for size in _PATTERN), indexing="ij")
    around = (around + _BEND * streaks(_BEND_WIDTH, _BEND_LENGTH)[0, 0]) % _PATTERN[1]
    pattern = _read(straight, around / _PATTERN[1] * 2 - 1, down / _PATTERN[0] * 2 - 1)[None, None]
    return (pattern - pattern.mean()) / pattern.std()


def _read(pattern: Tensor, around: Tensor, down: Tensor) -> Tensor:
    """Values [...] of a pattern [1,1,H,W] at places [...] in -1..1, around a circle."""
    width = pattern.shape[-1]
    grid = torch.stack([around * width / (width + 2), down], -1).reshape(1, 1, -1, 2)
    circle = F.pad(pattern, (1, 1, 0, 0), mode="circular")
    return F.grid_sample(circle, grid, padding_mode="border", align_corners=False).reshape(around.shape)


def _smoothed(values: Tensor, sigma: float) -> Tensor:
    """A Gaussian along the last axis, as if it were a circle."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    return F.conv2d(F.pad(values, (reach, reach, 0, 0), mode="circular"), (kernel / kernel.sum())[None, None, None])
