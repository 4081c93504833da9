"""Training of the demo generator on procedural heads, by regression: the latent *is* the head's description.

A GAN would need days; here every z has a known head, so field and pixels can be compared directly (demo.md).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import procedural
from ..camera import Camera
from ..checkpoints.store import save_generator
from ..errors import CheckpointError
from ..generator import PanoHead
from ..procedural.heads import LATENT_DIM
from ..rendering.rays import pixel_rays
from ..rendering.renderer import Draws
from ..triplane import Triplane
from .ema import ExponentialMovingAverage
from .muon import Muon
from .presets import GeneratorTraining

# Raw density for one unit of occupancy logit: three logits, which is one cell inside, are opaque within one sample.
SIGMA_PER_LOGIT = 30.0
# Distance over which occupancy goes from .27 to .73.
EDGE = 0.004
# Weight of the field losses at the end of the ray phase. They teach faster, rays decide what pictures look like.
FIELD_SHARE = 0.1
# How far w moves in every direction. Style layers start at scale 1, so a w near 1 would scramble all activations
# before anything is learned: a w of 2.5 costs 5 dB after the same steps.
W_SPREAD = 0.5
# Latents at once, and learning rate, of the mapping phase. The network stores its weights a hundred times as large
# (lr_multiplier 0.01), so 8.0 moves them as 0.08 would elsewhere.
LATENTS, MAPPING_RATE = 1024, 8.0


class Batch(NamedTuple):
    """Heads of random latents and their style vectors [N,num_ws,w_dim]."""

    heads: procedural.Heads
    ws: Tensor


class TrueRays(NamedTuple):
    """Rays [N,R,3] and where they meet the procedural heads."""

    origins: Tensor
    directions: Tensor
    hits: procedural.RayHits


@dataclass
class GeneratorTrainer:
    """One step at a time; `step` returns the losses."""

    options: GeneratorTraining
    generator: PanoHead
    rng: torch.Generator

    @classmethod
    def create(
        cls, options: GeneratorTraining, rng: torch.Generator, start: str | Path | None = None
    ) -> GeneratorTrainer:
        """A fresh generator in training mode, or one that goes on from the weights of a file ``start``.

        Raises CheckpointError for a file that does not fit ``options.config``.
        """
        trainer = cls(options, PanoHead(options.config).train(), rng)
        if start is not None:
            trainer.start_from(start)
        return trainer

    def start_from(self, path: str | Path) -> None:
        """Take over the weights of a generator file, in place, so that the optimisers keep their parameters."""
        from ..checkpoints import load_generator_file, resolve

        given = load_generator_file(resolve("generator", path))[0]
        expected = self.generator.state_dict()
        problems = sorted(expected.keys() ^ given.keys())
        problems += [k for k in expected.keys() & given.keys() if given[k].shape != expected[k].shape]
        if problems:
            raise CheckpointError(f"{path} does not fit the preset's generator: {', '.join(problems[:3])}")
        for module in (self.generator, self.average.module):
            module.load_state_dict({k: given[k] for k in expected})

    def __post_init__(self) -> None:
        # Raw density starts at the scale of its targets instead of growing there.
        with torch.no_grad():
            self.generator.decoder.net[2].weight[0] *= SIGMA_PER_LOGIT
            # Super-resolution starts as plain up-sampling of the raw image, a finer plane as the coarser one. The
            # background network stays at zero features, which the fixed bias of to-RGB turns into exactly the backdrop.
            sizes = [size for size, _ in (*self.options.field_steps, *self.options.ray_steps)]
            backbone = self.generator.backbone.synthesis
            finer = [getattr(backbone, f"b{size}") for size in backbone.resolutions if size > min(sizes, default=0)]
            sr, background = self.generator.superresolution, self.generator.bcg_synthesis
            for block in (*finer, *sr.children(), *background.children()):
                block.torgb.weight.zero_()
            self.generator.torgb.bias.copy_(_backdrop())
        self.average = ExponentialMovingAverage(self.generator, self.options.ema)
        mapping = list(self.generator.backbone.mapping.parameters())
        apart = ("backbone.mapping.", "superresolution.", "bcg_synthesis.", "t_mapping.", "torgb.bias")
        main = {
            name: p
            for name, p in self.generator.named_parameters()
            if not name.startswith(apart) and not name.endswith("noise_strength")
        }
        matrices = {name: p for name, p in main.items() if name.startswith("backbone.synthesis.") and p.ndim > 1}
        # The constant that everything grows from is a picture, not a matrix.
        matrices.pop("backbone.synthesis.b4.const")
        others = [p for name, p in main.items() if name not in matrices]
        tail = [p for name, p in self.generator.superresolution.named_parameters() if "noise_strength" not in name]
        rate, betas = self.options.learning_rate, (0.9, 0.99)
        self.optimizers = {
            "mapping": torch.optim.Adam(mapping, lr=MAPPING_RATE, betas=betas),
            "matrices": Muon(matrices.values(), lr=self.options.matrix_rate),
            "main": torch.optim.Adam(others, lr=rate, betas=betas),
            "tail": torch.optim.Adam(tail, lr=rate, betas=betas),
        }
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["base"] = group["lr"]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        return {"generator": self.generator, "average": self.average.module}

    @property
    def milestones(self) -> dict[int, str]:
        """Nothing is exported on the way."""
        return {}

    @property
    def total_steps(self) -> int:
        """All phases together."""
        return self.options.total_steps

    # ------------------------------------------------------------------------------------------------------ schedule

    def phase(self, step: int) -> tuple[str, int, float]:
        """Name of the phase, plane resolution (0 where there are no planes), and progress 0..1 within the phase."""
        o = self.options
        phases = [("mapping", ((0, o.mapping_steps),)), ("field", o.field_steps), ("rays", o.ray_steps)]
        for name, parts in (*phases, ("super-resolution", ((0, o.super_resolution_steps),))):
            total, begin = sum(count for _, count in parts), step
            for size, count in parts:
                if step < count:
                    return name, size, begin / total
                step -= count
        raise ValueError("training is over")

    def step(self, step: int) -> dict[str, float]:
        """Run optimisation step number ``step``."""
        name, size, progress = self.phase(step)
        decay = 1.0 if name == "field" else self.options.final_rate ** (0.5 - 0.5 * math.cos(math.pi * progress))
        used = {"mapping": ("mapping",), "super-resolution": ("tail",)}.get(name, ("matrices", "main"))
        optimizers = [self.optimizers[key] for key in used]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * decay * min(1.0, (step + 1) / 50)
        if name == "mapping":
            losses = self._mapping()
        elif name == "field":
            losses = self._field(size)
        elif name == "rays":
            share = self.options.field_share
            losses = self._rays(size, share * (FIELD_SHARE / share) ** progress)
        else:
            losses = self._super_resolution()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        for optimizer in optimizers:
            optimizer.step()
        if name != "mapping":
            self.average.update(self.generator, step - self.options.mapping_steps)
        elif step + 1 == self.options.mapping_steps:
            self._settle_mapping()
        return {f"{name}.{key}": float(value.detach()) for key, value in losses.items()}

    @torch.no_grad()
    def preview(self, path: Path) -> None:
        """Truth above, generator below, four unseen heads from four sides."""
        from ..export.images import save_png

        rows = [torch.cat(list(picture), dim=2) for picture in preview_pictures(self.average.module)]
        save_png(torch.cat(rows, dim=1), path)

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """The averaged generator in float16."""
        init, rendering = self.options.config.to_official()
        config = {
            "init_kwargs": init,
            "rendering_kwargs": rendering,
            "neural_rendering_resolution": self.options.config.neural_resolution,
        }
        provenance = {"preset": "demo-generator", "seed": self.options.seed, **provenance}
        save_generator(path, self.average.module.state_dict(), config, provenance, half=True)

    # -------------------------------------------------------------------------------------------------------- phases

    def _batch(self, count: int) -> Batch:
        z = torch.randn(count, LATENT_DIM, generator=self.rng)
        with torch.no_grad():
            ws = self.generator.mapping(z)
        return Batch(procedural.heads_from_latent(z), ws)

    def _triplane(self, ws: Tensor, size: int | None = None) -> Triplane:
        config = self.options.config
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bfloat16):
            planes = self.generator.backbone.synthesis(ws, noise="none", resolution=size).float()
        planes = planes.reshape(len(ws), 3, config.plane_channels, *planes.shape[2:])
        return Triplane(planes, ws, config.plane_depth)

    def _mapping(self) -> dict[str, Tensor]:
        """w becomes the parameters of the head, standardised and turned into its space by a fixed rotation.

        Style layers are linear in w. Learned through pictures alone, the thresholds between hair styles and the rarer
        colours would take most of the training.
        """
        z = torch.randn(LATENTS, LATENT_DIM, generator=self.rng)
        numbers = _head_numbers(z)
        target = W_SPREAD * numbers @ _rotation(numbers.shape[1], self.options.config.w_dim)
        return {"w": (self.generator.mapping(z)[:, 0] - target).square().mean()}

    @torch.no_grad()
    def _settle_mapping(self) -> None:
        """The mapping stays as it is from here on: measure its average w once, exactly."""
        network = self.generator.backbone.mapping
        network.w_avg.copy_(self.generator.mapping(torch.randn(1 << 15, LATENT_DIM, generator=self.rng))[:, 0].mean(0))
        self.average.module.backbone.mapping.load_state_dict(network.state_dict())

    def _field(self, size: int) -> dict[str, Tensor]:
        """Occupancy and colour at points, without rendering."""
        o = self.options
        batch = self._batch(o.heads)
        rays = self._true_rays(batch.heads, o.points // 2, steps=32)
        return self._point_losses(batch, self._triplane(batch.ws, size), rays, o.points)

    def _true_rays(self, heads: procedural.Heads, count: int, steps: int = 56) -> TrueRays:
        camera = _random_cameras(len(heads), self.rng)
        uv = torch.rand(len(heads), count, 2, generator=self.rng)
        origins, directions = pixel_rays(camera, _look_at_faces(uv, camera, self.rng))
        return TrueRays(origins, directions, procedural.trace(heads, origins, directions, steps))

    def _point_losses(self, batch: Batch, triplane: Triplane, rays: TrueRays, count: int) -> dict[str, Tensor]:
        """Half of the points near the surface that rays have met, where it matters, the others anywhere in the box."""
        n, half = len(batch.heads), count // 2
        with torch.no_grad():
            depth = rays.hits.depth[:, :half] + 0.02 * torch.randn(n, half, generator=self.rng)
            near = rays.origins[:, :half] + depth[..., None] * rays.directions[:, :half]
            spread = self.options.config.render.box_warp * (torch.rand(n, half, 3, generator=self.rng) - 0.5)
            points = torch.cat([near, spread], dim=1)
            distance, colour = procedural.field(batch.heads, points)
        sigma, features = self.generator.query(triplane, points)
        target = torch.sigmoid(-distance / EDGE)
        occupancy = F.binary_cross_entropy_with_logits(sigma[..., 0] / SIGMA_PER_LOGIT, target)
        rgb = self._rgb(features, batch.ws)
        at_surface = torch.exp(-(distance / 0.03).square())[..., None]
        return {"occupancy": occupancy, "colour": 2 * (at_surface * (rgb - colour).abs()).mean()}

    def _rays(self, size: int, field_share: float) -> dict[str, Tensor]:
        """Random rays of random cameras, composited on the backdrop, and a share of the field's losses."""
        o = self.options
        batch = self._batch(o.heads)
        true = self._true_rays(batch.heads, o.rays)
        hits, render = true.hits, o.config.render
        target = hits.rgb * hits.alpha[..., None] + _backdrop() * (1 - hits.alpha[..., None])
        draws = Draws(
            torch.rand(o.heads, o.rays, render.samples, generator=self.rng),
            torch.rand(o.heads * o.rays, render.importance, generator=self.rng),
        )
        triplane = self._triplane(batch.ws, size)
        rays = self.generator.render_rays(triplane, true.origins, true.directions, draws=draws, chunk=o.heads * o.rays)
        error = self._rgb(rays.features, batch.ws) - target
        field = self._point_losses(batch, triplane, true, 2 * o.rays)
        return {
            "l1": error.abs().mean(),
            "l2": 4 * error.square().mean(),
            "alpha": 0.3 * (rays.alpha - hits.alpha).abs().mean(),
            **{name: field_share * loss for name, loss in field.items()},
        }

    def _super_resolution(self, count: int = 3, patch: int = 28, margin: int = 4) -> dict[str, Tensor]:
        """Patches of rendered features → patches four times as fine.

        A margin sees the zero padding of the patch and does not count, except at the picture's own border, where
        the padding is the same as in use.
        """
        config = self.options.config
        grid = config.neural_resolution
        with torch.no_grad():
            batch = self._batch(count)
            camera = _random_cameras(count, self.rng)
            corner = torch.randint(-margin, grid - patch + margin + 1, (count, 1, 2), generator=self.rng)
            corner = corner.clamp(0, grid - patch)
            cells = _grid(patch) + corner
            origins, directions = pixel_rays(camera, (cells + 0.5) / grid)
            rays = self.generator.render_rays(self._triplane(batch.ws), origins, directions, chunk=1 << 20)
            shape = (count, -1, patch, patch)
            features = rays.features.transpose(1, 2).reshape(shape)
            raw = self.generator.to_rgb(features, batch.ws)
            fine = _grid(4 * patch) + 4 * corner
            # Anywhere inside the fine pixel: the mean over many steps is the anti-aliased picture.
            fine = (fine + torch.rand(count, fine.shape[1], 2, generator=self.rng)) / (4 * grid)
            hits = procedural.trace(batch.heads, *pixel_rays(camera, fine))
            target = hits.rgb * hits.alpha[..., None] + _backdrop() * (1 - hits.alpha[..., None])
            target = target.transpose(1, 2).reshape(count, 3, 4 * patch, 4 * patch)
            counts = _inner(corner[:, 0], patch, margin, grid).repeat_interleave(4, 1).repeat_interleave(4, 2)
        image = self.generator.superresolution.upscale(raw, features, batch.ws)
        error = (image - target) * counts[:, None]
        share = counts.mean()
        return {"l1": error.abs().mean() / share, "l2": 4 * error.square().mean() / share}

    def _rgb(self, features: Tensor, ws: Tensor) -> Tensor:
        """Features [N,M,C] of single points or rays → raw colours [N,M,3]."""
        return self.generator.to_rgb(features.transpose(1, 2)[..., None], ws)[..., 0].transpose(1, 2)


