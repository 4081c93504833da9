"""Batches for the trainer of encoders from photos whose other sides are known (`views`), with what to compare.

All draws come from one generator of random numbers in the order of the training: whoever resumes needs its state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import DualEncError
from ...generator import PanoHead
from ...images import sample_at
from ...people.standard import styles_of
from ...rendering.renderer import Draws
from ...triplane import Triplane
from .batches import HeadBatch, unknown_styles
from .config import LossConfig, TrainConfig
from .views import KnownViewSource, Placement, View, ViewSource, view_rays


@dataclass(frozen=True)
class TargetRays:
    """Rays of one view of N heads, and what is there.

    Attributes:
        origins, directions: [N,R,3], among the heads as they stand for the photos' cameras.
        colour: [N,R,3] in -1..1.
        alpha: [N,R] in 0..1.
        weight: [N,R].
    """

    origins: Tensor
    directions: Tensor
    colour: Tensor
    alpha: Tensor
    weight: Tensor


@dataclass(frozen=True)
class RayTruth:
    """What rays of several views see, the photo's own first; ``rng`` places the samples on them."""

    views: tuple[TargetRays, ...]
    rng: torch.Generator

    def compare(self, triplane: Triplane, generator: PanoHead, weights: LossConfig) -> dict[str, Tensor]:
        """L1, L2 and coverage, weighted, of the own view and of the others."""
        counts = [r.origins.shape[1] for r in self.views]
        origins = torch.cat([r.origins for r in self.views], dim=1)
        directions = torch.cat([r.directions for r in self.views], dim=1)
        colour, alpha = self._render(triplane, generator, origins, directions)
        losses: dict[str, Tensor] = {}
        for target, made, cover in zip(self.views, colour.split(counts, 1), alpha.split(counts, 1), strict=True):
            error = made - target.colour
            each = weights.l1 * error.abs().mean(-1) + weights.l2 * error.square().mean(-1)
            loss = (target.weight * (each + weights.alpha * (cover - target.alpha).abs())).mean()
            name = "other" if losses else "own"
            losses[name] = losses[name] + loss if name in losses else loss
        return losses

    def _render(
        self, triplane: Triplane, generator: PanoHead, origins: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Colours [N,R,3] on the backdrop and coverage [N,R] of rays [N,R,3] with random samples."""
        options, (n, r, _) = generator.config.render, origins.shape
        draws = Draws(
            torch.rand(n, r, options.samples, generator=self.rng).to(origins.device),
            torch.rand(n * r, options.importance, generator=self.rng).to(origins.device),
        )
        out = generator.render_rays(triplane, origins, directions, draws=draws, chunk=n * r)
        # The background features of such generators are zero, so what is behind the head is to-RGB's bias.
        features = out.features.transpose(1, 2)[..., None]
        return generator.to_rgb(features, triplane.ws)[..., 0].transpose(1, 2), out.alpha


@dataclass(frozen=True)
class PlaneTruth:
    """Tri-grids [N,3,C·D,S,S] that heads should have, and weights of the same shape.

    Far cheaper than rays, and every side counts.
    """

    planes: Tensor
    weight: Tensor

    def compare(self, triplane: Triplane, generator: PanoHead, weights: LossConfig) -> dict[str, Tensor]:
        """L1 cell by cell, in the units of a picture: the decoder averages the planes."""
        error = (triplane.planes - self.planes).abs()
        return {"planes": (self.weight * error).mean() / self.weight.mean() / 3}


class ViewBatches:
    """Photos of heads with a `RayTruth` or a `PlaneTruth`, in the place of `batches.Batches`."""

    def __init__(self, config: TrainConfig, generator: PanoHead, views: ViewSource, rng: torch.Generator) -> None:
        if config.views.known and not isinstance(views, KnownViewSource):
            raise DualEncError(
                f"views.known is {config.views.known}, but {type(views).__name__} has no heads whose tri-grids are "
                "known; train on traced people, or set it to 0"
            )
        self.config, self.generator, self.views, self.rng = config, generator, views, rng
        self.device = generator.w_avg.device

    def latents(self, step: int, part: int, slots: range) -> tuple[Tensor, Tensor]:
        """Photos for stage one, and the styles of their heads."""
        schedule = self.config.schedule
        count = schedule.latent_batch // schedule.accumulate if schedule.latent_batch else len(slots)
        images, numbers = self.views.photos(count, self.config.encoder.style.trunk.input_size, self.rng)
        return images.to(self.device), self._styles(numbers)

    def heads(self, step: int, part: int, slots: range) -> HeadBatch:
        """Photos with views on rays, or with tri-grids."""
        v, count, size = self.config.views, len(slots), self.config.data.size
        if torch.rand((), generator=self.rng) < v.known:
            assert isinstance(self.views, KnownViewSource)
            known = self.views.known(count, size, v.shown, v.unseen, self.generator.config, self.rng).to(self.device)
            styles = unknown_styles(self.generator, count)
            planes = PlaneTruth(known.planes, known.weight)
            return HeadBatch(known.images, known.mattes, known.camera, styles, tuple(slots), planes)
        batch = self.views.batch(count, size, v.others, v.near, self.rng).to(self.device)
        rays = tuple(self._rays(view, batch.placement, v.other if i else v.own) for i, view in enumerate(batch.views))
        real = None
        if self.config.adversarial and self.config.discriminator.real == "descriptions":
            real = self._styles(self.views.descriptions(count, self.rng))
        styles, truth = self._styles(batch.numbers), RayTruth(rays, self.rng)
        return HeadBatch(batch.images, batch.mattes, batch.camera, styles, tuple(slots), truth, real)

    def sample(self, slot: int) -> HeadBatch:
        """One head that is always the same, for previews."""
        rng = torch.Generator().manual_seed(1 + slot)
        batch = self.views.batch(1, self.config.data.size, 0, False, rng).to(self.device)
        return HeadBatch(batch.images, batch.mattes, batch.camera, self._styles(batch.numbers), (slot,))

    def _styles(self, numbers: Tensor) -> Tensor:
        config = self.generator.config
        return styles_of(numbers.to(self.device), config.w_dim)[:, None].expand(-1, config.num_ws, -1)

    def _rays(self, view: View, placement: Placement, weight: float) -> TargetRays:
        """Random rays of a view, most of them on the head."""
        n, count = len(view.colour), self.config.render.rays
        uv = torch.rand(n, 4 * count, 2, generator=self.rng).to(self.device)
        coverage = F.grid_sample(view.alpha, (2 * uv - 1)[:, None], align_corners=False)[:, 0, 0]
        noise = torch.rand(n, 4 * count, generator=self.rng).to(self.device)
        order = (coverage + noise).argsort(dim=1, descending=True)
        # A quarter elsewhere, the rest where coverage plus noise is largest: on the head and along its border.
        chosen = torch.cat([order[:, : 2 * count : 3][:, : 3 * count // 4], order[:, -(count - 3 * count // 4) :]], 1)
        uv = uv.gather(1, chosen[..., None].expand(-1, -1, 2))
        colour, alpha, hidden = (
            sample_at(picture, uv).transpose(1, 2) for picture in (view.colour, view.alpha, view.hidden)
        )
        weights = (1 + self.config.views.hidden * hidden[..., 0]) * weight
        return TargetRays(*view_rays(view.camera, placement, uv), colour, alpha[..., 0], weights)
