"""The ablation table: means and spread over seeds, and how the paper's orders fare."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Name of a column, heading, whether more is better.
COLUMNS = (
    ("psnr.same", "PSNR input view, dB", True),
    ("ssim.same", "SSIM input view", True),
    ("psnr.behind", "PSNR behind, dB", True),
    ("patches.behind", "patch distance behind", False),
)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        group: of the table.
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


# LPIPS, ID, FID of the paper's ablations, by group and row. None are known here for the other groups.
PAPER = {
    "discriminator": {
        "no D": (0.10, 0.87, 89.50),
        "image D": (0.17, 0.67, 72.86),
        "triplane D": (0.15, 0.70, 66.24),
        "occluded D": (0.14, 0.75, 64.02),
    },
    "dual": {"E1": (0.10, 0.87, 89.50), "E2": (0.14, 0.75, 64.02), "dual (cells)": (0.10, 0.87, 65.44)},
}
# What is compared: name, the paper's metric, its place in PAPER, whether more is better there, our column for it.
AXES = (("fidelity", "ID", 1, True, "psnr.same"), ("realism", "FID", 2, False, "patches.behind"))

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


def summary(wanted: Sequence[Row], results: dict[str, dict[int, dict]], commands: dict[str, str]) -> dict:
    """Mean and standard deviation over seeds for every row and column, and how the paper's orders fare.

    Rows that are not measured yet have no values.
    """
    table: dict = {"rows": [], "rankings": [], "orders": []}
    for row in wanted:
        columns = {}
        for column, _, _ in COLUMNS:
            values = {seed: found[row.variant][column] for seed, found in results.get(row.run, {}).items()}
            known = [v for v in values.values() if v is not None]
            columns[column] = {
                "mean": statistics.fmean(known) if known else None,
                "deviation": statistics.stdev(known) if len(known) > 1 else None,
                "values": values,
            }
        command = commands.get(row.run, "")
        table["rows"].append({"group": row.group, "name": row.name, "columns": columns, "command": command})
    for group in dict.fromkeys(row.group for row in wanted):
        columns = {row["name"]: row["columns"] for row in table["rows"] if row["group"] == group}
        table["rankings"] += [_ranking(group, columns, axis) for axis in AXES]
    by_name = {row["name"]: row["columns"] for row in table["rows"]}
    for claim in CLAIMS:
        if claim.better in by_name and claim.worse in by_name:
            table["orders"].append(_order(claim, by_name[claim.better], by_name[claim.worse]))
    return table


def _ranking(group: str, columns: dict[str, dict], axis: tuple) -> str:
    """One sentence: all rows of a group, best first, in the paper and here, and how many pairs agree."""
    name, metric, place, more, column = axis
    heading, ours_more = _heading(column)
    measured = {row: found[column]["mean"] for row, found in columns.items() if found[column]["mean"] is not None}
    start = f"{group}, {name}: "
    here = f"here by {heading}, best first: {_best_first(measured, ours_more)}" if measured else "here not measured yet"
    paper = {row: figures[place] for row, figures in PAPER.get(group, {}).items() if row in columns}
    if not paper:
        return f"{start}no published figures are known here; {here}."
    counts = {"same": 0, "reversed": 0, "undecided": 0}
    for a, b in itertools.combinations(paper, 2):
        if paper[a] == paper[b]:
            continue
        better, worse = (a, b) if (paper[a] > paper[b]) == more else (b, a)
        counts[_verdict(_gains(columns[better][column], columns[worse][column], ours_more))] += 1
    said = f"{start}the paper by {metric}, best first: {_best_first(paper, more)}; {here}."
    pairs = sum(counts.values())
    said += f" Of {pairs} pairs {counts['same']} are in the paper's order, {counts['reversed']} the other way round, "
    return said + f"{counts['undecided']} not decided (fewer than three seeds, or within two standard errors)."


def _best_first(values: dict[str, float], more: bool) -> str:
    order = sorted(values, key=lambda row: -values[row] if more else values[row])
    text = order[0]
    for before, row in itertools.pairwise(order):
        text += f" {'=' if values[before] == values[row] else '>'} {row}"
    return text


def _gains(better: dict, worse: dict, more: bool) -> list[float]:
    """How much one column is ahead of another, by seed: a seed's rows share their start."""
    a, b = better["values"], worse["values"]
    return [(a[s] - b[s]) * (1 if more else -1) for s in a if s in b and a[s] is not None and b[s] is not None]


def _verdict(gains: Sequence[float]) -> str:
    """same, reversed, or undecided: fewer than three seeds, or a mean within two standard errors."""
    if len(gains) < 3:
        return "undecided"
    mean = statistics.fmean(gains)
    if abs(mean) <= 2 * statistics.stdev(gains) / math.sqrt(len(gains)):
        return "undecided"
    return "same" if mean > 0 else "reversed"


def _order(claim: Claim, better: dict, worse: dict) -> str:
    """One sentence about one order of the paper."""
    heading, more = _heading(claim.column)
    gains = _gains(better[claim.column], worse[claim.column], more)
    start = f"{claim.better} before {claim.worse} (paper: {claim.figures}; here {heading})"
    if not gains:
        return f"{start}: not measured."
    words = {
        "same": "holds",
        "reversed": "is the other way round",
        "undecided": "is not decided (fewer than three seeds, or within two standard errors)",
    }
    wins = sum(gain > 0 for gain in gains)
    shown = f"± {statistics.stdev(gains):.3g}" if len(gains) > 1 else "(one seed)"
    return (
        f"{start}: {words[_verdict(gains)]}; gain {statistics.fmean(gains):+.3g} {shown} over {len(gains)} seeds, "
        f"{wins} of them in the paper's order."
    )


def _heading(column: str) -> tuple[str, bool]:
    return next((heading, more) for name, heading, more in COLUMNS if name == column)


def markdown(table: dict) -> str:
    """The table as a page."""
    lines = ["# Ablation at demo scale", "", *table.get("notes", [])]
    lines += ["", f"Settings: {json.dumps(table.get('settings', {}))}", ""]
    lines.append("Mean ± standard deviation over seeds. ↑ more is better, ↓ less is better.")
    for group in dict.fromkeys(row["group"] for row in table["rows"]):
        head = [
            "row",
            *(f"{heading} {'↑' if more else '↓'}" for _, heading, more in COLUMNS),
            "seeds",
            "command of the first seed",
        ]
        lines += ["", f"## {group}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in (row for row in table["rows"] if row["group"] == group):
            cells = [_cell(row["columns"][name]) for name, _, _ in COLUMNS]
            seeds = len(row["columns"][COLUMNS[0][0]]["values"])
            lines.append("| " + " | ".join([row["name"], *cells, str(seeds), f"`{row['command']}`"]) + " |")
    lines += ["", "## The orders, computed from the table", "", *(f"- {sentence}" for sentence in table["rankings"])]
    if table["orders"]:
        lines += ["", "Pair by pair:", "", *(f"- {sentence}" for sentence in table["orders"])]
    return "\n".join(lines) + "\n"


def _cell(column: dict) -> str:
    if column["mean"] is None:
        return "–"
    spread = "" if column["deviation"] is None else f" ± {column['deviation']:.3g}"
    return f"{column['mean']:.4g}{spread}"