def preview_pictures(generator: PanoHead, seed: int = 900_000) -> list[Tensor]:
    """Pairs of rows [4,3,64,64]: procedural truth and raw render of unseen latents, yaw 0, 60, 120 and 180."""
    z = torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    heads, triplane = procedural.heads_from_latent(z), generator.synthesize(generator.mapping(z))
    rows = []
    for yaw in (0, 60, 120, 180):
        camera = Camera.look_at(yaw=[float(yaw)] * 4)
        size = generator.config.neural_resolution
        rows.append(procedural.render(heads, camera, size).image)
        rows.append(generator.render(triplane, camera, super_resolve=False, background=procedural.BACKDROP).raw)
    return rows


def _head_numbers(z: Tensor) -> Tensor:
    """Every parameter that varies over the latent family, [N,49], standardised."""
    numbers = _flat_parameters(z)
    mean, std = _spread_of_parameters()
    varies = std > 1e-4
    return ((numbers - mean) / std)[:, varies]


@functools.cache
def _rotation(rows: int, columns: int) -> Tensor:
    """A random matrix [rows,columns] with orthonormal rows, or columns where these are fewer."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(tall).Q
    return basis if rows > columns else basis.t()


@functools.cache
def _spread_of_parameters() -> tuple[Tensor, Tensor]:
    numbers = _flat_parameters(torch.randn(1 << 14, LATENT_DIM, generator=torch.Generator().manual_seed(0)))
    return numbers.mean(0), numbers.std(0)


def _flat_parameters(z: Tensor) -> Tensor:
    heads = procedural.heads_from_latent(z)
    return torch.cat([value.reshape(len(z), -1) for name, value in heads.items() if name != "latent"], dim=1)


def _random_cameras(count: int, rng: torch.Generator) -> Camera:
    yaw, pitch = torch.rand(2, count, generator=rng)
    return Camera.look_at(yaw=360 * yaw, pitch=50 * pitch - 25)


def _look_at_faces(uv: Tensor, camera: Camera, rng: torch.Generator) -> Tensor:
    """Move a third of the image positions [N,M,2] onto the face where the camera sees it.

    Eyes and lips cover two percent of a picture, and much more of what people look at.
    """
    n, m, _ = uv.shape
    count = m // 3
    spread = torch.rand(n, count, 3, generator=rng) - 0.5
    points = spread * torch.tensor([0.24, 0.26, 0.0]) + torch.tensor([0.0, 0.0, 0.2])
    target, _ = camera.project(points)
    seen = (camera.position[:, 2] > 0.5)[:, None, None]
    return torch.cat([torch.where(seen, target, uv[:, :count]), uv[:, count:]], dim=1)


def _grid(size: int) -> Tensor:
    """Column and row numbers [1,size²,2] of a square, row-major."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(1, -1, 2)


def _inner(corner: Tensor, patch: int, margin: int, grid: int) -> Tensor:
    """[N,patch,patch] of 0 and 1: 1 where a pixel is further than ``margin`` from every cut side of its patch."""
    place = torch.arange(patch)
    sides = []
    for axis in (0, 1):
        first = corner[:, axis, None]
        keep = (place >= margin) | (first == 0)
        sides.append(keep & ((place < patch - margin) | (first == grid - patch)))
    return (sides[1][:, :, None] & sides[0][:, None, :]).float()


def _backdrop() -> Tensor:
    return torch.tensor(procedural.BACKDROP) * 2 - 1
