"""Training of the demo encoders on single views (paper §3; encoders.md §5, §9), with losses that need no weights.

The paper's reconstruction loss is L2 + LPIPS + identity; the demo has L1 + L2 + coverage on random rays, because the
weights of LPIPS and ArcFace cannot be bundled. The adversarial part is the paper's: a discriminator on O·T, lazy R1.
What the photo leaves open is held by `priors`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..camera import Camera
from ..checkpoints.catalog import resolve
from ..checkpoints.store import load_encoder_file, load_generator_file, save_encoder
from ..encoders import HeadEncoder
from ..encoders.config import HeadEncoderConfig
from ..errors import DualEncError
from ..generator import PanoHead
from ..generator.fast import REFERENCE
from ..inversion.occlusion import occlusion_mask
from ..rendering.rays import pixel_rays
from ..rendering.renderer import Draws, RayOutput
from ..triplane import Triplane
from .discriminator import TriplaneDiscriminator, masked_planes, r1_penalty
from .losses import discriminator_loss, generator_loss
from .muon import Muon
from .objective import latent_loss
from .portraits import Portraits, load_portraits, misaligned
from .presets import EncoderTraining
from .priors import from_behind, ghost_loss, rim_loss

# Learning rate of stage one's last layers, in that of the others.
LINEAR_PACE = 10.0
# Largest distance of two neighbours on a hidden surface, in picture widths.
NEIGHBOURS = 0.06


@dataclass(frozen=True)
class PhotoRays:
    """Rays of N photos, and what the photo has there.

    Attributes:
        uv: [N,R,2] in 0..1.
        origins, directions: [N,R,3].
        colour: [N,R,3] in -1..1.
        alpha: [N,R] in 0..1.
    """

    uv: Tensor
    origins: Tensor
    directions: Tensor
    colour: Tensor
    alpha: Tensor


@dataclass
class EncoderTrainer:
    """One step at a time; `step` returns the losses."""

    options: EncoderTraining
    generator: PanoHead
    encoder: HeadEncoder
    portraits: Portraits
    rng: torch.Generator

    @classmethod
    def create(
        cls,
        options: EncoderTraining,
        generator: str,
        encoder1: str,
        rng: torch.Generator,
        data: Path | None = None,
    ) -> EncoderTrainer:
        """Load the frozen generator, render the portraits, and build the encoder, all on the device of ``rng``.

        Encoder 2 and the control start from the file ``encoder1``.
        """
        state, config, _ = load_generator_file(resolve("generator", generator))
        network = PanoHead.from_config(
            config["init_kwargs"], config["rendering_kwargs"], state, config.get("neural_rendering_resolution")
        )
        network = network.to(rng.device)
        scale = plane_scale(network)
        encoder_config = options.config.replace(
            lifted=dataclasses.replace(options.config.lifted, plane_scale=scale),
            passes=options.passes,
            generator=network.fingerprint,
        )
        encoder = HeadEncoder(encoder_config)
        encoder.use_average(network)
        if options.variant != "fidelity":
            state, config, _ = load_encoder_file(resolve("encoder", encoder1))
            encoder = HeadEncoder.from_config(HeadEncoderConfig.from_dict(config).replace(passes=options.passes), state)
        data = data or Path("runs") / "portraits.safetensors"
        portraits = load_portraits(data, options.portraits, options.portrait_size, rng.device)
        return cls(options, network, encoder.to(rng.device), portraits, rng)

    def __post_init__(self) -> None:
        o = self.options
        if o.variant not in ("fidelity", "realism", "control"):
            raise DualEncError(f"encoder variant is {o.variant!r}, expected fidelity, realism or control")
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
        kernels = {
            name: p
            for name, p in self.encoder.stage_two.named_parameters()
            if p.ndim == 4 and not name.startswith(("out.", "direct."))
        }
        others = [p for name, p in self.encoder.stage_two.named_parameters() if name not in kernels]
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
        return self._image_step(step)

    # --------------------------------------------------------------------------------------------------------- steps

    def _latent_step(self) -> dict[str, Tensor]:
        """Stage one against the style vectors of the known latents: minutes instead of hours to a sensible start."""
        # Mirrored portraits have no known latent: a parting or a mole changes sides.
        images, _, _, latents = self._batch(self.options.latent_batch, mirror=False)
        with torch.no_grad():
            target = self.generator.mapping(latents)
        loss = latent_loss(self._styles(images), target)
        self._update(["one"], loss)
        return {"latent": loss.detach()}

    def _image_step(self, step: int) -> dict[str, Tensor]:
        """Stage two on pictures; stage one stays as the latents made it."""
        o = self.options
        images, mattes, camera, _ = self._batch(o.batch)
        rays = self._rays(images, mattes, camera)
        self.encoder.stage_one.eval()
        with torch.no_grad():
            coarse = self._coarse(images)
            before = self._render(coarse, rays.origins, rays.directions)
        refined = coarse
        # Every pass learns, one at a step, from what those before it make.
        last = int(torch.randint(self.encoder.config.passes, (), generator=self.rng, device=self.device))
        for i in range(last + 1):
            with torch.set_grad_enabled(i == last):
                refined = self.encoder.refine(
                    self.generator, refined, images, camera, mattes, self._quality, self._layers_type
                )
        after = self._render(refined, rays.origins, rays.directions)
        losses = {"refined": self._difference(after, rays)}
        if o.rim:
            losses["rim"] = o.rim * rim_loss(rays.uv, before[1], after[1])
        if o.ghosts:
            losses["ghosts"] = o.ghosts * self._ghosts(coarse, refined, rays, camera)
        values = {k: v.detach() for k, v in losses.items()}
        if o.adversarial:
            adversarial, more = self._adversarial(step, refined, camera)
            losses["adversarial"] = o.adversarial * adversarial
            values.update(more)
        self._update(["two", "matrices"], sum(losses.values()))
        return values

    def _ghosts(self, coarse: Triplane, refined: Triplane, rays: PhotoRays, camera: Camera) -> Tensor:
        """`ghost_loss` on an eighth of the rays, each with a neighbour, seen from behind."""
        uv = rays.uv[:, : max(1, self.options.rays // 8)]
        offset = torch.rand(uv.shape, generator=self.rng, device=self.device)
        uv = torch.cat([uv, uv + NEIGHBOURS * (2 * offset - 1)], dim=1)
        options = self.generator.config.render
        turned = from_behind(*pixel_rays(camera, uv), options.near, options.far)
        with torch.no_grad():
            before = self._render(coarse, *turned)
        return ghost_loss(before, self._render(refined, *turned))

    def _adversarial(self, step: int, refined: Triplane, camera: Camera) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoder's adversarial loss, after one discriminator step on the same cells (paper Eq. 8, 9)."""
        o, scale = self.options, self.encoder.config.lifted.plane_scale
        with torch.no_grad():
            # Fewer rays than a mask in use has, and the holes between them closed.
            size = 5 * refined.size // 8
            mask = occlusion_mask(
                self.generator, refined.detach(), camera, resolution=size, closing=2, quality=self._quality
            ).mask
            z = torch.randn(len(refined), self.generator.config.z_dim, generator=self.rng, device=self.device)
            real = self.generator.synthesize(self.generator.mapping(z)).planes
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
        return torch.bfloat16 if self.options.bfloat16 else torch.float32

    def _styles(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            return self.encoder.styles(images).float()

    def _coarse(self, images: Tensor) -> Triplane:
        ws = self._styles(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            coarse = self.generator.synthesize(ws)
        return coarse.replace(planes=coarse.planes.float())

    def _batch(self, count: int, mirror: bool = True) -> tuple[Tensor, Tensor, Camera, Tensor]:
        indices = torch.randint(len(self.portraits), (count,), generator=self.rng, device=self.device)
        mirror = bool(torch.rand((), generator=self.rng, device=self.device) < 0.5) and mirror
        images, mattes, camera, latents = self.portraits.batch(indices, mirror)
        if self.options.misalignment:
            images, mattes, camera = misaligned(images, mattes, camera, self.rng, self.options.misalignment)
        return images, mattes, camera, latents

    def _rays(self, images: Tensor, mattes: Tensor, camera: Camera) -> PhotoRays:
        """Random rays, most of them on the head."""
        n, count = len(images), self.options.rays
        uv = torch.rand(n, 4 * count, 2, generator=self.rng, device=self.device)
        coverage = F.grid_sample(mattes, (2 * uv - 1)[:, None], align_corners=False)[:, 0, 0]
        noise = torch.rand(n, 4 * count, generator=self.rng, device=self.device)
        order = (coverage + noise).argsort(dim=1, descending=True)
        # A quarter everywhere, the rest where coverage plus noise is largest: on the head and along its border.
        chosen = torch.cat([order[:, : 2 * count : 3][:, : 3 * count // 4], order[:, -(count - 3 * count // 4) :]], 1)
        uv = uv.gather(1, chosen[..., None].expand(-1, -1, 2))
        grid = (2 * uv - 1)[:, None]
        colour = F.grid_sample(images, grid, align_corners=False, padding_mode="border")[:, :, 0].transpose(1, 2)
        alpha = F.grid_sample(mattes, grid, align_corners=False, padding_mode="border")[:, 0, 0]
        return PhotoRays(uv, *pixel_rays(camera, uv), colour, alpha)

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

    @staticmethod
    def _difference(rendered: tuple[Tensor, RayOutput], rays: PhotoRays) -> Tensor:
        """The reconstruction loss: L1, L2 and coverage."""
        colour, out = rendered
        error = colour - rays.colour
        return error.abs().mean() + 2 * error.square().mean() + 0.3 * (out.alpha - rays.alpha).abs().mean()

    # -------------------------------------------------------------------------------------------------------- output

    def preview(self, path: Path) -> None:
        """Photo, stage one, stage two, and the refined head from the side and from behind, for four portraits."""
        from ..export.images import save_png

        images, mattes, camera, _ = self.portraits.batch(torch.arange(4, device=self.device))
        size = self.generator.config.neural_resolution
        with torch.no_grad():
            refined = self.encoder.encode(self.generator, images, camera, mattes)
            coarse = self.generator.synthesize(refined.ws)
            columns = [F.adaptive_avg_pool2d(images, size)]
            for triplane, view in (
                (coarse, camera),
                (refined, camera),
                (refined, Camera.look_at(yaw=[100.0] * 4)),
                (refined, Camera.look_at(yaw=[180.0] * 4)),
            ):
                columns.append(self.generator.render(triplane, view, super_resolve=False).raw)
        save_png(torch.cat([torch.cat(list(c), dim=1) for c in columns], dim=2), path)

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """The encoder in float16."""
        options = self.options
        provenance = {"variant": options.variant, "seed": options.seed, **provenance}
        save_encoder(path, self.encoder.state_dict(), self.encoder.config.to_dict(), provenance, half=True)


@torch.no_grad()
def plane_scale(generator: PanoHead, count: int = 8) -> float:
    """Standard deviation of the generator's planes: the unit in which stage two and the discriminator work."""
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(0)).to(generator.w_avg)
    return float(generator.synthesize(generator.mapping(z)).planes.std())
