from __future__ import annotations

import pytest
import torch

from dualenc_core.export import colour_mesh
from tests.benchmarks.meshes import COLUMNS, compare, main, measure_field, measure_weights

pytest.importorskip("trimesh")


def test_a_perfect_head_has_small_errors(head) -> None:
    row = dict(zip(COLUMNS, measure_field(head, 48, 64), strict=True))
    assert row["kind"] == "field" and row["closed"] == "yes"
    assert 0 < float(row["distance"]) < 0.002 and 0 < float(row["normal °"]) < 6 and 0 < float(row["colour"]) < 6
    # Half the side of a cell: the nearest vertex, not the nearest point.
    assert float(row["back"]) < 0.8 / 48 / 2


def test_errors_are_found_where_there_are_some(head, head_mesh, head_views) -> None:
    mesh = colour_mesh(None, None, head_mesh, head_views)
    exact = compare(mesh, head)
    moved = compare(mesh.replace(vertices=mesh.vertices + torch.tensor([0.0, 0.0, 0.01])), head)
    assert 0.003 < moved.distance < 0.011 and moved.distance > 5 * exact.distance
    turned = compare(mesh.replace(normals=-mesh.normals), head)
    assert turned.normal == pytest.approx(180 - exact.normal, abs=0.1)
    dark = compare(mesh.replace(colours=(mesh.colours - 0.2).clamp(min=0)), head)
    assert 40 < dark.colour < 52
    upper = mesh.vertices[:, 1] > 0
    values = {name: getattr(mesh, name)[upper] for name in ("vertices", "normals", "colours")}
    top = mesh.replace(faces=mesh.faces[:0], **values)
    assert compare(top, head).back > 5 * exact.back


def test_heads_without_truth_still_have_costs(egg) -> None:
    row = dict(zip(COLUMNS, measure_weights(*egg, 24, None, texture=64), strict=True))
    assert row["kind"] == "weights" and row["distance"] == "–" and float(row["depth"]) < 0


def test_the_command_prints_a_table(monkeypatch, capsys, egg) -> None:
    monkeypatch.setattr("tests.benchmarks.meshes.load_generator", lambda name: egg[0])
    monkeypatch.setattr("sys.argv", ["measure", "--heads", "1", "--resolution", "24", "--picture", "24"])
    main()
    lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert table[0] == list(COLUMNS) and [row[0] for row in table[2:]] == ["field", "weights"]
    assert all(len(row) == len(COLUMNS) for row in table)
    assert any(line.startswith("peak memory") for line in lines)


def test_the_command_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["measure", "--generator", "does-not-exist.safetensors"])
    with pytest.raises(SystemExit, match="error: .*does-not-exist"):
        main()
