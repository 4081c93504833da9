"""Logs: averages, resuming, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

from dualenc_core.research.training.log import TrainingLog


def rows(path):
    with open(path, newline="") as file:
        return [tuple(row) for row in csv.reader(file) if row[1] != "seconds_per_step"][1:]


def test_rows_average_over_the_steps_in_which_a_value_occurred(tmp_path, capsys):
    log = TrainingLog(tmp_path / "log.csv", every=4)
    for step, values in enumerate(({"a": 1, "r1": 8}, {"a": 2}, {"a": 3}, {"a": 6})):
        log.add(step, 400, values)
    assert rows(tmp_path / "log.csv") == [("4", "a", "3.0"), ("4", "r1", "8.0")]
    assert "step 4/400" in capsys.readouterr().out


def test_resuming_removes_later_rows_and_averages_on(tmp_path):
    log = TrainingLog(tmp_path / "log.csv", every=2)
    for step in range(3):
        log.add(step, 100, {"a": step})
    state = log.state
    for step in (3, 4, 5):
        log.add(step, 100, {"a": 100})
    with open(tmp_path / "log.csv", "a") as file:
        file.write("6,half a li")
    again = TrainingLog(tmp_path / "log.csv", every=2)
    again.resume(3, state)
    assert rows(tmp_path / "log.csv") == [("2", "a", "0.5")]
    again.add(3, 100, {"a": 3})
    assert rows(tmp_path / "log.csv")[-1] == ("4", "a", "2.5")


def test_tensorboard_gets_what_the_file_gets(tmp_path, monkeypatch):
    seen = []
    writer = SimpleNamespace(add_scalar=lambda *values: seen.append(values))
    module = SimpleNamespace(SummaryWriter=lambda folder: writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    log = TrainingLog(tmp_path / "log.csv", every=1, tensorboard=True)
    log.add(0, 10, {"a": 2.0})
    assert ("a", 2.0, 1) in seen
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    TrainingLog(tmp_path / "log.csv", every=1, tensorboard=True).add(1, 10, {"a": 2.0})
    assert len(rows(tmp_path / "log.csv")) == 2
