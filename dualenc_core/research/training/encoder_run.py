"""Training encoders from a configuration: folder, resuming, reports, one process or many."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import DualEncError
from ...files import atomic_path
from . import memory
from .config import TrainConfig
from .encoder import EncoderTrainer
from .processes import Processes
from .run import CHECKPOINT, RunOptions, run

# What may differ between the run that wrote a checkpoint and the one that goes on from it.
_FREE = (
    "output.",
    "compute.",
    "schedule.steps",
    "schedule.accumulate",
    "data.workers",
    "data.path",
    "data.pack",
    "start",
)


def train(
    config: TrainConfig,
    out: Path,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = True,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train into the folder ``out``; True when complete, False when a limit stopped it (the same call goes on).

    Writes config.json, log.csv (and TensorBoard events), preview-NNNNNN.png, state.safetensors, report.json (time and
    peak memory) and at the end model.safetensors.

    Args:
        minutes, steps: stop, resumably, after so much of this call.
        resume: go on from the folder's checkpoint if there is one.
        checkpoint: go on from this file instead.

    Raises DualEncError when the folder holds a run with another configuration, and as `EncoderTrainer.create`.
    """
    processes = Processes.launched(config.compute.device)
    try:
        # Before anything is loaded: a batch that cannot be shared is known at once.
        processes.slots(config.schedule.batch // config.schedule.accumulate)
        going_on = checkpoint is not None or (resume and (out / CHECKPOINT).is_file())
        if going_on and (out / "config.json").is_file():
            check_same_run(config, json.loads((out / "config.json").read_text(encoding="utf-8")), out)
        trainer = EncoderTrainer.create(config, processes)
        if processes.main:
            _write(out / "config.json", config.to_dict())
        options = RunOptions(
            out,
            minutes,
            steps,
            resume,
            save_minutes=config.output.save_minutes,
            preview_steps=config.output.preview_every,
            log_steps=config.output.log_every,
            save_steps=config.output.save_every,
            keep_steps=config.output.keep_every,
            checkpoint=checkpoint,
            tensorboard=config.output.tensorboard,
        )
        started = time.monotonic()
        done = run(trainer, options, should_stop, processes)
        found = report(trainer, time.monotonic() - started)
        if processes.main:
            _write(out / "report.json", found)
            print(f"peak memory {found['peak_gib']:.2f} GiB on {found['device']}", flush=True)
        return done
    finally:
        processes.close()


def report(trainer: EncoderTrainer, seconds: float) -> dict[str, Any]:
    """Where and how a run was computed, and its peak memory (the largest of all processes)."""
    processes, device = trainer.processes, trainer.generator.w_avg.device
    peak = memory.peak_gib(device)
    if processes.accelerator is not None:
        peak = float(processes.accelerator.gather(torch.tensor([peak], device=device)).max())
    return {
        "seconds": round(seconds, 2),
        "peak_gib": round(peak, 3),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processes": processes.count,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": {name: sum(p.numel() for p in module.parameters()) for name, module in trainer.modules.items()},
    }


def check_same_run(config: TrainConfig, stored: Mapping[str, Any], out: Path) -> None:
    """Raise DualEncError unless a run with the stored configuration may be continued with this one."""
    # Through JSON, which knows no tuples.
    now = dict(_flat(json.loads(json.dumps(config.to_dict()))))
    before = dict(_flat(stored))
    changed = [k for k in now if now[k] != before.get(k, now[k]) and not k.startswith(_FREE)]
    if changed:
        key = changed[0]
        raise DualEncError(
            f"{out} holds a run with {key}: {before[key]!r}, now it is {now[key]!r}; use another --out, the old value, "
            "or --fresh to start again"
        )


def overridden(config: TrainConfig, changes: list[str]) -> TrainConfig:
    """The configuration with "section.key=value" changes; values are JSON, anything else is text.

    Raises DualEncError for a change without "=", an unknown key or a bad value.
    """
    values = config.to_dict()
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise DualEncError(f"--set is {change!r}, expected section.key=value, for example schedule.batch=6")
        *path, last = key.strip().split(".")
        section = values
        for name in path:
            if not isinstance(section.get(name), dict):
                raise DualEncError(f"--set {change!r}: there is no section {name!r}; see --print-config")
            section = section[name]
        try:
            section[last] = json.loads(text)
        except ValueError:
            section[last] = text
    return TrainConfig.from_dict(values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
