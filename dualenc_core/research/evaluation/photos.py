"""Protocols on photos: the same view and novel views of a folder (the paper's main table), and MEAD."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...camera import Camera
from ...errors import CheckpointError, DualEncError, MissingDependencyError
from ...generator import PanoHead
from ...inversion import Fitted, on_backdrop
from ...metrics import pictures as metrics
from ..data import ImageFolder
from ..data.engine import in_order
from ..data.folder import IMAGES, Example
from .fid import Features, FeatureStatistics, find_inception, frechet_distance
from .judges import Judges, find_judges
from .methods import Invert
from .summary import mean, plain

# Where published comparisons are made.
SIZE = 256
Progress = Callable[[int, int], None]
MEAD_VIEWS = {"left_60": -60, "left_30": -30, "front": 0, "right_30": 30, "right_60": 60}


@dataclass(frozen=True)
class PhotoSettings:
    """How to evaluate on photos.

    Attributes:
        limit: photos at most, the first by name; None = all.
        novel: pictures for FID of novel views, yaws evenly spread over 360°, the photos in turn; and as many samples
            of the generator from the same yaws. 0 = no FID.
        pitch: of the novel views in degrees.
        truncation: of the samples (1 = none).
        seed: of the samples.
        keep_background: compare with the photo as it is, not with its head on the generator's backdrop.
        quality: of rendering.
    """

    limit: int | None = None
    novel: int = 1000
    pitch: float = 0.0
    truncation: float = 1.0
    seed: int = 0
    keep_background: bool = False
    quality: str = "exact"

    def __post_init__(self) -> None:
        if self.novel == 1 or self.novel < 0 or (self.limit is not None and self.limit < 1):
            raise DualEncError(
                f"novel is {self.novel} and limit {self.limit}; expected 0 or at least 2 pictures, and at least 1 photo"
            )


@dataclass(frozen=True)
class PhotoReport:
    """Measured on photos.

    Attributes:
        protocol: "photos" or "mead".
        settings, provenance: how, and with what.
        rows: one for each photo, view and method: photo, view, method, and the metrics (NaN = could not be judged).
        fid: by view ("novel", or a turn in degrees) and method.
        seconds: of inversion, mean over photos without the first of each process, by method.
        memory: peak in MB, by what was counted.
        absent: metric → why it was not measured, and where to get what is missing.
        about: metric → what exactly was measured.
        skipped: photo → why it was left out.
    """

    protocol: str
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    fid: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row["method"] for row in self.rows))

    @property
    def views(self) -> list[str]:
        return list(dict.fromkeys(row["view"] for row in self.rows))

    def mean(self, metric: str, method: str, view: str) -> float:
        """Mean over photos, without those that could not be judged; NaN when there are none."""
        values = [r.get(metric, math.nan) for r in self.rows if r["method"] == method and r["view"] == view]
        values = [v for v in values if not math.isnan(v)]
        return math.fsum(values) / len(values) if values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible, with the means."""
        names = sorted({name for row in self.rows for name in row} - {"photo", "view", "method"})
        means = {
            view: {method: {name: self.mean(name, method, view) for name in names} for method in self.methods}
            for view in self.views
        }
        return plain({**asdict(self), "means": means})


