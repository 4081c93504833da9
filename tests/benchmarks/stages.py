"""How long stages take, plain and fast side by side in one process, and what speed costs in decibels."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dualenc_core.camera import Camera
from dualenc_core.choices import REFERENCE
from dualenc_core.encoders import HeadEncoder
from dualenc_core.generator import GeneratorConfig, PanoHead
from dualenc_core.generator.prepared import PRESETS, PreparedHead, PreparedHeads
from dualenc_core.inversion import DualEncoder, match_hidden_colours, stitch, visibility
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.triplane import Triplane

from .counting import Count, Machine, count


@dataclass(frozen=True)
class Timing:
    """One way of doing a stage.

    Attributes:
        seconds: median of the interleaved runs.
        cpu: the same in seconds of the process on all cores. On a machine that others use too, the fairer of the two;
            a GPU's work is not in it.
        psnr: dB against the reference's result with its own range as peak; None for the reference.
        error: largest difference to it.
        count: multiply-adds, bytes and lookups of one run; None if not counted.
        limit: seconds of arithmetic, or of memory traffic if those are more, at the rates of this machine (`Machine`).
    """

    seconds: float
    cpu: float
    psnr: float | None = None
    error: float | None = None
    count: Count | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """Stage → way → timing, and what else was measured (memory in MB, shares of samples, the machine)."""

    stages: Mapping[str, Mapping[str, Timing]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """A table for people."""
        lines = [
            "| stage | way | seconds | × reference | CPU seconds | × reference | PSNR, dB | largest error "
            "| lookups | × 10⁶ multiply-adds | MB | limit, s |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for stage, ways in self.stages.items():
            base = ways.get(REFERENCE)
            for way, t in ways.items():
                cells = [stage, way, f"{t.seconds:.4f}", _ratio(base, t, "seconds"), f"{t.cpu:.4f}"]
                cells += [_ratio(base, t, "cpu"), "" if t.psnr is None else f"{t.psnr:.1f}"]
                cells += ["" if t.error is None else f"{t.error:.2g}", *_work(t)]
                lines.append(f"| {' | '.join(cells)} |")
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, "", *facts])


def _ratio(base: Timing | None, timing: Timing, clock: str) -> str:
    if base is None:
        return ""
    return f"{getattr(base, clock) / max(getattr(timing, clock), 1e-9):.1f}"


def _work(timing: Timing) -> list[str]:
    if timing.count is None:
        return ["", "", "", ""]
    c = timing.count
    return [f"{c.lookups or ''}", f"{c.multiply_adds / 1e6:.0f}", f"{c.bytes / 1e6:.0f}", f"{timing.limit:.4f}"]


@torch.no_grad()
def run_benchmark(
    generator: PanoHead,
    triplane: Triplane,
    resolutions: tuple[int, ...] = (64, 128),
    repeats: int = 5,
    progress: Callable[[str], None] = lambda text: None,
    encoders: tuple[HeadEncoder, HeadEncoder] | None = None,
) -> Benchmark:
    """Time rendering of one head.

    Args:
        generator: with ``decoder_activation`` "none".
        triplane: one head of it.
        resolutions: rays along each side.
        repeats: interleaved runs of every way, after one that does not count.
        encoders: of this generator, to time inversions; None leaves them out.
    """
    camera = Camera.look_at(25.0, 5.0).to(triplane.planes.device)
    # First, as the largest size of a process only grows.
    growth = memory_growth(generator, triplane, camera)
    progress("memory")
    fast = {name: PreparedHead.build(generator, triplane, preset) for name, preset in PRESETS.items()}
    options = generator.config.render
    machine = Machine.measure(triplane.planes.device)
    stages: dict[str, dict[str, Timing]] = {}

    def measure(stage: str, ways: Mapping[str, Callable[[], Tensor]], runs: int = repeats) -> None:
        stages[stage] = compare(ways, runs, machine)
        progress(stage)

    measure("backbone", {REFERENCE: lambda: generator.synthesize(triplane.ws).planes})
    if generator.config.background:
        measure("background", {REFERENCE: lambda: generator.background_features(triplane.ws)})
    for size in resolutions:
        origins, directions = camera_rays(camera, size)
        ways = {REFERENCE: lambda o=origins, d=directions: generator.render_rays(triplane, o, d).features}
        for name, head in fast.items():
            ways[name] = lambda h=head, o=origins, d=directions: h.render_rays(o, d, options, 4096).features
        measure(f"volume rendering, {size}² rays", ways)
    size = generator.config.neural_resolution
    view = generator.render(triplane, camera, super_resolve=False, quality=REFERENCE)
    rays = fast["exact"].render_rays(*camera_rays(camera, size), options, 4096)
    features = rays.features.transpose(1, 2).reshape(1, -1, size, size)
    ways = {REFERENCE: lambda: generator.superresolution(view.raw, features, triplane.ws)}
    for name, head in fast.items():
        if head.super_resolution is not None:
            ways[name] = lambda h=head: h.super_resolution(view.raw, features)
    measure("super-resolution", ways)
    qualities = (REFERENCE, *PRESETS)
    generator._prepared = PreparedHeads(len(PRESETS))
    ways = {name: lambda q=name: generator.render(triplane, camera, quality=q).image for name in qualities}
    measure("frame of an orbit, after the first", ways)

    def first(quality: str) -> Tensor:
        generator._prepared = PreparedHeads()
        return generator.render(triplane, camera, quality=quality).image

    measure("first frame of a head", {q: lambda q=q: first(q) for q in qualities}, max(2, repeats // 2))
    generator._prepared = PreparedHeads()
    growth_of_time = {"backbone": lambda n: generator.synthesize(triplane.ws.expand(n, -1, -1))}
    growth_of_time["orbit frames, exact"] = lambda n: generator.render(
        triplane, Camera.orbit(n, 0.0, 90.0, 5.0), quality="exact"
    )
    if encoders is not None:
        image, view = _portrait(generator, triplane)
        for stage, ways in inversion_stages(generator, encoders, image, view).items():
            measure(stage, ways)
        dual = DualEncoder(generator, *encoders)
        growth_of_time["inversion, exact"] = lambda n: dual.invert(image.expand(n, -1, -1, -1), view)
    occupancy = fast["exact"].field.occupancy.share
    facts = {
        "share of the box that is occupied": f"{occupancy:.1%}",
        "peak memory in MB after fast pictures": ", ".join(f"{n}² rays {mb:.0f}" for n, mb in growth.items()),
        "peak memory in MB in the end, with the plain renderer": f"{peak_megabytes():.0f}",
        "multiplications of super-resolution, whole picture": f"{super_resolution_work(generator) / 1e9:.1f}e9",
        **{
            f"CPU seconds of {name}, 1, 2, 4 at once": grown(run, min(repeats, 2))
            for name, run in growth_of_time.items()
        },
        "multiply-adds a second, product of large matrices": f"{machine.multiply_adds / 1e9:.1f}e9",
        "bytes a second, copy of a large tensor": f"{machine.bytes / 1e9:.1f}e9",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": str(triplane.planes.device),
    }
    return Benchmark(stages, facts)


def inversion_stages(
    generator: PanoHead, encoders: tuple[HeadEncoder, HeadEncoder], image: Tensor, camera: Camera
) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Stage of an inversion of one portrait → way → what runs it. Every way begins without prepared heads.

    "reference" has the plain renderer; the networks are the same.
    """
    ways = (REFERENCE, "exact", "high")
    dual = DualEncoder(generator, *encoders)
    made = dual.invert(image, camera)
    coarse = encoders[0](generator, image, camera, refine=False).coarse

    def fresh(run: Callable[[str], Tensor], quality: str) -> Callable[[], Tensor]:
        def way() -> Tensor:
            generator.release_prepared()
            return run(quality)

        return way

    def masked(quality: str) -> Tensor:
        return visibility(generator, made.visible, camera, quality=quality).alpha

    stages = {"encoder 1, stage one": {REFERENCE: lambda: encoders[0].styles(image, generator)}}
    if encoders[0].stage_two is not None:
        refine = encoders[0].refine
        exact = encoders[0].renders(generator)
        stages["encoder 1, stage two"] = {
            name: fresh(lambda q: refine(generator, coarse, image, camera, quality=q).planes, way)
            for name, way in ((REFERENCE, REFERENCE), ("exact", exact))
        }
    for i, encoder in enumerate(encoders, 1):
        stages[f"encoder {i}"] = {
            q: fresh(lambda q, e=encoder: e.encode(generator, image, camera, quality=q).planes, q) for q in ways
        }
    stages["occlusion mask (points)"] = {q: fresh(masked, q) for q in ways[:2]}
    second = encoders[1](generator, image, camera, refine=False).coarse
    parts = made.visible, made.occluded, made.mask
    stages["hidden colours"] = {REFERENCE: lambda: match_hidden_colours(generator, *parts, coarse=second).planes}
    stages["stitching"] = {REFERENCE: lambda: stitch(*parts).planes}
    stages["inversion"] = {
        q: fresh(lambda q: dual.invert(image, camera, quality=q).triplane.overlays[0].planes, q) for q in ways
    }
    return stages


