"""The command line on consoles, in folders and with files as people have them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import main
from dualenc_core.commands.folder import output_folder
from dualenc_core.errors import DualEncError
from dualenc_core.export import save_png, to_uint8
from dualenc_core.generator.loading import load_generator
from dualenc_core.triplane import Triplane
from tests.small import write_networks


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """Weights of a few kilobytes, a crop with a known camera, and heads: one, two and three in a file."""
    folder = tmp_path_factory.mktemp("files")
    paths = SimpleNamespace(folder=folder, crop=folder / "crop.png", **write_networks(folder))
    picture = procedural.render(procedural.sample_heads(1, 5), Camera.look_at(20, 5), 64, antialias=1)
    save_png(picture.image[0], paths.crop)
    paths.weights = [f"--{name}={getattr(paths, name)}" for name in ("generator", "encoder1", "encoder2")]
    generator = load_generator(str(paths.generator))
    latents = torch.cat([generator.latents(seed) for seed in range(3)])
    with torch.no_grad():
        heads = generator.synthesize(generator.mapping(latents, truncation_psi=0.7))
    paths.heads = {count: heads[:count].save(folder / f"{count}.safetensors") for count in (1, 2, 3)}
    return paths


def reconstruct(files, out: Path, *options: str, crop: Path | None = None) -> int:
    given = ["--no-align", "--yaw=20", "--pitch=5", "--device=cpu"]
    return main(["reconstruct", str(crop or files.crop), f"--out={out}", *files.weights, *given, *options])


# ------------------------------------------------------------------------------------------------------------- consoles


@pytest.mark.parametrize("encoding", ["cp1251", "cp437", "cp932", "latin-1", "ascii"])
def test_output_goes_into_every_code_page(files, tmp_path, monkeypatch, encoding) -> None:
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for name in ("stdout", "stderr")
    }
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert main(["weights"]) == 0
    assert main(["render", "日本Ж×…—.safetensors", "--out", str(tmp_path / "x")]) == 1
    monkeypatch.undo()
    out, err = ((stream.flush(), stream.buffer.getvalue().decode(encoding))[1] for stream in streams.values())
    assert "demo-generator.safetensors" in out and "Traceback" not in err and "does not exist" in err
    if encoding == "ascii":
        assert r"\u65e5\u672c\u0416x...-.safetensors" in err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize(("end", "code", "words"), [("closed", 0, 0), ("/dev/full", 1, 1)])
def test_readers_that_leave_and_full_disks_are_no_traceback(end, code, words) -> None:
    command = [sys.executable, "-m", "dualenc_core", "weights"]
    if end == "closed":
        read, write = os.pipe()
        os.close(read)
    else:
        if not Path(end).exists():
            pytest.skip("needs /dev/full")
        write = os.open(end, os.O_WRONLY)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=root, timeout=300)
    os.close(write)
    assert done.returncode == code and len(done.stderr.splitlines()) == words, done.stderr


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are texts there")
def test_a_photo_whose_name_is_no_text_is_reconstructed(files, tmp_path) -> None:
    crop = tmp_path / os.fsdecode(b"caf\xe9.png")
    crop.write_bytes(files.crop.read_bytes())
    out = tmp_path / os.fsdecode(b"h\xe9ad")
    assert reconstruct(files, out, "--frames=2", crop=crop) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["file"] == crop.name and (out / "turntable.mp4").stat().st_size


def test_results_of_the_longest_names_are_written(files, tmp_path) -> None:
    common = [str(files.heads[1]), f"--generator={files.generator}", "--device=cpu"]
    for verb, name, options in (
        ("mesh", "m" * 251 + ".glb", ["--grid=24"]),
        ("orbit", "o" * 250 + ".webp", ["--frames=2", "--resolution=8"]),
    ):
        assert main([verb, *common, f"--out={tmp_path / name}", *options]) == 0
        assert (tmp_path / name).stat().st_size > 0
    assert main(["mesh", *common, f"--out={tmp_path / ('m' * 256)}.glb"]) == 1


# -------------------------------------------------------------------------------------------------------------- folders


def test_a_used_folder_has_no_results_of_another_run(files, tmp_path) -> None:
    out = tmp_path / "out"
    assert reconstruct(files, out, "--frames=2") == 0
    (out / "overlay.png").write_bytes(b"of a run with alignment")
    (out / "notes.txt").write_text("mine")
    (out / "generator.safetensors").write_bytes(b"mine too: the report does not know it")
    assert reconstruct(files, out, "--frames=0") == 0
    names = {path.name for path in out.iterdir()}
    assert not names & {"turntable.mp4", "overlay.png"} and {"notes.txt", "generator.safetensors", "sheet.png"} <= names


def test_a_tuned_generator_goes_with_its_head(files, tmp_path) -> None:
    command = [
        "optimize",
        str(files.crop),
        f"--out={tmp_path}",
        *files.weights,
        "--no-align",
        "--yaw=20",
        "--device=cpu",
    ]
    assert main([*command, "--mode=pti", "--steps=1", "--tune-steps=1", "--frames=0"]) == 0
    assert (tmp_path / "generator.safetensors").exists()
    assert reconstruct(files, tmp_path, "--frames=0") == 0
    assert not (tmp_path / "generator.safetensors").exists()


def test_fewer_views_leave_none_of_the_earlier_ones(files, tmp_path) -> None:
    common = ["render", str(files.heads[1]), f"--generator={files.generator}", f"--out={tmp_path}", "--device=cpu"]
    assert main([*common, "--orbit=4", "--video=webp", "--depth", "--resolution=8"]) == 0
    (tmp_path / "view-from-home.png").touch()
    assert main([*common, "--yaw", "0", "90", "--resolution=8"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"view-0000.png", "view-0001.png", "view-from-home.png"}


def test_finished_pictures_are_kept_when_the_disk_is_full(files, tmp_path, monkeypatch, capsys) -> None:
    made = []

    def full(image, path, alpha=None):
        if len(made) == 2:
            raise OSError(28, "No space left on device", str(path))
        made.append(save_png(image, path, alpha).name)

    monkeypatch.setattr("dualenc_core.export.save_png", full)
    out = tmp_path / "out"
    command = ["render", str(files.heads[1]), f"--generator={files.generator}", f"--out={out}", "--device=cpu"]
    assert main([*command, "--orbit=4", "--resolution=8"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "No space left" in line and str(out) in line and "2 files" in line
    assert sorted(path.name for path in out.iterdir()) == made and len(list(tmp_path.iterdir())) == 1


def test_an_error_names_the_folder_that_the_user_knows(tmp_path) -> None:
    with pytest.raises(OSError) as caught, output_folder(tmp_path / "out") as folder:
        raise OSError(28, "No space left on device", str(folder / "head.safetensors"))
    assert str(tmp_path / "out" / "head.safetensors") in str(caught.value) and list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_moved_are_not_thrown_away(tmp_path) -> None:
    (tmp_path / "out" / "sheet.png").mkdir(parents=True)
    with pytest.raises(DualEncError, match="cannot be moved into .*they are in ") as caught:
        with output_folder(tmp_path / "out") as folder:
            (folder / "sheet.png").write_bytes(b"hours of work")
    assert (folder / "sheet.png").read_bytes() == b"hours of work" and str(folder) in str(caught.value)


def test_an_output_that_is_a_link_to_nothing_is_refused_before_the_work(files, tmp_path, capsys) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "not-mounted")
    assert main(["sample", "--out", str(tmp_path / "out"), files.weights[0]]) == 1
    assert "link to" in capsys.readouterr().err
    assert main(["mesh", "missing.safetensors", "--out", str(tmp_path / "out" / "a.glb")]) == 1
    assert "link to" in capsys.readouterr().err, "before the head is looked for"


# ---------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("command", "option", "absent"),
    [
        (["mesh", "{head}", "--out=a.glb"], "--grid", "--resolution"),
        (["render", "{head}", "--out=a"], "--resolution", "--grid"),
        (["prepare", "{folder}", "--out=a"], "--size", "--resolution"),
        (["invert", "{folder}", "--out=a"], "--workers", "--resolution"),
        (["convert", "a.pkl", "a.safetensors"], "close other programs", "--device"),
    ],
)
def test_lack_of_memory_names_an_option_of_the_command(files, monkeypatch, capsys, command, option, absent) -> None:
    import importlib

    def lack(_):
        raise MemoryError("no more")

    monkeypatch.setattr(importlib.import_module(f"dualenc_core.commands.{command[0]}"), "run", lack)
    assert main([part.format(head=files.heads[1], folder=files.folder) for part in command]) == 1
    text = capsys.readouterr().err
    assert "out of memory" in text and option in text and absent not in text


@pytest.mark.parametrize("colour", ["#fff", "#FFFFFF", "1,1,1", "1, 1.0, 1"])
def test_backgrounds_are_read_as_people_write_them(files, tmp_path, colour) -> None:
    command = ["render", str(files.heads[1]), f"--generator={files.generator}", f"--out={tmp_path}", "--device=cpu"]
    assert main([*command, "--resolution=8", "--background", colour]) == 0
    expected = load_generator(str(files.generator)).render(
        Triplane.load(files.heads[1]), Camera.look_at(0), 8, background=(1, 1, 1), quality="exact"
    )
    shown = np.asarray(Image.open(tmp_path / "view-0000.png")).astype(float)
    assert np.abs(shown - to_uint8(expected.image[0])).max() <= 1


@pytest.mark.parametrize("colour", ["#ff", "#ggg", "2,0,0", "nan,0,0", "white", ""])
def test_other_backgrounds_are_named_with_what_is_expected(files, tmp_path, capsys, colour) -> None:
    command = ["orbit", str(files.heads[1]), f"--generator={files.generator}", f"--out={tmp_path / 'a.gif'}"]
    assert main([*command, "--background", colour]) == 1
    assert repr(colour) in (text := capsys.readouterr().err) and "#fff" in text


@pytest.mark.parametrize("edit", ["transfer", "blend", "mix"])
@pytest.mark.parametrize("pair", [(2, 3), (1, 2)])
def test_batches_that_do_not_fit_are_refused_at_once(files, tmp_path, capsys, monkeypatch, edit, pair) -> None:
    def late(*_, **__):
        raise AssertionError("the generator was loaded before")

    monkeypatch.setattr("dualenc_core.commands.models.load_one_generator", late)
    heads = [str(files.heads[count]) for count in pair]
    assert main(["edit", edit, *heads, "--out", str(tmp_path / "a"), files.weights[0]]) == 1
    text = capsys.readouterr().err
    assert f"holds {pair[1]} heads" in text and not (tmp_path / "a").exists()


def test_a_foreign_safetensors_file_leads_to_its_original_and_not_in_circles(tmp_path, capsys) -> None:
    foreign = tmp_path / "panohead.safetensors"
    save_file({"synthesis.weight": torch.zeros(3)}, foreign, {"format": "pt"})
    said = []
    assert main(["sample", "--generator", str(foreign), "--out", str(tmp_path / "o")]) == 1
    said.append(capsys.readouterr().err)
    assert main(["convert", str(foreign), str(tmp_path / "x.safetensors")]) == 1
    said.append(capsys.readouterr().err)
    for text in said:
        assert "another program" in text and ".pkl" in text and "load it directly" not in text
    assert not (tmp_path / "x.safetensors").exists()


def test_converting_what_is_ours_says_so(files, tmp_path, capsys) -> None:
    assert main(["convert", str(files.generator), str(tmp_path / "x.safetensors")]) == 1
    assert "of kind 'generator'; load it as it is" in capsys.readouterr().err
    assert main(["convert", str(files.heads[1]), str(tmp_path / "x.safetensors")]) == 1
    assert "is a saved head, not weights" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_cameras_and_reports_of_windows_editors_are_read(files, tmp_path, encoding) -> None:
    label = Camera.look_at(20, 5).label[0].tolist()
    texts = {"cam.txt": " ".join(map(str, label)), "report.json": json.dumps({"camera": {"label": label}, "é": "日"})}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
        command = ["render", str(files.heads[1]), f"--generator={files.generator}", f"--camera={tmp_path / name}"]
        assert main([*command, f"--out={tmp_path / 'views'}", "--resolution=8", "--device=cpu"]) == 0
