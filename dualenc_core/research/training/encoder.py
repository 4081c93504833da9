"""Training of the bundled encoders (paper §3; encoders.md §5, §9) on heads whose other sides are known.

The paper's reconstruction loss is L2 + LPIPS + identity of the photo; here it is L1 + L2 + coverage on random rays,
because the weights of LPIPS and ArcFace cannot be bundled, and it is asked of other views too: near the photo's own for
Encoder 1, all around for Encoder 2, what the photo hides more than the rest. The adversarial part is the paper's: a
discriminator on O·T, lazy R1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...camera import Camera
from ...checkpoints.catalog import resolve
from ...checkpoints.store import load_encoder_file, load_generator_file, save_encoder
from ...choices import REFERENCE
from ...devices import half_type
from ...encoders import HeadEncoder
from ...errors import CheckpointError, DualEncError
from ...generator import PanoHead
from ...inversion.occlusion import occlusion_mask
from ...people.standard import styles_of
from ...rendering.renderer import Draws, RayOutput
from ...triplane import Triplane
from .discriminator import TriplaneDiscriminator, masked_planes, r1_penalty
from .losses import discriminator_loss, generator_loss
from .muon import Muon
from .objective import latent_loss
from .presets import EncoderTraining
from .relief_decoder import keep_backs
from .views import KnownBatch, KnownViewSource, Placement, View, ViewBatch, ViewSource, view_rays

# Learning rate of stage one's last layers, in that of the others.
LINEAR_PACE = 10.0
VARIANTS = ("latent", "fidelity", "realism", "control")


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


@dataclass
class EncoderTrainer:
    """One step at a time; `step` returns the losses."""

    options: EncoderTraining
    generator: PanoHead
    encoder: HeadEncoder
    views: ViewSource
    rng: torch.Generator

    @classmethod
    def create(
        cls, options: EncoderTraining, generator: str, start: str | None, views: ViewSource, rng: torch.Generator
    ) -> EncoderTrainer:
        """Load the frozen generator and build the encoder, all on the device of ``rng``.

        Encoders begin with the weights of the file ``start``, as far as they fit; None = at random.
        """
        state, config, _ = load_generator_file(resolve("generator", generator))
        network = PanoHead.from_config(
            config["init_kwargs"], config["rendering_kwargs"], state, config.get("neural_rendering_resolution")
        )
        network = network.to(rng.device)
        encoder_config = options.config.replace(
            lifted=dataclasses.replace(options.config.lifted, plane_scale=plane_scale(network)),
            passes=options.passes,
            generator=network.fingerprint,
        )
        encoder = HeadEncoder(encoder_config)
        encoder.use_average(network)
        if start is not None:
            state = load_encoder_file(resolve("encoder", start))[0]
            fresh = encoder.start_from({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
            # Trained alone, stage one may take over what fits; below others it stays as it is.
            if options.variant != "latent" and any(name.startswith("stage_one.") for name in fresh):
                raise CheckpointError(f"{start} does not fit the preset's encoder: {', '.join(fresh[:3])}")
            encoder.use_average(network)
        return cls(options, network, encoder.to(rng.device), views, rng)

    def __post_init__(self) -> None:
        o = self.options
        if o.variant not in VARIANTS:
            raise DualEncError(f"encoder variant is {o.variant!r}, expected one of {', '.join(VARIANTS)}")
        if o.known and not isinstance(self.views, KnownViewSource):
            raise DualEncError(
                f"known is {o.known}, but {type(self.views).__name__} has no heads whose tri-grids are known; "
                "train on traced people, or set it to 0"
            )
        self.encoder.requires_grad_(True)
        self.discriminator = TriplaneDiscriminator(
            3 * self.generator.config.plane_channels, o.discriminator_widths, stride=2
        ).to(self.device)
        named = list(self.encoder.stage_one.named_parameters())
        # Equalised weights of unit variance behind convolutions of a tenth: at the same rate they would hardly move.
        one = [
            {"params": [p for name, p in named if "linear" not in name], "pace": 1.0},
            {"params": [p for name, p in named if "linear" in name], "pace": LINEAR_PACE},
        ]
        # The last layers, which begin at zero, have no directions yet that Muon could keep in balance.
        refiner = self.encoder.stage_two
        assert refiner is not None  # every preset has one
        kernels = {
            name: p
            for name, p in refiner.named_parameters()
            if p.ndim == 4 and not name.startswith(("out.", "direct."))
        }
        others = [p for name, p in refiner.named_parameters() if name not in kernels]
        matrices = [{"params": list(kernels.values()), "pace": o.matrix_rate / o.learning_rate}]
        self.optimizers = {
            "one": torch.optim.Adam(one, lr=o.learning_rate, betas=(0.9, 0.99)),
            "two": torch.optim.Adam([{"params": others, "pace": 1.0}], lr=o.learning_rate, betas=(0.9, 0.99)),
            "matrices": Muon(matrices, lr=o.matrix_rate),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99)),
        }

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.rng.device

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        return {"encoder": self.encoder, "discriminator": self.discriminator}

    @property
    def milestones(self) -> dict[int, str]:
        """Steps after which the model is also exported, and under what name."""
        return {self.options.latent_steps: "latent"} if self.options.latent_steps else {}

    @property
    def total_steps(self) -> int:
        """All phases together."""
        return self.options.latent_steps + self.options.refine_steps

    def phase(self, step: int) -> tuple[str, int, int]:
        """Name, step within the phase, and the phase's length."""
        o = self.options
        phases = (("latent", o.latent_steps), ("refine", o.refine_steps))
        for name, count in phases:
            if step < count:
                return name, step, count
            step -= count
        raise ValueError(f"training is over after {self.total_steps} steps")

    def step(self, step: int) -> dict[str, Tensor]:
        """Run optimisation step number ``step``."""
        o = self.options
        name, step, count = self.phase(step)
        rate = (
            (o.latent_rate if name == "latent" else o.learning_rate)
            * (0.5 + 0.5 * math.cos(math.pi * step / count))
            * min(1.0, (step + 1) / 50)
        )
        for key in ("one", "two", "matrices"):
            for group in self.optimizers[key].param_groups:
                group["lr"] = rate * group["pace"]
        self.encoder.train()
        if name == "latent":
            return self._latent_step()
        if torch.rand((), generator=self.rng, device=self.device) < o.known:
            return self._plane_step()
        return self._image_step(step)

    # --------------------------------------------------------------------------------------------------------- steps

    def _latent_step(self) -> dict[str, Tensor]:
        """Stage one against the style vectors of the known heads: minutes instead of hours to a sensible start."""
        config = self.encoder.config.style
        images, numbers = self.views.photos(self.options.latent_batch, config.trunk.input_size, self.rng)
        target = styles_of(numbers, self.generator.config.w_dim)[:, None].expand(-1, config.n_styles, -1)
        loss = latent_loss(self._styles(images), target)
        self._update(["one"], loss)
        return {"latent": loss.detach()}

    def _plane_step(self) -> dict[str, Tensor]:
        """Stage two on tri-grids that are known, cell by cell: far cheaper than rays, and every side counts."""
        o = self.options
        config = self.generator.config
        assert isinstance(self.views, KnownViewSource)
        batch = self.views.known(o.batch, o.photo_size, o.shown, o.unseen, config, self.rng)
        error = self._refined(batch).planes - batch.planes
        # In the units of a picture: the decoder averages the planes.
        loss = (batch.weight * error.abs()).mean() / batch.weight.mean() / 3
        self._update(["two", "matrices"], loss)
        return {"planes": loss.detach()}

    def _refined(self, batch: ViewBatch | KnownBatch) -> Triplane:
        """What stage two makes of photos; stage one stays as the latents made it."""
        self.encoder.stage_one.eval()
        with torch.no_grad():
            refined = self._coarse(batch.images)
        # Every pass learns, one at a step, from what those before it make.
        last = int(torch.randint(self.encoder.config.passes, (), generator=self.rng, device=self.device))
        for i in range(last + 1):
            with torch.set_grad_enabled(i == last):
                refined = self.encoder.refine(
                    self.generator, refined, batch.images, batch.camera, batch.mattes, self._quality, self._layers_type
                )
        return refined

    def _image_step(self, step: int) -> dict[str, Tensor]:
        """Stage two on pictures."""
        o = self.options
        batch = self.views.batch(o.batch, o.photo_size, o.others, o.near, self.rng)
        rays = [self._rays(view, batch.placement, i) for i, view in enumerate(batch.views)]
        refined = self._refined(batch)
        losses = self._differences(refined, rays)
        values = {k: v.detach() for k, v in losses.items()}
        if o.adversarial:
            adversarial, more = self._adversarial(step, refined, batch.camera)
            losses["adversarial"] = o.adversarial * adversarial
            values.update(more)
        self._update(["two", "matrices"], functools.reduce(torch.add, losses.values()))
        return values

    def _adversarial(self, step: int, refined: Triplane, camera: Camera) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoder's adversarial loss, after one discriminator step on the same cells (paper Eq. 8, 9)."""
        o, scale = self.options, self.encoder.config.lifted.plane_scale
        with torch.no_grad():
            # Fewer rays than a mask in use has, and the holes between them closed.
            size = 5 * refined.size // 8
            mask = occlusion_mask(
                self.generator, refined.detach(), camera, resolution=size, closing=2, quality=self._quality
            ).mask
            numbers = self.views.photos(len(refined), 8, self.rng)[1]
            ws = styles_of(numbers, self.generator.config.w_dim)[:, None].expand(-1, self.generator.config.num_ws, -1)
            real = self.generator.synthesize(ws).planes
            real = masked_planes(real / scale, mask)
        fake = masked_planes(refined.planes / scale, mask)
        self.discriminator.requires_grad_(True)
        loss = discriminator_loss(self.discriminator(real), self.discriminator(fake.detach()))
        values = {"discriminator": loss.detach()}
        if step % o.r1_interval == 0:
            penalty = r1_penalty(self.discriminator, real)
            values["r1"] = penalty.detach()
            loss = loss + 0.5 * o.r1 * o.r1_interval * penalty / real[0].numel()
        self._update(["discriminator"], loss)
        self.discriminator.requires_grad_(False)
        adversarial = generator_loss(self.discriminator(fake))
        values["adversarial"] = adversarial.detach()
        return adversarial, values

    def _update(self, names: list[str], loss: Tensor) -> None:
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            self.optimizers[name].step()

    # -------------------------------------------------------------------------------------------------------- pieces

    @property
    def _quality(self) -> str:
        """Of renders without gradients. To prepare each head for fast rays pays on a CPU only."""
        return self.encoder.renders(self.generator) if self.device.type == "cpu" else REFERENCE

    @property
    def _layers_type(self) -> torch.dtype:
        return torch.bfloat16 if self._half else torch.float32

    @property
    def _half(self) -> bool:
        """Whether networks compute in bfloat16: on a CPU without it, they would take fifty times as long."""
        return self.options.bfloat16 and half_type(self.device) != torch.float32

    def _styles(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            return self.encoder.styles(images).float()

    def _coarse(self, images: Tensor) -> Triplane:
        ws = self._styles(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            coarse = self.generator.synthesize(ws)
        return coarse.replace(planes=coarse.planes.float())

    def _rays(self, view: View, placement: Placement, index: int) -> TargetRays:
        """Random rays of a view, most of them on the head."""
        o, n, count = self.options, len(view.colour), self.options.rays
        uv = torch.rand(n, 4 * count, 2, generator=self.rng, device=self.device)
        coverage = F.grid_sample(view.alpha, (2 * uv - 1)[:, None], align_corners=False)[:, 0, 0]
        noise = torch.rand(n, 4 * count, generator=self.rng, device=self.device)
        order = (coverage + noise).argsort(dim=1, descending=True)
        # A quarter everywhere, the rest where coverage plus noise is largest: on the head and along its border.
        chosen = torch.cat([order[:, : 2 * count : 3][:, : 3 * count // 4], order[:, -(count - 3 * count // 4) :]], 1)
        uv = uv.gather(1, chosen[..., None].expand(-1, -1, 2))
        grid = (2 * uv - 1)[:, None]
        colour, alpha, hidden = (
            F.grid_sample(picture, grid, align_corners=False, padding_mode="border")[:, :, 0].transpose(1, 2)
            for picture in (view.colour, view.alpha, view.hidden)
        )
        weight = (1 + o.hidden * hidden[..., 0]) * (o.own if index == 0 else o.other)
        return TargetRays(*view_rays(view.camera, placement, uv), colour, alpha[..., 0], weight)

    def _render(self, triplane: Triplane, origins: Tensor, directions: Tensor) -> tuple[Tensor, RayOutput]:
        """Colours [N,R,3] on the backdrop, and the output, of rays [N,R,3] with random samples."""
        options = self.generator.config.render
        n, r = origins.shape[:2]
        draws = Draws(
            torch.rand(n, r, options.samples, generator=self.rng, device=self.device),
            torch.rand(n * r, options.importance, generator=self.rng, device=self.device),
        )
        out = self.generator.render_rays(triplane, origins, directions, draws=draws, chunk=n * r)
        features = out.features.transpose(1, 2)[..., None]
        # The demo generator's background features are zero, so what is behind the head is to-RGB's bias.
        return self.generator.to_rgb(features, triplane.ws)[..., 0].transpose(1, 2), out

    def _differences(self, triplane: Triplane, rays: list[TargetRays]) -> dict[str, Tensor]:
        """The reconstruction loss of every view: L1, L2 and coverage."""
        counts = [r.origins.shape[1] for r in rays]
        whole = (torch.cat([getattr(r, name) for r in rays], dim=1) for name in ("origins", "directions"))
        colour, out = self._render(triplane, *whole)
        losses: dict[str, Tensor] = {}
        for i, (made, alpha) in enumerate(zip(colour.split(counts, 1), out.alpha.split(counts, 1), strict=True)):
            target = rays[i]
            error = made - target.colour
            cover = self.options.coverage * (alpha - target.alpha).abs()
            each = error.abs().mean(-1) + 2 * error.square().mean(-1) + cover
            name, loss = "own" if i == 0 else "other", (target.weight * each).mean()
            losses[name] = losses[name] + loss if name in losses else loss
        return losses

    def preview(self, path: Path) -> None:
        """Photo, stage one, stage two, and the refined head from two sides and from behind, for four heads."""
        from ...export.images import save_png

        rng = torch.Generator(self.device).manual_seed(1)
        batch = self.views.batch(4, self.options.photo_size, 1, False, rng)
        size = self.generator.config.neural_resolution
        with torch.no_grad():
            refined = self.encoder.encode(self.generator, batch.images, batch.camera, batch.mattes)
            coarse = self.generator.synthesize(refined.ws)
            columns = [F.adaptive_avg_pool2d(batch.images, size)]
            for triplane, view in (
                (coarse, batch.camera),
                (coarse, Camera.look_at(yaw=[180.0] * 4)),
                (refined, batch.camera),
                *((refined, Camera.look_at(yaw=[yaw] * 4)) for yaw in (-60.0, 60.0, 110.0, 180.0)),
            ):
                columns.append(self.generator.render(triplane, view.to(self.device), super_resolve=False).raw)
        save_png(torch.cat([torch.cat(list(c.cpu()), dim=1) for c in columns], dim=2).clamp(-1, 1), path)

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """The encoder in float16."""
        options = self.options
        provenance = {"variant": options.variant, "seed": options.seed, **self.views.provenance, **provenance}
        state, config = self.encoder.state_dict(), self.encoder.config
        if options.known and config.lifted.own_ends:
            state = keep_backs(state, config.lifted.depth)
        save_encoder(path, state, config.to_dict(), provenance, half=True)


@torch.no_grad()
def plane_scale(generator: PanoHead, count: int = 8) -> float:
    """Standard deviation of the generator's planes: the unit in which stage two and the discriminator work."""
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(0)).to(generator.w_avg)
    return float(generator.synthesize(generator.mapping(z)).planes.std())
