"""The accuracy tool on a dataset made from an aligned astronaut, whose label is then known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dualenc_core.errors import DualEncError
from dualenc_core.portrait import align_portrait
from dualenc_core.portrait.photo import read_photo
from tests.benchmarks.alignment import COLUMNS, calibrate, errors, measure, perturbed, read_labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    photo = pytest.importorskip("skimage.data").astronaut()
    folder = tmp_path_factory.mktemp("labelled")
    portrait = align_portrait(photo, size=256)
    pixels = ((portrait.image[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    Image.fromarray(pixels).save(folder / "a.png")
    label = [f"{v:.6f}" for v in portrait.camera.label[0].tolist()]
    (folder / "dataset.json").write_text(json.dumps({"labels": [["a.png", label]]}))
    return folder


def test_known_moves_are_measured_as_such(folder):
    ((path, rotation),) = read_labels(folder)
    photo = read_photo(path)
    for mirror, turn, zoom, shift in (
        (False, 0.0, 1.0, (0.0, 0.0)),
        (True, 20.0, 0.6, (0.1, -0.05)),
        (False, 170.0, 0.9, (0, 0)),
    ):
        found = errors(perturbed(photo, rotation, "a", mirror, turn, zoom, shift))
        limits = dict(zip(COLUMNS, (2, 3, 2, 2, 3, 2.5), strict=True))
        assert all(abs(e) < limit for e, limit in zip(found, limits.values(), strict=True)), (turn, found)


def test_calibration_finds_what_the_package_has(folder):
    ((path, rotation),) = read_labels(folder)
    still = (0.0, 1.0, (0.0, 0.0))
    found = calibrate([perturbed(read_photo(path), rotation, "a", m, *still) for m in (False, True)])
    assert found.unit == pytest.approx(0.02337, rel=0.03) and found.pitch == pytest.approx(1.5, abs=2)
    assert found.y == pytest.approx(-0.031, abs=0.015)


def test_table_and_bad_folders(folder, tmp_path):
    table = measure(folder, perturbations=1)
    assert "| a.png | package | as it is |" in table and "leave-one-out |" not in table
    with pytest.raises(DualEncError, match="dataset.json"):
        read_labels(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", [1, 2, 3]]]}))
    with pytest.raises(DualEncError, match="3 numbers"):
        read_labels(tmp_path)
    assert np.isfinite(
        errors(perturbed(read_photo(folder / "a.png"), read_labels(folder)[0][1], "a", False, 0.0, 1.0, (0.0, 0.0)))
    ).all()
