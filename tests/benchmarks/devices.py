"""How long stages take on an accelerator, and what speed costs in decibels.

Times are of the wall, from the call until the device has finished: what a user waits. Every row is on its own: what
fails says so in its row, and the table is written anew after each, so that whoever stops it keeps what there is.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dualenc_core.camera import Camera
from dualenc_core.choices import REFERENCE
from dualenc_core.devices import frames_at_once, full_float32, rays_at_once, synchronize
from dualenc_core.encoders import HeadEncoder, HeadEncoderConfig
from dualenc_core.generator import PanoHead
from dualenc_core.generator.prepared import PRESETS, PreparedHead
from dualenc_core.inversion import DualEncoder, match_hidden_colours, occlusion_mask, stitch, visibility
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.triplane import Triplane

from .stages import super_resolution_work

# Seconds that the runs of one way may take together, beside the first.
_PATIENCE = 1.5
_ORBIT = 48


@dataclass(frozen=True)
class Row:
    """One way of doing a stage.

    Attributes:
        milliseconds: median of the runs; None if it failed.
        first: of the first run, which chooses kernels and fills caches.
        per_second: pictures a second, where a run makes several.
        psnr, error: against the stage's exact way with the range of that as peak, and the largest difference.
        megabytes: of the device, the most that was in use meanwhile.
        note: what failed, or what else there is to say.
    """

    stage: str
    way: str
    milliseconds: float | None = None
    first: float | None = None
    per_second: float | None = None
    psnr: float | None = None
    error: float | None = None
    megabytes: float | None = None
    note: str = ""


@dataclass
class DeviceBenchmark:
    """Measures rows and keeps them.

    Attributes:
        device: where everything is.
        repeats: runs of each way after the first, fewer if they are slow.
        seconds: no new row is begun later than this after the start.
        changed: called after every row.
    """

    device: torch.device
    repeats: int = 7
    seconds: float = 90.0
    changed: Callable[[DeviceBenchmark], None] = lambda benchmark: None
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def measure(
        self,
        stage: str,
        ways: Mapping[str, Callable[[], Tensor | None]],
        pictures: int = 1,
        base: str | None = "exact",
        note: Callable[[float], str] = lambda seconds: "",
    ) -> None:
        """Rows of one stage.

        Args:
            ways: name → what runs it. The one named ``base`` is run first, and others are compared with its result.
            pictures: that one run makes.
            note: of the median seconds.
        """
        expected = None
        for way in sorted(ways, key=lambda name: name != base):
            row = Row(stage, way, note="not begun: out of time")
            if time.perf_counter() - self.started < self.seconds:
                try:
                    row, result = self._row(stage, way, ways[way], pictures, expected, note)
                    expected = result if way == base else expected
                    del result
                except Exception as error:
                    row = Row(stage, way, note=f"failed: {type(error).__name__}: {str(error)[:300]}")
            self.rows.append(row)
            self.changed(self)

    def attempt(self, stage: str, run: Callable[[], None]) -> None:
        """What prepares or measures several rows; its failure becomes a row."""
        try:
            run()
        except Exception as error:
            self.rows.append(Row(stage, "", note=f"failed: {type(error).__name__}: {str(error)[:300]}"))
            self.changed(self)

    def _row(
        self,
        stage: str,
        way: str,
        run: Callable[[], Tensor | None],
        pictures: int,
        expected: Tensor | None,
        note: Callable[[float], str],
    ) -> tuple[Row, Tensor | None]:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        result, first = self._timed(run)
        times: list[float] = []
        while len(times) < self.repeats and (len(times) < 2 or sum(times) < _PATIENCE):
            times.append(self._timed(run)[1])
        seconds = statistics.median(times)
        megabytes = torch.cuda.max_memory_allocated(self.device) / 2**20 if cuda else None
        psnr = error = None
        if expected is not None and result is not None:
            psnr, error = difference(result, expected)
        rate = pictures / seconds if pictures > 1 else None
        return Row(stage, way, 1e3 * seconds, 1e3 * first, rate, psnr, error, megabytes, note(seconds)), result

    def _timed(self, run: Callable[[], Tensor | None]) -> tuple[Tensor | None, float]:
        synchronize(self.device)
        start = time.perf_counter()
        result = run()
        synchronize(self.device)
        return result, time.perf_counter() - start

    def markdown(self) -> str:
        """A table for people."""
        lines = [
            "| stage | way | ms | × reference | first run, ms | pictures/s | PSNR, dB | largest error | MB | note |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        plain = {row.stage: row.milliseconds for row in self.rows if row.way == REFERENCE and row.milliseconds}
        for row in self.rows:
            ratio = plain[row.stage] / row.milliseconds if row.stage in plain and row.milliseconds else None
            numbers = [
                (row.milliseconds, "{:.2f}"),
                (ratio, "{:.1f}"),
                (row.first, "{:.1f}"),
                (row.per_second, "{:.0f}"),
                (row.psnr, "{:.1f}"),
                (row.error, "{:.2g}"),
                (row.megabytes, "{:.0f}"),
            ]
            cells = [row.stage, row.way, *("" if v is None else f.format(v) for v, f in numbers)]
            cells.append(" ".join(row.note.replace("|", "/").split()))
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in self.facts.items())])

    def content(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"rows": [dataclasses.asdict(row) for row in self.rows], "facts": self.facts}


def difference(result: Tensor, expected: Tensor) -> tuple[float, float]:
    """PSNR in dB with the range of ``expected`` as peak, and the largest difference."""
    off = (result.float() - expected.float()).abs()
    span = float(expected.max() - expected.min()) or 1.0
    root = float(off.square().mean(dtype=torch.float64).sqrt())
    return float(20 * torch.log10(torch.tensor(span / max(root, 1e-10)))), float(off.max())


@torch.no_grad()
def describe(benchmark: DeviceBenchmark) -> None:
    """Facts of the device, and the rates that it reaches."""
    device, facts = benchmark.device, benchmark.facts
    facts |= {"device": str(device), "torch": torch.__version__}
    facts |= {"frames at once": frames_at_once(device), "rays at once": rays_at_once(device)}
    if device.type != "cuda":
        return
    properties = torch.cuda.get_device_properties(device)
    facts |= {"name": properties.name, "memory in GB": f"{properties.total_memory / 1e9:.0f}"}
    facts |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}

    def products(dtype: torch.dtype) -> Callable[[], None]:
        a, b = torch.randn(2, 8192, 8192, device=device).to(dtype)

        def run() -> None:
            with full_float32():
                torch.mm(a, b)

        return run

    work = 2 * 8192**3
    for name, dtype in (("16 bits", torch.float16), ("float32", torch.float32)):
        benchmark.measure(
            "machine: product of matrices",
            {name: products(dtype)},
            base=None,
            note=lambda seconds: f"{work / seconds / 1e12:.0f}e12 operations a second",
        )
    source = torch.ones(1 << 28, device=device)
    target = torch.empty_like(source)
    benchmark.measure(
        "machine: copy",
        {"1 GB": lambda: target.copy_(source)},
        base=None,
        note=lambda seconds: f"{2 * source.numel() * 4 / seconds / 1e9:.0f} GB a second",
    )


@torch.no_grad()
def measure_rendering(benchmark: DeviceBenchmark, size: str, generator: PanoHead, head: Triplane) -> None:
    """Rows of pictures of one head; ``size`` begins their names."""
    camera = Camera.look_at(25.0, 5.0).to(benchmark.device)
    qualities = ("exact", "high", "draft", REFERENCE)
    own = generator.config.neural_resolution
    resolutions = sorted({64, 128} | {own})

    def pictures(quality: str, rays: int, frames: int = _ORBIT) -> Tensor:
        views = generator.stream(head, Camera.orbit(frames, pitch=5.0), resolution=rays, quality=quality)
        return torch.cat([view.image for view in views])

    def video(quality: str, rays: int) -> None:
        views = generator.stream(head, Camera.orbit(_ORBIT, pitch=5.0), resolution=rays, quality=quality)
        for view in views:
            ((view.image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()

    for rays in resolutions:
        stage = f"{size}: orbit of {_ORBIT}, {rays}² rays, {generator.config.image_resolution}²"
        ways = {q: lambda q=q, r=rays: pictures(q, r) for q in qualities[:3]}
        benchmark.measure(stage, ways, _ORBIT)
        sent = {f"{q}, sent to the CPU in 8 bits": lambda q=q, r=rays: video(q, r) for q in ("high", "draft")}
        benchmark.measure(stage, sent, _ORBIT, base=None)
    for rays in resolutions:
        ways = {q: lambda q=q, r=rays: generator.render(head, camera, r, quality=q).image for q in qualities}
        benchmark.measure(f"{size}: one frame, {rays}² rays, head known", ways)

    def first(quality: str) -> Tensor:
        generator.release_prepared()
        return generator.render(head, camera, quality=quality).image

    benchmark.measure(f"{size}: first frame of a head, {own}² rays", {q: lambda q=q: first(q) for q in qualities})
    fast = {name: PreparedHead.build(generator, head, preset) for name, preset in PRESETS.items()}
    occupancy = fast["exact"].field.occupancy.share
    benchmark.facts[f"{size}: share of the box that is occupied"] = f"{occupancy:.1%}"
    options = generator.config.render
    for rays in resolutions:
        origins, directions = camera_rays(camera, rays)

        def march(name: str, o: Tensor = origins, d: Tensor = directions) -> Tensor:
            return fast[name].render_rays(o, d, options, rays_at_once(benchmark.device)).features

        ways = {name: lambda n=name, run=march: run(n) for name in PRESETS}
        ways[REFERENCE] = lambda o=origins, d=directions: generator.render_rays(head, o, d).features
        benchmark.measure(f"{size}: volume rendering, {rays}² rays", ways)
    view = generator.render(head, camera, super_resolve=False, quality="exact")
    features = F.pad(view.raw, (0, 0, 0, 0, 0, generator.config.features - 3))
    work = 2 * super_resolution_work(generator)
    frames = frames_at_once(benchmark.device)
    for count in sorted({1, frames}):
        raw, deep = (x.expand(count, -1, -1, -1).contiguous() for x in (view.raw, features))

        def folded(name: str, raw: Tensor = raw, deep: Tensor = deep) -> Tensor:
            with full_float32():
                return fast[name].super_resolution(raw, deep)

        ways = {name: lambda n=name, run=folded: run(n) for name in ("exact", "high")}
        ways["high, cuDNN tries algorithms"] = lambda run=folded: _trying(lambda: run("high"))
        ways[REFERENCE] = lambda raw=raw, deep=deep: generator.superresolution(
            raw, deep, head.ws.expand(len(raw), -1, -1)
        )
        benchmark.measure(
            f"{size}: super-resolution of {count}",
            ways,
            count,
            note=lambda seconds, n=count: f"{n * work / seconds / 1e12:.0f}e12 operations a second",
        )
    ways = {
        f"{rays}² rays{', 4096 at once' if chunk else ''}": lambda r=rays, c=chunk: (
            generator.render(head, camera, r, super_resolve=False, quality="exact", chunk=c).image
        )
        for chunk in (None, 4096)
        for rays in (64, 128, 256, 512)
    }
    benchmark.measure(f"{size}: raw picture, exact", ways, base=None)
    ws = head.ws
    benchmark.measure(f"{size}: backbone", {"float32": lambda: generator.synthesize(ws).planes}, base=None)
    if generator.config.background:
        benchmark.measure(f"{size}: background", {"float32": lambda: generator.background_features(ws)}, base=None)
    generator.release_prepared()


@torch.no_grad()
def measure_inversion(
    benchmark: DeviceBenchmark,
    size: str,
    generator: PanoHead,
    encoders: tuple[HeadEncoder, HeadEncoder],
    head: Triplane,
) -> None:
    """Rows of the inversion of a picture of a head."""
    camera = Camera.look_at(0.0).to(benchmark.device)
    image = generator.render(head, camera, quality="exact").image.clamp(-1, 1)
    image = F.interpolate(image, (512, 512), mode="bilinear", align_corners=False)
    qualities = ("exact", "high", REFERENCE)
    for mode in ("points", "cells"):
        dual = DualEncoder(generator, *encoders, mode)
        stages: dict[str, float] = {}

        def whole(quality: str, dual: DualEncoder = dual, stages: dict[str, float] = stages) -> Tensor:
            generator.release_prepared()
            made = dual.invert(image, camera, quality=quality)
            stages.update(made.timings)
            return made.triplane.planes

        def parts(seconds: float, stages: dict[str, float] = stages) -> str:
            return "ms of the last run: " + ", ".join(f"{name} {1e3 * value:.1f}" for name, value in stages.items())

        benchmark.measure(
            f"{size}: dual inversion, {mode}", {q: lambda q=q, run=whole: run(q) for q in qualities}, note=parts
        )
    made = DualEncoder(generator, *encoders).invert(image, camera)
    one = encoders[0]
    benchmark.measure(f"{size}: stage one", {"exact": lambda: one.styles(image, generator)})
    coarse = one(generator, image, camera, refine=False).coarse

    def fresh(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def way() -> Tensor:
            generator.release_prepared()
            return run()

        return way

    renders = one.renders(generator)
    ways = {"exact": fresh(lambda: one.refine(generator, coarse, image, camera, quality=renders).planes)}
    benchmark.measure(f"{size}: stage two", ways)
    ways = {
        "points": fresh(lambda: visibility(generator, made.visible, camera).alpha),
        "cells": fresh(lambda: occlusion_mask(generator, made.visible, camera).mask),
    }
    benchmark.measure(f"{size}: mask", ways, base=None)
    second = encoders[1](generator, image, camera, refine=False).coarse
    parts = made.visible, made.occluded, made.mask
    ways = {"points": lambda: match_hidden_colours(generator, *parts, coarse=second).planes}
    benchmark.measure(f"{size}: hidden colours", ways, base=None)
    ways = {"points": lambda: stitch(*parts).planes}
    benchmark.measure(f"{size}: stitching", ways, base=None)
    generator.release_prepared()


def full_size_encoder(seed: int) -> HeadEncoder:
    """The published networks with random weights, tamed so that 16 bits can hold what comes out of 24 random blocks;
    the second stage corrects nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = HeadEncoder(HeadEncoderConfig(), name=f"random{seed}")
    for part in (encoder.stage_one, encoder.stage_two):
        for block in part.body:
            block.res_layer[3].weight.data.mul_(0.1)
    last = getattr(encoder.stage_two, encoder.stage_two.head_name)[-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    return encoder.eval().requires_grad_(False)


class Standing:
    """While it lasts, a generator's backbone is computed and its result replaced by a given head's planes: encoders of
    random weights then see, refine and mask a head that leaves as much of the box empty as a real one."""

    def __init__(self, generator: PanoHead, head: Triplane) -> None:
        self.generator, self.head = generator, head

    def __enter__(self) -> None:
        def synthesize(ws: Tensor, noise: str = "const") -> Triplane:
            made = type(self.generator).synthesize(self.generator, ws, noise)
            return made.replace(planes=self.head.planes.expand_as(made.planes).clone())

        self.generator.synthesize = synthesize

    def __exit__(self, *error: object) -> None:
        del self.generator.synthesize


@torch.no_grad()
def fill_with_fog(generator: PanoHead, ws: Tensor) -> None:
    """Move the density of a generator with random weights, which is empty space, so that its heads are fog that fills
    the box and that no ray's light is spent in: nothing can be left out, the most work there is."""
    rng = torch.Generator().manual_seed(0)
    points = (torch.rand(1, 4096, 3, generator=rng) - 0.5) * (0.8 * generator.config.render.box_warp)
    sigma = generator.query(generator.synthesize(ws), points.to(ws.device))[0]
    last = generator.decoder.net[2]
    last.bias[0] -= sigma.mean() / last.bias_gain
    generator.release_prepared()


def _trying(run: Callable[[], Tensor]) -> Tensor:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        return run()
    finally:
        torch.backends.cudnn.benchmark = before
