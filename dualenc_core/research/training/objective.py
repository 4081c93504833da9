"""The reconstruction part of training: renders with gradients, and the losses that compare them with photos."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...camera import Camera
from ...checkpoints.catalog import resolve
from ...encoders.arcface import ArcFace
from ...encoders.loading import load_arcface
from ...errors import CheckpointError
from ...generator import PanoHead
from ...images import resize_area, sample_at
from ...metrics.lpips import LPIPS
from ...rendering.rays import pixel_rays
from ...rendering.renderer import Draws
from ...triplane import Triplane
from .batches import HeadBatch
from .config import LossConfig, RenderConfig
from .draws import named, uniform
from .losses import gradient_difference, identity_loss, l2, structural_dissimilarity


class Judges(nn.Module):
    """The frozen networks of the losses; a network whose loss has weight 0 is absent."""

    def __init__(self, lpips: LPIPS | None = None, identity: ArcFace | None = None) -> None:
        super().__init__()
        self.lpips, self.identity = lpips, identity
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, losses: LossConfig) -> Judges:
        """From the files that the configuration names.

        Raises CheckpointError when a file is missing, naming the weight that makes it needed.
        """
        lpips = identity = None
        try:
            name = "lpips"
            if losses.lpips:
                lpips = LPIPS.from_files(resolve("lpips-alexnet", losses.lpips_weights))
            name = "identity"
            if losses.identity:
                identity = load_arcface(losses.identity_weights)
        except CheckpointError as error:
            raise CheckpointError(
                f"losses.{name} is {getattr(losses, name)}, but its network cannot be loaded: {error}; "
                f"get the file, or set losses.{name} to 0 (the run is then not the paper's)"
            ) from error
        return cls(lpips, identity)


@dataclass(frozen=True)
class Objective:
    """Compares heads with photos.

    Attributes:
        backdrop: [3] in -1..1.
        seed: of sample positions and rays.
    """

    generator: PanoHead
    losses: LossConfig
    render: RenderConfig
    judges: Judges
    backdrop: Tensor
    seed: int

    def __call__(self, triplane: Triplane, batch: HeadBatch, step: int, stage: str) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the losses on pictures, and each of them unweighted."""
        if batch.truth is not None:
            parts = batch.truth.compare(triplane, self.generator, self.losses)
            values = {name: float(value.detach()) for name, value in parts.items()}
            return functools.reduce(torch.add, parts.values()), values
        rngs = [named(self.seed, stage, step, slot) for slot in batch.slots]
        if self.render.rays:
            parts = self._on_rays(triplane, batch, rngs)
        else:
            parts = self._on_pictures(triplane, batch, rngs)
        total = sum(getattr(self.losses, name) * value for name, value in parts.items())
        return total, {name: float(value.detach()) for name, value in parts.items()}

    def view(self, triplane: Triplane, camera: Camera, rngs: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Pictures [N,3,s,s] on the backdrop and alpha [N,1,r,r], with gradients."""
        r = self.render
        out = self.generator.render(
            triplane,
            camera,
            resolution=r.resolution,
            samples=r.samples,
            super_resolve=r.super_resolve,
            background=self.colour,
            draws=self._draws(rngs, r.resolution**2) if r.jitter else None,
            chunk=r.chunk * len(camera),
        )
        return out.image, out.alpha

    @property
    def colour(self) -> tuple[float, ...]:
        """The backdrop in 0..1, as ``generator.render`` takes it."""
        return tuple(((self.backdrop + 1) / 2).clamp(0, 1).tolist())

    def _on_pictures(self, triplane: Triplane, batch: HeadBatch, rngs: list[torch.Generator]) -> dict[str, Tensor]:
        image, alpha = self.view(triplane, batch.camera, rngs)
        size = min(self.render.loss_size, image.shape[-1])
        image, target = resize_area(image, size), resize_area(batch.image, size)
        return self.compare(image, target, alpha, resize_area(batch.matte, alpha.shape[-1]))

    def compare(self, image: Tensor, target: Tensor, alpha: Tensor, matte: Tensor) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, of pictures [N,3,s,s] and coverages [N,1,r,r]."""
        weights, judges = self.losses, self.judges
        parts: dict[str, Tensor] = {}
        if weights.l2:
            parts["l2"] = l2(image, target)
        if weights.lpips:
            assert judges.lpips is not None  # `Judges.load` has what weighs
            parts["lpips"] = judges.lpips(image, target)
        if weights.identity:
            assert judges.identity is not None
            parts["identity"] = identity_loss(judges.identity, image, target)
        if weights.l1:
            parts["l1"] = F.l1_loss(image, target)
        if weights.gradient:
            parts["gradient"] = gradient_difference(image, target)
        if weights.dissimilarity:
            parts["dissimilarity"] = structural_dissimilarity(image, target, scales=1)
        if weights.alpha:
            parts["alpha"] = F.l1_loss(alpha, matte)
        return parts

    def _on_rays(self, triplane: Triplane, batch: HeadBatch, rngs: list[torch.Generator]) -> dict[str, Tensor]:
        """Random rays, most of them on the head and along its border."""
        count, device = self.render.rays, batch.image.device
        uv = uniform(rngs, 4 * count, 2, device=device)
        coverage = F.grid_sample(batch.matte, (2 * uv - 1)[:, None], align_corners=False)[:, 0, 0]
        order = (coverage + uniform(rngs, 4 * count, device=device)).argsort(dim=1, descending=True)
        # Three quarters where coverage plus noise is large, the rest elsewhere.
        most = 3 * count // 4
        chosen = torch.cat([order[:, : 2 * most : 2], order[:, len(order[0]) - (count - most) :]], dim=1)
        uv = uv.gather(1, chosen[..., None].expand(-1, -1, 2))
        target, matte = (sample_at(values, uv)[:, :, None] for values in (batch.image, batch.matte))
        origins, directions = pixel_rays(batch.camera, uv)
        g = self.generator
        settings = g.render_options(self.render.samples, batch.camera)
        draws = self._draws(rngs, count) if self.render.jitter else None
        out = g.render_rays(triplane, origins, directions, settings, draws, self.render.chunk * len(batch))
        features, alpha = out.features.transpose(1, 2)[:, :, None], out.alpha[:, None, None]
        scene = g.background_features(triplane.ws)
        behind = torch.zeros_like(features) if scene is None else sample_at(scene, uv)[:, :, None]
        # As `render` with a colour: what the background alone would give is taken out, the backdrop put in.
        front = g.to_rgb(features + (1 - alpha) * behind, triplane.ws)
        front = front + (1 - alpha) * (self.backdrop.to(device)[:, None, None] - g.to_rgb(behind, triplane.ws))
        return self.compare(front, target, alpha, matte)

    def _draws(self, rngs: list[torch.Generator], rays: int) -> Draws:
        settings = self.generator.render_options(self.render.samples)
        device = self.generator.w_avg.device
        jitter = uniform(rngs, rays, settings.samples, device=device)
        u = uniform(rngs, rays, settings.importance, device=device).flatten(0, 1) if settings.importance else None
        return Draws(jitter, u)


def latent_loss(ws: Tensor, known: Tensor) -> Tensor:
    """Smooth L1 (beta 0.1) of styles [N,num_ws,w_dim]; heads whose styles nobody knows (NaN) count as zero."""
    good = ~known.isnan().flatten(1).any(1)
    error = F.smooth_l1_loss(ws, torch.where(known.isnan(), ws.detach(), known), beta=0.1, reduction="none")
    return (error.flatten(1).mean(1) * good).mean()