@dataclass
class Part:
    """What one photo, moment or sample adds to an evaluation; everything may travel between processes.

    Attributes:
        rows: as in `PhotoReport`.
        features: (whose, view) and features [N,D] for FID.
        seconds: method → of one inversion.
        first: whether its process had measured nothing before.
        problems: photo → why it was left out.
        memory: peak in MB of its process so far, by what was counted.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    features: list[tuple[tuple[str, str], Tensor]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    first: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)


# (kind of `PhotoBench.measure`, how many) → (number, part), in any order.
Distribute = Callable[[str, int], Iterable[tuple[int, Part]]]


def evaluate_photos(
    generator: PanoHead,
    methods: Mapping[str, Invert],
    folder: ImageFolder,
    settings: PhotoSettings | None = None,
    provenance: Mapping[str, Any] | None = None,
    weights_dir: str | Path | None = None,
    progress: Progress | None = None,
    distribute: Distribute | None = None,
    protocol: str = "photos",
) -> PhotoReport:
    """Invert every photo, compare views, and collect more of them for FID.

    Comparisons are at 256 pixels, or at the generator's size if that is smaller; values are clamped to -1..1.

    Protocol "photos" compares the same view; FID is of novel ones. "mead": a frontal photo in, rendered from where the
    other cameras stood, compared with what they saw at that moment; FID compares the renders of a view with its frames.
    The names of its folder are VIEW/FRAME with VIEW one of MEAD's cameras (front, left_30, left_60, right_30, right_60)
    and the same FRAME in every view, as `prepare` writes them from such folders; the cameras are those of the labels,
    estimated view by view. A frame without its other views (rejected while preparing) is listed as skipped.

    Args:
        methods: by name (`methods.methods`).
        folder: aligned portraits with cameras (`prepare` makes one).
        weights_dir: where the metrics' weights are.
        progress: called as progress(photos done, photos).
        distribute: who measures (`distributed.distribute_photos`); None = this process. The report is the
            same, but for its times.
        protocol: "photos" or "mead".

    Raises DualEncError when no photo can be read.
    """
    bench = PhotoBench(generator, methods, folder, settings, weights_dir)
    kinds = {protocol: bench.count(protocol)}
    if protocol == "photos" and bench.has_fid:
        kinds["samples"] = bench.settings.novel
    distribute = distribute or bench.here
    total = _Total()
    for kind, count in kinds.items():
        for done, part in enumerate(in_order(distribute(kind, count)), start=1):
            total.add(part)
            if progress is not None and kind == protocol:
                progress(done, count)
        if not total.rows:
            reason = next(iter((total.problems | bench.folder.left_out).items()), ("", "there is none"))
            raise DualEncError(f"no photo of {bench.folder.root} could be evaluated; for example {': '.join(reason)}")
    return total.report(protocol, bench, provenance)


@dataclass(frozen=True)
class _Subject:
    image: Tensor
    camera: Camera
    matte: Tensor | None


class PhotoBench:
    """What stays the same in an evaluation, in one process; measures one item at a time."""

    def __init__(
        self,
        generator: PanoHead,
        methods: Mapping[str, Invert],
        folder: ImageFolder,
        settings: PhotoSettings | None = None,
        weights_dir: str | Path | None = None,
    ) -> None:
        self.generator, self.methods, self.folder = generator, methods, folder
        self.settings = settings or PhotoSettings()
        self.device = generator.w_avg.device
        self.judges: Judges = find_judges(weights_dir, self.device)
        novel = self.settings.novel
        self.inception: Features | str = find_inception(weights_dir, self.device) if novel else "not asked for"
        self.cameras = _novel_cameras(self.settings) if novel else None
        self.frames: dict[str, dict[str, int]] | None = None
        self.fresh = True
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def has_fid(self) -> bool:
        return not isinstance(self.inception, str)

    def here(self, kind: str, count: int) -> Iterable[tuple[int, Part]]:
        """`Distribute` in this process."""
        return ((number, self.measure(kind, number)) for number in range(count))

    def count(self, kind: str) -> int:
        """Items of "photos" or "mead"."""
        if kind == "photos":
            return min(len(self.folder.names), self.settings.limit or len(self.folder.names))
        names = self._moments()
        if not names:
            raise DualEncError(
                f"{self.folder.root} has no frame with front and another view; expected names like front/001.png and "
                f"left_30/001.png (views: {', '.join(MEAD_VIEWS)})"
            )
        return len(names)

    @torch.no_grad()
    def measure(self, kind: str, number: int) -> Part:
        """Photo, moment of MEAD ("mead") or sample of the generator ("samples") of this number."""
        part = Part(first=self.fresh)
        self.fresh = False
        known = dict(self.folder.problems)
        try:
            {"photos": self._photo, "mead": self._moment, "samples": self._sample}[kind](part, number)
        except DualEncError as error:
            if kind == "samples" or isinstance(error, (CheckpointError, MissingDependencyError)):
                raise
            # One photo that cannot be inverted; half of its rows would weigh some methods more than others.
            part = Part(first=part.first)
            name = self.folder.names[number] if kind == "photos" else self._moments()[number]
            self.folder.problems[name] = str(error)
        part.problems = {name: why for name, why in self.folder.problems.items() if known.get(name) != why}
        unit = 2**20 if sys.platform == "darwin" else 2**10
        part.memory = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
        if self.device.type == "cuda":
            part.memory["GPU"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return part

    def _photo(self, part: Part, number: int) -> None:
        example = self.folder.read(number)
        if example is None:
            return
        subject = self._subject(example)
        for name in self.methods:
            fitted = self._invert(part, name, subject)
            self._compare(part, fitted, fitted.camera, subject.image, {"photo": example.names[0], "view": "same"}, name)
            if self.cameras is not None and self.has_fid:
                for camera in _one_by_one(self.cameras[number :: self.count("photos")]):
                    self._features(part, (name, "novel"), self._render(fitted, camera.to(self.device)))

    def _moment(self, part: Part, number: int) -> None:
        frame = self._moments()[number]
        views = self._frames()[frame]
        front = self.folder.read(views["front"])
        if front is None:
            return
        subject = self._subject(front)
        heads = {name: self._invert(part, name, subject) for name in self.methods}
        for view, index in views.items():
            target = self.folder.read(index)
            if target is None:
                continue
            truth = self._subject(target)
            label = {"photo": frame, "view": str(MEAD_VIEWS[view])}
            for name, fitted in heads.items():
                # PanoHead's own camera offset, where an optimisation used it, goes along to the other views.
                camera = truth.camera.translated(fitted.camera.position - subject.camera.position)
                image = self._compare(part, fitted, camera, truth.image, label, name)
                self._features(part, (name, label["view"]), image)
            self._features(part, ("truth", label["view"]), truth.image)

    def _sample(self, part: Part, number: int) -> None:
        """The generator's own head from a direction of the novel views."""
        z = self.generator.latents(self.settings.seed + number)
        head = self.generator.synthesize(self.generator.mapping(z, truncation_psi=self.settings.truncation))
        assert self.cameras is not None  # samples are only asked for where there are novel views
        camera = self.cameras[number].to(self.device)
        image = self.generator.render(head, camera, quality=self.settings.quality).image
        self._features(part, ("samples", "novel"), image)

    def _moments(self) -> list[str]:
        return sorted(self._frames())[: self.settings.limit]

    def _frames(self) -> dict[str, dict[str, int]]:
        if self.frames is None:
            self.frames = _mead_frames(self.folder)
        return self.frames

    def _subject(self, example: Example) -> _Subject:
        """On the device, on the generator's backdrop."""
        image, camera = example.image.to(self.device), example.camera.to(self.device)
        matte = None if example.matte is None else example.matte.to(self.device)
        if matte is not None and not self.settings.keep_background:
            image = on_backdrop(self.generator, image, matte)
        return _Subject(image, camera, matte)

    def _invert(self, part: Part, name: str, subject: _Subject) -> Fitted:
        start = time.perf_counter()
        fitted = self.methods[name](subject.image, subject.camera, subject.matte)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        part.seconds[name] = time.perf_counter() - start
        return fitted

    def _render(self, fitted: Fitted, camera: Camera) -> Tensor:
        return fitted.generator.render(fitted.triplane, camera, quality=self.settings.quality).image

    def _compare(
        self, part: Part, fitted: Fitted, camera: Camera, photo: Tensor, label: dict[str, str], method: str
    ) -> Tensor:
        image = self._render(fitted, camera)
        size = min(SIZE, image.shape[-1], photo.shape[-1])
        a, b = (_resize(x, size) for x in (image, photo))
        values = {"l2": metrics.mse(a, b), "psnr": metrics.psnr(a, b), "ssim": metrics.ssim(a, b)}
        values |= self.judges(a.clamp(-1, 1), b.clamp(-1, 1))
        part.rows.append(label | {"method": method} | {name: float(value[0]) for name, value in values.items()})
        return image

    def _features(self, part: Part, key: tuple[str, str], image: Tensor) -> None:
        if not isinstance(self.inception, str):
            part.features.append((key, self.inception(_resize(image, min(image.shape[-1], 2 * SIZE))).cpu()))


