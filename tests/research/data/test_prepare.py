"""Cropping a folder: scikit-image's astronaut among photos that cannot be used."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from dualenc_core.cli import main
from dualenc_core.errors import DualEncError, MissingDependencyError
from dualenc_core.portrait import align_portrait
from dualenc_core.research.data import ImageFolder, PrepareSettings, prepare_folder, read_labels
from dualenc_core.research.data import prepare as module

SETTINGS = PrepareSettings(size=64, least_side=100)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("photos")
    face = Image.fromarray(data.astronaut())
    face.save(folder / "face.png")
    (folder / "sub").mkdir()
    face.crop((60, 0, 400, 340)).save(folder / "sub" / "face.jpg", quality=95)
    face.resize((96, 96)).save(folder / "tiny.png")
    Image.fromarray(np.full((80, 80, 3), 120, np.uint8)).save(folder / "empty.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "dataset"
    seen = []
    return out, prepare_folder(photos, out, SETTINGS, workers=1, progress=lambda *p: seen.append(p)), seen


def files(out) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_crops_labels_and_masks_are_those_of_the_alignment(photos, prepared):
    out, result, seen = prepared
    assert result.accepted == 2 and set(result.rejected) == {"tiny.png", "empty.png", "broken.jpg"}
    assert seen == [(i, 5) for i in range(6)]
    labels, problems = read_labels(out / "images")
    assert set(labels) == {"face.png.png", "sub/face.jpg.png"} and not problems
    expected = align_portrait(photos / "face.png", size=64)
    folder = ImageFolder.open(out, 64)
    example = folder.read(folder.names.index("face.png.png"))
    assert torch.allclose(example.image, expected.image, atol=1 / 127)
    assert torch.allclose(example.matte, expected.matte, atol=1 / 254)
    assert torch.allclose(example.camera.label, expected.camera.label, atol=1e-5)


def test_rejected_photos_are_reported_with_reasons(prepared):
    out, result, _ = prepared
    assert result.rejected["empty.png"][0] == "no-face" and result.rejected["broken.jpg"][0] == "unreadable"
    assert result.rejected["tiny.png"][0] in ("too-small", "low-confidence", "no-face")
    report = json.loads((out / "report.json").read_text())
    assert (report["photos"], report["accepted"], report["rejected"]) == (5, 2, 3)
    assert sum(report["reasons"].values()) == 3
    text = (out / "report.md").read_text()
    assert "2 accepted, 3 rejected" in text and "| broken.jpg | unreadable:" in text


def test_a_second_run_does_nothing_and_changed_photos_are_done_again(photos, tmp_path, monkeypatch):
    source, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "out"
    prepare_folder(source, out, SETTINGS, workers=1)
    before = files(out)
    calls = []
    monkeypatch.setattr(module, "prepare_one", lambda item: calls.append(item["name"]))
    assert prepare_folder(source, out, SETTINGS, workers=1).resumed == 5
    assert calls == [] and files(out) == before
    monkeypatch.undo()
    shutil.copy(source / "empty.png", source / "face.png")
    (source / "broken.jpg").unlink()
    result = prepare_folder(source, out, SETTINGS, workers=1)
    assert (result.accepted, result.resumed) == (1, 3) and result.rejected["face.png"][0] == "no-face"
    # What is rejected now must not stay in the data.
    assert not (out / "images" / "face.png.png").exists() and not (out / "masks" / "face.png.png").exists()
    assert set(read_labels(out / "images")[0]) == {"sub/face.jpg.png"}


def test_a_run_that_dies_between_two_photos_goes_on(photos, prepared, tmp_path, monkeypatch):
    out = tmp_path / "out"
    whole = module.prepare_one

    def dies(item):
        if item["name"] == "face.png":
            raise KeyboardInterrupt
        return whole(item)

    monkeypatch.setattr(module, "prepare_one", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(photos, out, SETTINGS, workers=1)
    assert not (out / "images" / "dataset.json").exists()
    monkeypatch.undo()
    # An image without its record, as after a power cut, is made again.
    (out / "records" / "empty.png.json").write_text("{")
    result = prepare_folder(photos, out, SETTINGS, workers=1)
    assert 0 < result.resumed < 5 and files(out) == files(prepared[0])


def test_processes_give_the_same_files(photos, prepared, tmp_path):
    out = tmp_path / "out"
    assert prepare_folder(photos, out, SETTINGS, workers=2).accepted == 2
    assert files(out) == files(prepared[0])


def test_ray_gives_the_same_files(photos, prepared, tmp_path):
    pytest.importorskip("ray", reason="needs: pip install 'ray[data]'")
    out = tmp_path / "out"
    assert prepare_folder(photos, out, SETTINGS, engine="ray", workers=1).accepted == 2
    assert files(out) == files(prepared[0])


def test_without_ray_the_message_says_what_to_install(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ray\[data\]'"):
        prepare_folder(photos, tmp_path / "out", SETTINGS, engine="ray")


def test_other_settings_need_another_folder(photos, prepared, tmp_path):
    with pytest.raises(DualEncError, match="size 64 → 32"):
        prepare_folder(photos, prepared[0], PrepareSettings(size=32, least_side=100))
    with pytest.raises(DualEncError, match="photos themselves"):
        prepare_folder(photos, photos.parent)
    with pytest.raises(DualEncError, match="not a folder"):
        prepare_folder(photos / "none", tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DualEncError, match="no photo"):
        prepare_folder(tmp_path / "bare", tmp_path / "out")
    with pytest.raises(DualEncError, match="engine"):
        prepare_folder(photos, tmp_path / "out", SETTINGS, engine="spark")


def test_the_verb(photos, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--size=64", "--least-side=100", "--workers=1"]
    assert main(["prepare", str(photos), f"--out={out}", *options]) == 0
    said = capsys.readouterr().out
    assert "2 photos accepted, 3 rejected" in said and "broken.jpg: unreadable" in said
    assert main(["prepare", str(photos / "none"), f"--out={out}"]) == 1
    assert "not a folder" in capsys.readouterr().err


def test_broken_metadata_cost_nothing_and_broken_pictures_one_line(photos, tmp_path):
    """Whatever a decoder throws, it is the end of one photo, never of the folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    text = PngImagePlugin.PngInfo()
    text.add_text("exif", str(b"Exif\x00\x00II*\x00"))
    with Image.open(photos / "face.png") as face:
        face.save(folder / "metadata.png", pnginfo=text)
        face.save(folder / "whole.dds.png", "DDS")
    data = bytearray((folder / "whole.dds.png").read_bytes())
    (folder / "whole.dds.png").unlink()
    data[80:84] = bytes(4)  # the flags of the pixel format
    (folder / "damaged.png").write_bytes(data)
    (folder / "heading.avif").write_bytes(b"\x00\x00\x00 ftypavif\x00\x00\x00\x00avifmif1miafMA1B" + bytes(100))
    (folder / "clear.png").write_bytes((photos / "broken.jpg").read_bytes())
    result = prepare_folder(folder, tmp_path / "out", SETTINGS, workers=1)
    assert result.accepted == 1
    assert {name: code for name, (code, _) in result.rejected.items()} == {
        "damaged.png": "unreadable",
        "heading.avif": "unreadable",
        "clear.png": "unreadable",
    }
    assert all("\n" not in reason for _, reason in result.rejected.values())
