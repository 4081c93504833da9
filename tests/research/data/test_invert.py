"""Inverting folders, with networks of a few kilobytes: crops with known cameras, and photos that must be aligned."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import main
from dualenc_core.encoders.networks import NetworkFiles, load_networks
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.export import save_alpha, save_png
from dualenc_core.inversion import DualEncoder, on_backdrop
from dualenc_core.research.data import (
    ImageFolder,
    InvertSettings,
    invert_folder,
    write_labels,
)
from dualenc_core.research.data import invert as module
from dualenc_core.triplane import Triplane
from tests.small import write_networks

PLAIN = InvertSettings(previews=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_networks(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def networks(weights) -> NetworkFiles:
    return NetworkFiles.find("cpu", **{name: str(path) for name, path in weights.items()})


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Four portraits as `prepare` writes them, one of which is broken."""
    root = tmp_path_factory.mktemp("crops")
    cameras = {}
    for i, yaw in enumerate((-30.0, 0.0, 20.0, 5.0)):
        name, camera = f"p{i}.png", Camera.look_at(yaw, 4)
        view = procedural.render(procedural.sample_heads(1, 1_000_000 + i), camera, 64, antialias=1)
        save_png(view.image[0], root / "images" / name)
        save_alpha(view.alpha[0], root / "masks" / name)
        cameras[name] = camera
    write_labels(root / "images" / "dataset.json", cameras)
    (root / "images" / "p3.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def done(crops, networks, tmp_path_factory):
    out = tmp_path_factory.mktemp("heads")
    seen = []
    return out, invert_folder(crops, out, networks, workers=1, progress=lambda *p: seen.append(p)), seen


def files(out) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_a_head_is_what_the_dual_encoder_makes_of_the_crop(crops, networks, done):
    out, result, seen = done
    assert result.accepted == 3 and set(result.rejected) == {"p3.png"} and seen == [(i, 4) for i in range(5)]
    loaded = load_networks(networks)
    example = ImageFolder.open(crops, 512).read(0)
    image = on_backdrop(loaded.generator, example.image, example.matte)
    dual = DualEncoder(loaded.generator, loaded.encoder1, loaded.encoder2)
    expected = dual.invert(image, example.camera, example.matte).triplane
    head = Triplane.load(out / "heads" / "p0.png.safetensors")
    view = [loaded.generator.render(t, Camera.look_at(150.0)).image for t in (head, expected)]
    assert torch.allclose(*view, atol=1e-4) and not torch.allclose(head.planes, torch.zeros(()))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["weights"]["encoder1"]["file"] == "encoder1.safetensors" and report["reasons"] == {"unreadable": 1}
    assert report["psnr"] == pytest.approx(result.psnr)
    assert "| p3.png | unreadable:" in (out / "report.md").read_text(encoding="utf-8")
    width, height = Image.open(out / "previews" / "p0.png.png").size
    assert width > 3 * height


def test_networks_are_loaded_once_a_worker(crops, networks, tmp_path, monkeypatch):
    from dualenc_core.encoders import networks as loading

    calls = []
    load = loading.load_generator
    monkeypatch.setattr(loading, "load_generator", lambda *a: calls.append(a) or load(*a))
    load_networks.cache_clear()
    invert_folder(crops, tmp_path, networks, PLAIN, workers=1)
    assert len(calls) == 1


def test_processes_give_the_same_files(crops, networks, done, tmp_path):
    assert invert_folder(crops, tmp_path, networks, workers=2).accepted == 3
    assert files(tmp_path) == files(done[0])


def test_ray_gives_the_same_files(crops, networks, done, tmp_path):
    pytest.importorskip("ray", reason="needs: pip install 'ray[data]'")
    assert invert_folder(crops, tmp_path, networks, engine="ray", workers=1).accepted == 3
    assert files(tmp_path) == files(done[0])


def test_a_run_that_dies_between_two_photos_goes_on(crops, networks, done, tmp_path, monkeypatch):
    whole = module.invert_one

    def dies(item):
        if item["name"] == "p2.png":
            raise KeyboardInterrupt
        return whole(item)

    monkeypatch.setattr(module, "invert_one", dies)
    with pytest.raises(KeyboardInterrupt):
        invert_folder(crops, tmp_path, networks, workers=1)
    assert not (tmp_path / "report.json").exists()
    monkeypatch.undo()
    # A head without its record, as after a power cut, is made again.
    (tmp_path / "records" / "p0.png.json").unlink()
    assert invert_folder(crops, tmp_path, networks, workers=1).resumed == 1
    assert files(tmp_path) == files(done[0])


def test_other_settings_or_weights_need_another_folder(crops, networks, weights, done, tmp_path):
    with pytest.raises(DualEncError, match="stitch 'points' → 'cells'"):
        invert_folder(crops, done[0], networks, InvertSettings(stitch="cells"))
    swapped = NetworkFiles.find("cpu", weights["generator"], encoder1=weights["encoder2"], encoder2=weights["encoder1"])
    with pytest.raises(DualEncError, match="encoder1"):
        invert_folder(crops, done[0], swapped)
    with pytest.raises(CheckpointError, match="nowhere"):
        NetworkFiles.find("cpu", "nowhere.safetensors")


def test_photos_are_aligned_and_a_changed_one_loses_its_head(weights, tmp_path, capsys):
    data = pytest.importorskip("skimage.data")
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(data.astronaut()).save(photos / "face.png")
    Image.fromarray(np.full((80, 80, 3), 120, np.uint8)).save(photos / "empty.png")
    command = ["invert", str(photos), f"--out={out}", "--workers=1", "--device=cpu", "--half", "--no-previews"]
    command += [f"--{name}={path}" for name, path in weights.items()]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 heads, 1 photos rejected" in said and "empty.png: no-face" in said
    assert not (out / "previews").exists()
    head = out / "heads" / "face.png.safetensors"
    assert len(Triplane.load(head)) == 1
    shutil.copy(photos / "empty.png", photos / "face.png")
    assert main(command) == 1
    assert "(1 were done before)" in capsys.readouterr().out and not head.exists()


def test_one_photo_is_enough(crops, weights, tmp_path, capsys):
    data = pytest.importorskip("skimage.data")
    photo = tmp_path / "face.png"
    Image.fromarray(data.astronaut()).save(photo)
    command = ["invert", str(photo), f"--out={tmp_path / 'out'}", "--device=cpu"]
    assert main([*command, *(f"--{name}={path}" for name, path in weights.items())]) == 0
    assert (tmp_path / "out" / "heads" / "face.png.safetensors").is_file()
    assert main(["invert", str(tmp_path / "none"), f"--out={tmp_path / 'x'}"]) == 1
    assert "is not a folder" in capsys.readouterr().err
