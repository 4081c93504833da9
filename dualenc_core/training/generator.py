"""Training of the demo generator on procedural heads, by regression: the latent *is* the head's description.

A GAN would need days; here every z has a known head, so field and pixels can be compared directly (demo.md).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
# Raw pixels at the cut sides of a super-resolution patch that do not count.
MARGIN = 4


class Truth(NamedTuple):
    """What the heads of some latents really look like, for the phases field and rays.

    Attributes:
        z: [N,16] latents.
        origins, directions: [N,R,3] rays.
        rgb: [N,R,3] in [-1,1], on the backdrop.
        alpha: [N,R].
        points: [N,P,3], half of them near the surface that rays have met, where it matters, the others anywhere.
        distance, colour: [N,P] and [N,P,3] of the field there.
    """

    z: Tensor
    origins: Tensor
    directions: Tensor
    rgb: Tensor
    alpha: Tensor
    points: Tensor
    distance: Tensor
    colour: Tensor


class Patches(NamedTuple):
    """Square parts of pictures, for super-resolution.

    Attributes:
        z: [N,16] latents.
        label: [N,25] cameras.
        corner: [N,1,2] first column and row of the patch, in raw pixels.
        target: [N,3,4p,4p] the true fine picture in [-1,1].
    """

    z: Tensor
    label: Tensor
    corner: Tensor
    target: Tensor


class Numbers(NamedTuple):
    """Latents z [N,16] and the w [N,w_dim] that they should have."""

    z: Tensor
    w: Tensor


@dataclass
class GeneratorTrainer:
    """One step at a time; `step` returns the losses.

    What the heads really look like is found for ``options.truth_steps`` steps at once, from random numbers that depend
    on the seed and the step alone: an accelerator would wait for a small batch's many small kernels, and a training
    that is resumed in the middle finds the same.
    """

    options: GeneratorTraining
    generator: PanoHead
    rng: torch.Generator
    _block: tuple[tuple, list] = field(default=((), []), repr=False)

    @classmethod
    def create(
        cls, options: GeneratorTraining, rng: torch.Generator, start: str | Path | None = None
    ) -> GeneratorTrainer:
        """A fresh generator in training mode, or one that goes on from the weights of a file ``start``.

        It is trained on the device of ``rng``. Raises CheckpointError for a file that does not fit ``options.config``.
        """
        trainer = cls(options, PanoHead(options.config).train().to(rng.device), rng)
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
            self.generator.torgb.bias.copy_(_backdrop(self.device))
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
    def device(self) -> torch.device:
        """Where everything is."""
        return self.rng.device

    @property
    def milestones(self) -> dict[int, str]:
        """An encoder's latent phase needs the mapping alone, its other phases all but super-resolution: they can begin
        while the rest is trained."""
        o = self.options
        found = {o.mapping_steps: "mapping", o.total_steps - o.super_resolution_steps: "rays"}
        return {step: name for step, name in found.items() if 0 < step < o.total_steps}

    @property
    def total_steps(self) -> int:
        """All phases together."""
        return self.options.total_steps

    # ------------------------------------------------------------------------------------------------------ schedule

    def phase(self, step: int) -> tuple[str, int, int, int]:
        """Name of the phase, plane resolution (0 where there are no planes), step within the phase, and its length."""
        o = self.options
        phases = [("mapping", ((0, o.mapping_steps),)), ("field", o.field_steps), ("rays", o.ray_steps)]
        for name, parts in (*phases, ("super-resolution", ((0, o.super_resolution_steps),))):
            total, begin = sum(count for _, count in parts), step
            for size, count in parts:
                if step < count:
                    return name, size, begin, total
                step -= count
        raise ValueError("training is over")

    def step(self, step: int) -> dict[str, Tensor]:
        """Run optimisation step number ``step``."""
        name, size, begin, total = self.phase(step)
        progress = begin / total
        decay = 1.0 if name == "field" else self.options.final_rate ** (0.5 - 0.5 * math.cos(math.pi * progress))
        used = {"mapping": ("mapping",), "super-resolution": ("tail",)}.get(name, ("matrices", "main"))
        optimizers = [self.optimizers[key] for key in used]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * decay * min(1.0, (step + 1) / 50)
        truth = self._truth(name, step, begin, total)
        if name == "mapping":
            losses = self._mapping(truth)
        elif name == "field":
            losses = self._point_losses(truth, *self._head(truth.z, size))
        elif name == "rays":
            share = self.options.field_share
            losses = self._rays(truth, size, share * (FIELD_SHARE / share) ** progress)
        else:
            losses = self._super_resolution(truth)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        for optimizer in optimizers:
            optimizer.step()
        if name != "mapping":
            self.average.update(self.generator, step - self.options.mapping_steps)
        elif step + 1 == self.options.mapping_steps:
            self._settle_mapping()
        return {f"{name}.{key}": value.detach() for key, value in losses.items()}

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

    def _truth(self, name: str, step: int, begin: int, total: int) -> Any:
        """The truth for one step, made for a block of steps of the same phase at once."""
        at_once = self.options.truth_steps
        first = begin - begin % at_once
        key = name, step - begin + first
        if self._block[0] != key:
            rng = torch.Generator(self.device).manual_seed((self.options.seed << 32) + key[1])
            count = min(at_once, total - first)
            make = {"mapping": self._numbers, "super-resolution": self._patches}
            whole = make.get(name, functools.partial(self._sample, rendered=name == "rays"))(count, rng)
            parts = zip(*(tensor.chunk(count) for tensor in whole), strict=True)
            self._block = key, [type(whole)(*part) for part in parts]
        return self._block[1][begin - first]

    def _head(self, z: Tensor, size: int | None = None) -> tuple[Tensor, Triplane]:
        """Style vectors, without gradient, and planes of some latents."""
        config = self.options.config
        with torch.no_grad():
            ws = self.generator.mapping(z)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            planes = self.generator.backbone.synthesis(ws, noise="none", resolution=size).float()
        planes = planes.reshape(len(ws), 3, config.plane_channels, *planes.shape[2:])
        return ws, Triplane(planes, ws, config.plane_depth)

    def _numbers(self, steps: int, rng: torch.Generator) -> Numbers:
        """w becomes the parameters of the head, standardised and turned into its space by a fixed rotation.

        Style layers are linear in w. Learned through pictures alone, the thresholds between hair styles and the rarer
        colours would take most of the training.
        """
        z = torch.randn(steps * LATENTS, LATENT_DIM, generator=rng, device=rng.device)
        numbers = _head_numbers(z)
        return Numbers(z, W_SPREAD * numbers @ _rotation(numbers.shape[1], self.options.config.w_dim).to(z))

    def _mapping(self, truth: Numbers) -> dict[str, Tensor]:
        return {"w": (self.generator.mapping(truth.z)[:, 0] - truth.w).square().mean()}

    @torch.no_grad()
    def _settle_mapping(self) -> None:
        """The mapping stays as it is from here on: measure its average w once, exactly."""
        network = self.generator.backbone.mapping
        z = torch.randn(1 << 15, LATENT_DIM, generator=self.rng, device=self.device)
        network.w_avg.copy_(self.generator.mapping(z)[:, 0].mean(0))
        self.average.module.backbone.mapping.load_state_dict(network.state_dict())

    @torch.no_grad()
    def _sample(self, steps: int, rng: torch.Generator, rendered: bool) -> Truth:
        """Random rays of random cameras around random heads, and points in space.

        Without ``rendered`` the rays only say where the surface is.
        """
        o = self.options
        n, count = steps * o.heads, o.rays if rendered else o.points // 2
        uniform = functools.partial(torch.rand, generator=rng, device=rng.device)
        z = torch.randn(n, LATENT_DIM, generator=rng, device=rng.device)
        heads, camera = procedural.heads_from_latent(z), _random_cameras(n, rng)
        uv = _look_at_faces(uniform(n, count, 2), camera, rng)
        origins, directions = pixel_rays(camera, uv)
        hits = procedural.trace(heads, origins, directions, 56 if rendered else 32)
        depth = hits.depth + 0.02 * torch.randn(n, count, generator=rng, device=rng.device)
        near = origins + depth[..., None] * directions
        spread = o.config.render.box_warp * (uniform(n, count, 3) - 0.5)
        points = torch.cat([near, spread], dim=1)
        distance, colour = procedural.field(heads, points)
        return Truth(z, origins, directions, _on_backdrop(hits), hits.alpha, points, distance, colour)

    def _point_losses(self, truth: Truth, ws: Tensor, triplane: Triplane) -> dict[str, Tensor]:
        """Occupancy and colour at points, without rendering."""
        sigma, features = self.generator.query(triplane, truth.points)
        target = torch.sigmoid(-truth.distance / EDGE)
        occupancy = F.binary_cross_entropy_with_logits(sigma[..., 0] / SIGMA_PER_LOGIT, target)
        rgb = self._rgb(features, ws)
        at_surface = torch.exp(-(truth.distance / 0.03).square())[..., None]
        return {"occupancy": occupancy, "colour": 2 * (at_surface * (rgb - truth.colour).abs()).mean()}

    def _rays(self, truth: Truth, size: int, field_share: float) -> dict[str, Tensor]:
        """Rays composited on the backdrop, and a share of the field's losses."""
        n, r, _ = truth.origins.shape
        render = self.options.config.render
        uniform = functools.partial(torch.rand, generator=self.rng, device=self.device)
        draws = Draws(uniform(n, r, render.samples), uniform(n * r, render.importance))
        ws, triplane = self._head(truth.z, size)
        rays = self.generator.render_rays(triplane, truth.origins, truth.directions, draws=draws, chunk=n * r)
        error = self._rgb(rays.features, ws) - truth.rgb
        in_space = self._point_losses(truth, ws, triplane)
        return {
            "l1": error.abs().mean(),
            "l2": 4 * error.square().mean(),
            "alpha": 0.3 * (rays.alpha - truth.alpha).abs().mean(),
            **{name: field_share * loss for name, loss in in_space.items()},
        }

    @torch.no_grad()
    def _patches(self, steps: int, rng: torch.Generator) -> Patches:
        """Patches of random pictures, some of which reach the picture's border."""
        o, grid = self.options, self.options.config.neural_resolution
        n, patch = steps * o.patches, o.patch
        z = torch.randn(n, LATENT_DIM, generator=rng, device=rng.device)
        heads, camera = procedural.heads_from_latent(z), _random_cameras(n, rng)
        size = (n, 1, 2)
        corner = torch.randint(-MARGIN, grid - patch + MARGIN + 1, size, generator=rng, device=rng.device)
        corner = corner.clamp(0, grid - patch)
        fine = _grid(4 * patch, rng.device) + 4 * corner
        # Anywhere inside the fine pixel: the mean over many steps is the anti-aliased picture.
        fine = (fine + torch.rand(n, fine.shape[1], 2, generator=rng, device=rng.device)) / (4 * grid)
        target = _on_backdrop(procedural.trace(heads, *pixel_rays(camera, fine)))
        target = target.transpose(1, 2).reshape(n, 3, 4 * patch, 4 * patch)
        return Patches(z, camera.label, corner, target)

    def _super_resolution(self, truth: Patches) -> dict[str, Tensor]:
        """Patches of rendered features → patches four times as fine.

        A margin sees the zero padding of the patch and does not count, except at the picture's own border, where
        the padding is the same as in use.
        """
        grid, patch = self.options.config.neural_resolution, self.options.patch
        with torch.no_grad():
            cells = _grid(patch, self.device) + truth.corner
            origins, directions = pixel_rays(Camera.from_label(truth.label), (cells + 0.5) / grid)
            ws, triplane = self._head(truth.z)
            rays = self.generator.render_rays(triplane, origins, directions, chunk=1 << 18)
            features = rays.features.transpose(1, 2).reshape(len(ws), -1, patch, patch)
            raw = self.generator.to_rgb(features, ws)
            counts = _inner(truth.corner[:, 0], patch, MARGIN, grid).repeat_interleave(4, 1).repeat_interleave(4, 2)
        image = self.generator.superresolution.upscale(raw, features, ws)
        error = (image - truth.target) * counts[:, None]
        share = counts.mean()
        return {"l1": error.abs().mean() / share, "l2": 4 * error.square().mean() / share}

    def _rgb(self, features: Tensor, ws: Tensor) -> Tensor:
        """Features [N,M,C] of single points or rays → raw colours [N,M,3]."""
        return self.generator.to_rgb(features.transpose(1, 2)[..., None], ws)[..., 0].transpose(1, 2)


