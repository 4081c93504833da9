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

from ..camera import Camera
from ..data import ImageFolder
from ..data.folder import IMAGES, Example
from ..errors import DualEncError
from ..generator import PanoHead
from ..inversion import Fitted, on_backdrop
from . import metrics
from .fid import Features, FeatureStatistics, find_inception, frechet_distance
from .judges import Judges, find_judges
from .methods import Invert

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
        seconds: of inversion, mean over photos without the first, by method.
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
        return _plain({**asdict(self), "means": means})


@torch.no_grad()
def evaluate_photos(
    generator: PanoHead,
    methods: Mapping[str, Invert],
    folder: ImageFolder,
    settings: PhotoSettings | None = None,
    provenance: Mapping[str, Any] | None = None,
    weights_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> PhotoReport:
    """Invert every photo, compare the same view, and collect novel views for FID.

    Comparisons are at 256 pixels, or at the generator's size if that is smaller; values are clamped to -1..1.

    Args:
        methods: by name (`methods.methods`).
        folder: aligned portraits with cameras (`prepare` makes one).
        weights_dir: where the metrics' weights are.
        progress: called as progress(photos done, photos).

    Raises DualEncError when no photo can be read.
    """
    settings = settings or PhotoSettings()
    run = _Run(generator, methods, settings, weights_dir)
    count = min(len(folder.names), settings.limit or len(folder.names))
    novel = None if isinstance(run.inception, str) else _novel_cameras(settings)
    for index in range(count):
        example = folder.read(index)
        if example is not None:
            subject = run.subject(example)
            for name in methods:
                fitted = run.invert(name, subject)
                run.compare(fitted, fitted.camera, subject.image, {"photo": example.names[0], "view": "same"}, name)
                if novel is not None:
                    run.collect(name, fitted, novel[index::count])
        if progress is not None:
            progress(index + 1, count)
    run.check(folder)
    if novel is not None:
        run.sample(novel)
    fid = {"novel": run.distances("samples")} if novel is not None else {}
    return run.report("photos", folder, fid, provenance)


@torch.no_grad()
def evaluate_mead(
    generator: PanoHead,
    methods: Mapping[str, Invert],
    folder: ImageFolder,
    settings: PhotoSettings | None = None,
    provenance: Mapping[str, Any] | None = None,
    weights_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> PhotoReport:
    """A frontal photo in, rendered from where the other cameras stood, compared with what they saw at that moment.

    Args:
        folder: names are VIEW/FRAME with VIEW one of MEAD's cameras (front, left_30, left_60, right_30, right_60) and
            the same FRAME in every view, as `prepare` writes them from such folders. The cameras are those of the
            labels, estimated view by view.

    FID compares the renders of a view with its frames. Others as `evaluate_photos`. A frame without its other views
    (rejected while preparing) is listed as skipped.
    """
    settings = settings or PhotoSettings()
    run = _Run(generator, methods, settings, weights_dir)
    frames = _mead_frames(folder)
    names = sorted(frames)[: settings.limit]
    if not names:
        raise DualEncError(
            f"{folder.root} has no frame with front and another view; expected names like front/001.png and "
            f"left_30/001.png (views: {', '.join(MEAD_VIEWS)})"
        )
    for done, frame in enumerate(names, start=1):
        views = frames[frame]
        front = folder.read(views["front"])
        if front is not None:
            subject = run.subject(front)
            heads = {name: run.invert(name, subject) for name in methods}
            for view, index in views.items():
                target = folder.read(index)
                if target is None:
                    continue
                truth = run.subject(target)
                for name, fitted in heads.items():
                    # PanoHead's own camera offset, where an optimisation used it, goes along to the other views.
                    offset = fitted.camera.position - subject.camera.position
                    camera = truth.camera.translated(offset)
                    label = {"photo": frame, "view": str(MEAD_VIEWS[view])}
                    image = run.compare(fitted, camera, truth.image, label, name)
                    run.features((name, label["view"]), image)
                run.features(("truth", label["view"]), truth.image)
        if progress is not None:
            progress(done, len(names))
    run.check(folder)
    turns = list(dict.fromkeys(row["view"] for row in run.rows))
    fid = {turn: run.distances("truth", turn) for turn in turns if turn != "0"}
    return run.report("mead", folder, fid, provenance)


@dataclass(frozen=True)
class _Subject:
    image: Tensor
    camera: Camera
    matte: Tensor | None


class _Run:
    """What stays the same in an evaluation, and what piles up."""

    def __init__(
        self, generator: PanoHead, methods: Mapping[str, Invert], settings: PhotoSettings, weights_dir
    ) -> None:
        self.generator, self.methods, self.settings = generator, methods, settings
        self.device = generator.w_avg.device
        self.judges: Judges = find_judges(weights_dir, self.device)
        self.inception: Features | str = find_inception(weights_dir, self.device) if settings.novel else "not asked for"
        self.rows: list[dict[str, Any]] = []
        self.statistics: dict[tuple[str, str], FeatureStatistics] = {}
        self.seconds: dict[str, list[float]] = {}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def subject(self, example: Example) -> _Subject:
        """On the device, on the generator's backdrop."""
        image, camera = example.image.to(self.device), example.camera.to(self.device)
        matte = None if example.matte is None else example.matte.to(self.device)
        if matte is not None and not self.settings.keep_background:
            image = on_backdrop(self.generator, image, matte)
        return _Subject(image, camera, matte)

    def invert(self, name: str, subject: _Subject) -> Fitted:
        start = time.perf_counter()
        fitted = self.methods[name](subject.image, subject.camera, subject.matte)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return fitted

    def render(self, fitted: Fitted, camera: Camera) -> Tensor:
        return fitted.generator.render(fitted.triplane, camera, quality=self.settings.quality).image

    def compare(self, fitted: Fitted, camera: Camera, photo: Tensor, label: dict[str, str], method: str) -> Tensor:
        image = self.render(fitted, camera)
        size = min(SIZE, image.shape[-1], photo.shape[-1])
        a, b = (_resize(x, size) for x in (image, photo))
        values = {"l2": metrics.mse(a, b), "psnr": metrics.psnr(a, b), "ssim": metrics.ssim(a, b)}
        values |= self.judges(a.clamp(-1, 1), b.clamp(-1, 1))
        self.rows.append(label | {"method": method} | {name: float(value[0]) for name, value in values.items()})
        return image

    def features(self, key: tuple[str, str], image: Tensor) -> None:
        if not isinstance(self.inception, str):
            statistics = self.statistics.setdefault(key, FeatureStatistics())
            statistics.add(self.inception(_resize(image, min(image.shape[-1], 2 * SIZE))))

    def collect(self, name: str, fitted: Fitted, cameras: Camera) -> None:
        for camera in _one_by_one(cameras):
            self.features((name, "novel"), self.render(fitted, camera.to(self.device)))

    def sample(self, cameras: Camera) -> None:
        """The generator's own heads from the same directions."""
        for i, camera in enumerate(_one_by_one(cameras)):
            z = self.generator.latents(self.settings.seed + i)
            head = self.generator.synthesize(self.generator.mapping(z, truncation_psi=self.settings.truncation))
            image = self.generator.render(head, camera.to(self.device), quality=self.settings.quality).image
            self.features(("samples", "novel"), image)

    def distances(self, reference: str, view: str = "novel") -> dict[str, float]:
        found = {}
        truth = self.statistics.get((reference, view))
        for name in self.methods:
            statistics = self.statistics.get((name, view))
            if statistics is not None and truth is not None and min(statistics.count, truth.count) >= 2:
                found[name] = frechet_distance(statistics, truth)
        return found

    def check(self, folder: ImageFolder) -> None:
        if not self.rows:
            reason = next(iter(folder.problems.items()), ("", "there is none"))
            raise DualEncError(f"no photo of {folder.root} could be evaluated; for example {': '.join(reason)}")

    def report(self, protocol: str, folder: ImageFolder, fid, provenance) -> PhotoReport:
        absent = dict(self.judges.absent)
        about = dict(self.judges.about) | {"l2": "mean squared error on -1..1 (four times that on 0..1)"}
        if isinstance(self.inception, str):
            absent["fid"] = self.inception
        else:
            from .fid import ABOUT

            about["fid"] = ABOUT
        # The first photo pays for what a process does once.
        seconds = {name: _mean(values[1:] or values) for name, values in self.seconds.items()}
        unit = 2**20 if sys.platform == "darwin" else 2**10
        memory = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
        if self.device.type == "cuda":
            memory["GPU"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        photos = len({row["photo"] for row in self.rows})
        root = folder.root.parent if folder.root.name == IMAGES else folder.root
        settings = asdict(self.settings) | {"photos": photos, "folder": root.name}
        return PhotoReport(
            protocol, settings, provenance or {}, self.rows, fid, seconds, memory, absent, about, dict(folder.problems)
        )


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


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
