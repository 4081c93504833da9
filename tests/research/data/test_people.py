"""Folders as people have them: odd names, links to nothing, bad items, other people's files, dataset.json by hand."""

from __future__ import annotations

import json
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import main
from dualenc_core.encoders.networks import NetworkFiles
from dualenc_core.errors import CheckpointError, DualEncError, MissingDependencyError
from dualenc_core.export import save_png
from dualenc_core.research.data import (
    ImageFolder,
    InvertSettings,
    PrepareSettings,
    invert_folder,
    prepare_folder,
)
from dualenc_core.research.data.records import find_photos
from tests.small import write_networks

SETTINGS = PrepareSettings(size=32)
RAW = os.fsdecode(b"caf\xe9.jpg")


def bytes_are_names() -> bool:
    return sys.platform not in ("win32", "darwin")


ODD = ["ok.jpg", "n" * 240 + ".jpg", "日" * 80 + ".png", "a\\b.jpg", "a\nb.jpg", *([RAW] if bytes_are_names() else [])]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


@pytest.fixture
def aligned(monkeypatch):
    """The alignment, replaced by one that sees a head in every file but those that say otherwise."""
    report = SimpleNamespace(confidence=0.9, yaw=0.0, pitch=0.0, warnings=(), crop=(0, 0, 300.0), outside=0.0)
    seen = []

    def align(path, size):
        seen.append(path.name)
        text = path.read_text()
        if text == "decoder":
            raise SyntaxError("broken chunk")
        if text == "memory":
            raise MemoryError
        if text == "package":
            raise MissingDependencyError("HEIC needs: pip install 'dualenc[heic]'")
        if text == "weights":
            raise CheckpointError("the face detector is missing")
        flat = torch.zeros(1, 3, size, size)
        return SimpleNamespace(image=flat, matte=flat[:, :1] + 1, camera=Camera.look_at(0), report=report)

    monkeypatch.setattr("dualenc_core.portrait.align_portrait", align)
    return seen


def fill(folder, **contents):
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


# -------------------------------------------------------------------------------------------------------- names, items


def test_photos_of_every_name_become_crops_that_can_be_read(tmp_path, aligned) -> None:
    photos, out = fill(tmp_path / "photos", **dict.fromkeys(ODD, "")), tmp_path / "out"
    result = prepare_folder(photos, out, SETTINGS, workers=1)
    assert result.accepted == len(ODD) and not result.rejected
    folder = ImageFolder.open(out, 16)
    assert len(folder.names) == len(ODD) and not folder.problems and "ok.jpg.png" in folder.names
    assert all(folder.read(i) is not None for i in range(len(ODD)))
    assert prepare_folder(photos, out, SETTINGS, workers=1).resumed == len(ODD) and len(aligned) == len(ODD)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert {record["photo"] for record in report["records"]} == set(ODD)


def test_one_bad_item_never_ends_the_run(tmp_path, aligned) -> None:
    contents = {f"{kind}.jpg": kind for kind in ("decoder", "memory", "package", "good")}
    photos, out = fill(tmp_path / "photos", **contents), tmp_path / "out"
    (photos / "gone.jpg").symlink_to(tmp_path / "not-mounted.jpg")
    result = prepare_folder(photos, out, SETTINGS, workers=1)
    assert result.accepted == 1
    assert {name: code for name, (code, _) in result.rejected.items()} == {
        "decoder.jpg": "failed",
        "memory.jpg": "failed",
        "package.jpg": "needs-package",
        "gone.jpg": "unreadable",
    }
    assert "broken chunk" in result.rejected["decoder.jpg"][1] and "dualenc[heic]" in result.rejected["package.jpg"][1]
    # What may be mended without changing the photo is tried again.
    aligned.clear()
    prepare_folder(photos, out, SETTINGS, workers=1)
    assert set(aligned) == {"decoder.jpg", "memory.jpg", "package.jpg", "gone.jpg"}


def test_what_is_no_fault_of_the_photos_ends_the_run(tmp_path, aligned) -> None:
    photos = fill(tmp_path / "photos", **{"a.jpg": "weights"})
    with pytest.raises(CheckpointError, match="detector is missing"):
        prepare_folder(photos, tmp_path / "out", SETTINGS, workers=1)


