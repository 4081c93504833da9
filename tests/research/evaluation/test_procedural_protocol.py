from __future__ import annotations

import json
import math

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.errors import DualEncError
from dualenc_core.generator import PanoHead
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.evaluation import (
    Aim,
    ProceduralSettings,
    Report,
    evaluate_procedural,
    run_procedural,
    write_report,
)
from dualenc_core.research.evaluation.results import METRICS, region_of
from tests.small import small_generator


class Fixed:
    """An encoder that always answers with the head of one latent."""

    def __init__(self, value: float):
        self.value = value

    def encode(self, generator, image, camera, matte=None):
        assert image.shape == (1, 3, 32, 32) and matte.shape == (1, 1, 32, 32) and len(camera) == 1
        z = torch.full((1, generator.config.z_dim), self.value)
        z[:, 0] = -1
        return generator.synthesize(generator.mapping(z))


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    torch.manual_seed(0)
    config = small_generator(z_dim=16, render=RenderOptions(samples=8, importance=8))
    return PanoHead(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def report(generator) -> Report:
    settings = ProceduralSettings(heads=2, yaws=4)
    return evaluate_procedural(generator, Fixed(0.1), Fixed(2.0), Fixed(-1.0), settings, command="evaluate")


def test_every_head_view_and_variant_is_measured(report):
    assert report.variants == ["e1", "e2", "control", "cells", "unmatched", "points", "g_true_z", "g_unseen"]
    assert report.yaws == [0, 90, 180, 270]
    assert len(report.rows) == 2 * 4 * 8
    for row in report.rows:
        assert 3 < row["psnr"] < 30 and -1 <= row["ssim"] <= 1 and 0 <= row["iou"] <= 1
        assert row["mse"] == pytest.approx(4 / 10 ** (row["psnr"] / 10), rel=1e-3)
    assert set(report.agreement) == {"cells", "points"}
    assert report.provenance["command"] == "evaluate" and len(report.provenance["weights_sha256"]["generator"]) == 64


def test_repeats_exactly(generator, report):
    settings = ProceduralSettings(heads=2, yaws=4)
    seen = []
    again = evaluate_procedural(
        generator, Fixed(0.1), Fixed(2.0), Fixed(-1.0), settings, progress=lambda *p: seen.append(p)
    )
    assert json.dumps(again.to_dict()["rows"]) == json.dumps(report.to_dict()["rows"])
    assert seen == [(1, 2), (2, 2)]


def test_the_truth_is_kept_for_further_evaluations(generator, monkeypatch):
    settings = ProceduralSettings(heads=1, yaws=2)
    fresh = evaluate_procedural(generator, Fixed(0.1), Fixed(2.0), settings=settings)
    kept: dict = {}
    evaluate_procedural(generator, Fixed(1.0), Fixed(-2.0), settings=settings, truths=kept)
    monkeypatch.setattr(procedural, "render", None)
    again = evaluate_procedural(generator, Fixed(0.1), Fixed(2.0), settings=settings, truths=kept)
    # As text, in which NaN equals NaN.
    assert json.dumps([again.rows, again.patches]) == json.dumps([fresh.rows, fresh.patches])


def test_files(generator, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new"
    report = run_procedural(out, generator, Fixed(0.1), Fixed(2.0), heads=1, yaws=2, command="evaluate --heads 1")
    assert sorted(p.name for p in out.iterdir()) == ["report.json", "report.md", "report.png"]
    values = json.loads((out / "report.json").read_text())
    assert values["tables"]["by_region"]["psnr"]["e1"]["same"] == pytest.approx(report.by_region("psnr")["e1"]["same"])
    assert values["settings"]["seed"] == 1_000_000
    text = (out / "report.md").read_text()
    assert "evaluate --heads 1" in text and "dual encoder (points)" in text and "seeds below 1000000" in text
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "seed is 5, expected at least 1000000"),
        ({"heads": 0}, "heads is 0"),
        ({"variants": ("e1", "magic")}, "variants are"),
        ({"variants": ()}, "variants are"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(DualEncError, match=message):
        ProceduralSettings(**change)


def test_another_latent_is_refused_and_can_be_left_out(generator):
    config = generator.config.replace(z_dim=8)
    other = PanoHead(config).eval().requires_grad_(False)
    with pytest.raises(DualEncError, match="z_dim is 8"):
        evaluate_procedural(other, Fixed(0), Fixed(1))
    settings = ProceduralSettings(heads=1, yaws=1, variants=("e1", "points"))
    assert evaluate_procedural(other, Fixed(0), Fixed(1), settings=settings).variants == ["e1", "points"]


def test_input_views_cover_the_range():
    yaw, pitch = ProceduralSettings(heads=48).input_views()
    assert float(yaw.min()) == pytest.approx(-58.75) and float(yaw.max()) == pytest.approx(58.75)
    assert pitch.abs().max() <= 8 and pitch.std() > 2


def test_regions():
    names = [region_of(yaw) for yaw in (0, 360, 30, 330, -60, 90, 270, 110, 111, 180, 240)]
    assert names == ["same", "same", "front", "front", "front", "side", "side", "side", "behind", "behind", "behind"]


def made(values: dict[str, tuple[float, float]], **extra: float) -> Report:
    """A report with PSNR at the same view and behind."""
    rows = [
        {"head": 0, "yaw": yaw, "variant": name, **dict.fromkeys(METRICS, 0.5), "psnr": psnr, **extra}
        for name, pair in values.items()
        for yaw, psnr in zip((0.0, 180.0), pair, strict=True)
    ]
    settings = {"heads": 1, "seed": 1_000_000, "input_yaw": (-60, 60), "input_pitch": 8.0, "yaws": 2}
    settings |= {"input_resolution": 32, "image_resolution": 32}
    return Report(settings, {"weights_sha256": {}}, rows)


def test_aims():
    report = made({"e1": (25, 18), "e2": (21, 19), "points": (24.6, 18.6), "g_true_z": (21, 20), "g_unseen": (27, 26)})
    aims = {aim.name: aim for aim in report.aims()}
    assert aims["generator on unseen z, all views"].value == pytest.approx(26.5)
    assert aims["E1 over G(true z), same view"].value == pytest.approx(4)
    assert aims["dual by points over E1, same view"].met
    assert aims["dual by points over E1, behind"].value == pytest.approx(0.6)
    assert aims["dual by points over E2, behind"].met
    assert all(aim.met for aim in aims.values())
    assert not any(name.startswith("dual by cells") for name in aims)
    assert not Aim("tie", 0.0, 0.0, strict=True).met and Aim("tie", 0.0, 0.0).met and not Aim("nan", math.nan, 0).met


def test_a_tie_with_the_control_is_no_win():
    aim = made({"e1": (25, 18), "e2": (21, 19), "control": (21, 19)}).aims()[-1]
    assert aim.name.startswith("E2 over its control") and not aim.met


def test_nan_is_left_out_of_means_and_null_in_files(tmp_path):
    pytest.importorskip("matplotlib")
    report = made({"e1": (25, 18)}, depth=math.nan)
    assert math.isnan(report.mean("depth", "e1"))
    assert report.mean("psnr", "e1") == 21.5
    write_report(report, tmp_path)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["tables"]["by_region"]["depth"]["e1"]["behind"] is None
