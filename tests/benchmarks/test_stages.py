from __future__ import annotations

import json
import time

import pytest
import torch

import dualenc_core as dc
from tests.benchmarks.__main__ import main
from tests.benchmarks.stages import compare, full_size_head, super_resolution_work


def test_ways_are_timed_and_compared():
    value = torch.linspace(-1, 1, 100)

    def slow():
        time.sleep(0.02)
        return value

    timings = compare({"reference": slow, "fast": lambda: value + 0.02}, 3)
    assert timings["reference"].seconds > 0.015 > timings["fast"].seconds
    assert timings["reference"].psnr is None and timings["reference"].cpu < 0.015
    assert timings["fast"].psnr == pytest.approx(40, abs=0.1) and timings["fast"].error == pytest.approx(0.02, abs=1e-4)


@torch.no_grad()
def test_an_enlarged_demo_head_looks_like_itself():
    demo = dc.load_generator("demo")
    head = demo.synthesize(demo.mapping(demo.latents(1)))
    full, large = full_size_head(demo, head)
    assert sum(p.numel() for p in full.parameters()) == 53_741_548
    assert super_resolution_work(full) == pytest.approx(97.8e9, rel=0.01)
    camera = dc.Camera.look_at(20.0)
    # Enlarging smooths the planes, so silhouettes agree, not pixels.
    small, big = (g.render(t, camera, 24, super_resolve=False).alpha > 0.5 for g, t in ((demo, head), (full, large)))
    assert (small & big).sum() / (small | big).sum() > 0.9


def test_the_command_writes_a_table(tmp_path, capsys):
    assert main(["--rays", "16", "--repeats", "1", "--out", str(tmp_path / "b"), "--device", "cpu"]) == 0
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"bench.md", "bench.json"}
    table = capsys.readouterr().out
    assert "volume rendering, 16² rays | exact" in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    stages = json.loads((tmp_path / "b" / "bench.json").read_text())["stages"]
    for stage in ("backbone", "background", "encoder 1", "encoder 2", "occlusion mask (points)", "inversion"):
        timing = stages[stage]["reference"]
        assert timing["seconds"] > 0 and timing["count"]["multiply_adds"] > 0 and timing["limit"] > 0
    assert stages["inversion"]["exact"]["psnr"] > 80
    assert stages["inversion"]["exact"]["count"]["lookups"] < stages["inversion"]["reference"]["count"]["lookups"]


def test_decibels_over_heads(tmp_path, capsys):
    assert main(["--heads", "1", "--out", str(tmp_path / "b"), "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "b" / "fidelity.json").read_text())
    # Aims of the presets.
    assert found["exact"]["least"] > 70 and found["high"]["least"] > 45 and found["draft"]["least"] > 38
    assert found["draft"]["mean"] < found["high"]["mean"]
    assert "| high |" in capsys.readouterr().out
    assert main(["--heads", "1", "--full", "--out", str(tmp_path / "c"), "--device", "cpu"]) == 1
    assert "--full" in capsys.readouterr().err
