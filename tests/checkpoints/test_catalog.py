"""The catalog of weights: the shipped list is sound, names resolve, and what is missing is explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dualenc_core.checkpoints import catalog, format_status, resolve, status, weights_folder
from dualenc_core.errors import CheckpointError
from dualenc_core.files import sha256

SHIPPED = Path(__file__).parents[2] / "weights" / "catalog.json"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DUALENC_WEIGHTS", str(tmp_path))
    (tmp_path / "catalog.json").write_bytes(SHIPPED.read_bytes())
    return tmp_path


def _safetensors(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    return path


def test_shipped_catalog_is_sound():
    entries = catalog.read_catalog(SHIPPED)
    names = [name for entry in entries for name in {entry.id, entry.alias} - {None}]
    assert len(names) == len(set(names))
    assert {"demo", "demo-e1", "demo-e2", "panohead", "arcface"} <= set(names)
    for entry in entries:
        assert entry.licence and entry.role and entry.files
        assert entry.url is None or entry.url.startswith("https://")
        assert (entry.converted is None) == (entry.how_to_convert is None)
        assert entry.converted is None or entry.how_to_convert.endswith(f"weights/{entry.converted}")
        for file in entry.files:
            assert file.sha256 is None or len(file.sha256) == 64


def test_bundled_files_are_what_the_catalog_says():
    root = SHIPPED.parent
    for entry in catalog.read_catalog(SHIPPED):
        for file in entry.files:
            location = root / entry.folder / (file.name or "")
            if entry.bundled and file.sha256 and location.is_file():
                assert (location.stat().st_size, sha256(location)) == (file.size, file.sha256), location.name


def test_weights_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DUALENC_WEIGHTS", raising=False)
    assert weights_folder() == SHIPPED.parent
    monkeypatch.setenv("DUALENC_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path


def test_resolve_aliases_and_paths(folder, tmp_path):
    demo = _safetensors(folder / "demo-generator.safetensors")
    assert resolve("generator", "demo") == demo == resolve("generator", "demo-generator")
    assert resolve("generator", str(demo)) == demo == resolve("generator", demo)
    assert resolve("generator", "demo-generator.safetensors") == demo
    own = _safetensors(tmp_path / "own" / "mine.safetensors")
    assert resolve("encoder", own) == own


def test_resolve_missing_says_everything(folder):
    with pytest.raises(CheckpointError) as caught:
        resolve("generator", "panohead")
    message = str(caught.value)
    for part in (
        "easy-khair-180-gpc0.8-trans10-025000.pkl",
        str(folder),
        "https://drive",
        "size unknown",
        "licence",
        "convert",
    ):
        assert part in message
    with pytest.raises(CheckpointError, match="belongs to the repository"):
        resolve("encoder", "demo-e2")
    with pytest.raises(CheckpointError, match=r"known name \(demo, panohead"):
        resolve("generator", "nonsense")
    with pytest.raises(CheckpointError, match="encoder weights .* generator weights are expected"):
        resolve("generator", "demo-e1")


def test_resolve_prefers_the_converted_file(folder):
    pickle = folder / "easy-khair-180-gpc0.8-trans10-025000.pkl"
    pickle.write_bytes(b"\x80\x04N.")
    assert resolve("generator", "panohead") == pickle
    converted = _safetensors(folder / "panohead.safetensors")
    assert resolve("generator", "panohead") == converted
    (folder / "model_ir_se50.pth").write_bytes(b"\x80\x02N.")
    command = f"convert {folder}/model_ir_se50.pth {folder}/arcface.safetensors"
    with pytest.raises(CheckpointError, match=f"not converted yet; .*{command}"):
        resolve("arcface", "arcface")


def test_status_and_its_text(folder, tmp_path):
    _safetensors(folder / "demo-generator.safetensors")
    catalog.update()
    other = tmp_path / "elsewhere"
    _safetensors(other / "arcface.safetensors")
    (other / "CurricularFace_Backbone.pth").write_bytes(b"x")
    states = {row.entry.id: row.state for row in status(search_dirs=[other])}
    assert states["demo-generator"] == "present" and states["demo-encoder1"] == "missing"
    assert states["arcface"] == "converted" and states["curricularface"] == "not converted"
    assert states["triplanenet-v2"] == "unknown name"
    text = format_status(search_dirs=[other])
    assert str(folder) in text and "DUALENC_WEIGHTS" in text
    assert all(entry.id in text for entry in catalog.read_catalog())


def test_update_fills_bundled_files_and_changes_are_noticed(folder):
    demo = _safetensors(folder / "demo-generator.safetensors")
    assert catalog.update() == ["demo-generator.safetensors"]
    assert catalog.update() == []
    line = json.loads((folder / "catalog.json").read_text())["entries"][0]["files"][0]
    assert line == {"name": demo.name, "size": 10, "sha256": sha256(demo)}
    assert status(verify=True)[0].state == "present"
    demo.write_bytes((2).to_bytes(8, "little") + b"{ ")
    assert (status()[0].state, status(verify=True)[0].state) == ("present", "wrong hash")
    demo.write_bytes(b"short")
    assert status()[0].state == "wrong size"
    assert "differs from the known file (10 bytes)" in format_status()


def test_broken_catalog(folder):
    (folder / "catalog.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        status()


def test_the_bundled_weights_are_the_ones_in_the_catalog(monkeypatch):
    monkeypatch.delenv("DUALENC_WEIGHTS", raising=False)
    bundled = {row.file.name: row.state for row in status(verify=True) if row.entry.bundled}
    assert len(bundled) == 7 and set(bundled.values()) == {"present"}, bundled
