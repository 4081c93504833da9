"""Heads that no training saw, one input view, the truth for every other view (`subjects`)."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...camera import Camera
from ...errors import DualEncError
from ...generator import PanoHead
from ...images import resize_area
from ...inversion import match_hidden_colours, occlusion_mask, stitch, visibility
from ...inversion.dual_encoder import Encoder
from ...metrics import pictures as metrics
from ...people import Pack
from ...people.standard import Standard
from ...rendering.output import Rendering
from ...triplane import Triplane
from ..data.engine import in_order
from .agreement import Agreement
from .methods import Baselines, methods
from .patches import PatchStatistics, patch_distance
from .report import provenance, write_report
from .results import Report, region_of
from .subjects import PeopleSubjects, ProceduralSubjects, Subjects

T = TypeVar("T")

# Training draws its heads from seeds below; nothing at or above may be trained or tuned on.
FIRST_TEST_SEED = 1_000_000
VARIANTS = ("e1", "e2", "cells", "unmatched", "points", "g_true_z", "g_unseen")
# Optimisations, minutes a head; only when asked for.
BASELINES = ("wplus", "pti")
STAGES = ("truth", "encode", "mask", "render", "metrics")
# Side of the pictures that are compared, in pixels. The truth of larger ones would take most of the time.
COMPARED = 256


@dataclass(frozen=True)
class ProceduralSettings:
    """How to evaluate.

    Attributes:
        heads: how many.
        seed: of the heads and the input pitches, at least 1 000 000.
        input_yaw: limits of the input views in degrees, evenly spread over the heads.
        input_pitch: largest input elevation in degrees, up and down.
        yaws: views around each head, evenly spread over 360° from the input view on.
        variants: what to render: e1, e2 (each encoder alone), cells, points (stitched), unmatched (by points, hidden
            parts in Encoder 2's own colours, where that is another head), g_true_z (the generator with the latent that
            the head was made from; the head's details are outside its range), g_unseen (the same
            pictures against the head without details: the generator on z that it was not trained on); and only when
            asked for wplus, pti (optimisation of the generator for the input view).
        people: folder of the asset pack: people instead of procedural heads.
        input_resolution: side of the input pictures; None = what the encoders need, at least that of the compared ones.
        samples: samples a ray; None = the generator's.
    """

    heads: int = 48
    seed: int = FIRST_TEST_SEED
    input_yaw: tuple[float, float] = (-60.0, 60.0)
    input_pitch: float = 8.0
    yaws: int = 8
    variants: tuple[str, ...] = VARIANTS
    people: str | None = None
    input_resolution: int | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.heads < 1 or self.yaws < 1:
            raise DualEncError(f"heads is {self.heads} and yaws {self.yaws}, expected at least 1")
        if self.seed < FIRST_TEST_SEED:
            raise DualEncError(
                f"seed is {self.seed}, expected at least {FIRST_TEST_SEED}: smaller ones belong to training"
            )
        unknown = set(self.variants) - {*VARIANTS, *BASELINES}
        if unknown or not self.variants:
            raise DualEncError(f"variants are {self.variants}, expected some of {', '.join((*VARIANTS, *BASELINES))}")

    def input_views(self) -> tuple[Tensor, Tensor]:
        """Yaw and pitch [heads] of the input views in degrees."""
        low, high = self.input_yaw
        yaw = low + (high - low) * (torch.arange(self.heads) + 0.5) / self.heads
        rng = torch.Generator().manual_seed(self.seed)
        return yaw, self.input_pitch * (2 * torch.rand(self.heads, generator=rng) - 1)


@dataclass
class Part:
    """What one head adds to an evaluation; everything may travel between processes.

    Attributes:
        rows, agreement: as in `Report`, agreement of this head alone.
        patches: (variant, region) → statistics.
        seconds: by stage.
        optimised: how each optimisation was made, without what only one head can say.
    """

    rows: list[dict] = field(default_factory=list)
    patches: dict[tuple[str, str], PatchStatistics] = field(default_factory=dict)
    agreement: dict[str, Agreement] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    optimised: dict[str, dict] = field(default_factory=dict)

    def statistics(self, name: str, region: str) -> PatchStatistics:
        return self.patches.setdefault((name, region), PatchStatistics(scales=2))

    def timed(self, stage: str, run: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = run()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        return result


# How many heads → (number, part), in any order.
Distribute = Callable[[int], Iterable[tuple[int, Part]]]


def evaluate_procedural(
    generator: PanoHead,
    encoder1: Encoder | None,
    encoder2: Encoder | None,
    control: Encoder | None = None,
    settings: ProceduralSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
    baselines: Baselines | None = None,
    distribute: Distribute | None = None,
    truths: dict | None = None,
) -> Report:
    """Invert one view of each head and compare renders with the truth all around.

    One head is in memory at a time, and the truth is rendered once for all variants. Encoders get the true alpha as
    the matte. Both sides have the subjects' backdrop behind them. Views are compared at 256 pixels, or at the
    generator's image size if that is smaller; depth and mask at its neural resolution.

    Args:
        encoder1, encoder2: None where no variant needs it.
        control: Encoder 2 trained without its discriminator, shown as "control".
        progress: called as progress(heads done, heads).
        command: how to repeat it, for the report.
        baselines: settings of the variants wplus and pti.
        distribute: who measures (`distributed.distribute_procedural`); None = this process. The report is the
            same, but for its times, which are summed over processes.
        truths: renders of the truth, kept here for further evaluations with the same heads and views (some 3 MB for
            each view of 256 pixels); not with ``distribute``.

    Raises DualEncError when g_true_z or g_unseen is asked of a generator that does not know such descriptions.
    """
    settings = settings or ProceduralSettings()
    modules = {"generator": generator, "encoder 1": encoder1, "encoder 2": encoder2, "control": control}
    bench = ProceduralBench(generator, encoder1, encoder2, control, settings, baselines, truths)
    start = time.perf_counter()
    total = Part()
    agreement: dict[str, list[Agreement]] = {}
    for done, part in enumerate(in_order((distribute or bench.here)(settings.heads)), start=1):
        total.rows += part.rows
        for key, found in part.patches.items():
            total.statistics(*key).merge(found)
        for mode, known in part.agreement.items():
            agreement.setdefault(mode, []).append(known)
        for stage, seconds in part.seconds.items():
            total.seconds[stage] = total.seconds.get(stage, 0.0) + seconds
        total.optimised |= part.optimised
        if progress is not None:
            progress(done, settings.heads)
    return Report(
        settings={
            **asdict(settings),
            "input_resolution": bench.input_size,
            "image_resolution": bench.size,
            **({"baselines": total.optimised} if total.optimised else {}),
        },
        # Workers have one thread each.
        provenance=provenance(modules, command) | ({} if distribute is None else {"threads": 1}),
        rows=total.rows,
        patches=_patch_distances(total.patches),
        agreement={mode: _mean_agreement(found) for mode, found in agreement.items()},
        timings={**total.seconds, "total": time.perf_counter() - start},
    )


def run_procedural(
    out_dir: str | Path,
    generator: PanoHead,
    encoder1: Encoder,
    encoder2: Encoder,
    control: Encoder | None = None,
    heads: int = 48,
    seed: int = FIRST_TEST_SEED,
    yaws: int = 8,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
    optimise: tuple[str, ...] = (),
    baselines: Baselines | None = None,
    distribute: Callable[[ProceduralSettings], Distribute] | None = None,
    people: str | None = None,
) -> Report:
    """`evaluate_procedural`, written to ``out_dir`` as report.md, report.json and report.png.

    Args:
        optimise: of wplus and pti.
        distribute: settings → who measures them; None = this process.
        people: as in `ProceduralSettings`.
    """
    variants = (*VARIANTS, *optimise)
    settings = ProceduralSettings(
        heads=heads,
        seed=seed,
        input_pitch=8.0 if people is None else 20.0,
        yaws=yaws,
        variants=variants,
        people=people,
    )
    report = evaluate_procedural(
        generator,
        encoder1,
        encoder2,
        control,
        settings,
        progress,
        command,
        baselines,
        None if distribute is None else distribute(settings),
    )
    write_report(report, out_dir)
    return report


class ProceduralBench:
    """What stays the same in an evaluation, in one process; measures one head at a time."""

    def __init__(
        self,
        generator: PanoHead,
        encoder1: Encoder | None,
        encoder2: Encoder | None,
        control: Encoder | None,
        settings: ProceduralSettings,
        baselines: Baselines | None = None,
        truths: dict | None = None,
    ) -> None:
        self.generator, self.settings, self.truths = generator, settings, truths
        encoders = {"e1": encoder1, "e2": encoder2, "control": control}
        self.encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
        self.device = generator.w_avg.device
        self.size = min(generator.config.image_resolution, COMPARED)
        self.input_size = settings.input_resolution or max(self.size, *map(_input_size, self.encoders.values()))
        self.subjects = _subjects(generator, settings)
        if {"g_true_z", "g_unseen"} & set(settings.variants):
            self.subjects.check(generator)
        self.yaw, self.pitch = settings.input_views()
        self.turns = [360 * k / settings.yaws for k in range(settings.yaws)]
        wanted = tuple(name for name in BASELINES if name in settings.variants)
        self.optimise = methods(generator, None, None, wanted, baselines)

    def here(self, count: int) -> Iterable[tuple[int, Part]]:
        """`Distribute` in this process."""
        return ((number, self.measure(number)) for number in range(count))

    @torch.no_grad()
    def measure(self, i: int) -> Part:
        """All variants of head i."""
        part = Part()
        ring = Camera.look_at([float(self.yaw[i]) + turn for turn in self.turns], float(self.pitch[i])).to(self.device)
        truth = self._truth(part, i, ring, self.size)
        renderings = self._renderings(part, i, ring, truth)
        for name, rendering in renderings.items():
            part.timed("metrics", functools.partial(self._record, part, i, name, rendering, truth))
        for turn, region in enumerate(map(region_of, self.turns)):
            part.statistics("truth", region).add(truth.image[turn : turn + 1], truth.alpha[turn : turn + 1])
        if "g_unseen" in self.settings.variants:
            truth = self._truth(part, i, ring, self.size, plain=True)
            rendering = self._render(part, self._from_description(i, plain=True), ring)
            self._record(part, i, "g_unseen", rendering, truth, patches=False)
        return part

    def _renderings(self, part: Part, i: int, ring: Camera, truth: Rendering) -> dict[str, Rendering]:
        camera, wanted = ring[0], self.settings.variants
        view = _view(truth, 0)
        if self.input_size != self.size:
            view = self._truth(part, i, camera, self.input_size)
        heads: dict[str, Triplane] = {}
        for name, encoder in self.encoders.items():
            heads[name] = part.timed(
                "encode", functools.partial(encoder.encode, self.generator, view.image, camera, view.alpha)
            )
        modes: dict[str, Callable[..., Any]] = {"cells": occlusion_mask} if "cells" in wanted else {}
        modes |= {"points": visibility} if {"points", "unmatched"} & {*wanted} else {}
        for mode, find in modes.items():
            mask = part.timed("mask", functools.partial(find, self.generator, heads["e1"], camera))
            first, second = heads["e1"], heads["e2"]
            if mode == "points":
                second = match_hidden_colours(self.generator, first, second, mask)
                if second is not heads["e2"]:
                    heads["unmatched"] = stitch(first, heads["e2"], mask)
            heads[mode] = stitch(first, second, mask)
            agreement = self.subjects.agreement(i, camera, mask, self.generator.config.render.box_warp)
            if agreement is not None:
                part.agreement[mode] = agreement
        if "g_true_z" in wanted:
            heads["g_true_z"] = self._from_description(i)
        found = {name: self._render(part, heads[name], ring) for name in heads if name in (*wanted, "control")}
        for name, search in self.optimise.items():
            fitted = part.timed(name, functools.partial(search, view.image, camera, view.alpha))
            made = fitted.triplane.meta["optimised"]
            part.optimised[name] = {key: made[key] for key in ("method", "perceptual", "note", "steps")}
            # The head stands where the search put it: its camera offset goes along to every view.
            moved = ring.translated(fitted.camera.position - camera.position)
            found[name] = self._render(part, fitted.triplane, moved, fitted.generator)
        return found

    def _truth(self, part: Part, i: int, cameras: Camera, size: int, plain: bool = False) -> Rendering:
        key = (self.subjects.name(i, plain), size, cameras.label.numpy(force=True).tobytes())
        kept = None if self.truths is None else self.truths.get(key)
        if kept is None:
            kept = part.timed("truth", lambda: self.subjects.picture(i, cameras, size, plain).to(self.device))
            if self.truths is not None:
                self.truths[key] = kept
        return kept

    def _from_description(self, i: int, plain: bool = False) -> Triplane:
        return self.generator.synthesize(self.subjects.styles(self.generator, i, plain))

    def _render(self, part: Part, triplane: Triplane, ring: Camera, generator: PanoHead | None = None) -> Rendering:
        render = (generator or self.generator).render
        # The same as the plain renderer up to rounding (more than 100 dB), in a fraction of the time.
        options = {"background": self.subjects.backdrop, "samples": self.settings.samples, "quality": "exact"}
        out = part.timed("render", lambda: render(triplane, ring, **options))
        return dataclasses.replace(out, image=resize_area(out.image, self.size))

    def _record(self, part: Part, i: int, variant: str, out: Rendering, truth: Rendering, patches: bool = True) -> None:
        values = _compare(out, truth)
        for k, turn in enumerate(self.turns):
            row = {"head": i, "input_yaw": float(self.yaw[i]), "yaw": turn, "variant": variant}
            part.rows.append(row | {name: column[k] for name, column in values.items()})
            if patches:
                part.statistics(variant, region_of(turn)).add(out.image[k : k + 1], out.alpha[k : k + 1])


def _subjects(generator: PanoHead, settings: ProceduralSettings) -> Subjects:
    count, seed = settings.heads, settings.seed
    if settings.people is None:
        return ProceduralSubjects(count, seed, generator.w_avg.device)
    pack = Pack.open(settings.people)
    standard = Standard.from_provenance(generator.provenance) if "traits" in generator.provenance else None
    return PeopleSubjects(pack, count, seed, standard)


def _patch_distances(patches: Mapping[tuple[str, str], PatchStatistics]) -> dict[str, dict[str, float]]:
    """By variant and region, for regions with enough patches."""
    found: dict[str, dict[str, float]] = {}
    for (variant, region), statistics in patches.items():
        reference = patches[("truth", region)]
        if variant != "truth" and statistics.sufficient and reference.sufficient:
            found.setdefault(variant, {})[region] = patch_distance(statistics, reference)
    return found


def _compare(out: Rendering, truth: Rendering) -> dict[str, list[float]]:
    size = out.alpha.shape[-2], out.alpha.shape[-1]
    alpha = F.adaptive_avg_pool2d(truth.alpha, size)
    # The mean of the covered part of each larger pixel; the far depth of empty pixels must not leak in.
    depth = F.adaptive_avg_pool2d(truth.depth * truth.alpha, size) / alpha.clamp_min(1e-6)
    image, true_image = out.image, truth.image
    values = {
        "psnr": metrics.psnr(image, true_image),
        "psnr_head": metrics.psnr(image, true_image, truth.alpha),
        "ssim": metrics.ssim(image, true_image),
        "gradient": metrics.gradient_distance(image, true_image),
        "sharpness": metrics.sharpness(image, true_image),
        "depth": metrics.depth_error(out.depth, out.alpha, depth, alpha),
        "iou": metrics.mask_iou(out.alpha, alpha),
        "mse": metrics.mse(image, true_image),
    }
    return {name: value.tolist() for name, value in values.items()}


def _mean_agreement(found: Sequence[Agreement]) -> dict[str, float]:
    rows = [one.to_dict() for one in found]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _view(rendering: Rendering, k: int) -> Rendering:
    part = slice(k, k + 1)
    return Rendering(rendering.image[part], rendering.raw[part], rendering.depth[part], rendering.alpha[part])


def _input_size(encoder: Encoder) -> int:
    style = getattr(getattr(encoder, "config", None), "style", None)
    return 1 if style is None else style.trunk.input_size
