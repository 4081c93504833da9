"""Marching rays over occupied samples only, colours decoded once a ray (rendering.md §1, §3)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..marching import interval_weights
from ..renderer import EMPTY_SIGMA, RayOutput, RenderOptions, crop_limit, crop_mask
from ..sampling import importance_depths, stratified_depths
from .field import FastField
from .occupancy import Occupancy

# Coarse samples of a ray in occupied cells before it is asked whether light is left: most rays meet a surface here.
_FIRST = 8
# Samples whose hidden activations are in memory at once on CPUs: 31 MB, written again and again. Fresh memory costs as
# much as a lookup, and C libraries return larger pieces than 32 MB to the system after every use.
_SAMPLES_AT_ONCE = 120_000


@dataclass(frozen=True)
class Preset:
    """What is given up for speed.

    Attributes:
        floor: samples whose share of a pixel is at most this are left out.
        most_coarse, most_fine: coarse and importance samples a ray, if more are asked; None for as many as asked.
        half_tables: texels in 16 bits.
        half_super_resolution: super-resolution in 16 bits.
        rough: find what is occupied quickly, for heads that are drawn once.
        cropped: look for it only where pictures are not cropped.
    """

    floor: float
    most_coarse: int | None = None
    most_fine: int | None = None
    half_tables: bool = False
    half_super_resolution: bool = False
    rough: bool = False
    cropped: bool = True

    def options(self, options: RenderOptions) -> RenderOptions:
        """With no more samples than this preset takes."""
        coarse = min(options.samples, self.most_coarse or options.samples)
        fine = min(options.importance, self.most_fine or options.importance)
        return dataclasses.replace(options, samples=coarse, importance=fine)


@torch.no_grad()
def render_rays_fast(
    field: FastField,
    origins: Tensor,
    directions: Tensor,
    options: RenderOptions,
    preset: Preset,
    chunk: int = 16384,
    progress: Callable[[int, int], None] | None = None,
) -> RayOutput:
    """Rays [R,3] of one head → RayOutput with a batch of 1; deterministic. As `renderer.render_rays` without draws.

    Raw features: where the generator's decoder maps them further (activation), use the plain renderer.
    """
    options = preset.options(options)
    total = len(origins)
    features = origins.new_zeros(total, field.decoder.colour.shape[1])
    depth = origins.new_full((total,), options.far)
    alpha = origins.new_zeros(total)
    steps = _steps(options, origins.device)
    limit = crop_limit(options)
    if limit > field.limit:
        # Cropped less than what was searched.
        outside = field.occupancy.outside
        anywhere = Occupancy.full(field.box_warp, origins.device, outside)
        field = dataclasses.replace(field, occupancy=anywhere, limit=math.inf)
    samples = options.samples + options.importance
    tile = max(1, _SAMPLES_AT_ONCE // samples) if origins.device.type == "cpu" else chunk
    hidden = origins.new_empty(min(tile, chunk, total) * samples, field.decoder.first.shape[1])
    for start in range(0, total, chunk):
        stop = min(start + chunk, total)
        occupied = field.occupancy.along(origins[start:stop], directions[start:stop], steps, limit)
        # Rays that meet nothing are done. A surface thinner than a step lies in a cell next to one that was met.
        rays = occupied.any(-1).nonzero()[:, 0]
        occupied = occupied[rays]
        rays = rays + start
        for some, met in zip(rays.split(tile), occupied.split(tile), strict=True):
            if len(some) == 0:
                continue
            store = _Store(field, origins[some], directions[some], options, hidden)
            values = _march(store, steps, met, limit, preset)
            features.index_copy_(0, some, values.features)
            depth.index_copy_(0, some, values.depth)
            alpha.index_copy_(0, some, values.alpha)
        if progress is not None:
            progress(stop, total)
    return RayOutput(features[None], depth[None], alpha[None])


def _steps(options: RenderOptions, device: torch.device) -> Tensor:
    """Coarse depths [S], the same for every ray."""
    limits = options.near, options.far, options.samples
    return stratified_depths(*limits, None, (1, 1), disparity=options.disparity, device=device)[0, 0]


def _march(store: _Store, steps: Tensor, occupied: Tensor, limit: float, preset: Preset) -> RayOutput:
    """Rays that all meet something, at the coarse steps flagged in ``occupied`` [R,S]."""
    field, options = store.field, store.options
    depths = steps.expand(len(occupied), -1).contiguous()
    sigma, rows = torch.full_like(depths, EMPTY_SIGMA), torch.full_like(depths, -1, dtype=torch.long)
    wanted = _widen(occupied)
    first = wanted & (wanted.cumsum(-1, dtype=torch.int32) <= _FIRST)
    store.evaluate(depths, first, sigma, rows)
    thickness = _thickness(depths, sigma)
    spent = -math.log(preset.floor) if preset.floor > 0 else math.inf
    store.evaluate(depths, wanted & ~first & (thickness < spent), sigma, rows)
    if options.importance:
        thickness = _thickness(depths, sigma)
        weights, _ = interval_weights(depths[None], sigma[None])
        fine = importance_depths(depths[None], weights, options.importance, None)[0]
        depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
        more = torch.ones_like(fine, dtype=torch.long)
        sigma = torch.cat([sigma, fine.new_full(fine.shape, EMPTY_SIGMA)], dim=-1).gather(-1, order)
        rows = torch.cat([rows, -more], dim=-1).gather(-1, order)
        occupied = torch.cat([occupied, store.occupied(fine, limit)], dim=-1)
        wanted = _widen(occupied.gather(-1, order)) & (rows < 0)
        # The coarse samples foretell where the light is spent; what was really spent then corrects them.
        first = wanted & (_foretold(thickness, steps, depths, order) < spent)
        store.evaluate(depths, first, sigma, rows)
        store.evaluate(depths, wanted & ~first & (_thickness(depths, sigma) < spent), sigma, rows)
    weights, middles = interval_weights(depths[None], sigma[None])
    weights, middles = weights[0], middles[0]
    alpha = weights.sum(-1)
    depth = (weights * middles).sum(-1) / alpha
    depth = torch.where(alpha > 0, depth, torch.full_like(depth, options.far))
    # An interval's feature is the mean of its two ends, so an end counts half of both its intervals.
    share = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    features = field.colour(store.blend(rows, share, preset.floor), alpha)
    if options.white_back:
        features = features + (1 - alpha)[:, None]
    return RayOutput(features, depth, alpha)


class _Store:
    """Hidden activations of the samples that were evaluated, and where they are."""

    def __init__(
        self, field: FastField, origins: Tensor, directions: Tensor, options: RenderOptions, hidden: Tensor
    ) -> None:
        self.field, self.options, self.hidden = field, options, hidden
        # Coordinates first: points are made of long rows.
        self.origins, self.directions = origins.T.contiguous(), directions.T.contiguous()
        self.count = 0

    def evaluate(self, depths: Tensor, wanted: Tensor, sigma: Tensor, rows: Tensor) -> None:
        """Write densities and the rows of hidden activations into sigma and rows [R,S] where wanted [R,S]."""
        places = wanted.flatten().nonzero()[:, 0]
        if len(places) == 0:
            return
        ray = places.div(depths.shape[1], rounding_mode="floor")
        points = torch.addcmul(self.origins[:, ray], self.directions[:, ray], depths.flatten()[places]).T
        hidden = self.field.hidden(points, self.hidden[self.count : self.count + len(places)])
        cropped = crop_mask(points, self.options)[:, 0]
        sigma.view(-1)[places] = self.field.density(hidden).masked_fill_(cropped, EMPTY_SIGMA)
        rows.view(-1)[places] = torch.arange(self.count, self.count + len(places), device=depths.device)
        self.count += len(places)

    def occupied(self, depths: Tensor, limit: float) -> Tensor:
        """`Occupancy.along` at depths [R,S]."""
        return self.field.occupancy.along(self.origins.T, self.directions.T, depths, limit)

    def blend(self, rows: Tensor, share: Tensor, floor: float) -> Tensor:
        """Weighted sum over the samples whose share is above the floor: rows and shares [R,S] → [R,64]."""
        some = (share > floor) & (rows >= 0)
        counts = some.sum(-1)
        offsets = F.pad(counts.cumsum(0)[:-1], (1, 0))
        places = some.flatten().nonzero()[:, 0]
        rows, share = rows.flatten()[places], share.flatten()[places]
        return F.embedding_bag(rows, self.hidden, offsets, mode="sum", per_sample_weights=share)


def _widen(flags: Tensor) -> Tensor:
    """Samples [R,S] next to a flagged one count too: an interval needs both its ends."""
    wide = flags.clone()
    wide[:, 1:] |= flags[:, :-1]
    wide[:, :-1] |= flags[:, 1:]
    return wide


def _thickness(depths: Tensor, sigma: Tensor) -> Tensor:
    """Optical thickness before every sample [R,S]: -log of the transmittance. At most the true one where samples were
    not evaluated, as an interval with such an end counts as empty."""
    density = F.softplus((sigma[:, 1:] + sigma[:, :-1]).mul_(0.5).sub_(1)).mul_(depths.diff(dim=-1))
    return F.pad(density.cumsum_(-1), (1, 0))


def _foretold(thickness: Tensor, steps: Tensor, depths: Tensor, order: Tensor) -> Tensor:
    """Optical thickness [R,S+I] at merged depths, linear between those of the coarse steps [R,S].

    Args:
        order: [R,S+I] of the merging sort; its first S numbers are the coarse samples.
    """
    last = len(steps) - 1
    before = ((order <= last).cumsum(-1) - 1).clamp_(0, last - 1)
    low, high = thickness.gather(-1, before), thickness.gather(-1, before + 1)
    start, length = steps[before], (1 / steps.diff())[before]
    return torch.lerp(low, high, (depths - start).mul_(length).clamp_(0, 1))
