"""The protocol of directed heads: its figures on pictures whose changes are known, and a whole run on toy pictures."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.people import numbers, sample_people, trait_names
from dualenc_core.rendering.output import Rendering
from dualenc_core.research.evaluation import directed
from dualenc_core.research.evaluation.directed import (
    DirectedReport,
    DirectedSettings,
    _compare,
    _possible,
    _shares,
    evaluate_directed,
)
from tests.known_people import people_generator, somebody


def _pattern(seed: int, size: int = 64) -> torch.Tensor:
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return 0.2 * torch.nn.functional.interpolate(noise, (size, size), mode="bilinear")


def test_shares_say_how_much_of_each_trait_moved():
    truth = _pattern(0)
    truths = {"age": truth + _pattern(1), "smile": truth + _pattern(2)}
    head = truth + _pattern(3)
    moved = head + 0.5 * _pattern(1) + 0.1 * _pattern(2)
    edited = {"age": {"none": head, "moved": moved}, "smile": {"none": head, "moved": head + _pattern(2)}}
    found = list(_shares(0, truth, truths, edited, {"moved": head}))
    assert [row["edit"] for row in found] == ["age", "smile"]
    assert found[0]["shares"] == pytest.approx({"age": 0.5, "smile": 0.1}, abs=1e-3)
    assert found[1]["shares"] == pytest.approx({"age": 0.0, "smile": 1.0}, abs=1e-3)


def test_what_moves_and_what_stays_is_measured_apart():
    truth, wanted = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    wanted[..., :8] = 0.5
    moved = (wanted[:, :1] > 0).float()
    picture = torch.full((1, 3, 16, 16), 0.1)
    found = _compare(picture, wanted, truth, truth, moved)
    assert found["psnr_moved"] == pytest.approx(13.98, abs=0.01) and found["moved"] == 0.5
    assert found["outside"] == pytest.approx(100) and found["outside_truth"] == 0


def test_who_has_much_of_something_is_asked_for_less():
    for person in sample_people(8, 3):
        traits = dict(zip(trait_names(), numbers(person, [0.0] * 30), strict=True))
        wanted = 0.8 if traits["smile"] <= 0.2 else -0.8
        assert _possible("expression", "smile", 0.8, person) == wanted
        assert _possible("face", "age", 30.0, person) == 30.0
        assert _possible("hair", "hair_lightness", 0.5, person) == 0.5


@pytest.fixture
def toy(monkeypatch):
    """Pictures of people whose brightness is their age, and their left edge their smile."""

    def picture(pack, person, cameras, size):
        image = 0.5 * _pattern(7, size)[:1].expand(len(cameras), -1, -1, -1).clone()
        image += 0.01 * (person.age - 40)
        image[..., : size // 4] += person.amount("smile")
        ones = torch.ones(len(cameras), 1, size, size)
        return Rendering(image.clamp(-1, 1), image, ones, ones)

    monkeypatch.setattr(directed, "_picture", picture)
    monkeypatch.setattr(directed, "_lit_from", lambda pack, person, yaw: person)
    monkeypatch.setattr(directed.Pack, "open", lambda folder: None)


def test_a_whole_run(toy, tmp_path):
    generator = people_generator()
    encoder = SimpleNamespace(encode=lambda g, image, camera, matte=None: somebody(generator, 3))
    settings = DirectedSettings(
        1, {"age": 30.0, "smile": -0.8, "nose_hump": 0.5}, "pack", yaws=2, variants=("none", "plain")
    )
    calls, lines = [], []
    report = evaluate_directed(
        generator, encoder, encoder, settings, lambda *a: calls.append(a), "the command", tmp_path, lines.append
    )
    # Toys have no noses.
    assert "nose_hump" not in report.attributes and "age" in report.attributes
    assert calls == [(1, 3), (2, 3), (3, 3)] and lines[0].startswith("head 0, age +30, dB")
    rows = [r for r in report.rows if r["attribute"] == "age"]
    assert [r["variant"] for r in rows] == ["none", "plain"] and rows[0]["outside"] == 0 and rows[0]["moved"] == 1
    assert rows[0]["psnr"] != rows[1]["psnr"]
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "the command" in text and "| age | 30 | 1 |" in text and (tmp_path / "head0.png").exists()
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["heads"] == 1


def test_wrong_settings_are_named(toy):
    with pytest.raises(DualEncError, match="seed is 5, expected at least 1000000"):
        DirectedSettings(1, {"age": 1.0}, "pack", seed=5)
    with pytest.raises(DualEncError, match="attributes 0"):
        DirectedSettings(1, {}, "pack")
    generator = people_generator()
    with pytest.raises(DualEncError, match="no attribute 'teeth'"):
        evaluate_directed(generator, None, None, DirectedSettings(1, {"teeth": 1.0}, "pack"))


def test_means_leave_out_what_is_not_known():
    report = DirectedReport({"variants": ["none", "plain"], "asked": {"age": 1.0}}, {})
    assert report.attributes == [] and report.mean("psnr", "age", "none") != report.mean("psnr", "age", "none")
