"""Training of the bundled generator by regression: the latent *is* the head's description.

A GAN would need days; here every description has a known head, so field and pixels can be compared directly. Where the
heads come from is a `truth.TruthSource`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...camera import Camera
from ...checkpoints.store import save_generator
from ...devices import half_type
from ...errors import CheckpointError, DualEncError
from ...generator import PanoHead
from ...people.standard import W_SPREAD, styles_of
from ...rendering.rays import pixel_rays
from ...rendering.renderer import Draws
from ...triplane import Triplane
from .ema import ExponentialMovingAverage
from .muon import Muon
from .presets import GeneratorTraining
from .relief_decoder import read_reliefs
from .truth import Numbers, Patches, Planes, PlaneSource, Truth, TruthSource, square

# Raw density for one unit of occupancy logit: three logits, which is one cell inside, are opaque within one sample.
SIGMA_PER_LOGIT = 30.0
# Distance over which occupancy goes from .27 to .73.
EDGE = 0.004
# Weight of the field losses at the end of the ray phase. They teach faster, rays decide what pictures look like.
FIELD_SHARE = 0.1
# Latents at once, and learning rates of Adam and Muon, of the mapping phase. The network stores its weights a hundred
# times as large (lr_multiplier 0.01), so 6.0 moves them as 0.06 would elsewhere. With Adam alone it learned a third of
# what the same steps of Muon taught it.
LATENTS, MAPPING_RATES = 1024, (4.0, 6.0)
# Weight of the differences between neighbouring pixels, without which hair and skin come out smooth.
GRADIENT = 1.0
# The same of neighbouring cells.
PLANE_GRADIENT = 0.5
# Modules that no phase but their own trains, or none at all.
APART = ("backbone.mapping.", "superresolution.", "bcg_synthesis.", "t_mapping.")
# Factor on the rates of a decoder that reads known tri-grids, and of rays that follow them: at full rate twenty steps
# of rays undid what five hundred of planes had taught.
AFTER_PLANES = 0.05
# Raw pixels at the cut sides of a super-resolution patch that do not count.
MARGIN = 4


@dataclass
class GeneratorTrainer:
    """One step at a time; `step` returns the losses.

    What the heads really look like is found for ``options.truth_steps`` steps at once, from random numbers that depend
    on the seed and the step alone: an accelerator would wait for a small batch's many small kernels, and a training
    that is resumed in the middle finds the same.
    """

    options: GeneratorTraining
    generator: PanoHead
    truth: TruthSource
    rng: torch.Generator
    _block: tuple[tuple, list] = field(default=((), []), repr=False)

    @classmethod
    def create(
        cls, options: GeneratorTraining, truth: TruthSource, rng: torch.Generator, start: str | Path | None = None
    ) -> GeneratorTrainer:
        """A fresh generator in training mode, or one that goes on from the weights of a file ``start``.

        It is trained on the device of ``rng``. Raises CheckpointError for a file that does not fit ``options.config``.
        """
        trainer = cls(options, PanoHead(options.config).train().to(rng.device), truth, rng)
        if start is not None:
            trainer.start_from(start)
        return trainer

    def start_from(self, path: str | Path) -> None:
        """Take over the weights of a generator file, in place, so that the optimisers keep their parameters.

        What a phase of its own trains may be missing, and the mapping network may have another shape: it begins anew.
        """
        from ...checkpoints import load_generator_file, resolve

        given = load_generator_file(resolve("generator", path))[0]
        expected = self.generator.state_dict()
        for part in APART:
            own = [k for k in expected if k.startswith(part)]
            fits = all(k in given and given[k].shape == expected[k].shape for k in own)
            if not fits and (part == "backbone.mapping." or not any(k in given for k in own)):
                print(f"{part[:-1]} begins anew: {path} lacks it, or has another shape of it", flush=True)
                given = {k: v for k, v in given.items() if not k.startswith(part)}
                given.update({k: expected[k] for k in own})
        problems = sorted(expected.keys() ^ given.keys())
        problems += [k for k in expected.keys() & given.keys() if given[k].shape != expected[k].shape]
        if problems:
            raise CheckpointError(f"{path} does not fit the preset's generator: {', '.join(problems[:3])}")
        for module in (self.generator, self.average.module):
            module.load_state_dict(given)

    def __post_init__(self) -> None:
        # Raw density starts at the scale of its targets instead of growing there.
        with torch.no_grad():
            self.generator.decoder.layers[1].weight[0] *= SIGMA_PER_LOGIT
            # Super-resolution starts as plain up-sampling of the raw image, a finer plane as the coarser one. The
            # background network stays at zero features, which the fixed bias of to-RGB turns into exactly the backdrop.
            o = self.options
            sizes = [size for size, _ in (*o.field_steps, *o.plane_steps, *o.ray_steps)]
            if o.reliefs:
                read_reliefs(self.generator)
            backbone = self.generator.backbone.synthesis
            finer = [getattr(backbone, f"b{size}") for size in backbone.resolutions if size > min(sizes, default=0)]
            sr, background = self.generator.superresolution, self.generator.bcg_synthesis
            for block in (*finer, *sr.children(), *background.children()):
                block.torgb.weight.zero_()
            self.generator.torgb.bias.copy_(2 * torch.tensor(self.truth.backdrop) - 1)
        self.average = ExponentialMovingAverage(self.generator, self.options.ema)
        mapping = self.generator.backbone.mapping
        layers = [getattr(mapping, f"fc{i}") for i in range(mapping.layers)]
        apart = (*APART, "torgb.bias")
        main = {
            name: p
            for name, p in self.generator.named_parameters()
            if not name.startswith(apart) and not name.endswith("noise_strength")
        }
        matrices = {name: p for name, p in main.items() if name.startswith("backbone.synthesis.") and p.ndim > 1}
        # The constant that everything grows from is a picture, not a matrix.
        matrices.pop("backbone.synthesis.b4.const")
        # A decoder that reads known tri-grids begins near its end.
        reader = {name: p for name, p in main.items() if name.startswith(("decoder.", "torgb."))}
        reader = reader if self.options.reliefs else {}
        others = [p for name, p in main.items() if name not in matrices and name not in reader]
        tail = [p for name, p in self.generator.superresolution.named_parameters() if "noise_strength" not in name]
        rate, betas = self.options.learning_rate, (0.9, 0.99)
        self.optimizers = {
            "mapping": torch.optim.Adam([layer.bias for layer in layers], lr=MAPPING_RATES[0], betas=betas),
            "mapping_matrices": Muon([layer.weight for layer in layers], lr=MAPPING_RATES[1]),
            "matrices": Muon(matrices.values(), lr=self.options.matrix_rate),
            "main": torch.optim.Adam(others, lr=rate, betas=betas),
            **({"reader": torch.optim.Adam(reader.values(), lr=rate * AFTER_PLANES, betas=betas)} if reader else {}),
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
    def _half(self) -> bool:
        """Whether the backbone computes in bfloat16: on a CPU without it, it would take fifty times as long."""
        return self.options.bfloat16 and half_type(self.device) != torch.float32

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
        phases = [("mapping", ((0, o.mapping_steps),)), ("field", o.field_steps)]
        phases += [("planes", o.plane_steps), ("rays", o.ray_steps)]
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
        if name == "rays" and self.options.reliefs:
            decay *= AFTER_PLANES
        used = {"mapping": ("mapping", "mapping_matrices"), "super-resolution": ("tail",)}.get(
            name, ("matrices", "main", "reader")
        )
        optimizers = [self.optimizers[key] for key in used if key in self.optimizers]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * decay * min(1.0, (step + 1) / 50)
        truth = self._truth(name, step, begin, total)
        if name == "mapping":
            losses = self._mapping(truth)
        elif name == "field":
            losses = self._point_losses(truth, *self._head(truth.numbers, size))
        elif name == "planes":
            losses = self._planes(truth[0], truth[1], size)
        elif name == "rays":
            share = self.options.field_share
            losses = self._rays(truth, size, share * (FIELD_SHARE / share) ** progress)
        else:
            losses = self._super_resolution(truth)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        functools.reduce(torch.add, losses.values()).backward()
        for optimizer in optimizers:
            optimizer.step()
        if name != "mapping":
            self.average.update(self.generator, step - self.options.mapping_steps)
        elif step + 1 == self.options.mapping_steps:
            self._settle_mapping()
        return {f"{name}.{key}": value.detach() for key, value in losses.items()}

    @torch.no_grad()
    def preview(self, path: Path) -> None:
        """Truth above, generator below, four heads from four sides."""
        from ...export.images import save_png

        network, rows = self.average.module, []
        for yaw in (0.0, 60.0, 120.0, 180.0):
            numbers, truth = self.truth.preview(yaw, self.options.config.neural_resolution)
            triplane = network.synthesize(self._styles(numbers.to(self.device)))
            camera = Camera.look_at(yaw=[yaw] * len(numbers)).to(self.device)
            made = network.render(triplane, camera, super_resolve=False, background=self.truth.backdrop).raw
            rows += [torch.cat(list(pictures.cpu()), dim=2) for pictures in (truth, made)]
        save_png(torch.cat(rows, dim=1), path)

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """The averaged generator in float16."""
        init, rendering = self.options.config.to_official()
        config = {
            "init_kwargs": init,
            "rendering_kwargs": rendering,
            "neural_rendering_resolution": self.options.config.neural_resolution,
        }
        provenance = {"seed": self.options.seed, "w_spread": W_SPREAD, **self.truth.provenance, **provenance}
        save_generator(path, self.average.module.state_dict(), config, provenance, half=True)

    # -------------------------------------------------------------------------------------------------------- phases

    def _truth(self, name: str, step: int, begin: int, total: int) -> Any:
        """The truth for one step, made for a block of steps of the same phase at once."""
        o = self.options
        first = begin - begin % o.truth_steps
        key = name, step - begin + first
        if self._block[0] != key:
            rng = torch.Generator(self.device).manual_seed((o.seed << 32) + key[1])
            count = min(o.truth_steps, total - first)
            whole: Numbers | Patches | Truth
            if name == "mapping":
                whole = self.truth.numbers(count * LATENTS, rng)
            elif name == "planes":
                # A truth of its own for every step: planes are large.
                if not isinstance(self.truth, PlaneSource):
                    raise DualEncError(
                        f"{type(self.truth).__name__} knows no tri-grids, which phase planes learns; "
                        "train on traced people"
                    )
                return self.truth.planes(o.plane_heads, self.phase(step)[1], o.config, rng)
            elif name == "super-resolution":
                whole = self.truth.patches(count * o.patches, o.patch, MARGIN, o.config, rng)
            else:
                whole = self.truth.rays(count * o.heads, o.rays, o.points, rng, rendered=name == "rays")
            parts = zip(*(tensor.chunk(count) for tensor in whole), strict=True)
            self._block = key, [type(whole)(*part) for part in parts]
        return self._block[1][begin - first]

    def _styles(self, numbers: Tensor) -> Tensor:
        config = self.options.config
        return styles_of(numbers, config.w_dim)[:, None].expand(-1, config.num_ws, -1)

    def _head(self, numbers: Tensor, size: int | None = None) -> tuple[Tensor, Triplane]:
        """Style vectors and planes of some descriptions."""
        config, ws = self.options.config, self._styles(numbers)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            planes = self.generator.backbone.synthesis(ws, noise="none", resolution=size).float()
        planes = planes.reshape(len(ws), 3, config.plane_channels, *planes.shape[2:])
        return ws, Triplane(planes, ws, config.plane_depth)

    def _mapping(self, truth: Numbers) -> dict[str, Tensor]:
        return {"w": (self.generator.mapping(truth.z)[:, 0] - self._styles(truth.numbers)[:, 0]).square().mean()}

    @torch.no_grad()
    def _settle_mapping(self) -> None:
        """The mapping stays as it is from here on: measure its average w once, exactly."""
        network = self.generator.backbone.mapping
        z = torch.randn(1 << 15, self.options.config.z_dim, generator=self.rng, device=self.device)
        network.w_avg.copy_(self.generator.mapping(z)[:, 0].mean(0))
        self.average.module.backbone.mapping.load_state_dict(network.state_dict())

    def _point_losses(self, truth: Truth, ws: Tensor, triplane: Triplane) -> dict[str, Tensor]:
        """Occupancy and colour at points, without rendering."""
        sigma, features = self.generator.query(triplane, truth.points)
        target = torch.sigmoid(-truth.distance / EDGE)
        occupancy = F.binary_cross_entropy_with_logits(sigma[..., 0] / SIGMA_PER_LOGIT, target)
        rgb = self._rgb(features, ws)
        at_surface = torch.exp(-(truth.distance / 0.03).square())[..., None]
        return {"occupancy": occupancy, "colour": 2 * (at_surface * (rgb - truth.colour).abs()).mean()}

    def _planes(self, target: Planes, truth: Truth, size: int) -> dict[str, Tensor]:
        """Tri-grids cell by cell; beside it the decoder learns from rays to read the true ones."""
        ws, made = self._head(target.numbers, size)
        error = (made.planes - target.planes) / 3
        share = target.weight.mean()
        steps = [
            (error.diff(dim=d).abs() * target.weight.narrow(d, 1, error.shape[d] - 1)).mean() / share for d in (3, 4)
        ]
        losses = {
            "l1": (error.abs() * target.weight).mean() / share,
            "gradient": PLANE_GRADIENT * (steps[0] + steps[1]),
        }
        colour, alpha = self._seen(made.replace(planes=target.finest, ws=ws.detach()), truth)
        error = colour - truth.rgb
        losses["decoder"] = error.abs().mean() + 4 * error.square().mean() + 0.3 * (alpha - truth.alpha).abs().mean()
        return losses

    def _seen(self, triplane: Triplane, truth: Truth) -> tuple[Tensor, Tensor]:
        """Colours [N,R,3] and coverage [N,R] of rays."""
        n, r, _ = truth.origins.shape
        render = self.options.config.render
        uniform = functools.partial(torch.rand, generator=self.rng, device=self.device)
        draws = Draws(uniform(n, r, render.samples), uniform(n * r, render.importance))
        rays = self.generator.render_rays(triplane, truth.origins, truth.directions, draws=draws, chunk=n * r)
        return self._rgb(rays.features, triplane.ws), rays.alpha

    def _rays(self, truth: Truth, size: int, field_share: float) -> dict[str, Tensor]:
        """Rays composited on the backdrop, and a share of the field's losses."""
        ws, triplane = self._head(truth.numbers, size)
        colour, alpha = self._seen(triplane, truth)
        error = colour - truth.rgb
        # Where tri-grids are known, there is nothing to learn about single points.
        in_space = {} if self.options.reliefs else self._point_losses(truth, ws, triplane)
        return {
            "l1": error.abs().mean(),
            "l2": 4 * error.square().mean(),
            "alpha": 0.3 * (alpha - truth.alpha).abs().mean(),
            **{name: field_share * loss for name, loss in in_space.items()},
        }

    def _super_resolution(self, truth: Patches) -> dict[str, Tensor]:
        """Patches of rendered features → patches four times as fine.

        A margin sees the zero padding of the patch and does not count, except at the picture's own border, where
        the padding is the same as in use. Where tri-grids are known, half of the heads are those: encoders refine
        planes, and what is finer than a generator makes them shall come out so.
        """
        grid, patch = self.options.config.neural_resolution, self.options.patch
        with torch.no_grad():
            cells = square(patch, self.device) + truth.corner
            origins, directions = pixel_rays(Camera.from_label(truth.label), (cells + 0.5) / grid)
            ws, triplane = self._head(truth.numbers)
            if truth.planes.numel():
                known = torch.rand(len(ws), 1, 1, 1, 1, generator=self.rng, device=self.device) < 0.5
                triplane = triplane.replace(planes=torch.where(known, truth.planes, triplane.planes))
            rays = self.generator.render_rays(triplane, origins, directions, chunk=1 << 18)
            features = rays.features.transpose(1, 2).reshape(len(ws), -1, patch, patch)
            raw = self.generator.to_rgb(features, ws)
            counts = _inner(truth.corner[:, 0], patch, MARGIN, grid).repeat_interleave(4, 1).repeat_interleave(4, 2)
        image = self.generator.superresolution.upscale(raw, features, ws)
        error = (image - truth.target) * counts[:, None]
        share = counts.mean()
        return {
            "l1": error.abs().mean() / share,
            "l2": 4 * error.square().mean() / share,
            "gradient": GRADIENT * sum(error.diff(dim=d).abs().mean() for d in (2, 3)) / share,
        }

    def _rgb(self, features: Tensor, ws: Tensor) -> Tensor:
        """Features [N,M,C] of single points or rays → raw colours [N,M,3]."""
        return self.generator.to_rgb(features.transpose(1, 2)[..., None], ws)[..., 0].transpose(1, 2)


def _inner(corner: Tensor, patch: int, margin: int, grid: int) -> Tensor:
    """[N,patch,patch] of 0 and 1: 1 where a pixel is further than ``margin`` from every cut side of its patch."""
    place = torch.arange(patch, device=corner.device)
    sides = []
    for axis in (0, 1):
        first = corner[:, axis, None]
        keep = (place >= margin) | (first == 0)
        sides.append(keep & ((place < patch - margin) | (first == grid - patch)))
    return (sides[1][:, :, None] & sides[0][:, None, :]).float()