def preview_pictures(generator: PanoHead, seed: int = 900_000) -> list[Tensor]:
    """Pairs of rows [4,3,r,r]: procedural truth and raw render of unseen latents, yaw 0, 60, 120 and 180."""
    z = torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(seed)).to(generator.w_avg)
    heads, triplane = procedural.heads_from_latent(z), generator.synthesize(generator.mapping(z))
    rows = []
    for yaw in (0, 60, 120, 180):
        camera = Camera.look_at(yaw=[float(yaw)] * 4).to(z.device)
        size = generator.config.neural_resolution
        rows.append(procedural.render(heads, camera, size).image)
        rows.append(generator.render(triplane, camera, super_resolve=False, background=procedural.BACKDROP).raw)
    return rows


def _head_numbers(z: Tensor) -> Tensor:
    """Every parameter that varies over the latent family, [N,49], standardised."""
    numbers = _flat_parameters(z)
    mean, std = (value.to(z) for value in _spread_of_parameters())
    return ((numbers - mean) / std)[:, std > 1e-4]


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
    yaw, pitch = torch.rand(2, count, generator=rng, device=rng.device).cpu()
    return Camera.look_at(yaw=360 * yaw, pitch=50 * pitch - 25).to(rng.device)


def _look_at_faces(uv: Tensor, camera: Camera, rng: torch.Generator) -> Tensor:
    """Move a third of the image positions [N,M,2] onto the face where the camera sees it.

    Eyes and lips cover two percent of a picture, and much more of what people look at.
    """
    n, m, _ = uv.shape
    count = m // 3
    spread = torch.rand(n, count, 3, generator=rng, device=rng.device) - 0.5
    points = spread * spread.new_tensor([0.24, 0.26, 0.0]) + spread.new_tensor([0.0, 0.0, 0.2])
    target, _ = camera.project(points)
    seen = (camera.position[:, 2] > 0.5)[:, None, None]
    return torch.cat([torch.where(seen, target, uv[:, :count]), uv[:, count:]], dim=1)


def _grid(size: int, device: torch.device) -> Tensor:
    """Column and row numbers [1,size²,2] of a square, row-major."""
    numbers = torch.arange(size, device=device)
    rows, columns = torch.meshgrid(numbers, numbers, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(1, -1, 2)


def _inner(corner: Tensor, patch: int, margin: int, grid: int) -> Tensor:
    """[N,patch,patch] of 0 and 1: 1 where a pixel is further than ``margin`` from every cut side of its patch."""
    place = torch.arange(patch, device=corner.device)
    sides = []
    for axis in (0, 1):
        first = corner[:, axis, None]
        keep = (place >= margin) | (first == 0)
        sides.append(keep & ((place < patch - margin) | (first == grid - patch)))
    return (sides[1][:, :, None] & sides[0][:, None, :]).float()


def _on_backdrop(hits: procedural.RayHits) -> Tensor:
    alpha = hits.alpha[..., None]
    return hits.rgb * alpha + _backdrop(alpha.device) * (1 - alpha)


def _backdrop(device: torch.device) -> Tensor:
    return torch.tensor(procedural.BACKDROP, device=device) * 2 - 1
