"""The paper's ablations at demo scale: rows × seeds, trained and evaluated on procedural heads, as one table.

    python -m dualenc_core.training.ablation --out runs/ablation --seeds 0 1 2
    python -m dualenc_core.training.ablation --out runs/tiny --seeds 0 1 --scale 0.004 --heads 2     (does it run?)

Every training and every evaluation leaves its files in the folder, so that the same command goes on where it stopped.
LPIPS, ArcFace and FID need weights and real photos. Here fidelity is PSNR and SSIM in the input view, and realism the
patch distance to the truth behind the head (`evaluation.patches`), beside PSNR there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..encoders import load_encoder
from ..errors import DualEncError
from ..evaluation.procedural import FIRST_TEST_SEED, ProceduralSettings, evaluate_procedural
from ..files import atomic_path
from ..loading import load_generator
from .config import TrainConfig
from .paper_presets import preset
from .paper_run import overridden, train
from .presets import encoder_training

# Name of a column, heading, whether more is better.
COLUMNS = (
    ("psnr.same", "PSNR input view, dB", True),
    ("ssim.same", "SSIM input view", True),
    ("psnr.behind", "PSNR behind, dB", True),
    ("patches.behind", "patch distance behind", False),
)
DISCRIMINATORS = ("none", "image", "triplane", "occluded")
PROJECTIONS = ("z", "z+", "w+")
SOURCES = ("real", "generated", "both")
GROUPS = ("discriminator", "dual", "projection", "data")
SPACE_NAMES = {"z": "Z", "z+": "Z+", "w+": "W+"}


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        group: one of `GROUPS`.
        name: of the row.
        run: folder of the training below SEED/.
        variant: which column of its evaluation: e1, e2, cells, points.
    """

    group: str
    name: str
    run: str
    variant: str


@dataclass(frozen=True)
class Claim:
    """An order that the paper reports: ``better`` before ``worse`` by ``column``.

    Attributes:
        figures: the paper's figures, for the sentence.
    """

    column: str
    better: str
    worse: str
    figures: str


CLAIMS = (
    Claim("patches.behind", "occluded D", "triplane D", "FID 64.02 against 66.24"),
    Claim("patches.behind", "triplane D", "image D", "FID 66.24 against 72.86"),
    Claim("patches.behind", "image D", "no D", "FID 72.86 against 89.50"),
    Claim("psnr.same", "no D", "occluded D", "LPIPS .10 against .14, ID .87 against .75"),
    Claim("psnr.same", "occluded D", "triplane D", "LPIPS .14 against .15, ID .75 against .70"),
    Claim("psnr.same", "triplane D", "image D", "LPIPS .15 against .17, ID .70 against .67"),
    Claim("psnr.same", "dual (cells)", "E2", "LPIPS .10 against .14, ID .87 against .75"),
    Claim("patches.behind", "dual (cells)", "E1", "FID 65.44 against 89.50"),
)


def rows(groups: Iterable[str]) -> list[Row]:
    """The rows of some groups. Raises DualEncError for an unknown group."""
    found = []
    for group in groups:
        if group == "discriminator":
            found += [Row(group, "no D" if k == "none" else f"{k} D", f"e2-{k}", "e2") for k in DISCRIMINATORS]
        elif group == "dual":
            names = {"e1": "E1", "e2": "E2", "cells": "dual (cells)", "points": "dual (points)"}
            found += [Row(group, name, "e2-occluded", variant) for variant, name in names.items()]
        elif group == "projection":
            found += [Row(group, SPACE_NAMES[p], "e1" if p == "w+" else f"e1-{p}", "e1") for p in PROJECTIONS]
        elif group == "data":
            found += [Row(group, f"data {s}", "e1" if s == "real" else f"e1-{s}", "e1") for s in SOURCES]
        else:
            raise DualEncError(f"group is {group!r}, expected one of {', '.join(GROUPS)}")
    return found


