"""Killed runs go on to the same curve; two processes learn what one does."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dualenc_core.cli import main as command
from dualenc_core.errors import DualEncError
from dualenc_core.research.training.batchnorm import SyncBatchNorm2d, statistics_stay, synchronise
from dualenc_core.research.training.config_file import read_config
from dualenc_core.research.training.encoder_run import train
from dualenc_core.research.training.processes import Processes
from tests.research.training import two_processes
from tests.research.training.paper_small import generator_file, paper_config, trainer

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.usefixtures("same_threads")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def curve(path: Path) -> list[tuple[str, ...]]:
    """Rows of a log without its head and times; none when there is no file yet."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    # The last line of a log that is being written may be half a line.
    return [row for row in rows[1:] if len(row) == 3 and row[1] != "seconds_per_step"]


def config_of_files(folder: Path, **changes):
    """Encoder 2 from files: ranger, discriminator, R1, batch statistics, an averaged copy."""
    changes = {"schedule": {"steps": 9, "ema": 0.9}, "output": {"save_every": 2, "log_every": 2}} | changes
    config = paper_config(variant="encoder2", generator=str(generator_file(folder / "g.safetensors")), **changes)
    return config.replace(data={"kind": "none", "source": "generated"}, compute={"device": "cpu"})


@pytest.fixture
def same_threads():
    """--threads 1 here and in other processes, so that sums are added up in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    yield
    torch.set_num_threads(threads)


# -------------------------------------------------------------------------------------------------------------- resume


def test_a_killed_run_goes_on_to_the_same_curve(tmp_path):
    """kill -9 at a random step; then the losses and weights of a run that nobody touched."""
    config = config_of_files(tmp_path, output={"save_every": 2, "log_every": 1})
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))

    def arguments(name: str) -> list[str]:
        return ["train", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / name), "--threads", "1"]

    assert command(arguments("whole")) == 0
    log = tmp_path / "killed" / "log.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "dualenc_core", *arguments("killed")],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )
    last = random.Random(os.getpid()).randint(2, 7)
    while process.poll() is None and not (curve(log) and int(curve(log)[-1][0]) >= last):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert command(arguments("killed")) == 0
    assert curve(log) == curve(tmp_path / "whole" / "log.csv") and len(curve(log)) > 50
    whole, killed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert _tensors(whole) == _tensors(killed)


def _tensors(content: bytes) -> bytes:
    """What follows the header of a safetensors file, which has the minutes in it."""
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_any_kept_checkpoint_will_do_and_limits_stop_resumably(tmp_path):
    config = config_of_files(tmp_path, output={"keep_every": 3, "log_every": 2, "save_every": 100})
    assert train(config, tmp_path / "whole")
    kept = sorted(p.name for p in (tmp_path / "whole").glob("state-*.safetensors"))
    assert kept == ["state-000003.safetensors", "state-000006.safetensors", "state-000009.safetensors"]
    assert train(config, tmp_path / "other", checkpoint=tmp_path / "whole" / kept[0])
    whole, other = (curve(tmp_path / name / "log.csv") for name in ("whole", "other"))
    # The row at step 4 averages step 3 too, which only the first run computed: the checkpoint carries it.
    assert other == [row for row in whole if int(row[0]) > 3]
    assert not train(config, tmp_path / "parts", steps=3)
    assert not train(config, tmp_path / "parts", steps=2)
    assert train(config, tmp_path / "parts")
    assert curve(tmp_path / "parts" / "log.csv") == whole
    report = json.loads((tmp_path / "parts" / "report.json").read_text())
    assert report["peak_gib"] > 0.1 and report["parameters"]["encoder"] > 0 and report["processes"] == 1


def test_a_folder_with_another_run_is_not_overwritten(tmp_path):
    config = config_of_files(tmp_path)
    train(config, tmp_path / "run", steps=1)
    with pytest.raises(DualEncError, match="discriminator.weight"):
        train(config.replace(discriminator={"weight": 0.5}), tmp_path / "run")
    assert train(config.replace(discriminator={"weight": 0.5}), tmp_path / "run", resume=False)
    rows = curve(tmp_path / "run" / "log.csv")
    assert len(rows) == len(set(row[:2] for row in rows))


def test_the_command_prints_and_checks_configurations(tmp_path, monkeypatch, capsys):
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    assert command(["train", "--preset", "paper", "--print-config", "--set", "schedule.batch=6"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert "batch: 6" in (tmp_path / "c.yaml").read_text()
    assert command(["train", "--config", str(tmp_path / "c.yaml"), "--set", "nope=1"]) == 1
    assert "unknown key 'nope'" in capsys.readouterr().err
    assert command(["train", "--preset", "people-generator", "--set", "seed=1"]) == 1
    asked = [
        "--generator",
        "g",
        "--start",
        "e",
        "--traced",
        "t",
        "--seed",
        "3",
        "--device",
        "cpu",
        "--set",
        "views.own=2",
    ]
    assert command(["train", "--preset", "people-encoder1", "--print-config", *asked]) == 0
    (tmp_path / "p.yaml").write_text(capsys.readouterr().out)
    people = read_config(tmp_path / "p.yaml")
    assert (people.generator, people.start, people.data.path, people.seed, people.views.own) == ("g", "e", "t", 3, 2.0)
    assert people.compute.device == "cpu" and people.schedule.batch == 4
    monkeypatch.chdir(tmp_path)
    assert command(["train", "--preset", "demo"]) == 1
    assert "make it with `train --preset demo-generator`" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- processes


def test_two_processes_learn_what_one_does(tmp_path):
    """Gradients of Encoder 2 and its discriminator, and three steps with R1, on a batch that is shared or not."""
    pytest.importorskip("accelerate", reason="Accelerate is not installed")
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    two_processes.main(one)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = str(Path(two_processes.__file__))
    done = subprocess.run(
        [*launcher, script, str(two)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("sync", "frozen"):
        alone, shared = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in (one, two))
        assert alone.keys() == shared.keys() and len(alone) > 100
        for key, gradient in alone.items():
            scale = float(gradient.abs().max()) + 1e-6
            assert float((gradient - shared[key]).abs().max()) < 1e-3 * scale, (name, key)
    _same_curves(curve(one / "run" / "log.csv"), curve(two / "run" / "log.csv"))
    assert [p.name for p in (two / "run").glob("state*")] == ["state.safetensors"]


def _same_curves(a: list, b: list) -> None:
    assert [row[:2] for row in a] == [row[:2] for row in b] and len(a) > 10
    for x, y in zip(a, b, strict=True):
        assert float(x[2]) == pytest.approx(float(y[2]), rel=2e-2, abs=1e-3), (x, y)


def test_a_batch_that_cannot_be_shared_is_refused():
    four = Processes(torch.device("cpu"), rank=2, count=4)
    assert list(four.slots(8)) == [4, 5]
    with pytest.raises(DualEncError, match="multiple of 4"):
        four.slots(6)


def test_synchronised_batch_norm_alone_is_batch_norm():
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    plain, sync = torch.nn.BatchNorm2d(3), synchronise(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))[0]
    assert isinstance(sync, SyncBatchNorm2d) and sync.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(plain(x), sync(x)) and torch.equal(plain.running_var, sync.running_var)


def test_recomputations_do_not_move_statistics():
    norm = torch.nn.BatchNorm2d(2)
    norm(torch.randn(3, 2, 4, 4))
    kept = {k: v.clone() for k, v in norm.state_dict().items()}
    with statistics_stay(norm):
        norm(torch.randn(3, 2, 4, 4) + 5)
    assert all(torch.equal(v, kept[k]) for k, v in norm.state_dict().items())
    assert norm.momentum == 0.1


def test_an_unknown_device_is_one_error():
    with pytest.raises(DualEncError, match="'nowhere'"):
        Processes.single("nowhere")
    assert trainer(paper_config()).processes.count == 1