def _portrait(generator: PanoHead, head: Triplane) -> tuple[Tensor, Camera]:
    """A picture [1,3,512,512] of a head from the front, as an encoder takes it."""
    camera = Camera.look_at(0.0).to(head.planes.device)
    image = generator.render(head, camera, quality="exact").image.clamp(-1, 1)
    return F.interpolate(image, (512, 512), mode="bilinear", align_corners=False), camera


def grown(run: Callable[[int], Any], repeats: int = 2) -> str:
    """CPU seconds of one, two and four at once; the best of some runs."""
    seconds = []
    for n in (1, 2, 4):
        times = []
        for _ in range(repeats):
            start = time.process_time()
            run(n)
            times.append(time.process_time() - start)
        seconds.append(min(times))
    return ", ".join(f"{s:.3f}" for s in seconds)


def memory_growth(
    generator: PanoHead, head: Triplane, camera: Camera, sizes: tuple[int, ...] = (64, 128, 256, 512)
) -> dict[int, float]:
    """Rays along each side → largest resident size of this process in MB after a picture of so many. It can only grow:
    nearly equal numbers mean that the larger picture took little more."""
    result = {}
    for size in sizes:
        generator.render(head, camera, size, super_resolve=False, quality="exact")
        result[size] = peak_megabytes()
    return result