def run_config(base: TrainConfig, run: str, seed: int, folder: Path, scale: float) -> TrainConfig:
    """The configuration of one training; Encoder 2 begins from Encoder 1 of its seed."""
    kind, _, what = run.partition("-")
    if kind == "e1":
        changes: dict = {"seed": seed}
        if what in SOURCES:
            changes["data"] = {"source": what}
        elif what:
            projected = base.encoder.style.projection
            style = base.encoder.to_dict()["style"] | {"projection": what}
            if projected != what:
                changes["encoder"] = base.encoder.from_dict(base.encoder.to_dict() | {"style": style})
        return base.replace(**changes)
    demo = encoder_training("realism")
    return base.replace(
        variant="encoder2",
        seed=seed,
        start=str(folder / "e1" / "model.safetensors"),
        losses={"latent": 0.0},
        discriminator={"kind": what},
        schedule={
            "steps": max(2, round(scale * demo.refine_steps)),
            "latent_steps": 0,
            "stage_two_from": 0,
            "stage_one_until": None,
            "learning_rate": demo.learning_rate,
        },
    )


def base_config(scale: float, changes: Sequence[str] = ()) -> TrainConfig:
    """The demo preset with its schedule times ``scale``, then changed as by ``--set``."""
    base = preset("demo")
    s = base.schedule
    one, two = (max(1, round(scale * n)) for n in (s.latent_steps, s.stage_two_from))
    two = max(two, one + 1)
    schedule = {"steps": max(round(scale * s.steps), two + 1), "latent_steps": one, "stage_two_from": two}
    base = base.replace(schedule=schedule | {"stage_one_until": two})
    return overridden(base, list(changes))


def run_ablation(
    out: Path, groups: Sequence[str], seeds: Sequence[int], scale: float, heads: int, changes: Sequence[str] = ()
) -> dict:
    """Train and evaluate what is missing, and write table.md and table.json into ``out``; returns the table."""
    base = base_config(scale, changes)
    wanted = rows(groups)
    generator = load_generator(base.generator)
    runs = dict.fromkeys(row.run for row in wanted)
    results: dict[str, dict[int, dict]] = {run: {} for run in runs}
    commands: dict[str, str] = {}
    for seed in seeds:
        folder = out / f"seed{seed}"
        needed = list(runs)
        if any(run.startswith("e2-") for run in runs):
            needed = ["e1", *(run for run in runs if run != "e1")]
        for run in needed:
            config = run_config(base, run, seed, folder, scale)
            commands.setdefault(run, f"python -m dualenc_core train --config {folder / run / 'config.json'}")
            if not (folder / run / "model.safetensors").is_file():
                print(f"training {run}, seed {seed}", flush=True)
                train(config, folder / run)
            if run in runs:
                results[run][seed] = _evaluated(generator, folder, run, heads)
    table = summary(wanted, results, commands)
    table["settings"] = {"scale": scale, "heads": heads, "seeds": list(seeds), "set": list(changes)}
    with atomic_path(out / "table.json") as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    return table


def _evaluated(generator, folder: Path, run: str, heads: int) -> dict[str, dict[str, float | None]]:
    """Columns by variant, from evaluation.json if this was done before with as many heads."""
    path = folder / run / "evaluation.json"
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["heads"] == heads:
            return stored["variants"]
    second = load_encoder(folder / run / "model.safetensors")
    both = run.startswith("e2-")
    first = load_encoder(folder / "e1" / "model.safetensors") if both else second
    variants = ("e1", "e2", "cells", "points") if both else ("e1",)
    settings = ProceduralSettings(heads=heads, seed=FIRST_TEST_SEED, variants=variants)
    report = evaluate_procedural(generator, first, second, settings=settings)
    values = {}
    for variant in variants:
        values[variant] = {
            f"{metric}.{region}": report.by_region(metric)[variant][region]
            for metric, region in (("psnr", "same"), ("ssim", "same"), ("psnr", "behind"))
        }
        distance = report.patches.get(variant, {}).get("behind", math.nan)
        values[variant]["patches.behind"] = None if math.isnan(distance) else distance
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"heads": heads, "variants": values}, indent=1) + "\n", encoding="utf-8")
    return values


