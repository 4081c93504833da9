"""The training loop: steps, logs, previews, checkpoints, and resuming from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .log import TrainingLog
from .processes import Processes
from .state import load_state, save_state

CHECKPOINT = "state.safetensors"


class Trainer(Protocol):
    """What the loop needs of a trainer."""

    rng: torch.Generator

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]: ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Everything with parameters or buffers that a checkpoint must hold."""

    @property
    def total_steps(self) -> int: ...

    @property
    def milestones(self) -> Mapping[int, str]:
        """Steps after which the model is also exported, and under what name."""

    def step(self, step: int) -> Mapping[str, float | Tensor]:
        """One optimisation step; returns losses by name."""

    def preview(self, path: Path) -> None:
        """Write a picture that shows the state of the training."""

    def export(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the trained model."""


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what to train.

    Attributes:
        out: folder of state, log, previews and the exported model.
        minutes: stop (resumably) after this time; None = train to the end.
        steps: stop (resumably) after this many steps of this call; None = train to the end.
        resume: go on from the folder's checkpoint if there is one.
        save_minutes: time between checkpoints.
        preview_steps: steps between previews, 0 = none.
        log_steps: steps between log lines.
        save_steps: steps between checkpoints, 0 = by time alone.
        keep_steps: steps between checkpoints that are kept under a name of their own, 0 = none.
        checkpoint: resume from this file instead of the folder's newest.
        tensorboard: also write TensorBoard events where the package is installed.
    """

    out: Path
    minutes: float | None = None
    steps: int | None = None
    resume: bool = True
    save_minutes: float = 3.0
    preview_steps: int = 500
    log_steps: int = 50
    save_steps: int = 0
    keep_steps: int = 0
    checkpoint: Path | None = None
    tensorboard: bool = False


def run(
    trainer: Trainer,
    options: RunOptions,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes | None = None,
) -> bool:
    """Train until the end, a limit, or ``should_stop``; True when training is complete (the model is exported).

    With several processes all of them step, and the first one writes.
    """
    main = processes is None or processes.main
    state = options.out / CHECKPOINT
    if main:
        options.out.mkdir(parents=True, exist_ok=True)
        for stale in options.out.glob(f".{state.stem}*-*{state.suffix}"):
            # What a killed process was writing.
            stale.unlink(missing_ok=True)
    first, seconds = 0, 0.0
    extra: dict[str, Any] = {}
    source = options.checkpoint or state
    if options.checkpoint is not None or (options.resume and state.is_file()):
        first, extra = load_state(source, trainer.modules, trainer.optimizers, {"trainer": trainer.rng})
        seconds = extra.get("seconds", 0.0)
        if main:
            print(f"resumed {source} at step {first} of {trainer.total_steps}", flush=True)
    log = TrainingLog(options.out / "log.csv", options.log_steps, options.tensorboard) if main else None
    if log is not None:
        log.resume(first, extra.get("log"))
    started = saved = time.monotonic()

    def checkpoint(path: Path, step: int) -> None:
        if log is not None:
            values = {"seconds": seconds + time.monotonic() - started, "log": log.state}
            save_state(path, step, trainer.modules, trainer.optimizers, {"trainer": trainer.rng}, values)

    step = first
    while step < trainer.total_steps:
        values = trainer.step(step)
        if log is not None:
            log.add(step, trainer.total_steps, values)
        step += 1
        now = time.monotonic()
        if main and step in trainer.milestones:
            trainer.export(options.out / f"{trainer.milestones[step]}.safetensors", {"steps": step})
        if main and options.preview_steps and step % options.preview_steps == 0:
            trainer.preview(options.out / f"preview-{step:06d}.png")
        out_of_time = options.minutes is not None and now - started > 60 * options.minutes
        out_of_steps = options.steps is not None and step - first >= options.steps
        stop = out_of_time or out_of_steps or should_stop()
        if stop if processes is None else processes.any(stop):
            break
        if options.keep_steps and step % options.keep_steps == 0:
            checkpoint(options.out / f"{state.stem}-{step:06d}{state.suffix}", step)
        if (options.save_steps and step % options.save_steps == 0) or now - saved > 60 * options.save_minutes:
            checkpoint(state, step)
            saved = now
    if step > first:
        checkpoint(state, step)
    if step < trainer.total_steps:
        if main:
            print(f"stopped at step {step} of {trainer.total_steps}; the same command goes on from here", flush=True)
    elif main:
        minutes = round((seconds + time.monotonic() - started) / 60, 1)
        trainer.export(options.out / "model.safetensors", {"steps": step, "minutes": minutes})
        print(f"trained {step} steps in {minutes} minutes: {options.out / 'model.safetensors'}", flush=True)
    if processes is not None:
        processes.wait()
    return step >= trainer.total_steps
