"""The trainer of encoders: Encoder 1, and Encoder 2 with its discriminator, with every switch of the ablations (§3).

What a step does, for each part of the batch: stage one's styles make planes, their render is compared with the photo;
stage two refines the detached planes, its render is compared too, and the discriminator looks at it. Losses go
backward one after another, so that one graph is in memory at a time; the stages share no gradient. Encoder and
discriminator then move at once, and R1 is a further step of the discriminator.

Single photos (`batches`) are compared with renders as in the paper. Photos of people whose other sides are known
(`view_batches`) bring what they are compared with: rays of other views, or the tri-grid itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...camera import Camera
from ...checkpoints.catalog import resolve
from ...checkpoints.store import load_encoder_file, load_weights, save_encoder
from ...choices import REFERENCE
from ...devices import half_type
from ...encoders import HeadEncoder
from ...encoders.config import HeadEncoderConfig
from ...encoders.lifted_refiner import LiftedRefiner
from ...encoders.trunk import Trunk
from ...errors import CheckpointError, DualEncError
from ...generator import PanoHead
from ...generator.loading import load_generator
from ...images import resize_area
from ...inversion.backdrop import mean_background
from ...triplane import Triplane
from . import batchnorm, memory
from .adversary import Adversary, Pair, planes_deviation
from .batches import Batches, HeadBatch, open_dataset
from .config import TrainConfig
from .draws import named
from .ema import ExponentialMovingAverage
from .muon import Muon
from .objective import Judges, Objective, latent_loss
from .processes import Processes
from .ranger import Ranger
from .relief_decoder import leave_backs
from .view_batches import PlaneTruth, ViewBatches
from .views import ViewSource

Losses = dict[str, float]


@dataclass
class EncoderTrainer:
    """One step at a time; `step` returns the losses. Build it with `create` from files, or from objects.

    Attributes:
        config: what to train.
        generator: frozen; its device is where everything is computed.
        judges: networks of the losses.
        dataset: real pictures (`batches`), or None.
        views: photos whose other sides are known (`data.kind` people).
        encoder1: frozen Encoder 1, which says what is occluded.
        start: weights that the encoder begins from.
        trunk: ArcFace weights that new trunks begin from.
        processes: this process among all.
    """

    config: TrainConfig
    generator: PanoHead
    judges: Judges
    dataset: Dataset | None = None
    views: ViewSource | None = None
    encoder1: HeadEncoder | None = None
    start: Mapping[str, Tensor] | None = None
    trunk: Mapping[str, Tensor] | None = None
    processes: Processes = field(default_factory=lambda: Processes.single("cpu"))

    # -------------------------------------------------------------------------------------------------------- build

    @classmethod
    def create(cls, config: TrainConfig, processes: Processes | None = None) -> EncoderTrainer:
        """Load everything that the configuration names.

        Raises CheckpointError for a missing or foreign file, DualEncError for a configuration that does not fit.
        """
        processes = processes or Processes.launched(config.compute.device)
        generator = load_generator(config.generator, processes.device)
        encoder1 = start = trunk = None
        if config.start is not None:
            start, described, _ = load_encoder_file(resolve("encoder", config.start), allow_incomplete=True)
            if config.needs_encoder1:
                encoder1 = HeadEncoder.from_config(described, start, "encoder1").to(processes.device)
        if config.trunk_weights is not None and start is None:
            trunk = load_weights(resolve("arcface", config.trunk_weights), "arcface").state_dict
        judges = Judges.load(config.losses)
        dataset = views = None
        if config.data.kind == "people":
            from .truth_people import open_people
            from .views_people import PeopleViews

            views = PeopleViews(open_people(config.data.path, config.data.pack), config.data.mirror)
        else:
            dataset = open_dataset(config.data)
        return cls(config, generator, judges, dataset, views, encoder1, start, trunk, processes)

    def __post_init__(self) -> None:
        config, device = self.config, self.generator.w_avg.device
        if config.needs_encoder1 and self.encoder1 is None:
            raise DualEncError("discriminator.mask_from is 'encoder1' but there is none; give start, or 'self'")
        # Checkpoints keep it. Views draw from it, single photos by the number of the step.
        self.rng = torch.Generator().manual_seed(config.seed)
        self.backdrop = self._backdrop()
        torch.manual_seed(config.seed)
        self.encoder = self._new_encoder().to(device)
        refiner = self.encoder.stage_two
        if config.views.known and isinstance(refiner, LiftedRefiner) and refiner.config.own_ends:
            leave_backs(refiner)
        self.judges.to(device)
        self.objective = Objective(
            self.generator, config.losses, config.render, self.judges, self.backdrop, config.seed
        )
        self.batches: Batches | ViewBatches
        if config.data.kind == "people":
            if self.views is None or self.processes.count > 1:
                raise DualEncError(
                    f"data.kind is people, with {self.processes.count} processes and views "
                    f"{type(self.views).__name__}; it needs views, and one process"
                )
            self.batches = ViewBatches(config, self.generator, self.views, self.rng)
        else:
            self.batches = Batches(config, self.generator, self.dataset, self.backdrop)
        self.adversary: Adversary | None = None
        if config.adversarial:
            self.adversary = Adversary(config.discriminator, self.generator, self.objective, config.seed)
            self.adversary.network.to(device)
        self.ema: ExponentialMovingAverage[HeadEncoder] | None = None
        if config.schedule.ema is not None:
            self.ema = ExponentialMovingAverage(self.encoder, config.schedule.ema)
        self.optimizers = self._optimizers()
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.compute.precision == "fp16")
        # Of renders without gradients. To prepare each head for fast rays pays on a CPU only.
        self._quality = self.encoder.renders(self.generator) if device.type == "cpu" else REFERENCE
        self._prepare_networks(device)
        memory.reset_peak(device)

    def _backdrop(self) -> Tensor:
        choice = self.config.render.backdrop
        if choice == "generator":
            return mean_background(self.generator)
        return torch.tensor(choice, device=self.generator.w_avg.device) * 2 - 1

    def _new_encoder(self) -> HeadEncoder:
        config = self.encoder_config()
        encoder = HeadEncoder(config)
        encoder.check(self.generator)
        if self.trunk is not None:
            for network in (encoder.stage_one, encoder.stage_two):
                if isinstance(network, Trunk):
                    network.load_arcface(self.trunk, self.config.seed)
        if self.start is not None:
            new = encoder.start_from(self.start)
            if len(new) == len(encoder.state_dict()):
                raise DualEncError("no tensor of the encoder in start fits this encoder; use the configuration of it")
            if not self.config.trains_stage_one and any(name.startswith("stage_one.") for name in new):
                raise CheckpointError(
                    f"start does not fit this encoder, whose stage one would not learn: {', '.join(new[:3])}"
                )
            if self.processes.main and new:
                print(f"{len(new)} tensors are not in the encoder that this one starts from: {new[0]}, …", flush=True)
        elif not self.config.trains_stage_one:
            raise DualEncError(
                "stage one does not learn (schedule.stage_one_until 0); set start to an encoder that has it"
            )
        encoder.use_average(self.generator)
        return encoder.requires_grad_(True)

    def encoder_config(self) -> HeadEncoderConfig:
        """The configuration's encoder, told the backdrop and the generator that it is trained for."""
        config, colour = self.config.encoder, tuple(((self.backdrop + 1) / 2).clamp(0, 1).tolist())
        lifted = config.lifted
        if config.refiner == "lifted" and lifted.plane_scale == 1.0:
            lifted = dataclasses.replace(lifted, plane_scale=planes_deviation(self.generator))
        # Views are on what the generator itself puts behind heads.
        background = colour if config.background == "generator" and self.views is None else config.background
        return config.replace(background=background, lifted=lifted, generator=self.generator.fingerprint)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        s, d = self.config.schedule, self.config.discriminator
        one, two = list(self.encoder.stage_one.named_parameters()), self.encoder.stage_two
        kernels = {name: p for name, p in one if p.ndim == 4 and s.matrix_rate is not None}
        # Equalised weights of unit variance behind convolutions of a tenth: at the same rate they would hardly move.
        linear = {name: p for name, p in one if "linear" in name and s.linear_pace != 1}
        others = [p for name, p in one if name not in kernels and name not in linear]
        paces = (others, 1.0), (list(linear.values()), s.linear_pace)
        found = {"one": _optimizer(s.optimizer, s.learning_rate, *paces)} | self._muon("one_matrices", kernels)
        if two is not None:
            kernels = _kernels(two) if s.matrix_rate is not None and isinstance(two, LiftedRefiner) else {}
            rest = [p for name, p in two.named_parameters() if name not in kernels]
            found["two"] = _optimizer(s.optimizer, s.learning_rate, (rest, 1.0))
            found |= self._muon("two_matrices", kernels)
        if self.adversary is not None:
            network = list(self.adversary.network.parameters())
            found["discriminator"] = _optimizer(d.optimizer, d.learning_rate, (network, 1.0), momentum=d.momentum)
        return found

    def _muon(self, name: str, kernels: Mapping[str, nn.Parameter]) -> dict[str, torch.optim.Optimizer]:
        s = self.config.schedule
        if not kernels or s.matrix_rate is None:
            return {}
        return {
            name: Muon([{"params": list(kernels.values()), "pace": s.matrix_rate / s.learning_rate}], lr=s.matrix_rate)
        }

    def _prepare_networks(self, device: torch.device) -> None:
        compute = self.config.compute
        networks: list[tuple[nn.Module, str]] = [(self.encoder.stage_one, "forward")]
        if self.encoder.stage_two is not None:
            networks.append((self.encoder.stage_two, "delta"))
        if self.config.batch_norm == "sync":
            batchnorm.synchronise(self.encoder)
            if self.adversary is not None:
                batchnorm.synchronise(self.adversary.network)
        if compute.checkpointing:
            memory.checkpoint_activations(self.encoder)
            memory.checkpoint_activations(self.generator)
        # R1 needs the plain network: its second derivative is not for half precision.
        self._plain_discriminator: Callable[[Tensor], Tensor] | None = None
        if self.adversary is not None:
            self._plain_discriminator = self.adversary.network.forward
            networks.append((self.adversary.network, "forward"))
        precision = compute.precision
        if precision == "auto":
            precision = "fp32" if half_type(device) == torch.float32 else "bf16"
            networks.append((self.generator.backbone.synthesis, "forward"))
        if precision != "fp32":
            for network, method in networks:
                memory.autocast(network, method, device.type, precision)

    # ------------------------------------------------------------------------------------------- what the loop needs

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        found: dict[str, nn.Module] = {"encoder": self.encoder}
        if self.adversary is not None:
            found["discriminator"] = self.adversary.network
        if self.ema is not None:
            found["ema"] = self.ema.module
        if self.scaler.is_enabled():
            found["scaler"] = _ScalerState(self.scaler)
        return found

    @property
    def milestones(self) -> dict[int, str]:
        """Steps after which the model is also exported, and under what name."""
        latent = self.config.schedule.latent_steps
        return {latent: "latent"} if latent else {}

    @property
    def total_steps(self) -> int:
        return self.config.schedule.steps

    def training_stages(self, step: int) -> tuple[str, ...]:
        """Which stages learn at a step: "latent" alone, or "one" and "two"."""
        s = self.config.schedule
        if step < s.latent_steps:
            return ("latent",)
        one = s.stage_one_until is None or step < s.stage_one_until
        two = step >= self.config.stage_two_from and self.encoder.stage_two is not None
        return (("one",) if one else ()) + (("two",) if two else ())

    # --------------------------------------------------------------------------------------------------------- steps

    def step(self, step: int) -> Losses:
        """Run optimisation step number ``step``; losses are means over all processes."""
        stages = self.training_stages(step)
        if not stages:
            raise DualEncError(f"no stage learns at step {step}: see schedule.stage_one_until and stage_two_from")
        self._set_rate(step)
        self.encoder.train()
        if "two" in stages and "one" not in stages:
            # As it stays, its statistics included.
            self.encoder.stage_one.eval()
        if self.config.batch_norm == "frozen":
            batchnorm.freeze(self.encoder)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        values, pairs = self.accumulate(step, stages)
        names = ["one"] if "latent" in stages else list(stages)
        names += [f"{name}_matrices" for name in names if f"{name}_matrices" in self.optimizers]
        if pairs:
            names.append("discriminator")
        for name in names:
            self._move(name)
        self.scaler.update()
        if pairs and self.adversary is not None and self.adversary.penalised(step):
            values["r1"] = self._penalise(self.adversary, pairs)
        if self.ema is not None:
            self.ema.update(self.encoder, step)
        values = self.processes.average(values)
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong and not self.scaler.is_enabled():
            raise DualEncError(
                f"loss {wrong[0]} is {values[wrong[0]]} at step {step}: the training has diverged; go on from an "
                "earlier checkpoint with a smaller schedule.learning_rate"
            )
        return values

    def accumulate(self, step: int, stages: tuple[str, ...]) -> tuple[Losses, list[Pair]]:
        """Gradients of a step, summed over its parts; losses, and the discriminator's samples for R1."""
        schedule = self.config.schedule
        values: Losses = {}
        pairs: list[Pair] = []
        slots = self.processes.slots(schedule.batch // schedule.accumulate)
        for part in range(schedule.accumulate):
            if "latent" in stages:
                found, pair = self._latent_part(*self.batches.latents(step, part, slots)), None
            else:
                found, pair = self._part(self.batches.heads(step, part, slots), step, part, stages)
            for name, value in found.items():
                values[name] = values.get(name, 0.0) + value / schedule.accumulate
            if pair is not None:
                pairs.append(pair)
        return values, pairs

    def _latent_part(self, images: Tensor, styles: Tensor) -> Losses:
        """Stage one against styles that are known, without rendering."""
        loss = latent_loss(self.encoder.styles(images, self.generator), styles)
        self._backward(self.config.losses.latent * loss)
        return {"latent": float(loss.detach())}

    def _part(self, batch: HeadBatch, step: int, part: int, stages: tuple[str, ...]) -> tuple[Losses, Pair | None]:
        values: Losses = {}
        with torch.set_grad_enabled("one" in stages):
            ws = self.encoder.styles(batch.image, self.generator)
            coarse = self.generator.synthesize(ws)
        if "one" in stages:
            loss, parts = self.objective(coarse, batch, step, "one")
            values |= {f"one.{k}": v for k, v in parts.items()}
            if self.config.losses.latent:
                latent = latent_loss(ws, batch.styles)
                values["latent"] = float(latent.detach())
                loss = loss + self.config.losses.latent * latent
            self._backward(loss)
        if "two" not in stages:
            return values, None
        refined = self._refined(coarse.detach(), batch, step, part)
        loss, parts = self.objective(refined, batch, step, "two")
        values |= {f"two.{k}": v for k, v in parts.items()}
        pair = None
        # Where every cell has its target, nobody needs to judge it.
        if self.adversary is not None and not isinstance(batch.truth, PlaneTruth):
            pair = self.adversary.pair(refined, batch, step, self._visible(refined, batch))
            adversarial = self.adversary.encoder_loss(pair)
            values["adversarial"] = float(adversarial.detach())
            loss = loss + self.config.discriminator.weight * adversarial
        self._backward(loss)
        if self.adversary is not None and pair is not None:
            own = self.adversary.own_loss(pair)
            values["discriminator"] = float(own.detach())
            self._backward(own)
            pair = Pair(pair.real, pair.fake.detach())
        return values, pair

    def _refined(self, refined: Triplane, batch: HeadBatch, step: int, part: int) -> Triplane:
        """What stage two makes of stage one's heads: all passes learn, or one of them."""
        last, learns_last = self.encoder.config.passes - 1, self.config.schedule.one_pass
        if learns_last:
            dice = self.rng if self.views is not None else named(self.config.seed, "pass", step, part)
            last = int(torch.randint(last + 1, (), generator=dice))
        for i in range(last + 1):
            with torch.set_grad_enabled(i == last or not learns_last):
                refined = self.encoder.refine(
                    self.generator, refined, batch.image, batch.camera, batch.matte, self._quality
                )
        return refined

    def _visible(self, refined: Triplane, batch: HeadBatch) -> Triplane | None:
        """Heads whose render says what the input view shows; None where nobody asks."""
        if self.config.discriminator.kind != "occluded":
            return None
        if self.config.discriminator.mask_from == "self":
            return refined.detach()
        assert self.encoder1 is not None  # or the trainer could not be built
        return self.encoder1.encode(self.generator, batch.image, batch.camera, batch.matte)

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss / self.config.schedule.accumulate).backward()

    def _move(self, name: str) -> None:
        optimizer = self.optimizers[name]
        self.processes.average_gradients(p for group in optimizer.param_groups for p in group["params"])
        self.scaler.step(optimizer)

    def _penalise(self, adversary: Adversary, pairs: list[Pair]) -> float:
        """R1 as a step of its own, in float32; returns the penalty before scaling."""
        optimizer, total = self.optimizers["discriminator"], 0.0
        optimizer.zero_grad(set_to_none=True)
        for pair in pairs:
            penalty = adversary.penalty(pair.real, self._plain_discriminator) / len(pairs)
            penalty.backward()
            total += float(penalty.detach())
        self.processes.average_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()
        return total / adversary.penalty_scale

    def _set_rate(self, step: int) -> None:
        s = self.config.schedule
        rate, count = s.learning_rate, s.steps - s.latent_steps
        if step < s.latent_steps:
            rate, count = s.latent_rate or rate, s.latent_steps
        else:
            step -= s.latent_steps
        if s.decay == "cosine":
            rate *= 0.5 + 0.5 * math.cos(math.pi * step / count)
        if s.warmup:
            rate *= min(1.0, (step + 1) / s.warmup)
        for name in ("one", "one_matrices", "two", "two_matrices"):
            for group in self.optimizers[name].param_groups if name in self.optimizers else ():
                group["lr"] = rate * group["pace"]

    # -------------------------------------------------------------------------------------------------------- output

    @property
    def result(self) -> HeadEncoder:
        """The encoder that is exported: the averaged one if there is one."""
        return self.encoder if self.ema is None else self.ema.module

    def preview(self, path: Path) -> None:
        """Photo; stage one from the photo's side and from behind; stage two, and that from four more sides."""
        from ...export.images import save_png

        rows = []
        for slot in range(self.config.output.preview_heads):
            batch = self.batches.sample(slot)
            with torch.no_grad():
                refined = self.result.encode(self.generator, batch.image, batch.camera, batch.matte)
                coarse = self.generator.synthesize(refined.ws)
                views = [
                    self._picture(triplane, view)
                    for triplane, view in (
                        (coarse, batch.camera),
                        (coarse, Camera.look_at(180.0)),
                        (refined, batch.camera),
                        *((refined, Camera.look_at(yaw)) for yaw in (-60.0, 60.0, 110.0, 180.0)),
                    )
                ]
            size = views[0].shape[-1]
            rows.append(torch.cat([resize_area(batch.image, size), *views], dim=3)[0])
        save_png(torch.cat(rows, dim=1).cpu(), path)

    def _picture(self, triplane: Triplane, view: Camera) -> Tensor:
        r = self.config.render
        return self.generator.render(
            triplane,
            view.to(triplane.planes.device),
            resolution=r.resolution,
            samples=r.samples,
            super_resolve=r.super_resolve,
            background=self.objective.colour,
        ).image

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """The encoder in float16, with its configuration and the run's."""
        known = self.views.provenance if self.views is not None else {}
        run = {"variant": self.config.variant, "seed": self.config.seed, "run": _portable(self.config.to_dict())}
        state, config = self.result.state_dict(), self.result.config
        save_encoder(path, state, config.to_dict(), {**run, **known, **provenance}, half=True)


