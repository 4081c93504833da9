"""The typed configuration of the encoders' trainer; every default is the paper's full-size setting (paper.md §3).

`TrainConfig.from_dict` and `to_dict` are inverses; `config_file` reads and writes them as YAML.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...encoders.config import HeadEncoderConfig, plain
from ...errors import DualEncError


def _expect(good: bool, name: str, value: Any, expected: str) -> None:
    if not good:
        raise DualEncError(f"{name} is {value!r}, expected {expected}")


def _one_of(name: str, value: Any, choices: tuple) -> None:
    _expect(value in choices, name, value, "one of " + ", ".join(map(str, choices)))


@dataclass(frozen=True)
class DataConfig:
    """What the encoders see.

    Attributes:
        kind: "folder" (a prepared image folder with dataset.json), "procedural" (analytic heads), "people" (traced
            people, whose other sides are known: `ViewConfig`) or "none" (generated heads alone).
        path: the folder; of `people trace` for people.
        pack: asset pack of people; None = the variable DUALENC_PEOPLE, or none where the folder has descriptions.
        size: side of the pictures in pixels.
        count: how many procedural heads, or the first ones of a folder; None = all (procedural: 2,048).
        source: "real" (the data set), "generated" (Z+ samples of the generator, rendered on the fly) or "both" (each
            slot of a batch by the flip of a coin).
        mirror: probability that a real picture and its camera are mirrored, or a traced person.
        rebalance: repeat rare poses as LPFF does (folders).
        masks: "require" = a picture without a mask is an error; "ignore" = its background counts as head (folders).
        generated_yaw, generated_pitch: generated heads are seen from up to this, in degrees, both ways.
        generated_psi: truncation of generated heads.
        workers: processes that read pictures ahead; 0 = the training process itself.
    """

    kind: str = "folder"
    path: str | None = None
    pack: str | None = None
    size: int = 512
    count: int | None = None
    source: str = "real"
    mirror: float = 0.5
    rebalance: bool = True
    masks: str = "require"
    generated_yaw: float = 60.0
    generated_pitch: float = 15.0
    generated_psi: float = 0.85
    workers: int = 2

    def __post_init__(self) -> None:
        _one_of("data.kind", self.kind, ("folder", "procedural", "people", "none"))
        _one_of("data.source", self.source, ("real", "generated", "both"))
        _one_of("data.masks", self.masks, ("require", "ignore"))
        _expect(self.size >= 16, "data.size", self.size, "at least 16 pixels (512 is the paper's)")
        _expect(self.count is None or self.count > 0, "data.count", self.count, "a positive number, or null for all")
        _expect(0 <= self.mirror <= 1, "data.mirror", self.mirror, "a probability in 0..1")
        _expect(self.workers >= 0, "data.workers", self.workers, "0 or more")
        _expect(0 < self.generated_psi <= 1, "data.generated_psi", self.generated_psi, "above 0 and at most 1")
        if self.kind == "none" and self.source != "generated":
            raise DualEncError(
                f"data.kind is 'none' and data.source {self.source!r}: without a data set, set source: generated"
            )


@dataclass(frozen=True)
class ViewConfig:
    """What photos of people are compared with: rays of pictures from other sides, and tri-grids where they are known.

    Attributes:
        others, near: how many views each photo is compared with beside its own, near it or all around.
        own, other: weights of the photo's own view and of each other one.
        hidden: what the photo does not show counts so much more.
        known: share of the steps that compare tri-grids, not pictures (`people.relief`). ``shown`` and ``unseen`` are
            then the weights of what the photo shows and does not.
    """

    others: int = 1
    near: bool = True
    own: float = 1.0
    other: float = 0.5
    hidden: float = 0.0
    known: float = 0.0
    shown: float = 1.0
    unseen: float = 0.25

    def __post_init__(self) -> None:
        _expect(self.others >= 0, "views.others", self.others, "0 or more")
        _expect(0 <= self.known <= 1, "views.known", self.known, "a share in 0..1")
        for name in ("own", "other", "hidden", "shown", "unseen"):
            _expect(getattr(self, name) >= 0, f"views.{name}", getattr(self, name), "a weight of 0 or more")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the reconstruction losses; 0 leaves a loss out, and its network is then not needed.

    Attributes:
        lpips, l2, identity: the paper's (Eq. 5), on pictures of ``RenderConfig.loss_size``.
        l1, gradient, dissimilarity: mean absolute error, error of differences, 1 - SSIM; they need no weights.
        alpha: mean absolute error of the render's opacity against the matte.
        latent: smooth L1 (beta 0.1) between stage one's styles and those that a head was made from, where they are
            known (generated heads; procedural heads with a generator of them).
        lpips_weights: AlexNet, as converted by ``convert``: catalog id or file.
        identity_weights: ArcFace IR-SE-50, as converted: catalog id or file.
    """

    lpips: float = 0.8
    l2: float = 1.0
    identity: float = 0.5
    l1: float = 0.0
    gradient: float = 0.0
    dissimilarity: float = 0.0
    alpha: float = 0.0
    latent: float = 0.0
    lpips_weights: str = "lpips-alexnet"
    identity_weights: str = "arcface"

    def __post_init__(self) -> None:
        weights = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.type == "float"}
        for name, value in weights.items():
            _expect(math.isfinite(value) and value >= 0, f"losses.{name}", value, "a weight of 0 or more")
        if not any(weights.values()):
            raise DualEncError("all losses have weight 0; nothing could be learned, set at least losses.l2")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The adversarial part of Encoder 2 (paper Eq. 6, 8, 9).

    Attributes:
        kind: "none"; "image" (rendered pictures from all around); "triplane" (whole tri-grids); "occluded" (tri-grid
            cells that the input view does not show: the method).
        weight: of the encoder's adversarial loss.
        widths, stride: of the network; stride 2 is the light variant.
        r1, r1_every: R1 weight, and every how many steps it runs as a step of its own, times this number. 0 = never.
        learning_rate, optimizer: as of the encoders; ``momentum``: the first beta of "adam".
        mask_from: whose render shows what is visible: "encoder1" (the frozen encoder that this one started from) or
            "self".
        mask_resolution, mask_closing: rays along each side, None = dense enough; cells by which holes are closed.
        mask_per_slice: the mask differs between depth slices; False = one value for all slices of a plane.
        real: real samples come from latents of Z+ ("latents"), or from descriptions of people ("descriptions").
        psi: truncation of the real samples, if they come from latents.
        image_size: side of the pictures of kind "image".
        scale_planes: divide tri-grids by the standard deviation of the generator's, so that learning does not depend
            on their units (the demo generator's are small).
    """

    kind: str = "occluded"
    weight: float = 0.001
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    stride: int = 1
    r1: float = 10.0
    r1_every: int = 16
    learning_rate: float = 1e-4
    optimizer: str = "ranger"
    momentum: float = 0.9
    mask_from: str = "encoder1"
    mask_resolution: int | None = None
    mask_closing: int = 1
    mask_per_slice: bool = True
    real: str = "latents"
    psi: float = 1.0
    image_size: int = 256
    scale_planes: bool = False

    def __post_init__(self) -> None:
        _one_of("discriminator.kind", self.kind, ("none", "image", "triplane", "occluded"))
        _one_of("discriminator.mask_from", self.mask_from, ("encoder1", "self"))
        _one_of("discriminator.optimizer", self.optimizer, ("ranger", "adam"))
        _one_of("discriminator.real", self.real, ("latents", "descriptions"))
        _one_of("discriminator.stride", self.stride, (1, 2))
        _expect(self.weight >= 0, "discriminator.weight", self.weight, "0 or more")
        _expect(self.r1 >= 0 and self.r1_every >= 0, "discriminator.r1", (self.r1, self.r1_every), "0 or more")
        _expect(self.learning_rate > 0, "discriminator.learning_rate", self.learning_rate, "above 0")


@dataclass(frozen=True)
class ScheduleConfig:
    """How long, and how much at a time.

    Attributes:
        steps: optimisation steps in all.
        batch: heads a step, over all processes and accumulated parts.
        accumulate: the batch is worked off in this many parts, to save memory. Batch statistics are then those of a
            part.
        latent_steps: the first steps train stage one on the latent loss alone, without rendering; they need
            ``losses.latent`` and known latents.
        stage_two_from: stage two joins at this step; None = at 20,000 in a new encoder, at once in one that begins
            from a file.
        stage_one_until: stage one stops learning at this step; None = never.
        one_pass: of an encoder with several passes of stage two, every step trains one, drawn at random, on what those
            before it make; False = all of them, through each other.
        latent_batch, latent_rate: heads a step and learning rate of the latent steps; None = as of the others.
        learning_rate, optimizer: "ranger" (the paper's) or "adam" (betas .9, .99).
        linear_pace: learning rate of stage one's linear layers, in that of the others.
        matrix_rate: learning rate of Muon, which then trains the convolutions of stage one and of a lifted stage two;
            in latent steps it follows latent_rate as the others do. None = no Muon.
        decay: "constant" (the paper's) or "cosine" (to zero at the end of the latent steps, and of the others).
        warmup: steps over which the rate rises at the beginning of each of these.
        ema: decay of an averaged copy of the encoder, which is then what is exported; None = no copy.
    """

    steps: int = 500_000
    batch: int = 3
    accumulate: int = 1
    latent_steps: int = 0
    stage_two_from: int | None = None
    stage_one_until: int | None = None
    one_pass: bool = False
    latent_batch: int | None = None
    latent_rate: float | None = None
    learning_rate: float = 1e-4
    optimizer: str = "ranger"
    linear_pace: float = 1.0
    matrix_rate: float | None = None
    decay: str = "constant"
    warmup: int = 0
    ema: float | None = None

    def __post_init__(self) -> None:
        _expect(self.steps > 0, "schedule.steps", self.steps, "a positive number")
        _expect(self.batch > 0, "schedule.batch", self.batch, "a positive number")
        good = self.accumulate > 0 and self.batch % self.accumulate == 0
        _expect(good, "schedule.accumulate", self.accumulate, f"a divisor of schedule.batch ({self.batch})")
        _expect(self.latent_steps >= 0, "schedule.latent_steps", self.latent_steps, "0 or more")
        for name in ("latent_batch", "latent_rate", "matrix_rate"):
            value = getattr(self, name)
            _expect(value is None or value > 0, f"schedule.{name}", value, "null or a positive number")
        _expect(self.linear_pace > 0, "schedule.linear_pace", self.linear_pace, "above 0")
        _expect(self.warmup >= 0, "schedule.warmup", self.warmup, "0 or more")
        joins = self.stage_two_from
        _expect(joins is None or joins >= 0, "schedule.stage_two_from", joins, "null, or a step from 0 up")
        _expect(self.learning_rate > 0, "schedule.learning_rate", self.learning_rate, "above 0 (the paper has 1e-4)")
        _one_of("schedule.optimizer", self.optimizer, ("ranger", "adam"))
        _one_of("schedule.decay", self.decay, ("constant", "cosine"))
        _expect(self.ema is None or 0 < self.ema < 1, "schedule.ema", self.ema, "null or a decay between 0 and 1")


@dataclass(frozen=True)
class RenderConfig:
    """The renders that the losses compare.

    Attributes:
        resolution: rays along each side.
        samples: coarse and importance samples a ray; None = the generator's.
        super_resolve: compare super-resolved pictures; False = raw ones.
        loss_size: renders and photos are averaged to this before they are compared (LPIPS and ArcFace are defined at
            256); smaller renders are compared as they are.
        rays: compare this many random rays a head instead of whole pictures (losses on pixels alone, without
            super-resolution); 0 = whole pictures.
        jitter: random sample positions on the rays, as in EG3D's training; False = bin centres.
        chunk: rays in memory at once when the renderer is checkpointed.
        backdrop: colour behind the head, in photos and renders: "generator" = the mean of what the generator gives to
            its average head, or three numbers in 0..1.
    """

    resolution: int = 128
    samples: tuple[int, int] | None = None
    super_resolve: bool = True
    loss_size: int = 256
    rays: int = 0
    jitter: bool = True
    chunk: int = 4096
    backdrop: str | tuple[float, float, float] = "generator"

    def __post_init__(self) -> None:
        _expect(self.resolution > 0, "render.resolution", self.resolution, "a positive number (128 is the paper's)")
        _expect(self.rays >= 0, "render.rays", self.rays, "0 (whole pictures) or a number of rays")
        _expect(self.chunk > 0 and self.loss_size > 0, "render.chunk", self.chunk, "a positive number")
        triple = not isinstance(self.backdrop, str) and all(0 <= v <= 1 for v in self.backdrop)
        _expect(self.backdrop == "generator" or triple, "render.backdrop", self.backdrop, "generator or three in 0..1")


@dataclass(frozen=True)
class ComputeConfig:
    """How it is computed; none of this changes what is learned, except for rounding.

    Attributes:
        device: "auto" (CUDA where there is one), "cpu", "cuda", "mps".
        precision: "fp32", "bf16" or "fp16": of the encoders and the discriminator under autocast. The renderer, the
            losses, R1 and the optimisers stay in float32; fp16 scales its losses. "auto": bf16, of the generator's
            backbone too, on devices that are fast in 16 bits, else fp32: a CPU without them takes fifty times as long.
        checkpointing: recompute activations of encoders, backbone, renderer and super-resolution in the backward pass:
            a third slower, several times less memory.
    """

    device: str = "auto"
    precision: str = "fp32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _one_of("compute.precision", self.precision, ("fp32", "bf16", "fp16", "auto"))


@dataclass(frozen=True)
class OutputConfig:
    """Logs, previews, checkpoints.

    Attributes:
        log_every: steps that a log row averages.
        preview_every, preview_heads: steps between preview pictures (0 = none), heads on each.
        save_every, save_minutes: steps (0 = by time alone) and time between checkpoints (``state.safetensors``).
        keep_every: steps between checkpoints that are kept (``state-NNNNNN.safetensors``); 0 = none.
        tensorboard: also write TensorBoard events where the package is installed.
    """

    log_every: int = 50
    preview_every: int = 1000
    preview_heads: int = 4
    save_every: int = 1000
    save_minutes: float = 15.0
    keep_every: int = 50_000
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _expect(self.log_every > 0, "output.log_every", self.log_every, "a positive number")
        _expect(self.save_every >= 0, "output.save_every", self.save_every, "0 or more")
        _expect(self.save_minutes > 0, "output.save_minutes", self.save_minutes, "a positive number")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes.

    Attributes:
        variant: "encoder1" (reconstruction, Eq. 5) or "encoder2" (plus the discriminator, Eq. 6).
        generator: "demo", catalog id or file.
        start: encoder to begin from, both stages: a file or catalog id; Encoder 2 begins from Encoder 1. None = new.
        trunk_weights: ArcFace IR-SE-50 that new trunks begin from (catalog id or file); None = random.
        encoder: the networks: projection space (``style.projection``), TriPlaneNet flavour (``triplane.upsampling``),
            mirrored residual (``triplane.mirrored``), refiner.
        batch_norm: "batch" (statistics of the batch, as the references train), "sync" (of the batch over all
            processes) or "frozen" (stored statistics; scale and shift still learn).
        seed: of initial values, data order and every draw; a step's draws depend on the seed and its number alone.
    """

    variant: str = "encoder1"
    generator: str = "panohead"
    start: str | None = None
    trunk_weights: str | None = "arcface"
    batch_norm: str = "batch"
    seed: int = 0
    encoder: HeadEncoderConfig = field(default_factory=HeadEncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        _one_of("variant", self.variant, ("encoder1", "encoder2"))
        _one_of("batch_norm", self.batch_norm, ("batch", "sync", "frozen"))
        if self.variant == "encoder2" and self.start is None and self.needs_encoder1:
            raise DualEncError(
                "variant is encoder2 with discriminator.mask_from: encoder1, but start is null; set start to the file "
                "of Encoder 1, or mask_from: self"
            )
        picture_losses = [n for n in ("lpips", "identity", "gradient", "dissimilarity") if getattr(self.losses, n)]
        if self.render.rays and picture_losses:
            raise DualEncError(
                f"render.rays is {self.render.rays}, but losses on whole pictures are on: {', '.join(picture_losses)}; "
                "set their weights to 0, or render.rays to 0"
            )
        if self.data.kind == "people":
            if self.data.source != "real" or not self.render.rays:
                raise DualEncError(
                    f"data.kind is people with data.source {self.data.source!r} and render.rays {self.render.rays}: "
                    "views of people are compared on rays; set source: real, and rays to some hundreds"
                )
        elif self.schedule.latent_batch or self.discriminator.real == "descriptions":
            raise DualEncError(
                f"schedule.latent_batch is {self.schedule.latent_batch} and discriminator.real "
                f"{self.discriminator.real!r}, but data.kind is {self.data.kind!r}: both are for people; set null "
                "and latents"
            )
        if self.schedule.latent_steps and not self.losses.latent:
            raise DualEncError(
                f"schedule.latent_steps is {self.schedule.latent_steps} but losses.latent is 0; set its weight, "
                "or latent_steps to 0"
            )

    @property
    def stage_two_from(self) -> int:
        """The step at which stage two joins."""
        joins = self.schedule.stage_two_from
        return joins if joins is not None else 0 if self.start is not None else 20_000

    @property
    def trains_stage_one(self) -> bool:
        """Some step does."""
        until = self.schedule.stage_one_until
        return self.schedule.latent_steps > 0 or until is None or until > 0

    @property
    def adversarial(self) -> bool:
        """There is a discriminator: Encoder 2, unless it is switched off."""
        return self.variant == "encoder2" and self.discriminator.kind != "none"

    @property
    def needs_encoder1(self) -> bool:
        """A frozen Encoder 1 says what is occluded."""
        d = self.discriminator
        return self.adversarial and d.kind == "occluded" and d.mask_from == "encoder1"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From nested dictionaries; absent keys keep their default.

        Raises DualEncError for an unknown key, a value of the wrong type or out of range, naming the key.
        """
        return build(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values."""
        return plain(dataclasses.asdict(self))

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some fields changed; dictionaries change fields of a section."""
        updates = {
            name: dataclasses.replace(getattr(self, name), **value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        return dataclasses.replace(self, **updates)


# ------------------------------------------------------------------------------------------- dictionaries ⇄ dataclasses


def build(cls: type, values: Any, where: str) -> Any:
    """A frozen dataclass from a dictionary, checked against its type hints; ``where`` is the path for messages."""
    if dataclasses.is_dataclass(values) and isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise DualEncError(f"{where or 'the configuration'} is {values!r}, expected a section with keys and values")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    unknown = [str(key) for key in values if key not in names]
    if unknown:
        raise DualEncError(
            f"unknown key {_path(where, unknown[0])!r}; {where or 'the top level'} has {', '.join(names)}"
        )
    return cls(**{name: _value(hints[name], value, _path(where, name)) for name, value in values.items()})


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        try:
            return _single(option, value, where)
        except TypeError:
            continue
    expected = " or ".join("null" if o is type(None) else _words(o) for o in options)
    raise DualEncError(f"{where} is {value!r}, expected {expected}")


def _single(hint: Any, value: Any, where: str) -> Any:
    """The value as ``hint``; TypeError when it is of another type."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise TypeError
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(value) != len(kinds):
            raise TypeError
        return tuple(_single(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is float:
        # YAML 1.1 reads 1e-4, without a point, as text.
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError
        try:
            return float(value)
        except ValueError as error:
            raise TypeError from error
    if hint is int and isinstance(value, bool):
        raise TypeError
    if not isinstance(value, hint):
        raise TypeError
    return value


def _words(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if typing.get_origin(hint) is tuple:
        kinds = [k for k in typing.get_args(hint) if k is not Ellipsis]
        return f"a list of {len(kinds)} values" if len(kinds) > 1 else "a list"
    return names.get(hint, getattr(hint, "__name__", str(hint)))
