"""Losses as CSV and on the terminal."""

from __future__ import annotations

import csv
import time
from pathlib import Path


class TrainingLog:
    """Averages the values of several steps and appends one CSV row for them."""

    def __init__(self, path: str | Path, every: int = 50) -> None:
        self.path, self.every = Path(path), every
        self.sums: dict[str, float] = {}
        self.count = 0
        self.start = time.monotonic()

    def add(self, step: int, total: int, values: dict[str, float]) -> None:
        """Record one step; prints and writes every ``every`` steps."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1
        if (step + 1) % self.every and step + 1 != total:
            return
        seconds = time.monotonic() - self.start
        row = {"step": step + 1, **{k: round(v / self.count, 6) for k, v in self.sums.items()}}
        row["seconds_per_step"] = round(seconds / self.count, 4)
        fresh = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "name", "value"])
            writer.writerows([row["step"], name, value] for name, value in row.items() if name != "step")
        left = (total - step - 1) * seconds / self.count
        print(", ".join(f"{k} {v:g}" for k, v in row.items()) + f", {left / 60:.0f} min left", flush=True)
        self.sums, self.count, self.start = {}, 0, time.monotonic()