def _portable(run: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration without this machine's folders: of absolute paths the last two names stay."""
    return {key: _portable(v) if isinstance(v, dict) else _tail(v) for key, v in run.items()}


def _tail(value: Any) -> Any:
    whole = isinstance(value, str) and Path(value).is_absolute()
    return "/".join(Path(value).parts[1:][-2:]) if whole else value


def _optimizer(
    name: str, rate: float, *groups: tuple[list[nn.Parameter], float], momentum: float = 0.9
) -> torch.optim.Optimizer:
    """For groups of parameters and what their rates are multiplied by."""
    found = [{"params": parameters, "pace": pace, "lr": rate * pace} for parameters, pace in groups if parameters]
    return Ranger(found, lr=rate) if name == "ranger" else torch.optim.Adam(found, lr=rate, betas=(momentum, 0.99))


def _kernels(refiner: LiftedRefiner) -> dict[str, nn.Parameter]:
    """What Muon trains. The last layers, which begin at zero, have no directions yet that it could keep in balance."""
    return {
        name: p for name, p in refiner.named_parameters() if p.ndim == 4 and not name.startswith(("out.", "direct."))
    }


class _ScalerState(nn.Module):
    """The loss scale of fp16, in the form in which checkpoints hold modules."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        super().__init__()
        self.scaler = scaler

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = self.scaler.state_dict()
        return {name: torch.tensor(float(state[name])) for name in ("scale", "_growth_tracker")}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        numbers = {"scale": float(state_dict["scale"]), "_growth_tracker": int(state_dict["_growth_tracker"])}
        self.scaler.load_state_dict({**self.scaler.state_dict(), **numbers})
