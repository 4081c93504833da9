"""Reports of the protocols on photos: Markdown and JSON, the paper's figures beside ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...choices import METHOD_TITLES
from ...files import write_text
from .photos import PhotoReport
from .published import ABLATION, MEAD_DUAL, SAME_METHOD, SAME_VIEW
from .summary import mean, table

# Column, title, digits, whether more is better.
_COLUMNS = (
    ("l2", "L2 ↓", 4),
    ("psnr", "PSNR ↑", 2),
    ("ssim", "SSIM ↑", 3),
    ("lpips", "LPIPS ↓", 3),
    ("id", "ID ↑", 3),
    ("id_curricular", "ID (CurricularFace) ↑", 3),
)


def write_photo_report(report: PhotoReport, out_dir: str | Path) -> dict[str, Path]:
    """Write report.json and report.md, each atomically; returns their paths by suffix."""
    folder = Path(out_dir)
    paths = {suffix: folder / f"report.{suffix}" for suffix in ("json", "md")}
    texts = {
        "json": json.dumps(report.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "md": markdown(report),
    }
    for suffix, path in paths.items():
        write_text(path, texts[suffix])
    return paths


def markdown(report: PhotoReport) -> str:
    """The report as Markdown."""
    s = report.settings
    title = {"photos": "Evaluation on photos", "mead": "Evaluation on MEAD"}[report.protocol]
    lines = [f"# {title}", "", f"{s['photos']} photos of the folder {s['folder']}."]
    lines += ["", *(_same_view(report) if report.protocol == "photos" else _mead(report))]
    if report.absent:
        lines += ["", "## Not measured", ""]
        lines += [f"- {_name(metric)}: {reason}" for metric, reason in report.absent.items()]
    lines += ["", "## What the figures are", ""]
    lines += [f"- {_name(metric)}: {text}" for metric, text in sorted(report.about.items())]
    lines += ["- seconds: inversion of one photo, without rendering; mean without the first photo of each process"]
    lines += [f"- peak memory: {', '.join(f'{k} {v:.0f} MB' for k, v in report.memory.items())}"]
    if report.skipped:
        lines += ["", "## Left out", "", *(f"- {name}: {reason}" for name, reason in report.skipped.items())]
    lines += ["", "## Made with", ""]
    lines += [f"- {name}: {value}" for name, value in report.provenance.items() if not isinstance(value, Mapping)]
    weights = report.provenance.get("weights_sha256", {})
    lines += [f"- SHA-256 of the weights of {name}: {value}" for name, value in weights.items()]
    lines += [f"- settings: {', '.join(f'{k} {v}' for k, v in s.items())}"]
    return "\n".join(lines) + "\n"


def _same_view(report: PhotoReport) -> list[str]:
    columns = _measured(report, "same")
    fid = report.fid.get("novel", {})
    head = ["", *(title for _, title, _ in columns), "FID, novel views ↓", "seconds"]
    rows = []
    for method in report.methods:
        values = [_number(report.mean(name, method, "same"), digits) for name, _, digits in columns]
        rows.append(
            [
                METHOD_TITLES.get(method, method),
                *values,
                _number(fid.get(method, math.nan), 2),
                _seconds(report, method),
            ]
        )
    lines = ["## Same view and novel views", "", *table(head, rows)]
    if fid:
        s = report.settings
        lines += ["", f"FID: {s['novel']} novel views over 360° against as many samples of the generator."]
        if s["novel"] < 1000:
            lines += ["FID of fewer than 1000 pictures is too high and cannot be compared with published figures."]
    lines += ["", "## Beside the paper", "", *_beside(report)]
    lines += ["", "Published ablation, FFHQ+LPFF (LPIPS / ID / FID):", ""]
    lines += table(["", "LPIPS", "ID", "FID"], [[k, *(f"{n:.2f}" for n in v)] for k, v in ABLATION.items()])
    return lines


def _beside(report: PhotoReport) -> list[str]:
    names = ("l2", "lpips", "id")
    fid = report.fid.get("novel", {})
    ours: dict[str, list[str]] = {}
    for method in report.methods:
        if method in SAME_METHOD:
            values = [_number(report.mean(name, method, "same"), 3) for name in names]
            values += [_number(fid.get(method, math.nan), 2), _seconds(report, method)]
            ours.setdefault(SAME_METHOD[method], []).append(f"{METHOD_TITLES[method]}: {' / '.join(values)}")
    rows = []
    for method, (ffhq, celeba, seconds) in SAME_VIEW.items():
        published = [_published(values) for values in (ffhq, celeba)]
        rows.append([method, *published, f"{seconds:.2f}", "; ".join(ours.get(method, ["–"]))])
    head = ["method", "FFHQ+LPFF", "CelebA-HQ", "seconds", "here: L2 / LPIPS / ID / FID / seconds"]
    return [
        "L2 / LPIPS / ID / FID. Published figures hold for their data, weights and machine; the range of their L2 is "
        "not stated.",
        "",
        *table(head, rows),
    ]


def _published(values: Sequence[float]) -> str:
    return f"{values[0]:.3f} / " + " / ".join(f"{value:.2f}" for value in values[1:])


def _mead(report: PhotoReport) -> list[str]:
    columns = _measured(report)
    lines = ["A frontal photo in; each other camera compared with what it saw at that moment.", ""]
    head = ["yaw", "method", *(title for _, title, _ in columns), "FID ↓"]
    rows = []
    for view in sorted(report.views, key=int):
        for method in report.methods:
            values = [_number(report.mean(name, method, view), digits) for name, _, digits in columns]
            rows.append(
                [
                    f"{view}°",
                    METHOD_TITLES.get(method, method),
                    *values,
                    _number(report.fid.get(view, {}).get(method, math.nan), 2),
                ]
            )
    lines += ["## By camera", "", *table(head, rows), "", "## Beside the paper", ""]
    rows = []
    for turn, published in MEAD_DUAL.items():
        rows.append([f"±{turn}°", "dual encoder, published", *map(str, published)])
        for method in report.methods:
            views = [view for view in report.views if abs(int(view)) == turn]
            means = [mean([report.mean(name, method, view) for view in views]) for name in ("lpips", "id")]
            fid = mean([report.fid.get(view, {}).get(method, math.nan) for view in views])
            rows.append(
                [
                    f"±{turn}°",
                    f"{METHOD_TITLES.get(method, method)}, here",
                    *(_number(v, 3) for v in means),
                    _number(fid, 1),
                ]
            )
    return lines + table(["yaw", "", "LPIPS ↓", "ID ↑", "FID ↓"], rows)


def _measured(report: PhotoReport, view: str | None = None) -> list[tuple[str, str, int]]:
    there = {name for row in report.rows if view in (None, row["view"]) for name in row}
    return [column for column in _COLUMNS if column[0] in there]


def _seconds(report: PhotoReport, method: str) -> str:
    return _number(report.seconds.get(method, math.nan), 2)


def _name(metric: str) -> str:
    titles = {name: title.rstrip(" ↓↑") for name, title, _ in _COLUMNS} | {"fid": "FID"}
    return titles.get(metric, metric)


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
