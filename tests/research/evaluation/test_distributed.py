"""Evaluations on processes and on Ray: the same report as in one process."""

from __future__ import annotations

import json

import pytest

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import main
from dualenc_core.export import save_alpha, save_png
from dualenc_core.research.data import write_labels
from tests.small import write_networks

VIEWS = {"left_30": -30, "front": 0, "right_30": 30}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_networks(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two moments from three cameras, and a broken photo: good for both protocols."""
    root = tmp_path_factory.mktemp("data")
    cameras = {}
    for frame in (1, 2):
        ring = Camera.look_at(list(VIEWS.values()), 2.0 * frame)
        views = procedural.render(procedural.sample_heads(1, 1_000_000 + frame), ring, 64, antialias=1)
        for i, view in enumerate(VIEWS):
            name = f"{view}/{frame}.png"
            save_png(views.image[i], root / "images" / name)
            save_alpha(views.alpha[i], root / "masks" / name)
            cameras[name] = ring[i]
    cameras["front/3.png"] = ring[0]
    write_labels(root / "images" / "dataset.json", cameras)
    (root / "images" / "front" / "3.png").write_bytes(b"no picture")
    return root


def report(out, weights, *arguments) -> dict:
    files = [f"--{name}={path}" for name, path in weights.items()]
    assert main(["evaluate", f"--out={out}", *files, "--device=cpu", *arguments]) == 0
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def measured(values: dict) -> dict:
    """Without what no two runs share."""
    return {k: v for k, v in values.items() if k not in ("seconds", "memory", "timings", "provenance")}


@pytest.fixture(scope="module")
def one(weights, data, tmp_path_factory):
    """Every protocol in one process."""
    out = tmp_path_factory.mktemp("one")
    return {name: report(out / name, weights, *arguments, "--workers=1") for name, arguments in protocols(data).items()}


def protocols(data) -> dict[str, list[str]]:
    shared = [f"--data={data}", "--novel=0", "--methods", "e1", "points"]
    return {
        "photos": ["--protocol=photos", *shared],
        "mead": ["--protocol=mead", *shared],
        "procedural": ["--heads=2", "--yaws=2", "--methods", "wplus", "--steps=2"],
    }


def test_each_item_is_measured_once(one):
    assert len(one["photos"]["rows"]) == 2 * 6 and len(one["mead"]["rows"]) == 2 * 2 * 3
    assert "front/3.png" in one["photos"]["skipped"]
    variants = {row["variant"] for row in one["procedural"]["rows"]}
    assert {"e1", "points", "wplus"} <= variants
    assert len(one["procedural"]["rows"]) == 2 * 2 * len(variants)


@pytest.mark.parametrize("protocol", ["photos", "procedural"])
def test_processes_give_the_same_report(one, weights, data, tmp_path, protocol):
    pytest.importorskip("matplotlib")
    found = report(tmp_path, weights, *protocols(data)[protocol], "--workers=2")
    assert measured(found) == measured(one[protocol])
    assert found["provenance"] == one[protocol]["provenance"]


@pytest.mark.parametrize("protocol", ["photos", "mead", "procedural"])
def test_ray_gives_the_same_report(one, weights, data, tmp_path, protocol):
    pytest.importorskip("ray", reason="needs: pip install 'ray[data]'")
    found = report(tmp_path, weights, *protocols(data)[protocol], "--engine=ray", "--workers=1")
    assert measured(found) == measured(one[protocol])
