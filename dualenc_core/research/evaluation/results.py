"""What an evaluation found: rows of numbers, and what is read off them."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .summary import mean, plain

# Names of columns, and whether more is better (None: nearest to 1).
METRICS: dict[str, tuple[str, bool | None]] = {
    "psnr": ("PSNR, dB", True),
    "psnr_head": ("PSNR on the head only, dB", True),
    "ssim": ("SSIM", True),
    "gradient": ("gradient distance, ×1000", False),
    "sharpness": ("sharpness relative to the truth", None),
    "depth": ("depth error, world units ×1000", False),
    "iou": ("mask IoU", True),
    "mse": ("L2 on -1..1, ×1000", False),
}
# Columns that are shown times 1000.
SCALED = ("gradient", "depth", "mse")
# What the dual inversion of people should reach, PSNR in dB by degrees from the input view.
PEOPLE_BOUNDS = {0: 27.5, 30: 23.5, 60: 22.0, 90: 21.5, 135: 21.0, 150: 21.0, 180: 21.0}
REGIONS = ("same", "front", "side", "behind", "all")


def region_of(yaw: float) -> str:
    """Where a view lies, by its yaw from the input view: same (0), front (≤ 60°), side (≤ 110°) or behind."""
    turn = abs((yaw + 180) % 360 - 180)
    return "same" if turn < 1e-6 else "front" if turn <= 60 else "side" if turn <= 110 else "behind"


@dataclass(frozen=True)
class Aim:
    """A figure with the bound that it should reach: ``value`` ≥ ``bound``, or > when strict."""

    name: str
    value: float
    bound: float
    strict: bool = False

    @property
    def met(self) -> bool:
        return self.value > self.bound if self.strict else self.value >= self.bound


@dataclass(frozen=True)
class Report:
    """An evaluation on procedural heads.

    Attributes:
        settings: how it was run.
        provenance: software, hashes of weights, the command.
        rows: one for each head, view and variant: head, yaw (from the input view), variant, and the metrics.
        patches: patch distance to the truth by variant and region (`patch_distance`).
        agreement: masks against true visibility, mean over heads, by mode.
        timings: seconds.
    """

    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    patches: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def variants(self) -> list[str]:
        """In the order of the first head."""
        return list(dict.fromkeys(row["variant"] for row in self.rows))

    @property
    def yaws(self) -> list[float]:
        """Views, as yaw from the input view in degrees, ascending."""
        return sorted({row["yaw"] for row in self.rows})

    def mean(self, metric: str, variant: str, where: Callable[[float], bool] = lambda yaw: True) -> float:
        """Mean of a metric over heads and the views that ``where`` accepts; NaN values are left out."""
        return mean(r[metric] for r in self.rows if r["variant"] == variant and where(r["yaw"]))

    def by_region(self, metric: str) -> dict[str, dict[str, float]]:
        """Means by variant and region."""
        return {
            variant: {region: self.mean(metric, variant, functools.partial(_lies_in, region)) for region in REGIONS}
            for variant in self.variants
        }

    def by_yaw(self, metric: str) -> dict[str, dict[float, float]]:
        """Means by variant and yaw."""
        return {
            v: {y: self.mean(metric, v, functools.partial(operator.eq, y)) for y in self.yaws} for v in self.variants
        }

    def aims(self) -> list[Aim]:
        """The aims that this evaluation has figures for; PSNR in dB."""
        psnr = self.by_region("psnr")
        if self.settings.get("people"):
            return self._people_aims(psnr)
        aims = []
        if "g_unseen" in psnr:
            aims.append(Aim("generator on unseen z, all views", psnr["g_unseen"]["all"], 26.0))
        if "e1" in psnr:
            aims.append(Aim("E1, same view", psnr["e1"]["same"], 24.0))
        if {"e1", "g_true_z"} <= psnr.keys():
            gain = psnr["e1"]["same"] - psnr["g_true_z"]["same"]
            aims.append(Aim("E1 over G(true z), same view", gain, 3.0))
        for mode in ("cells", "points"):
            if mode in psnr and "e1" in psnr:
                dual, e1 = psnr[mode], psnr["e1"]
                aims.append(Aim(f"dual by {mode} over E1, same view", dual["same"] - e1["same"], -0.5))
                aims.append(Aim(f"dual by {mode} over E1, behind", dual["behind"] - e1["behind"], 0.5))
            if mode in psnr and "e2" in psnr:
                gain = psnr[mode]["behind"] - psnr["e2"]["behind"]
                aims.append(Aim(f"dual by {mode} over E2, behind", gain, -0.5))
        if {"e2", "control"} <= psnr.keys():
            aims += self._control_aims()
        return aims

    def _people_aims(self, psnr: Mapping[str, Mapping[str, float]]) -> list[Aim]:
        """By yaw from the input view; the same to both sides."""
        aims = []
        if "g_unseen" in psnr:
            aims.append(Aim("generator at the true description, all views", psnr["g_unseen"]["all"], 26.0))
        for mode in ("cells", "points"):
            if mode not in psnr:
                continue
            for away, bound in PEOPLE_BOUNDS.items():
                value = self._away("psnr", mode, away)
                if not math.isnan(value):
                    aims.append(Aim(f"dual by {mode}, {away}° from the input view", value, bound))
            if {"e1", "e2"} <= psnr.keys():
                worst = min(
                    self._away("psnr", mode, y) - max(self._away("psnr", e, y) for e in ("e1", "e2"))
                    for y in {abs((yaw + 180) % 360 - 180) for yaw in self.yaws}
                )
                aims.append(Aim(f"dual by {mode} over the better encoder, worst yaw", worst, -0.3))
        return aims + (self._control_aims() if {"e2", "control"} <= psnr.keys() else [])

    def _away(self, metric: str, variant: str, away: float) -> float:
        return self.mean(metric, variant, lambda yaw: abs(abs((yaw + 180) % 360 - 180) - away) < 1)

    def _control_aims(self) -> list[Aim]:
        def gain(e2: float, control: float) -> float:
            return (control - e2) / control

        gradient = self.by_region("gradient")
        sharp = {name: abs(math.log(self.by_region("sharpness")[name]["behind"])) for name in ("e2", "control")}
        gains = {
            "gradient distance": gain(gradient["e2"]["behind"], gradient["control"]["behind"]),
            "sharpness": gain(sharp["e2"], sharp["control"]),
        }
        if "behind" in self.patches.get("e2", {}) and "behind" in self.patches.get("control", {}):
            gains["patch distance"] = gain(self.patches["e2"]["behind"], self.patches["control"]["behind"])
        best = max(gains, key=gains.__getitem__)
        return [Aim(f"E2 over its control behind, best realism measure ({best}), share", gains[best], 0.0, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Everything, with the tables, JSON-compatible (NaN becomes null)."""
        values = asdict(self)
        values["tables"] = {
            "by_region": {metric: self.by_region(metric) for metric in METRICS},
            "by_yaw": {metric: self.by_yaw(metric) for metric in METRICS},
        }
        values["aims"] = [{**asdict(aim), "met": aim.met} for aim in self.aims()]
        return plain(values)


def _lies_in(region: str, yaw: float) -> bool:
    return region in ("all", region_of(yaw))
