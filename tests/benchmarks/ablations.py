"""The paper's ablations at demo scale: rows × seeds, trained and evaluated on procedural heads, as one table.

    python -m tests.benchmarks.ablations --out runs/ablation --seeds 0 1 2 --threads 1
    python -m tests.benchmarks.ablations --out runs/tiny --seeds 0 1 --scale 0.02 --heads 2     (does it run?)

Every training and every evaluation leaves its files in the folder, so that the same command goes on where it stopped,
and the table is written anew after each of them. LPIPS, ArcFace and FID need weights and real photos. Here fidelity is
PSNR and SSIM in the input view, and realism the patch distance to the truth behind the head (`evaluation.patches`),
beside PSNR there.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dualenc_core.encoders import load_encoder
from dualenc_core.errors import DualEncError
from dualenc_core.files import atomic_path
from dualenc_core.generator.loading import load_generator
from dualenc_core.research.data.records import write_json
from dualenc_core.research.evaluation.procedural import FIRST_TEST_SEED, ProceduralSettings, evaluate_procedural
from dualenc_core.research.training.config import TrainConfig
from dualenc_core.research.training.encoder_presets import preset
from dualenc_core.research.training.encoder_run import overridden, train
from tests.stylised import ENCODER_1, GENERATOR

from .ablation_report import Row, markdown, summary

DISCRIMINATORS = ("none", "image", "triplane", "occluded")
PROJECTIONS = ("z", "z+", "w+")
SOURCES = ("real", "generated", "both")
GROUPS = ("discriminator", "dual", "projection", "data")
SPACE_NAMES = {"z": "Z", "z+": "Z+", "w+": "W+"}
OWN = "own"


@dataclass(frozen=True)
class Budget:
    """Steps of a training. Meant for 27 trainings and their evaluations in an hour or two of one core.

    Attributes:
        latent, style, refine: of an Encoder 1: on known latents; stage one on pictures; stage two.
        second: of an Encoder 2, which begins from an Encoder 1.
        portraits: pictures of the training set.
    """

    latent: int = 120
    style: int = 15
    refine: int = 25
    second: int = 100
    portraits: int = 512

    def times(self, scale: float) -> Budget:
        """More or fewer steps; at least one of each kind."""
        steps = {name: max(1, round(scale * value)) for name, value in asdict(self).items() if name != "portraits"}
        return Budget(**steps, portraits=self.portraits)


@dataclass(frozen=True)
class Plan:
    """What a table is made of.

    Attributes:
        groups: of `GROUPS`.
        seeds: of the trainings.
        budget: of each training.
        start: the Encoder 1 from which Encoders 2 begin and with which they are joined: a name or path, the same for
            all seeds; "own" = the one that is trained here with the seed.
        heads, yaws: of each evaluation.
        changes: as by ``train --set``.
    """

    groups: tuple[str, ...] = GROUPS
    seeds: tuple[int, ...] = (0, 1, 2)
    budget: Budget = Budget()
    start: str = str(ENCODER_1)
    heads: int = 12
    yaws: int = 5
    changes: tuple[str, ...] = ()

    def start_of(self, folder: Path) -> str:
        """For the seed whose folder this is."""
        return str(folder / "e1" / "model.safetensors") if self.start == OWN else self.start


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


def run_config(plan: Plan, run: str, seed: int, folder: Path) -> TrainConfig:
    """The configuration of one training."""
    base = base_config(plan)
    kind, _, what = run.partition("-")
    if kind == "e1":
        changes: dict = {"seed": seed}
        if what in SOURCES:
            changes["data"] = {"source": what}
        elif what:
            style = base.encoder.to_dict()["style"] | {"projection": what}
            changes["encoder"] = base.encoder.from_dict(base.encoder.to_dict() | {"style": style})
        return base.replace(**changes)
    return base.replace(
        variant="encoder2",
        seed=seed,
        start=plan.start_of(folder),
        losses={"latent": 0.0},
        discriminator={"kind": what},
        schedule={
            "steps": plan.budget.second,
            "latent_steps": 0,
            "stage_two_from": 0,
            "stage_one_until": None,
            "learning_rate": preset("people-encoder2").schedule.learning_rate,
        },
    )


def base_config(plan: Plan) -> TrainConfig:
    """The demo preset on the stylised generator, with the budget of the plan, then changed as by ``--set``."""
    budget, base = plan.budget, preset("demo").replace(generator=str(GENERATOR))
    two = budget.latent + budget.style
    base = base.replace(
        schedule={
            "steps": two + budget.refine,
            "latent_steps": budget.latent,
            "stage_two_from": two,
            "stage_one_until": two,
        },
        data={"count": budget.portraits},
        # Of 64 pixels they cost as much as all the rest of a step, three times over.
        discriminator={"image_size": 48},
        output={"log_every": 10, "save_every": 40, "preview_every": 0},
    )
    return overridden(base, list(plan.changes))


def run_ablation(out: Path, plan: Plan) -> dict:
    """Train and evaluate what is missing, one after the other; returns the table, which is also written to ``out``.

    table.md and table.json are written anew after every row; a training that was stopped goes on at its last
    checkpoint. Raises DualEncError when ``out`` holds trainings by another plan.
    """
    wanted = rows(plan.groups)
    runs = list(dict.fromkeys(row.run for row in wanted))
    if plan.start == OWN and any(run.startswith("e2-") for run in runs):
        runs = ["e1", *(run for run in runs if run != "e1")]
    generator = load_generator(base_config(plan).generator)
    results: dict[str, dict[int, dict]] = {run: {} for run in runs}
    commands: dict[str, str] = {}
    truths: dict = {}
    table: dict = {}
    for seed in plan.seeds:
        folder = out / f"seed{seed}"
        for run in runs:
            config = run_config(plan, run, seed, folder)
            place = folder / run
            commands.setdefault(run, f"python -m dualenc_core train --config {place / 'config.json'} --out {place}")
            started = time.monotonic()
            if (folder / run / "model.safetensors").is_file():
                _check(config, folder / run)
            else:
                print(f"training {run}, seed {seed}", flush=True)
                train(config, folder / run)
            results[run][seed] = _evaluated(generator, folder, run, plan, truths)
            table = _write(out, plan, wanted, results, commands)
            print(f"{run}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    return table


def _check(config: TrainConfig, folder: Path) -> None:
    """Raise DualEncError unless the finished training of a folder is this one."""
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Through JSON, which knows no tuples.
    now = json.loads(json.dumps(config.to_dict()))
    if changed := [key for key in now if key not in ("output", "compute") and now[key] != stored.get(key)]:
        raise DualEncError(
            f"{folder} holds a finished training with another configuration ({', '.join(changed)}); use another --out"
        )


def _write(out: Path, plan: Plan, wanted: Sequence[Row], results: dict, commands: dict[str, str]) -> dict:
    table = summary(wanted, results, commands)
    table["settings"] = asdict(plan)
    behind = [turn for turn in (360 * k / plan.yaws for k in range(plan.yaws)) if 110 < turn < 250]
    start = (
        "of its own seed" if plan.start == OWN else f"{plan.start}, the same for every seed, so E1 has no spread there"
    )
    table["notes"] = [
        f"{plan.heads} unseen heads; behind: {', '.join(f'{turn:g}°' for turn in behind)} from the input view. "
        "Patch distance is not FID, and PSNR in the input view not ID.",
        f"Encoders 2 begin from, and are joined with, Encoder 1 {start}. The rows of projection and data are "
        "Encoders 1 from scratch, trained much shorter than the shipped one: compare them with each other only.",
    ]
    write_json(out / "table.json", table)
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    return table


def _evaluated(generator, folder: Path, run: str, plan: Plan, truths: dict) -> dict[str, dict[str, float | None]]:
    """Columns by variant, from evaluation.json if this was done before."""
    path = folder / run / "evaluation.json"
    measured = {"heads": plan.heads, "yaws": plan.yaws}
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if all(stored.get(name) == value for name, value in measured.items()):
            return stored["variants"]
    encoder = load_encoder(folder / run / "model.safetensors")
    variants = {"e2-occluded": ("e1", "e2", "cells", "points")}.get(run, ("e2",) if run.startswith("e2-") else ("e1",))
    first = load_encoder(plan.start_of(folder)) if len(variants) > 1 else encoder if variants == ("e1",) else None
    second = encoder if "e2" in variants else None
    settings = ProceduralSettings(heads=plan.heads, yaws=plan.yaws, seed=FIRST_TEST_SEED, variants=variants)
    report = evaluate_procedural(generator, first, second, settings=settings, truths=truths)
    values = {}
    for variant in variants:
        values[variant] = {
            f"{metric}.{region}": report.by_region(metric)[variant][region]
            for metric, region in (("psnr", "same"), ("ssim", "same"), ("psnr", "behind"))
        }
        distance = report.patches.get(variant, {}).get("behind", math.nan)
        values[variant]["patches.behind"] = None if math.isnan(distance) else distance
    write_json(path, measured | {"variants": values})
    return values


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the steps")
    parser.add_argument(
        "--start",
        default=Plan.start,
        help="Encoder 1 of the Encoders 2: a name, a file, or own (default: the stylised one of the tests)",
    )
    parser.add_argument("--heads", type=int, default=Plan.heads, help="test heads of each evaluation")
    parser.add_argument("--yaws", type=int, default=Plan.yaws, help="views around each of them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for train")
    parser.add_argument("--threads", type=int, default=0, help="0 = PyTorch's own choice")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    plan = Plan(
        groups=tuple(args.groups),
        seeds=tuple(args.seeds),
        budget=Budget().times(args.scale),
        start=args.start,
        heads=args.heads,
        yaws=args.yaws,
        changes=tuple(args.set),
    )
    print(markdown(run_ablation(args.out, plan)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
