"""The ablation driver: rows, configurations, means with spread, and honest words about orders."""

from __future__ import annotations

import json

import pytest

from dualenc_core.errors import DualEncError
from dualenc_core.training import ablation
from dualenc_core.training.ablation import COLUMNS, GROUPS, base_config, markdown, rows, run_config, summary

SEEDS = (0, 1, 2)


def test_every_row_has_a_run_and_every_run_a_valid_configuration(tmp_path):
    found = rows(GROUPS)
    names = [row.name for row in found]
    assert {"no D", "image D", "triplane D", "occluded D", "E1", "E2", "dual (cells)", "Z", "Z+", "W+"} <= set(names)
    base = base_config(0.01, ["schedule.batch=2"])
    assert base.schedule.batch == 2 and base.schedule.steps < 100
    configs = {row.run: run_config(base, row.run, 5, tmp_path, 0.01) for row in found}
    assert all(c.seed == 5 for c in configs.values())
    assert [configs[f"e2-{k}"].adversarial for k in ablation.DISCRIMINATORS] == [False, True, True, True]
    assert configs["e1-z+"].encoder.style.projection == "z+" and configs["e1"].encoder.style.projection == "w+"
    assert configs["e1-generated"].data.source == "generated"
    assert configs["e2-image"].start == str(tmp_path / "e1" / "model.safetensors")
    # Rows of a group differ in what they are named after, and in nothing else.
    for a, b in (("e2-image", "e2-occluded"), ("e1-z", "e1"), ("e1-both", "e1")):
        x, y = (json.loads(json.dumps(configs[n].to_dict())) for n in (a, b))
        assert sum(x[k] != y[k] for k in x) == 1, (a, b)
    with pytest.raises(DualEncError, match="discriminator, dual"):
        rows(["colour"])


def results(values: dict[str, tuple[float, ...]]) -> dict:
    """Results in which all columns of a run have the same values over seeds."""
    names = [name for name, _, _ in COLUMNS]
    variants = ("e1", "e2", "cells", "points")
    return {
        run: {s: {v: dict.fromkeys(names, value[i]) for v in variants} for i, s in enumerate(SEEDS)}
        for run, value in values.items()
    }


def test_means_spread_and_orders():
    wanted = rows(["discriminator"])
    table = summary(
        wanted,
        results(
            {"e2-none": (5, 6, 7), "e2-image": (4, 5, 6), "e2-triplane": (6, 7, 8), "e2-occluded": (5.9, 7.1, 8.0)}
        ),
        {row.run: f"train {row.run}" for row in wanted},
    )
    column = table["rows"][0]["columns"]["psnr.same"]
    assert (column["mean"], column["deviation"]) == (6, 1)
    sentences = {s.split(" (")[0] + "/" + s.split("here ")[1].split(")")[0]: s for s in table["orders"]}
    # Less patch distance is better: images before none holds in every seed, triplanes are worse than images.
    assert "holds; gain +1" in sentences["image D before no D/patch distance behind"]
    assert "the other way round" in sentences["triplane D before image D/patch distance behind"]
    assert "not decided" in sentences["occluded D before triplane D/patch distance behind"]
    page = markdown(table)
    assert "| no D | 6 ± 1 |" in page and "`train e2-image`" in page


def test_what_was_not_measured_is_not_invented():
    found = results({f"e2-{k}": (1, 2, 3) for k in ablation.DISCRIMINATORS})
    for seed in SEEDS:
        found["e2-image"][seed]["e2"]["patches.behind"] = None
    wanted = rows(["discriminator"])
    table = summary(wanted, found, {row.run: "" for row in wanted})
    row = next(r for r in table["rows"] if r["name"] == "image D")
    assert row["columns"]["patches.behind"]["mean"] is None
    assert any("image D before no D" in s and "not measured" in s for s in table["orders"])
    assert "–" in markdown(table)


def test_a_finished_part_is_not_done_again(tmp_path, monkeypatch):
    trained, evaluated = [], []

    def train(config, out):
        trained.append(out)
        out.mkdir(parents=True)
        (out / "model.safetensors").touch()

    def evaluate(generator, folder, run, heads):
        evaluated.append(run)
        return {v: {name: 1.0 for name, _, _ in COLUMNS} for v in ("e1", "e2", "cells", "points")}

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "_evaluated", evaluate)
    ablation.run_ablation(tmp_path, ["dual"], [0, 1], 0.01, 1)
    assert [p.relative_to(tmp_path).as_posix() for p in trained] == [
        "seed0/e1",
        "seed0/e2-occluded",
        "seed1/e1",
        "seed1/e2-occluded",
    ]
    assert evaluated == ["e2-occluded"] * 2
    ablation.run_ablation(tmp_path, ["dual"], [0, 1], 0.01, 1)
    assert len(trained) == 4
    table = json.loads((tmp_path / "table.json").read_text())
    assert [r["name"] for r in table["rows"]] == ["E1", "E2", "dual (cells)", "dual (points)"]
    assert "python -m dualenc_core train --config" in (tmp_path / "table.md").read_text()
