"""The training loop: steps, logs, previews, checkpoints, and resuming from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from .log import TrainingLog
from .state import load_state, save_state

CHECKPOINT = "state.safetensors"


class Trainer(Protocol):
    """What the loop needs of a trainer."""

    rng: torch.Generator
    optimizers: Mapping[str, torch.optim.Optimizer]

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Everything with parameters or buffers that a checkpoint must hold."""

    @property
    def total_steps(self) -> int: ...

    @property
    def milestones(self) -> Mapping[int, str]:
        """Steps after which the model is also exported, and under what name."""

    def step(self, step: int) -> dict[str, float]:
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
    """

    out: Path
    minutes: float | None = None
    steps: int | None = None
    resume: bool = True
    save_minutes: float = 3.0
    preview_steps: int = 500
    log_steps: int = 50


def run(trainer: Trainer, options: RunOptions, should_stop: Callable[[], bool] = lambda: False) -> bool:
    """Train until the end, a limit, or ``should_stop``; True when training is complete (the model is exported)."""
    options.out.mkdir(parents=True, exist_ok=True)
    state = options.out / CHECKPOINT
    first, seconds = 0, 0.0
    if options.resume and state.is_file():
        first, extra = load_state(state, trainer.modules, trainer.optimizers, {"trainer": trainer.rng})
        seconds = extra.get("seconds", 0.0)
        print(f"resumed {state} at step {first} of {trainer.total_steps}", flush=True)
    log = TrainingLog(options.out / "log.csv", options.log_steps)
    started = saved = time.monotonic()

    def checkpoint(step: int) -> None:
        elapsed = seconds + time.monotonic() - started
        save_state(state, step, trainer.modules, trainer.optimizers, {"trainer": trainer.rng}, {"seconds": elapsed})

    step = first
    while step < trainer.total_steps:
        log.add(step, trainer.total_steps, trainer.step(step))
        step += 1
        now = time.monotonic()
        if step in trainer.milestones:
            trainer.export(options.out / f"{trainer.milestones[step]}.safetensors", {"steps": step})
        if options.preview_steps and step % options.preview_steps == 0:
            trainer.preview(options.out / f"preview-{step:06d}.png")
        out_of_time = options.minutes is not None and now - started > 60 * options.minutes
        out_of_steps = options.steps is not None and step - first >= options.steps
        if out_of_time or out_of_steps or should_stop():
            break
        if now - saved > 60 * options.save_minutes:
            checkpoint(step)
            saved = now
    if step > first:
        checkpoint(step)
    if step < trainer.total_steps:
        print(f"stopped at step {step} of {trainer.total_steps}; the same command goes on from here", flush=True)
        return False
    minutes = round((seconds + time.monotonic() - started) / 60, 1)
    trainer.export(options.out / "model.safetensors", {"steps": step, "minutes": minutes})
    print(f"trained {step} steps in {minutes} minutes: {options.out / 'model.safetensors'}", flush=True)
    return True
