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
from ..colours.fit import Reading, fit, near
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
# Points of a wish that a map is fitted at; more only take time. Two steps leave a hundredth of what is missing, four a
# thousandth.
_POINTS, _STEPS = 4096, 4


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


@torch.no_grad()
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
        parts = [_wanted(generator, triplane[i], ws[i : i + 1], w, i, f[i]) for w, f in pairs]
        points, wanted, weight = (torch.cat(part) for part in zip(*parts, strict=True))
        reading, keep = (Reading.of(generator, triplane[i], where) for where in (points, near(points)))
        black = ws.new_zeros(1, generator.config.features)
        offset = colours_at(generator, black, ws[i : i + 1])
        rows = colours_at(generator, torch.eye(generator.config.features).to(ws), ws[i : i + 1]) - offset
        maps.append(fit(generator, rows.T, reading, wanted - offset, keep, weight, _STEPS))
    return ColourMap.stack(maps)


def colours_at(generator: PanoHead, features: Tensor, ws: Tensor) -> Tensor:
    """Decoded features [M,C] of one head → the raw picture's colours [M,3] under ws [1,num_ws,w_dim]; linear."""
    return generator.to_rgb(features.T[None, :, :, None], ws)[0, :, :, 0].T


def _wanted(
    generator: PanoHead, head: Triplane, ws: Tensor, wish: Wish, index: int, inside: Samples
) -> tuple[Tensor, Tensor, Tensor]:
    """Surface points [M,3] of one head, the colours [M,3] that they should have under ws, and how much each counts."""
    points, weights = (_thinned(values) for values in (inside.points, inside.weights))
    features = generator.query(head, points[None])[1][0]
    if wish.colours is None:
        wanted = colours_at(generator, features, head.ws)
    else:
        # The linear change of each channel after which its mean and deviation are the wished ones.
        own = colours_at(generator, features, ws)
        mean, std = _moments(own, weights)
        wanted = (own - mean) / std * wish.colours.std[index] + wish.colours.mean[index]
    share = weights / weights.sum().clamp_min(1e-9)
    return points, wanted, (wish.weight / _TOLERABLE / 3 * share)[:, None].expand_as(wanted)


def _thinned(values: Tensor) -> Tensor:
    """Every so many of them, `_POINTS` at most."""
    return values[:: max(1, -(-len(values) // _POINTS))]


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    share = (weights / weights.sum().clamp_min(1e-9))[:, None]
    mean = (share * values).sum(0)
    return mean, ((share * (values - mean).square()).sum(0) + 1e-8).sqrt()