def summary(wanted: Sequence[Row], results: dict[str, dict[int, dict]], commands: dict[str, str]) -> dict:
    """Mean and standard deviation over seeds for every row and column, and how the paper's orders fare."""
    table: dict = {"rows": [], "orders": []}
    for row in wanted:
        columns = {}
        for column, _, _ in COLUMNS:
            values = {seed: found[row.variant][column] for seed, found in results[row.run].items()}
            known = [v for v in values.values() if v is not None]
            columns[column] = {
                "mean": statistics.fmean(known) if known else None,
                "deviation": statistics.stdev(known) if len(known) > 1 else None,
                "values": values,
            }
        table["rows"].append({"group": row.group, "name": row.name, "columns": columns, "command": commands[row.run]})
    by_name = {row["name"]: row["columns"] for row in table["rows"]}
    for claim in CLAIMS:
        if claim.better in by_name and claim.worse in by_name:
            table["orders"].append(_order(claim, by_name[claim.better], by_name[claim.worse]))
    return table


def _order(claim: Claim, better: dict, worse: dict) -> str:
    """One sentence about one order of the paper. Seeds are compared in pairs: a seed's rows share their Encoder 1."""
    heading, more = next((heading, more) for name, heading, more in COLUMNS if name == claim.column)
    a, b = better[claim.column]["values"], worse[claim.column]["values"]
    gains = [(a[s] - b[s]) * (1 if more else -1) for s in a if s in b and a[s] is not None and b[s] is not None]
    start = f"{claim.better} before {claim.worse} (paper: {claim.figures}; here {heading})"
    if not gains:
        return f"{start}: not measured."
    mean = statistics.fmean(gains)
    spread = statistics.stdev(gains) if len(gains) > 1 else math.inf
    wins = sum(gain > 0 for gain in gains)
    verdict = "holds" if mean > 0 else "is the other way round"
    if len(gains) < 3 or abs(mean) <= 2 * spread / math.sqrt(len(gains)):
        verdict = "is not decided (fewer than three seeds, or within two standard errors)"
    shown = f"± {spread:.3g}" if math.isfinite(spread) else "(one seed)"
    return f"{start}: {verdict}; gain {mean:+.3g} {shown} over {len(gains)} seeds, {wins} of them in the paper's order."


def markdown(table: dict) -> str:
    """The table as a page."""
    lines = ["# Ablation at demo scale", "", f"Settings: {json.dumps(table.get('settings', {}))}", ""]
    lines.append("Mean ± standard deviation over seeds. ↑ more is better, ↓ less is better.")
    for group in dict.fromkeys(row["group"] for row in table["rows"]):
        head = [
            "row",
            *(f"{heading} {'↑' if more else '↓'}" for _, heading, more in COLUMNS),
            "command of the first seed",
        ]
        lines += ["", f"## {group}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in (row for row in table["rows"] if row["group"] == group):
            cells = [_cell(row["columns"][name]) for name, _, _ in COLUMNS]
            lines.append("| " + " | ".join([row["name"], *cells, f"`{row['command']}`"]) + " |")
    lines += ["", "## The paper's orders", "", *(f"- {sentence}" for sentence in table["orders"])]
    return "\n".join(lines) + "\n"


def _cell(column: dict) -> str:
    if column["mean"] is None:
        return "–"
    spread = "" if column["deviation"] is None else f" ± {column['deviation']:.3g}"
    return f"{column['mean']:.4g}{spread}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dualenc_core.training.ablation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the demo preset's steps")
    parser.add_argument("--heads", type=int, default=16, help="test heads of each evaluation")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for train")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    table = run_ablation(args.out, args.groups, args.seeds, args.scale, args.heads, args.set)
    print(markdown(table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