class _Total:
    """What piles up."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.statistics: dict[tuple[str, str], FeatureStatistics] = {}
        # Without the first of each process, which pays for what a process does once; and those first ones.
        self.seconds: dict[str, list[float]] = {}
        self.first: dict[str, list[float]] = {}
        self.problems: dict[str, str] = {}
        self.memory: dict[str, float] = {}

    def add(self, part: Part) -> None:
        self.rows += part.rows
        for key, features in part.features:
            self.statistics.setdefault(key, FeatureStatistics()).add(features)
        for name, seconds in part.seconds.items():
            (self.first if part.first else self.seconds).setdefault(name, []).append(seconds)
        self.problems |= part.problems
        for name, peak in part.memory.items():
            self.memory[name] = max(peak, self.memory.get(name, 0.0))

    def report(self, protocol: str, bench: PhotoBench, provenance: Mapping[str, Any] | None) -> PhotoReport:
        absent = dict(bench.judges.absent)
        about = dict(bench.judges.about) | {"l2": "mean squared error on -1..1 (four times that on 0..1)"}
        fid = {}
        if isinstance(bench.inception, str):
            absent["fid"] = bench.inception
        else:
            from .fid import ABOUT

            about["fid"] = ABOUT
        if protocol == "mead":
            turns = list(dict.fromkeys(row["view"] for row in self.rows))
            fid = {turn: self._distances(bench.methods, "truth", turn) for turn in turns if turn != "0"}
        elif bench.has_fid:
            fid = {"novel": self._distances(bench.methods, "samples", "novel")}
        seconds = {name: mean(self.seconds.get(name) or first) for name, first in self.first.items()}
        folder = bench.folder
        root = folder.root.parent if folder.root.name == IMAGES else folder.root
        photos = len({row["photo"] for row in self.rows})
        settings = asdict(bench.settings) | {"photos": photos, "folder": root.name}
        skipped = dict(sorted((folder.left_out | self.problems).items()))
        return PhotoReport(
            protocol, settings, provenance or {}, self.rows, fid, seconds, self.memory, absent, about, skipped
        )

    def _distances(self, methods: Iterable[str], reference: str, view: str) -> dict[str, float]:
        found = {}
        truth = self.statistics.get((reference, view))
        for name in methods:
            statistics = self.statistics.get((name, view))
            if statistics is not None and truth is not None and min(statistics.count, truth.count) >= 2:
                found[name] = frechet_distance(statistics, truth)
        return found


def _novel_cameras(settings: PhotoSettings) -> Camera:
    yaws = [360 * (i + 0.5) / settings.novel for i in range(settings.novel)]
    return Camera.look_at(yaws, settings.pitch)


def _mead_frames(folder: ImageFolder) -> dict[str, dict[str, int]]:
    """Frame → view → index, for frames that have the front and another view; others become problems."""
    frames: dict[str, dict[str, int]] = {}
    for index, name in enumerate(folder.names):
        view, _, frame = name.partition("/")
        if view in MEAD_VIEWS and frame:
            frames.setdefault(frame, {})[view] = index
    for frame, views in frames.items():
        if missing := set(MEAD_VIEWS) - set(views):
            folder.problems[f"{'/'.join(sorted(missing))} of {frame}"] = "is not in the folder"
    return {frame: views for frame, views in frames.items() if "front" in views and len(views) > 1}


def _one_by_one(cameras: Camera) -> Iterable[Camera]:
    return (cameras[i] for i in range(len(cameras)))


def _resize(image: Tensor, size: int) -> Tensor:
    return F.interpolate(image, (size, size), mode="area") if image.shape[-1] != size else image