def test_a_disk_that_fills_up_keeps_finished_photos(tmp_path, aligned, monkeypatch) -> None:
    photos, out = fill(tmp_path / "photos", **{f"{i}.jpg": "" for i in range(4)}), tmp_path / "out"
    save, made = save_png, []

    def full(image, path, alpha=None):
        if len(made) == 2:
            raise OSError(28, "No space left on device", str(path))
        made.append(path.name)
        return save(image, path, alpha)

    monkeypatch.setattr("dualenc_core.export.save_png", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_folder(photos, out, SETTINGS, workers=1)
    assert sorted(path.name for path in (out / "images").iterdir()) == sorted(made)
    monkeypatch.undo()
    made.clear()


def test_other_peoples_files_in_the_output_are_left_alone(tmp_path, aligned) -> None:
    photos, out = fill(tmp_path / "photos", **{"a.jpg": "", "b.jpg": ""}), tmp_path / "out"
    (out / "images").mkdir(parents=True)
    (out / "images" / "mine.png").write_bytes(b"mine")
    prepare_folder(photos, out, SETTINGS, workers=1)
    (photos / "b.jpg").unlink()
    prepare_folder(photos, out, SETTINGS, workers=1)
    assert {path.name for path in (out / "images").iterdir()} == {"mine.png", "a.jpg.png", "dataset.json"}


def test_nothing_accepted_is_exit_code_1_with_a_summary(tmp_path, aligned, capsys) -> None:
    photos = fill(tmp_path / "photos", **{"a.jpg": "decoder", "b.jpg": "decoder"})
    command = ["prepare", str(photos), "--out", str(tmp_path / "out"), "--workers", "1", "--size", "32"]
    assert main(command) == 1
    text = capsys.readouterr().out
    assert "0 photos accepted, 2 rejected" in text and "b.jpg: failed" in text
    (photos / "c.jpg").write_text("good")
    assert main(command) == 0 and "1 photos accepted, 2 rejected" in capsys.readouterr().out


def test_unfinished_files_are_no_photos(tmp_path) -> None:
    photos = fill(tmp_path / "photos", **{"a.jpg": ""})
    (photos / ".dualenc-1234").mkdir()
    (photos / ".dualenc-1234" / "sheet.png").touch()
    assert find_photos(photos, tmp_path / "out") == ["a.jpg"]


@pytest.mark.parametrize("content", ["{", "[1]", "\x00"])
def test_damaged_settings_are_named(tmp_path, aligned, content) -> None:
    photos, out = fill(tmp_path / "photos", **{"a.jpg": ""}), fill(tmp_path / "out")
    (out / "settings.json").write_text(content)
    with pytest.raises(DualEncError, match=r"settings\.json is damaged"):
        prepare_folder(photos, out, SETTINGS, workers=1)


# -------------------------------------------------------------------------------------------------------------- invert


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> NetworkFiles:
    weights = write_networks(tmp_path_factory.mktemp("weights"))
    return NetworkFiles.find("cpu", **{name: str(path) for name, path in weights.items()})


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Three heads, two of them with odd names, and the labels that belong to them."""
    root = tmp_path_factory.mktemp("portraits")
    names = ["a.png", "n" * 240 + ".png", "日" * 80 + ".png"]
    view = procedural.render(procedural.sample_heads(1, 7), Camera.look_at(10), 32, antialias=1)
    for name in names:
        save_png(view.image[0], root / name)
    return root, names, Camera.look_at(10).label[0].tolist()


def dataset(root, tmp_path, labels):
    """A copy of the images with other labels."""
    copy = tmp_path / "data"
    shutil.copytree(root, copy)
    content = labels if isinstance(labels, bytes) else json.dumps({"labels": labels}).encode()
    (copy / "dataset.json").write_bytes(content)
    return copy


def test_heads_of_every_name_are_written(portraits, networks, tmp_path) -> None:
    root, names, label = portraits
    data = dataset(root, tmp_path, [[name, label] for name in names])
    result = invert_folder(data, tmp_path / "heads", networks, InvertSettings(previews=True), workers=1)
    assert result.accepted == 3 and len(list((tmp_path / "heads" / "heads").iterdir())) == 3
    assert invert_folder(data, tmp_path / "heads", networks, InvertSettings(), workers=1).resumed == 3


def test_labels_that_lead_elsewhere_write_nothing_there(portraits, networks, tmp_path) -> None:
    root, names, label = portraits
    data = dataset(root, tmp_path, [["a.png", label], ["../../evil.png", label], ["/evil.png", label], ["..", label]])
    result = invert_folder(data, tmp_path / "out" / "heads", networks, InvertSettings(previews=False), workers=1)
    assert result.accepted == 1
    assert all("relative to the folder" in result.rejected[name][1] for name in ("../../evil.png", "/evil.png", ".."))
    assert not [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(tmp_path / "out" / "heads")]


# -------------------------------------------------------------------------------------------------------- dataset.json


def test_an_image_that_is_listed_twice_is_used_with_the_first_label(portraits, networks, tmp_path, capsys) -> None:
    root, (name, *_), label = portraits
    other = Camera.look_at(-40).label[0].tolist()
    data = dataset(root, tmp_path, [[name, label], [f"./{name}", other], [name, None]])
    folder = ImageFolder.open(data, 16)
    assert len(folder) == 1 and "listed twice; the first one counts" in folder.problems[name]
    example = folder.read(0)
    assert example is not None and torch.allclose(example.camera.label[0], torch.tensor(label))
    assert next(folder.batches(2))[1].names == (name, name)
    assert name not in folder.left_out
    result = invert_folder(data, tmp_path / "heads", networks, InvertSettings(previews=False), workers=1)
    assert result.accepted == 1 and name not in result.rejected


def test_an_image_that_is_listed_twice_and_broken_is_left_out(portraits, tmp_path) -> None:
    root, (name, second, _), label = portraits
    data = dataset(root, tmp_path, [[name, label], [name, label], [second, label]])
    (data / name).write_bytes(b"no picture")
    folder = ImageFolder.open(data, 16)
    assert folder.read(folder.names.index(name)) is None and "cannot be read" in folder.left_out[name]
    assert next(folder.batches(2))[1].names == (second, second)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (lambda name, label: [[name, label[:16]]], "has 16 numbers, expected 25"),
        (lambda name, label: [[name, [float("nan")] * 25]], "NaN"),
        (lambda name, label: [[name, [*label[:3], 10**400, *label[4:]]]], "infinite"),
        (lambda name, label: [[name, [*label[:3], 1e300, *label[4:]]]], "infinite"),
        (lambda name, label: [[name, "1" * 25]], "not a list of numbers"),
        (lambda name, label: [[name, dict.fromkeys(map(str, range(25)), 1)]], "not a list of numbers"),
        (lambda name, label: [[name]], "not a pair"),
        (lambda name, label: [[f"../{name}", label]], "relative to the folder"),
        (lambda name, label: [], "dataset.json is empty"),
        (lambda name, label: [["elsewhere.png", label]], "says 'elsewhere.png', and the folder has"),
    ],
)
def test_the_reason_why_no_label_can_be_used_is_said(portraits, tmp_path, labels, words) -> None:
    root, (name, *_), label = portraits
    with pytest.raises(DualEncError) as caught:
        ImageFolder.open(dataset(root, tmp_path, labels(name, label)), 16)
    assert words in str(caught.value) and ("must be paths" in str(caught.value)) == ("elsewhere" in words)


@pytest.mark.parametrize("spelling", ["./a.png", ".\\a.png", "b/../a.png", ".//a.png"])
def test_other_spellings_of_a_path_are_the_same_image(portraits, tmp_path, spelling) -> None:
    root, _, label = portraits
    assert ImageFolder.open(dataset(root, tmp_path, [[spelling, label]]), 16).names == ["a.png"]


@pytest.mark.parametrize(("listed", "stored"), [("e\u0301.png", "é.png"), ("é.png", "e\u0301.png")])
def test_names_of_macs_are_found(portraits, tmp_path, listed, stored) -> None:
    root, (name, *_), label = portraits
    data = dataset(root, tmp_path, [[listed, label]])
    (data / name).rename(data / stored)
    folder = ImageFolder.open(data, 16)
    assert len(folder.names) == 1 and folder.read(0) is not None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_dataset_of_a_windows_editor_is_read(portraits, tmp_path, encoding) -> None:
    root, names, label = portraits
    text = json.dumps({"labels": [[name, label] for name in names]}, ensure_ascii=False)
    assert len(ImageFolder.open(dataset(root, tmp_path, text.encode(encoding)), 16).names) == 3
