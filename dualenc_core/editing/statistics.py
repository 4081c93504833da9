"""The colours of a region: measured, given to another head, or kept under another head's style.

The means and deviations of a region are its appearance (NeRFFaceEditing, SIGGRAPH Asia 2022; editing.md §4). Here they
are those of the raw picture's colours, because PanoHead's last style row changes what the same features look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera import Camera
from ..colours.descent import Objective, colours_at, fit_colour_map
from ..colours.linear_map import ColourMap
from ..errors import DualEncError
from ..generator import PanoHead
from ..triplane import Triplane
from .checks import Region, check_pair, fit_region
from .compose import compose_pairs
from .lifting import Samples
from .surface import surface_in

# A mean squared error of colours in -1..1 that weighs as much as the density's own deviation.
_TOLERABLE = 0.1


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations [N,3] of a region's colours, nominally in -1..1."""

    mean: Tensor
    std: Tensor


@torch.no_grad()
def region_statistics(
    generator: PanoHead,
    triplane: Triplane,
    region: Region,
    cameras: Camera | None = None,
    *,
    resolution: int = 64,
    samples: int | tuple[int, int] | None = None,
) -> Statistics:
    """The colours on the surface of a region of N heads, as seen from ``cameras`` (None = `ring(4)`).

    Raises DualEncError where hardly any surface lies in the region.
    """
    generator.check(triplane)
    region = fit_region(region, triplane)
    found = surface_in(generator, triplane, region, cameras, resolution=resolution, samples=samples)
    moments = []
    for i, inside in enumerate(found):
        features = generator.query(triplane[i], inside.points[None])[1][0]
        moments.append(_moments(colours_at(generator, features, triplane.ws[i : i + 1]), inside.weights))
    return Statistics(*(torch.stack(part) for part in zip(*moments, strict=True)))


def recolour(
    generator: PanoHead,
    target: Triplane,
    reference: Triplane,
    region: Region,
    reference_region: Region | None = None,
    *,
    strength: float = 1.0,
    samples: int | tuple[int, int] | None = None,
) -> Triplane:
    """The target's region in the colours of the reference's: mean and deviation of each colour channel.

    Args:
        target: N heads.
        reference: N heads, or one.
        region: of the target.
        reference_region: of the reference; None = the same as ``region``.
        strength: 0 = unchanged, bit by bit, 1 = the reference's colours.
        samples: of the look at both heads.

    Raises as `region_statistics`, and for heads that do not fit together.
    """
    generator.check(target)
    reference = check_pair(target, reference)
    region = fit_region(region, target)
    if not 0 <= strength <= 1:
        raise DualEncError(f"strength is {strength}, expected 0..1")
    if strength == 0:
        return target
    other = region if reference_region is None else fit_region(reference_region, reference)
    wanted = region_statistics(generator, reference, other, samples=samples)
    change = fit_colours(generator, target, target.ws, [Wish(region, wanted)], samples)
    return compose_pairs(target, change.apply(target, strength), region, generator.config.render.box_warp)


@dataclass(frozen=True)
class Wish:
    """What a region of N heads is to look like.

    Attributes:
        region: of the heads.
        colours: their statistics there; None = every point as it looks with the head's own ws.
        weight: among several wishes.
    """

    region: Region
    colours: Statistics | None = None
    weight: float = 1.0


def fit_colours(
    generator: PanoHead,
    triplane: Triplane,
    ws: Tensor,
    wishes: Sequence[Wish],
    samples: int | tuple[int, int] | None = None,
) -> ColourMap:
    """The change after which N heads, shown with ``ws`` [N,num_ws,w_dim], look as wished, with the density they have.

    Raises DualEncError where hardly any surface lies in one of the regions.
    """
    found = [surface_in(generator, triplane, wish.region, samples=samples) for wish in wishes]
    maps = []
    for i in range(len(triplane)):
        pairs = zip(wishes, found, strict=True)
        objectives = [_objective(generator, triplane[i], ws[i : i + 1], w, i, f[i]) for w, f in pairs]
        maps.append(fit_colour_map(generator, triplane[i], objectives))
    return ColourMap.stack(maps)


def _objective(generator: PanoHead, head: Triplane, ws: Tensor, wish: Wish, index: int, inside: Samples) -> Objective:
    with torch.inference_mode(False), torch.no_grad():
        # Copies, because tensors made in a caller's inference mode could have no gradients.
        shown, weights = ws.clone(), inside.weights.clone()
        if wish.colours is None:
            features = generator.query(head, inside.points[None])[1][0]
            own = colours_at(generator, features, head.ws).clone()
        else:
            mean, std = wish.colours.mean[index].clone(), wish.colours.std[index].clone()
        share = (weights / weights.sum().clamp_min(1e-9))[:, None]

    def wrong(features: Tensor) -> Tensor:
        colours = colours_at(generator, features, shown)
        if wish.colours is None:
            missed = (share * (colours - own).square()).sum(0)
        else:
            own_mean, own_std = _moments(colours, weights)
            missed = (own_mean - mean).square() + (own_std - std).square()
        return wish.weight / _TOLERABLE * missed.mean()

    return inside.points, wrong


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    share = (weights / weights.sum().clamp_min(1e-9))[:, None]
    mean = (share * values).sum(0)
    return mean, ((share * (values - mean).square()).sum(0) + 1e-8).sqrt()