def super_resolution_work(generator: PanoHead) -> int:
    """Multiplications of one frame's super-resolution: the four 3×3 convolutions, which are nearly all of it."""
    sr = generator.config.sr
    first, second = sr.hidden_widths
    up0, conv0 = generator.config.features * first, 4 * first**2
    up1, conv1 = 4 * first * second, 16 * second**2
    return 9 * sr.input_resolution**2 * (up0 + conv0 + up1 + conv1)


def compare(
    ways: Mapping[str, Callable[[], Tensor]], repeats: int, machine: Machine | None = None
) -> dict[str, Timing]:
    """Median times of each way, run in turn so that a busy moment of the machine hits all of them; with ``machine``
    also what each asks of it, counted in one more run."""
    results = {name: way() for name, way in ways.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start, worked = time.perf_counter(), time.process_time()
            result = way()
            if result.is_cuda:
                torch.cuda.synchronize(result.device)
            times[name].append((time.perf_counter() - start, time.process_time() - worked))
    reference = next(iter(results.values()))
    span = float(reference.max() - reference.min()) or 1.0
    timings = {}
    for i, (name, result) in enumerate(results.items()):
        difference = (result - reference).abs()
        psnr = 20 * torch.log10(span / difference.square().mean().sqrt().clamp(min=1e-10))
        quality = (None, None) if i == 0 else (float(psnr), float(difference.max()))
        seconds, cpu = (statistics.median(column) for column in zip(*times[name], strict=True))
        work = None if machine is None else count(ways[name])
        timings[name] = Timing(seconds, cpu, *quality, work, None if work is None else machine.limit(work))
    return timings


def full_size_head(demo: PanoHead, head: Triplane) -> tuple[PanoHead, Triplane]:
    """A full-size generator (random weights, 53.7 M parameters) whose decoder reads a demo head at full plane size.

    Random tri-grids are fog everywhere; a real head leaves most of the box empty, which is what the fast renderer lives
    on. So the demo head's planes are enlarged to 256² and the rest of the 32 features left at zero.
    """
    config = GeneratorConfig(render=dataclasses.replace(demo.config.render, samples=48, importance=48))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = PanoHead(config).eval().requires_grad_(False)
    few, depth, size = demo.config.features, config.plane_depth, config.plane_size
    planes = head.planes[0].reshape(3 * few, depth, *head.planes.shape[-2:])
    planes = F.interpolate(planes, size=(size, size), mode="bicubic", align_corners=False)
    wide = torch.zeros(3, config.features, depth, size, size)
    wide[:, :few] = planes.reshape(3, few, depth, size, size)
    small, large = demo.decoder.net, full.decoder.net
    first, last = torch.zeros_like(large[0].weight), torch.zeros_like(large[2].weight)
    first[:, :few] = small[0].weight * (small[0].weight_gain / large[0].weight_gain)
    last[: few + 1] = small[2].weight * (small[2].weight_gain / large[2].weight_gain)
    bias = torch.zeros_like(large[2].bias)
    bias[: few + 1] = small[2].bias
    for parameter, value in ((large[0].weight, first), (large[0].bias, small[0].bias)):
        parameter.copy_(value)
    for parameter, value in ((large[2].weight, last), (large[2].bias, bias)):
        parameter.copy_(value)
    ws = full.mapping(full.latents(0))
    full.check(triplane := Triplane(wide.reshape(1, 3, -1, size, size), ws, depth))
    return full, triplane


def peak_megabytes() -> float:
    """Largest resident size of this process so far."""
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
