"""Where hair is on a head, and its colour in a photo: for generators whose w knows the colours of hair and skin.

Regression shrinks hues towards what is common: it puts brown behind grey hair, and pink behind white hair. Light
changes how bright hair is from side to side, hardly its hue; so the hue of what a photo shows is the better guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..images import resize_area
from ..people.relief import CHANNELS, SIDES
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.trigrid import PLANE_AXES
from ..triplane import Triplane
from .sides import surfaces_of
from .tones import FEWEST, unlike

# A cell is hair where a hair's colour moves it by so much more of what moves most than skin's does: from, up to.
_FROM, _UP_TO = 0.5, 0.75
LEAST = 0.05
# Pixels across in which a photo's hair is looked for; those that count are covered so far, and two further inside.
_SIZE, _COVERED, _RIM = 128, 0.95, 2
# Hair and skin, by the share of hair on the surface that a pixel shows, and how many deviations hair is from skin:
# hairlines are elsewhere in the photo.
_HAIR, _SKIN, _UNLIKE = 0.5, 0.1, 2.5
# How many deviations from skin hair is at least, and the shares of where hair should be that are hair, below the first
# of which somebody is bald, from the second on not at all.
_OTHER, _BALD = 2.0, (0.14, 0.24)
# What is added to colours before they are compared by logarithms, as what is nearly black has no hue that one could
# trust; and the logarithms by which a colour is not skin's: as above.
DARK, _APART = 0.12, (0.1, 0.2)
# World units beside a side's surface at which what it knows counts little.
_NEAR = 0.01


@dataclass(frozen=True)
class PhotographedHair:
    """The hair of one head in its photo.

    Attributes:
        colour: [3] usual colour in 0..1; of skin, where somebody is bald.
        bald: 0 = has hair, 1 = has none.
    """

    colour: Tensor
    bald: float


def hair_shares(generator: PanoHead, ws: Tensor, tones: Tensor, coarse: Tensor | None = None) -> Tensor:
    """[N,5,S,S] in 0..1 where the sides of a tri-grid see hair, by what its colour moves.

    Args:
        ws: [N,num_ws,w_dim].
        tones: of `known_tones`.
        coarse: planes that the generator makes of ws, where they are known already.
    """

    def colours(planes: Tensor) -> Tensor:
        middle = planes.unflatten(2, (-1, generator.config.plane_depth))[:, :, :, generator.config.plane_depth // 2]
        sides = [middle[:, plane, k * CHANNELS : (k + 1) * CHANNELS - 1] for k, (plane, _) in enumerate(SIDES)]
        return torch.stack(sides, 1)

    def made(ws: Tensor) -> Tensor:
        return colours(generator.synthesize(ws, noise="const").planes)

    now = made(ws) if coarse is None else colours(coarse)
    hair, skin = (_relative((made(ws + 0.5 * tone.sum(0)) - now).abs().mean(2)) for tone in tones)
    share = hair / (hair + skin).clamp(min=1e-3)
    return ((share - _FROM) / (_UP_TO - _FROM)).clamp(0, 1) * (hair > LEAST)


def seen_by(generator: PanoHead, head: Triplane, camera: Camera, quality: str = "exact") -> Rendering:
    """One head as its photo's camera sees it, for `photographed_hair`; quality as in `PanoHead.render`."""
    return generator.render(head, camera, resolution=_SIZE, super_resolve=False, quality=quality)


def photographed_hair(
    generator: PanoHead, head: Triplane, hair: Tensor, image: Tensor, camera: Camera, matte: Tensor, seen: Rendering
) -> PhotographedHair | None:
    """One head's hair as its photo has it; None where the photo shows too little of it.

    Args:
        hair: [5,S,S], `hair_shares`.
        image: [1,3,S',S'] in -1..1.
        matte: [1,1,S",S"] in 0..1, coverage of the head.
        seen: of `seen_by`.
    """
    origins, directions = camera_rays(camera, _SIZE)
    surface = (origins + torch.nan_to_num(seen.depth, posinf=0.0).flatten(1)[..., None] * directions)[0]
    share = _share_at(surface, head, hair, generator.config.render.box_warp).reshape(_SIZE, _SIZE)
    cover = torch.minimum(F.interpolate(matte.float(), size=(_SIZE, _SIZE), mode="area"), seen.alpha)
    both = F.max_pool2d((cover < _COVERED).float(), 2 * _RIM + 1, 1, _RIM)[0, 0] == 0
    photo = resize_area(image, _SIZE)[0].float().cpu()
    share, both = share.cpu(), both.cpu()
    skin, like_hair = both & (share < _SKIN), both & (share > _HAIR)
    if skin.sum() < FEWEST or like_hair.sum() < FEWEST:
        return None
    away = unlike(photo, photo[:, skin])
    # Blond and brown hair is like many a skin: then the half that is less so. The few pixels least like it are shadows.
    found = like_hair & (away >= away[like_hair].median().clamp(max=_UNLIKE))
    if found.sum() < FEWEST:
        return None
    other = (away[like_hair] > _OTHER).float().mean()
    colour, its_skin = ((photo[:, where].median(1).values + 1) / 2 for where in (found, skin))
    apart = ((colour + DARK) / (its_skin + DARK)).log().square().mean().sqrt()
    shares = ((most - value) / (most - least) for value, (least, most) in ((other, _BALD), (apart, _APART)))
    return PhotographedHair(colour, math.prod(float(share.clamp(0, 1)) for share in shares))


def _share_at(points: Tensor, head: Triplane, shares: Tensor, box_warp: float) -> Tensor:
    """[M] of what sides know [5,S,S] at points [M,3] of a head's surface: of the sides that see these."""
    total = torch.full((2, len(points)), 1e-8, device=points.device)
    surfaces = surfaces_of(head.planes[0].unflatten(1, (-1, head.depth)), box_warp)
    for side, (plane, _) in enumerate(SIDES):
        across, down, along = PLANE_AXES[plane]
        maps = torch.stack([shares[side], surfaces[side]])
        grid = points[:, [across, down]] / (box_warp / 2)
        share, place = F.grid_sample(maps[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]
        weight = torch.exp(-((place - points[:, along]) / _NEAR).square()) + 1e-4
        total += torch.stack([weight * share, weight])
    return total[0] / total[1]


def _relative(moves: Tensor) -> Tensor:
    """[N,5,S,S] as a share of what moves most on each head."""
    most = torch.stack([torch.quantile(head.flatten(), 0.98) for head in moves.float()])
    return moves / most.clamp(min=1e-6)[:, None, None, None]
