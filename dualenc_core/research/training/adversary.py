"""The discriminator of Encoder 2 and what it is shown, in the variants of the paper's ablation (paper Eq. 6, 8, 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...camera import Camera
from ...encoders.spaces import draw_z_plus
from ...errors import DualEncError
from ...generator import PanoHead
from ...images import resize_area
from ...inversion.occlusion import occlusion_mask
from ...triplane import Triplane
from .batches import HeadBatch
from .config import DiscriminatorConfig
from .discriminator import TriplaneDiscriminator, masked_planes, r1_penalty
from .draws import named, uniform
from .losses import discriminator_loss, generator_loss
from .objective import Objective


@dataclass(frozen=True)
class Pair:
    """What the discriminator compares: ``real`` without, ``fake`` with gradients to the encoder's planes."""

    real: Tensor
    fake: Tensor


@dataclass
class Adversary:
    """Makes real and fake samples, and the losses on them.

    - "occluded": O·T against O·G(M(z+)); O is 1 where the input view does not show a cell, the same for both.
    - "triplane": T against G(M(z+)).
    - "image": renders of both from one camera, drawn from all around (yaw 360°, pitch ±15°). The paper does not say
      which pictures its variant compared; these differ from the other two in nothing but what is looked at.

    The gradient reaches stage two only: w+ and stage one's planes are detached inside T (encoders.md §9).
    """

    config: DiscriminatorConfig
    generator: PanoHead
    objective: Objective
    seed: int
    network: TriplaneDiscriminator = field(init=False)
    scale: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        channels = 3 if self.config.kind == "image" else 3 * self.generator.config.plane_channels
        self.network = TriplaneDiscriminator(channels, self.config.widths, self.config.stride)
        if self.config.scale_planes and self.config.kind != "image":
            self.scale = planes_deviation(self.generator)

    def pair(self, refined: Triplane, batch: HeadBatch, step: int, visible: Triplane | None = None) -> Pair:
        """Real and fake samples for a batch.

        Args:
            refined: the encoder's heads.
            visible: heads whose render from the input view says what is occluded (kind "occluded").
        """
        with torch.no_grad():
            real_ws = batch.real
            if real_ws is None:
                rngs = [named(self.seed, "real", step, slot) for slot in batch.slots]
                real_ws = draw_z_plus(self.generator, rngs, self.config.psi)
            sample = self.generator.synthesize(real_ws)
        if self.config.kind == "image":
            return self._pictures(refined, sample, batch, step)
        real, fake = sample.planes / self.scale, refined.planes / self.scale
        if self.config.kind == "triplane":
            return Pair(real.flatten(1, 2), fake.flatten(1, 2))
        if visible is None:
            raise DualEncError("the discriminator of what is occluded got no visible heads; give them")
        mask = self.occluded(visible, batch.camera)
        return Pair(masked_planes(real, mask).flatten(1, 2), masked_planes(fake, mask).flatten(1, 2))

    @torch.no_grad()
    def occluded(self, visible: Triplane, camera: Camera) -> Tensor:
        """O [N,3,D,H,W], 1 where the camera does not show the cell (paper Eq. 3)."""
        c = self.config
        return occlusion_mask(
            self.generator,
            visible.detach(),
            camera,
            resolution=c.mask_resolution,
            closing=c.mask_closing,
            per_slice=c.mask_per_slice,
        ).mask

    def _pictures(self, refined: Triplane, sample: Triplane, batch: HeadBatch, step: int) -> Pair:
        turns = uniform([named(self.seed, "around", step, slot) for slot in batch.slots], 2)
        camera = Camera.look_at(360 * turns[:, 0], 30 * turns[:, 1] - 15).to(refined.planes.device)
        pictures = []
        for triplane, grad in ((sample, False), (refined, True)):
            with torch.set_grad_enabled(grad):
                rngs = [named(self.seed, "around-samples", step, slot) for slot in batch.slots]
                image, _ = self.objective.view(triplane, camera, rngs)
                pictures.append(resize_area(image, min(self.config.image_size, image.shape[-1])))
        return Pair(*pictures)

    def encoder_loss(self, pair: Pair) -> Tensor:
        """softplus(-D(fake)); the discriminator itself gets no gradient."""
        self.network.requires_grad_(False)
        try:
            return generator_loss(self.network(pair.fake))
        finally:
            self.network.requires_grad_(True)

    def own_loss(self, pair: Pair) -> Tensor:
        """½ (softplus(-D(real)) + softplus(D(fake))), in two passes, each with its own batch statistics."""
        return discriminator_loss(self.network(pair.real), self.network(pair.fake.detach()))

    def penalty(self, real: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """γ/2 · interval · R1, and R1 alone is that over `penalty_scale`."""
        return self.penalty_scale * r1_penalty(network or self.network, real)

    @property
    def penalty_scale(self) -> float:
        return 0.5 * self.config.r1 * self.config.r1_every

    def penalised(self, step: int) -> bool:
        """R1 runs at this step."""
        return bool(self.config.r1 and self.config.r1_every) and step % self.config.r1_every == 0


@torch.no_grad()
def planes_deviation(generator: PanoHead, count: int = 8) -> float:
    """Standard deviation of the generator's planes: the unit of lifted stages two, and of discriminators of planes."""
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(0)).to(generator.w_avg)
    return float(generator.synthesize(generator.mapping(z)).planes.std())
