"""Losses as CSV and on the terminal."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...files import atomic_path


class TrainingLog:
    """Averages the values of several steps and appends one CSV row for each name.

    Args:
        path: the CSV file: step, name, value.
        every: steps that a row averages.
        tensorboard: also write events beside the file, if the package is installed.
    """

    def __init__(self, path: str | Path, every: int = 50, tensorboard: bool = False) -> None:
        self.path, self.every = Path(path), every
        self.sums: dict[str, float | Tensor] = {}
        self.counts: dict[str, int] = {}
        self.steps = 0
        self.start = time.monotonic()
        self.events = _events(self.path.parent) if tensorboard else None

    def resume(self, step: int, state: Mapping[str, Any] | None = None) -> None:
        """Go on after ``step`` steps: rows of later steps, which a killed run may have written, are removed.

        ``state`` is what `state` gave at that step.
        """
        if state:
            self.sums, self.counts, self.steps = dict(state["sums"]), dict(state["counts"]), int(state["steps"])
        if not self.path.is_file():
            return
        with open(self.path, newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        kept = [row for row in rows[1:] if len(row) == 3 and row[0].isdigit() and int(row[0]) <= step]
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([["step", "name", "value"], *kept])

    @property
    def state(self) -> dict[str, Any]:
        """What `resume` needs to average on."""
        sums = {name: float(value) for name, value in self.sums.items()}
        return {"sums": sums, "counts": dict(self.counts), "steps": self.steps}

    def add(self, step: int, total: int, values: Mapping[str, float | Tensor]) -> None:
        """Record one step; prints and writes every ``every`` steps.

        Values that are tensors are read only then: reading one makes the CPU wait for an accelerator.
        """
        for name, value in values.items():
            value = value.detach() if isinstance(value, Tensor) else float(value)
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.steps += 1
        if (step + 1) % self.every and step + 1 != total:
            return
        per_step = (time.monotonic() - self.start) / self.steps
        means = {name: round(float(value) / self.counts[name], 6) for name, value in self.sums.items()}
        means["seconds_per_step"] = round(per_step, 4)
        fresh = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "name", "value"])
            writer.writerows([step + 1, name, value] for name, value in means.items())
        if self.events is not None:
            for name, value in means.items():
                self.events.add_scalar(name, value, step + 1)
        words = ", ".join(f"{k} {v:g}" for k, v in means.items())
        print(f"step {step + 1}/{total}, {words}, {_left((total - step - 1) * per_step)} left", flush=True)
        self.sums, self.counts, self.steps, self.start = {}, {}, 0, time.monotonic()


def _left(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds when it is less than an hour."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
