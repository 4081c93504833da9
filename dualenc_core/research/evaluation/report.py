"""Evaluation reports: Markdown, JSON and a plot."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...choices import METHOD_TITLES
from ...errors import require
from ...files import atomic_path, write_text
from .results import METRICS, REGIONS, SCALED, Report
from .summary import table

LABELS = METHOD_TITLES | {
    "control": "control (Encoder 2 without D)",
    "unmatched": "dual encoder (points), hidden colours as Encoder 2 has them",
    "g_true_z": "G(true z)",
    "g_unseen": "G(true z), heads without details",
}
_PLOTTED = ("psnr", "ssim", "depth", "iou", "gradient", "sharpness")


def state_hash(module: nn.Module) -> str:
    """SHA-256 over names and values of a module's weights, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def provenance(modules: Mapping[str, Any], command: str = "") -> dict[str, Any]:
    """Software versions, the device, hashes of the weights that are modules, and the command."""
    weights = {name: state_hash(m) for name, m in modules.items() if isinstance(m, nn.Module)}
    device = next((p.device.type for m in modules.values() if isinstance(m, nn.Module) for p in m.parameters()), "cpu")
    return {
        "command": command,
        "weights_sha256": weights,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "threads": torch.get_num_threads(),
    }


def write_report(report: Report, out_dir: str | Path) -> dict[str, Path]:
    """Write report.json, report.md and report.png, each atomically; returns their paths by suffix.

    Raises MissingDependencyError without matplotlib, after the two texts are written.
    """
    folder = Path(out_dir)
    paths = {suffix: folder / f"report.{suffix}" for suffix in ("json", "md", "png")}
    write_text(paths["json"], json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n")
    write_text(paths["md"], markdown(report))
    with atomic_path(paths["png"]) as temporary:
        plot(report, temporary)
    return paths


def markdown(report: Report) -> str:
    """The report as Markdown."""
    s = report.settings
    low, high = s["input_yaw"]
    lines = [
        f"# Evaluation on {'people' if s.get('people') else 'procedural heads'}",
        "",
        f"{s['heads']} heads of seed {s['seed']} (training uses seeds below 1000000), {_kind(s)}. "
        f"One input view each, yaw {low:g}° to {high:g}°, pitch ±{s['input_pitch']:g}°, "
        f"{s['input_resolution']} pixels. {s['yaws']} views around each head, yaw counted from the input view, "
        f"compared with the exact picture at {s['image_resolution']} pixels on the same background. "
        "front: up to 60°, side: up to 110°, behind: beyond. Means over heads and views.",
        *_baseline_lines(s),
        "",
        "![by yaw](report.png)",
        "",
        "## Aims",
        "",
        *table(
            ["aim", "measured", "bound", ""],
            [
                [a.name, f"{a.value:.2f}", f"{'more than ' * a.strict}{a.bound:g}", "met" if a.met else "**missed**"]
                for a in report.aims()
            ],
        ),
    ]
    for metric, (title, better) in METRICS.items():
        arrow = {True: "more is better", False: "less is better", None: "1 is best"}[better]
        lines += ["", f"## {title} ({arrow})", ""]
        lines += table(["", *REGIONS], _rows(report.by_region(metric), REGIONS, metric))
        lines += ["", "By yaw from the input view:", ""]
        lines += table(["", *(f"{y:g}°" for y in report.yaws)], _rows(report.by_yaw(metric), report.yaws, metric))
    if report.patches:
        regions = REGIONS[:-1]
        lines += ["", "## Patch distance to the truth (less is better)", ""]
        lines += [
            "Fréchet distance of 5×5 colour patches in two band-pass levels, 1 = featureless. It is not FID.",
            "",
        ]
        lines += table(["", *regions], _rows(report.patches, regions, "patches"))
    if report.agreement:
        names = list(next(iter(report.agreement.values())))
        lines += ["", "## Masks against true visibility", ""]
        lines += ["Made from Encoder 1's geometry, asked at points of the true surface (shares).", ""]
        lines += table(
            ["", *names], [[LABELS[m], *(_number(v[n]) for n in names)] for m, v in report.agreement.items()]
        )
    lines += ["", "## Made with", ""]
    lines += [f"- {name}: {value}" for name, value in report.provenance.items() if not isinstance(value, Mapping)]
    lines += [f"- SHA-256 of the weights of {k}: {v}" for k, v in report.provenance["weights_sha256"].items()]
    lines += ["- seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in report.timings.items())]
    return "\n".join(lines) + "\n"


def _kind(settings: Mapping[str, Any]) -> str:
    if not settings.get("people"):
        return "with details outside the generator's range"
    return "of donors that training never saw; without details: of the others, in mixtures that it never saw"


def _baseline_lines(settings: Mapping[str, Any]) -> list[str]:
    lines = []
    for made in settings.get("baselines", {}).values():
        measure = "LPIPS (VGG)" if made["perceptual"] == "lpips-vgg" else f"{made['perceptual']}, not LPIPS"
        lines += ["", f"{made['method']}: {made['steps']} steps, likeness by {measure}. {made['note']}".rstrip()]
    return lines


def plot(report: Report, path: str | Path) -> None:
    """Curves by yaw from the input view, one for each variant."""
    # The figure is drawn without pyplot, which would touch the caller's backend and windows.
    figure = require("matplotlib.figure", "matplotlib").Figure(figsize=(16, 7.5), layout="constrained")
    for axes, metric in zip(figure.subplots(2, 3).flat, _PLOTTED, strict=True):
        for variant, curve in report.by_yaw(metric).items():
            # Turned so that the input view is in the middle; the first view closes the circle.
            points = sorted(((yaw + 180) % 360 - 180, value) for yaw, value in curve.items())
            if points[0][0] == -180:
                points.append((180.0, points[0][1]))
            scale = 1000 if metric in SCALED else 1
            axes.plot(
                [yaw for yaw, _ in points],
                [value * scale for _, value in points],
                marker="o",
                markersize=3,
                linestyle="--" if variant.startswith("g_") else "-",
                label=LABELS.get(variant, variant),
            )
        axes.set_title(METRICS[metric][0])
        axes.set_xlabel("yaw from the input view, degrees")
        axes.set_xticks(range(-180, 181, 60))
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _rows(table: Mapping[str, Mapping[Any, float]], columns: Sequence[Any], metric: str) -> list[list[str]]:
    scale = 1000 if metric in SCALED else 1
    digits = 2 if metric.startswith("psnr") or metric in SCALED else 3
    return [
        [LABELS.get(name, name), *(_number(values.get(c, math.nan) * scale, digits) for c in columns)]
        for name, values in table.items()
    ]


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"
