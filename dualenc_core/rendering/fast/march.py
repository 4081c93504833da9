"""Marching rays over occupied samples only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..marching import interval_weights
from ..renderer import EMPTY_SIGMA, RayOutput, RenderOptions, crop_mask
from ..sampling import importance_depths, stratified_depths
from .field import FastField


@dataclass(frozen=True)
class Preset:
    """What is given up for speed.

    Attributes:
        floor: samples whose share of a pixel is at most this are left out.
        most_coarse, most_fine: coarse and importance samples a ray, if more are asked; None for as many as asked.
        half_tables: texels in 16 bits.
        half_super_resolution: super-resolution in 16 bits.
    """

    floor: float
    most_coarse: int | None = None
    most_fine: int | None = None
    half_tables: bool = False
    half_super_resolution: bool = False

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
    for start in range(0, total, chunk):
        rays = slice(start, min(start + chunk, total))
        part = _march(field, origins[rays], directions[rays], options, preset)
        if part is not None:
            where, values = part
            features[rays].index_copy_(0, where, values.features)
            depth[rays].index_copy_(0, where, values.depth)
            alpha[rays].index_copy_(0, where, values.alpha)
        if progress is not None:
            progress(rays.stop, total)
    return RayOutput(features[None], depth[None], alpha[None])


def _march(
    field: FastField, origins: Tensor, directions: Tensor, options: RenderOptions, preset: Preset
) -> tuple[Tensor, RayOutput] | None:
    coarse = stratified_depths(
        options.near,
        options.far,
        options.samples,
        None,
        (1, len(origins)),
        disparity=options.disparity,
        device=origins.device,
    )[0]
    occupied = _occupied(field, origins, directions, coarse, options)
    # Rays that meet nothing are done. A surface thinner than a step lies in a cell next to one that was met.
    rays = _widen(occupied).any(-1).nonzero()[:, 0]
    if len(rays) == 0:
        return None
    origins, directions, coarse, occupied = origins[rays], directions[rays], coarse[rays], _widen(occupied[rays])
    store = _Store(field, origins, directions, options)
    sigma, rows = store.evaluate(coarse, occupied)
    depths = coarse
    if options.importance:
        weights, _ = interval_weights(coarse[None], sigma[None])
        fine = importance_depths(coarse[None], weights, options.importance, None)[0]
        wanted = _occupied(field, origins, directions, fine, options)
        wanted &= _clear(coarse, weights[0], fine) > preset.floor
        fine_sigma, fine_rows = store.evaluate(fine, wanted)
        depths, order = torch.cat([coarse, fine], dim=-1).sort(dim=-1)
        sigma = torch.cat([sigma, fine_sigma], dim=-1).gather(-1, order)
        rows = torch.cat([rows, fine_rows], dim=-1).gather(-1, order)
        ends = _widen(rows >= 0) & (rows < 0)
        end_sigma, end_rows = store.evaluate(depths, ends)
        sigma, rows = torch.where(ends, end_sigma, sigma), torch.where(ends, end_rows, rows)
    weights, middles = interval_weights(depths[None], sigma[None])
    weights, middles = weights[0], middles[0]
    alpha = weights.sum(-1)
    depth = (weights * middles).sum(-1) / alpha
    depth = torch.where(alpha > 0, depth, torch.full_like(depth, options.far))
    # An interval's feature is the mean of its two ends, so an end counts half of both its intervals.
    share = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    hidden = store.blend(rows, torch.where((rows >= 0) & (share > preset.floor), share, torch.zeros_like(share)))
    features = field.colour(hidden, alpha)
    if options.white_back:
        features = features + (1 - alpha)[:, None]
    return rays, RayOutput(features, depth, alpha)


class _Store:
    """Hidden activations of the samples that were evaluated, and where they are."""

    def __init__(self, field: FastField, origins: Tensor, directions: Tensor, options: RenderOptions) -> None:
        self.field, self.origins, self.directions, self.options = field, origins, directions, options
        self.parts: list[Tensor] = []
        self.count = 0

    def evaluate(self, depths: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Densities [R,S], `EMPTY_SIGMA` where not wanted, and rows of the hidden activations [R,S], -1 there."""
        sigma = torch.full_like(depths, EMPTY_SIGMA)
        rows = torch.full(depths.shape, -1, dtype=torch.long, device=depths.device)
        ray, sample = wanted.nonzero(as_tuple=True)
        points = self.origins[ray] + depths[ray, sample][:, None] * self.directions[ray]
        hidden = self.field.hidden(points)
        cropped = crop_mask(points, self.options)[:, 0]
        sigma[ray, sample] = torch.where(cropped, EMPTY_SIGMA, self.field.density(hidden))
        rows[ray, sample] = torch.arange(self.count, self.count + len(ray), device=depths.device)
        self.count += len(ray)
        self.parts.append(hidden)
        return sigma, rows

    def blend(self, rows: Tensor, share: Tensor) -> Tensor:
        """Weighted sum over samples: rows [R,S] with weights → [R,64]."""
        hidden = torch.cat(self.parts)
        if len(hidden) == 0:
            return share.new_zeros(len(rows), self.field.decoder.colour.shape[0])
        some = share > 0
        counts = some.sum(-1)
        offsets = F.pad(counts.cumsum(0)[:-1], (1, 0))
        return F.embedding_bag(rows[some], hidden, offsets, mode="sum", per_sample_weights=share[some])


def _occupied(field: FastField, origins: Tensor, directions: Tensor, depths: Tensor, options: RenderOptions) -> Tensor:
    points = origins[:, None] + depths[..., None] * directions[:, None]
    return field.occupancy(points) & ~crop_mask(points, options)[..., 0]


def _widen(flags: Tensor) -> Tensor:
    """Samples [R,S] next to a flagged one count too: an interval needs both its ends."""
    wide = flags.clone()
    wide[:, 1:] |= flags[:, :-1]
    wide[:, :-1] |= flags[:, 1:]
    return wide


def _clear(depths: Tensor, weights: Tensor, at: Tensor) -> Tensor:
    """Transmittance before depths ``at`` [R,I], from coarse weights [R,S-1] between depths [R,S]."""
    clear = 1 - F.pad(weights.cumsum(-1), (1, 0))
    place = torch.searchsorted(depths.contiguous(), at.contiguous(), right=True) - 1
    return clear.gather(-1, place.clamp(0, depths.shape[-1] - 1))
