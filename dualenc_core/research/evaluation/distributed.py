"""Evaluations on many processes or a Ray cluster: names of files travel there, and measurements back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...choices import FEED_FORWARD
from ...encoders.networks import NetworkFiles, load_networks
from ...inversion import find_distance
from ..data import ImageFolder
from ..data.engine import Work, run
from . import photos, procedural
from .methods import Baselines, methods


@dataclass(frozen=True)
class Workers:
    """Who measures, as for `engine.run`."""

    engine: str = "local"
    workers: int = 0


@dataclass(frozen=True)
class PhotoTask:
    """All that a worker needs to know to measure photos.

    Attributes:
        networks: the generator, and the encoders that the methods need.
        methods: names (`choices.METHODS`).
        baselines: settings of optimisations.
        folder: of `ImageFolder.open`, absolute.
        masks: its folder of masks, absolute, or None.
        settings: of the protocol.
        weights_dir: where the metrics' weights are.
    """

    networks: NetworkFiles
    methods: tuple[str, ...]
    baselines: Baselines
    folder: str
    masks: str | None
    settings: photos.PhotoSettings
    weights_dir: str | None = None


@dataclass(frozen=True)
class ProceduralTask:
    """The same for procedural heads."""

    networks: NetworkFiles
    baselines: Baselines
    settings: procedural.ProceduralSettings


def distribute_photos(task: PhotoTask, workers: Workers) -> photos.Distribute:
    """For `evaluate_photos` with the same generator, methods, folder and settings."""

    def measure(kind: str, count: int) -> Iterable[tuple[int, photos.Part]]:
        return _run(measure_photo, [{"task": task, "kind": kind, "number": i} for i in range(count)], task, workers)

    return measure


def distribute_procedural(
    networks: NetworkFiles, baselines: Baselines, workers: Workers
) -> Callable[[procedural.ProceduralSettings], procedural.Distribute]:
    """For `run_procedural` with the same networks and baselines."""

    def chosen(settings: procedural.ProceduralSettings) -> procedural.Distribute:
        task = ProceduralTask(networks, baselines, settings)
        return lambda count: _run(measure_head, [{"task": task, "number": i} for i in range(count)], task, workers)

    return chosen


def photo_methods(task: PhotoTask) -> dict[str, Any]:
    """The methods of a task, on its networks."""
    networks = load_networks(task.networks)
    baselines = _ready(task.baselines, task.networks.device) if set(task.methods) - set(FEED_FORWARD) else None
    return methods(networks.generator, networks.encoder1, networks.encoder2, task.methods, baselines)


def measure_photo(item: dict[str, Any]) -> dict[str, Any]:
    """One item of `PhotoBench`, in whatever process."""
    torch.set_flush_denormal(True)
    part = _photo_bench(item["task"]).measure(item["kind"], item["number"])
    return {"number": item["number"], "part": part}


def measure_head(item: dict[str, Any]) -> dict[str, Any]:
    """One head of `ProceduralBench`, in whatever process."""
    torch.set_flush_denormal(True)
    return {"number": item["number"], "part": _procedural_bench(item["task"]).measure(item["number"])}


def _run(
    function: Work, items: Sequence[dict[str, Any]], task: PhotoTask | ProceduralTask, workers: Workers
) -> Iterable[tuple[int, Any]]:
    found = run(function, items, workers.engine, workers.workers, task.networks.device)
    return ((one["number"], one["part"]) for one in found)


@functools.lru_cache(maxsize=1)
def _photo_bench(task: PhotoTask) -> photos.PhotoBench:
    folder = ImageFolder.open(task.folder, masks=task.masks)
    generator = load_networks(task.networks).generator
    return photos.PhotoBench(generator, photo_methods(task), folder, task.settings, task.weights_dir)


@functools.lru_cache(maxsize=1)
def _procedural_bench(task: ProceduralTask) -> procedural.ProceduralBench:
    networks = load_networks(task.networks)
    optimised = set(procedural.BASELINES) & set(task.settings.variants)
    baselines = _ready(task.baselines, task.networks.device) if optimised else None
    return procedural.ProceduralBench(
        networks.generator, networks.encoder1, networks.encoder2, networks.control, task.settings, baselines
    )


def _ready(baselines: Baselines, device: str) -> Baselines:
    """With the perceptual distance, which is a network and does not travel."""
    latent = baselines.latent
    objective = dataclasses.replace(latent.objective, distance=find_distance(device=device))
    latent = dataclasses.replace(latent, objective=objective)
    return Baselines(latent, dataclasses.replace(baselines.pivotal, latent=latent))
