"""The command line, with a generator and encoders of a few kilobytes, so that every verb really runs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import VERBS, main
from dualenc_core.commands.pipeline import _compare
from dualenc_core.export import save_png
from dualenc_core.generator import PanoHead
from dualenc_core.inversion import DualEncoder
from dualenc_core.triplane import Triplane
from tests.small import write_networks

PICTURES = {"crop.png", "comparison.png", "sheet.png", "depth.png", "alpha.png"}
RESULTS = {*PICTURES, "turntable.mp4", "triplane.safetensors", "report.json"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """Weights and a crop with a known camera."""
    folder = tmp_path_factory.mktemp("files")
    paths = SimpleNamespace(folder=folder, crop=folder / "crop.png", **write_networks(folder))
    picture = procedural.render(procedural.sample_heads(1, 5), Camera.look_at(20, 5), 64, antialias=1)
    save_png(picture.image[0], paths.crop)
    paths.weights = [f"--{name}={getattr(paths, name)}" for name in ("generator", "encoder1", "encoder2")]
    paths.given = ["--no-align", "--yaw=20", "--pitch=5", "--device=cpu"]
    return paths


def reconstruct(files, out: Path, *options: str) -> int:
    return main(["reconstruct", str(files.crop), f"--out={out}", *files.weights, *files.given, *options])


@pytest.fixture(scope="module")
def result(files, tmp_path_factory) -> Path:
    """The folder of one reconstruction."""
    out = tmp_path_factory.mktemp("result") / "new" / "head"
    assert reconstruct(files, out, "--frames=5") == 0
    return out


# ---------------------------------------------------------------------------------------------------------- reconstruct


def test_reconstruct_writes_everything_it_promises(files, result) -> None:
    assert {path.name for path in result.iterdir()} == RESULTS
    sizes = {}
    for name in PICTURES:
        with Image.open(result / name) as image:
            sizes[name] = image.size, image.mode
    assert sizes["crop.png"] == ((512, 512), "RGB")
    assert sizes["alpha.png"] == ((8, 8), "L")
    assert sizes["depth.png"][0] == (8, 8) and sizes["depth.png"][1].startswith("I;16")
    av = pytest.importorskip("av")
    with av.open(str(result / "turntable.mp4")) as container:
        assert len(list(container.decode(video=0))) == 5
    assert Triplane.load(result / "triplane.safetensors").overlays, "the default joins by points"


def test_report_says_what_was_done(files, result) -> None:
    from dualenc_core.files import sha256

    report = json.loads((result / "report.json").read_text(encoding="utf-8"))
    assert report["camera"]["yaw"] == pytest.approx(20, abs=1e-2)
    assert report["camera"]["pitch"] == pytest.approx(5, abs=1e-2)
    assert torch.allclose(torch.tensor(report["camera"]["label"]), Camera.look_at(20, 5).label[0])
    assert {w["role"]: w["sha256"] for w in report["weights"]} == {
        "generator": sha256(files.generator),
        "encoder 1": sha256(files.encoder1),
        "encoder 2": sha256(files.encoder2),
    }
    assert report["input"] == {"file": "crop.png", "sha256": sha256(files.crop)}
    assert set(report["metrics"]["same_view"]) == {"Encoder 1", "Encoder 2", "Dual"}
    assert all(0 < m["psnr"] < 100 for m in report["metrics"]["same_view"].values())
    assert {"load", "align", "encoder 1", "encoder 2", "mask", "stitch", "sheet", "turntable"} <= set(report["timings"])
    assert all(seconds >= 0 for seconds in report["timings"].values())


def test_the_same_command_gives_the_same_bytes(files, result, tmp_path) -> None:
    assert reconstruct(files, tmp_path / "again", "--frames=5") == 0
    for name in RESULTS - {"report.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (result / name).read_bytes(), name
    first, second = (
        json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in (result, tmp_path / "again")
    )
    assert first.pop("timings") and second.pop("timings")
    assert first == second


def test_stitching_by_cells_and_no_turntable(files, result, tmp_path) -> None:
    assert reconstruct(files, tmp_path / "cells", "--stitch=cells", "--frames=0") == 0
    assert {path.name for path in (tmp_path / "cells").iterdir()} == RESULTS - {"turntable.mp4"}
    assert not Triplane.load(tmp_path / "cells" / "triplane.safetensors").overlays


def test_the_camera_of_a_report_is_the_same_as_its_angles(files, result, tmp_path) -> None:
    options = ["--no-align", "--camera", str(result / "report.json"), "--frames=0", "--device=cpu"]
    assert main(["reconstruct", str(files.crop), "--out", str(tmp_path / "a"), *files.weights, *options]) == 0
    assert (tmp_path / "a" / "sheet.png").read_bytes() == (result / "sheet.png").read_bytes()


def test_what_is_not_head_is_replaced_by_the_background(files, tmp_path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert reconstruct(files, tmp_path / "a", f"--mask={tmp_path / 'mask.png'}", "--frames=0") == 0
    assert reconstruct(files, tmp_path / "b", f"--mask={tmp_path / 'mask.png'}", "--frames=0", "--keep-background") == 0
    with Image.open(tmp_path / "a" / "crop.png") as a, Image.open(tmp_path / "b" / "crop.png") as b:
        replaced, kept = np.asarray(a).astype(int), np.asarray(b).astype(int)
    assert replaced[:, :200].std(axis=(0, 1)).max() == 0
    assert np.array_equal(replaced[:, 300:], kept[:, 300:]) and kept[:, 300:].std() > 0


def test_a_photo_is_aligned_and_overrides_reach_the_camera(files, tmp_path) -> None:
    data = pytest.importorskip("skimage.data")
    photo = tmp_path / "astronaut.png"
    Image.fromarray(data.astronaut()).save(photo)
    out = tmp_path / "out"
    command = ["reconstruct", str(photo), f"--out={out}", *files.weights, "--frames=0", "--device=cpu", "--yaw=40"]
    assert main(command) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["camera"]["yaw"] == pytest.approx(40, abs=0.1)
    assert report["alignment"]["method"] == "found" and report["alignment"]["confidence"] > 0.5
    assert report["alignment"]["overrides"] == {"yaw": 40.0, "scale": 1.0, "shift": [0.0, 0.0]}
    with Image.open(out / "overlay.png") as overlay:
        assert np.asarray(overlay).min() < 40 and np.asarray(overlay).max() > 215, "the overlay keeps the photo's range"


def test_the_example_of_the_readme_makes_the_head_that_reconstruct_writes(files, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save("photo.jpg", quality=95)
    assert main(["reconstruct", "photo.jpg", "--out=out", *files.weights, "--frames=0", "--device=cpu"]) == 0
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import dualenc_core.*?)```", text, re.DOTALL)[1]
    for name, path in (("demo-e1", files.encoder1), ("demo-e2", files.encoder2), ("demo", files.generator)):
        code = code.replace(f'"{name}"', repr(str(path)))
    example: dict = {}
    exec(code.replace("orbit(60)", "orbit(1)"), example)  # noqa: S102
    head, written = example["head"].triplane, Triplane.load("out/triplane.safetensors")
    assert torch.equal(head.planes, written.planes) and torch.equal(head.ws, written.ws)
    assert torch.equal(head.overlays[0].planes, written.overlays[0].planes)


def test_no_score_over_a_matte_that_holds_nothing(files, tmp_path, capsys) -> None:
    Image.new("RGBA", (64, 64), (200, 90, 90, 255)).save(tmp_path / "crop.png")
    command = ["reconstruct", str(tmp_path / "crop.png"), f"--out={tmp_path / 'out'}", *files.weights, *files.given]
    for value, words in ((0, "empty"), (2, "largest value is 2")):
        Image.new("L", (64, 64), value).save(tmp_path / "mask.png")
        assert main([*command, f"--mask={tmp_path / 'mask.png'}", "--frames=0"]) == 1
        assert words in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert _compare(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)).keys() == {
        "psnr",
        "ssim",
    }


def test_a_photo_without_a_face_is_an_error(files, tmp_path, capsys) -> None:
    photo = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), "grey").save(photo)
    assert main(["reconstruct", str(photo), f"--out={tmp_path / 'out'}", *files.weights, "--device=cpu"]) == 1
    assert "no face was found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [photo]


# ---------------------------------------------------------------------------------------------------------- other verbs


def test_sample_makes_the_same_head_for_the_same_seed(files, tmp_path) -> None:
    common = [f"--generator={files.generator}", "--device=cpu"]
    assert main(["sample", f"--out={tmp_path / 'many'}", "--seed=3", "--count=2", *common]) == 0
    assert main(["sample", f"--out={tmp_path / 'one'}", "--seed=4", "--count=1", *common]) == 0
    assert {p.name for p in (tmp_path / "many").iterdir()} == {
        "head-0003.safetensors",
        "head-0004.safetensors",
        "sheet.png",
    }
    many = [(tmp_path / "many" / f"head-{seed:04d}.safetensors").read_bytes() for seed in (3, 4)]
    assert many[0] != many[1]
    assert (tmp_path / "one" / "head-0004.safetensors").read_bytes() == many[1]


def test_render_of_the_saved_head_is_what_reconstruct_showed(files, result, tmp_path) -> None:
    out = tmp_path / "views"
    command = ["render", str(result / "triplane.safetensors"), f"--out={out}", f"--generator={files.generator}"]
    assert main([*command, f"--camera={result / 'report.json'}", "--depth", "--device=cpu"]) == 0
    assert {p.name for p in out.iterdir()} == {"view-0000.png", "depth-0000.png", "alpha-0000.png"}
    for name in ("depth", "alpha"):
        assert (out / f"{name}-0000.png").read_bytes() == (result / f"{name}.png").read_bytes()


def test_render_orbits_and_cuts_out(files, result, tmp_path) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "views"
    command = ["render", str(result / "triplane.safetensors"), f"--out={out}", f"--generator={files.generator}"]
    assert main([*command, "--orbit=3", "--background=none", "--video", "--device=cpu"]) == 0
    names = [f"view-{i:04d}.png" for i in range(3)]
    assert {p.name for p in out.iterdir()} == {*names, "video.mp4"}
    assert len({(out / name).read_bytes() for name in names}) == 3
    with Image.open(out / names[0]) as image:
        assert image.mode == "RGBA" and image.size == (32, 32)
    with av.open(str(out / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_orbit_and_interpolate_write_videos(files, result, tmp_path) -> None:
    head = str(result / "triplane.safetensors")
    common = ["--generator", str(files.generator), "--frames", "4"]
    assert main(["orbit", head, "--out", str(tmp_path / "o" / "turn.webp"), "--swing", "--to", "30", *common]) == 0
    assert main(["interpolate", head, head, "--out", str(tmp_path / "morph.gif"), "--loop", *common]) == 0
    for path in (tmp_path / "o" / "turn.webp", tmp_path / "morph.gif"):
        assert Image.open(path).n_frames >= 1
    said = json.loads(Image.open(tmp_path / "morph.gif").info["comment"])
    assert said["generator"] == Triplane.load(head).generator and len(said["heads"]) == 2


@pytest.mark.parametrize("command", [["orbit", "--frames=3"], ["render", "--orbit=3", "--video"]])
def test_frames_enter_the_video_as_they_are_made(files, result, tmp_path, monkeypatch, command) -> None:
    made, seen = [], []
    render = PanoHead.render

    def count(*args, **kwargs):
        made.append(kwargs["quality"])
        return render(*args, **kwargs)

    monkeypatch.setattr(PanoHead, "render", count)
    # `render` imports it when it runs, `orbit` with its module.
    for place in ("dualenc_core.export", "dualenc_core.commands.film"):
        monkeypatch.setattr(f"{place}.save_video", lambda frames, *_, **__: seen.extend(len(made) for _ in frames))
    verb, *options = command
    out = tmp_path / ("turn.mp4" if verb == "orbit" else "views")
    head = str(result / "triplane.safetensors")
    assert main([verb, head, f"--out={out}", f"--generator={files.generator}", "--quality=high", *options]) == 0
    assert seen == [1, 2, 3] and set(made) == {"high"}


def test_edits_write_a_head_and_a_sheet(files, result, tmp_path) -> None:
    head = result / "triplane.safetensors"
    generator = ["--generator", str(files.generator)]
    assert main(["edit", "mirror", str(head), "--out", str(tmp_path / "m"), *generator]) == 0
    mirrored = tmp_path / "m" / "triplane.safetensors"
    assert main(["edit", "mirror", str(mirrored), "--out", str(tmp_path / "mm"), *generator]) == 0
    first, twice = (Triplane.load(p) for p in (head, tmp_path / "mm" / "triplane.safetensors"))
    assert torch.equal(first.planes, twice.planes)
    pair = [str(head), str(mirrored)]
    assert main(["edit", "blend", *pair, "--weight", "0", "--out", str(tmp_path / "b"), *generator]) == 0
    assert torch.equal(Triplane.load(tmp_path / "b" / "triplane.safetensors").planes, first.planes)
    assert main(["edit", "mix", *pair, "--rows", "0-", "--out", str(tmp_path / "x"), *generator]) == 0
    assert main(["edit", "transfer", *pair, "--part", "back", "--out", str(tmp_path / "t"), *generator]) == 0
    painted = tmp_path / "front.png"
    picture = Image.new("L", (64, 64))
    picture.paste(255, (0, 0, 64, 32))
    picture.save(painted)
    transfer = ["edit", "transfer", *pair, *generator, "--seam", "implicit", "--encoder", str(files.encoder2)]
    assert main([*transfer, "--painted", str(painted), "--recipe", "mouth", "--out", str(tmp_path / "p")]) == 0
    assert json.loads((tmp_path / "p" / "edit.json").read_text())["meta"]["transfer"]["recipe"] == "mouth"
    assert main([*transfer, "--painted", str(painted), "--yaw", "0", "90", "--out", str(tmp_path / "q")]) == 1
    assert main([*transfer, "--painted", str(head), "--out", str(tmp_path / "q")]) == 1
    assert not (tmp_path / "q").exists()
    for name in ("m", "b", "x", "t", "p"):
        names = {p.name for p in (tmp_path / name).iterdir()}
        assert names == {"triplane.safetensors", "sheet.png", "edit.json"}
        assert json.loads((tmp_path / name / "edit.json").read_text())["heads"][0] == "triplane.safetensors"


def test_mesh_writes_a_coloured_file(files, result, tmp_path, capsys) -> None:
    head = str(result / "triplane.safetensors")
    common = ["--generator", str(files.generator), "--grid", "24"]
    assert main(["mesh", head, "--out", str(tmp_path / "a" / "head.glb"), *common]) == 0
    assert (tmp_path / "a" / "head.glb").read_bytes()[:4] == b"glTF"
    assert "triangles" in capsys.readouterr().out
    assert main(["mesh", head, "--out", str(tmp_path / "head.fbx"), *common]) == 1
    assert ".glb or .ply" in capsys.readouterr().err
    assert main(["mesh", head, "--out", str(tmp_path / "head.ply"), "--head", "3", *common]) == 1
    assert "holds 1 head(s)" in capsys.readouterr().err


def test_demo_knows_the_truth_of_its_portrait(files, tmp_path, monkeypatch, capsys) -> None:
    from dualenc_core.commands import demo

    monkeypatch.setattr(demo, "PORTRAIT_SIZE", 64)
    monkeypatch.setattr(demo, "astronaut_pixels", lambda: None)
    assert main(["demo", f"--out={tmp_path}", *files.weights, "--frames=2", "--device=cpu"]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"portrait", "overview.png"}
    assert {p.name for p in (tmp_path / "portrait").iterdir()} == RESULTS
    report = json.loads((tmp_path / "portrait" / "report.json").read_text(encoding="utf-8"))
    assert list(report["metrics"]["by_yaw"]["Dual"]) == [str(yaw) for yaw in range(0, 360, 45)]
    assert "psnr_head" in report["metrics"]["same_view"]["Dual"]
    assert "scikit-image is not installed" in capsys.readouterr().out


def test_demo_of_people_aligns_the_example_portrait(tmp_path, monkeypatch) -> None:
    from dualenc_core.commands import demo

    monkeypatch.setattr(demo, "astronaut_pixels", lambda: None)
    weights = [f"--{name}={path}" for name, path in write_networks(tmp_path, z_dim=8).items()]
    assert main(["demo", f"--out={tmp_path / 'out'}", *weights, "--frames=0", "--device=cpu"]) == 0
    report = json.loads((tmp_path / "out" / "portrait" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["file"] == "dualenc_portrait.png" and report["alignment"]["method"] == "found"
    assert abs(report["camera"]["yaw"] - 20) < 6 and "by_yaw" not in report["metrics"]


def test_evaluate_asks_for_people_where_the_generator_is_not_of_procedural_heads(tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("DUALENC_PEOPLE", raising=False)
    weights = [f"--{name}={path}" for name, path in write_networks(tmp_path, z_dim=8).items()]
    command = ["evaluate", f"--out={tmp_path / 'out'}", *weights, "--heads=1", "--yaws=2", "--device=cpu"]
    assert main(command) == 1
    assert "pass --people FOLDER, or set DUALENC_PEOPLE" in capsys.readouterr().err
    assert main([*command, "--protocol=procedural"]) == 1
    assert "z_dim is 8" in (error := capsys.readouterr().err) and "--protocol people" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("told", "heads"), [([], 2), (["--heads=5"], 5)])
def test_evaluate_directed_takes_few_heads_unless_told_and_says_its_command(
    tmp_path, monkeypatch, capsys, told, heads
) -> None:
    from dualenc_core.people import Pack
    from dualenc_core.research.evaluation import directed

    asked = []

    def evaluate(generator, encoder1, encoder2, settings, progress, command, sheet, say):
        asked.append(settings)
        return directed.DirectedReport(asdict(settings), {"command": command})

    monkeypatch.setattr(directed, "evaluate_directed", evaluate)
    monkeypatch.setattr(Pack, "open", lambda folder: SimpleNamespace(root=tmp_path))
    weights = [f"--{name}={path}" for name, path in write_networks(tmp_path, z_dim=8).items()]
    command = ["evaluate", "--protocol=directed", f"--out={tmp_path / 'out'}", *weights, *told, "--device=cpu"]
    assert main([*command, "--asked", "age=30", "--variants", "none", "plain"]) == 0
    assert asked[0].heads == heads and asked[0].variants == ("none", "plain")
    assert f"--heads {heads} --yaws 8 --seed 1000000 --asked age=30 --variants none plain`" in capsys.readouterr().out


def test_evaluate_writes_its_report(files, tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    command = ["evaluate", f"--out={tmp_path}", *files.weights, "--heads=1", "--yaws=2", "--device=cpu"]
    assert main(command) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"report.md", "report.json", "report.png"}
    assert "Encoder 1" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["wplus", "pti", "refine"])
def test_optimize_writes_what_reconstruct_writes(files, tmp_path, capsys, mode) -> None:
    arguments = ["optimize", str(files.crop), f"--out={tmp_path}", *files.weights, *files.given]
    assert main([*arguments, f"--mode={mode}", "--steps=3", "--tune-steps=2", "--frames=2"]) == 0
    found = {p.name for p in tmp_path.iterdir()}
    assert found == RESULTS | ({"generator.safetensors"} if mode == "pti" else set())
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    made = report["optimisation"]
    assert made["perceptual"] == "laplacian-pyramid" and len(made["history"]) == (5 if mode == "pti" else 3)
    assert "LPIPS is not used" in capsys.readouterr().out
    tuned = f"--generator={tmp_path / 'generator.safetensors'}" if mode == "pti" else files.weights[0]
    render = ["render", str(tmp_path / "triplane.safetensors"), "--yaw=0", "--device=cpu"]
    assert main([*render, f"--out={tmp_path / 'view'}", tuned]) == 0
    if mode == "pti":
        assert main([*render, f"--out={tmp_path / 'wrong'}", files.weights[0]]) == 1
        assert "was made by generator" in capsys.readouterr().err


def test_weights_lists_the_catalog(capsys) -> None:
    assert main(["weights"]) == 0
    text = capsys.readouterr().out
    assert "demo-generator.safetensors" in text and "easy-khair-180-gpc0.8-trans10-025000.pkl" in text


# ---------------------------------------------------------------------------------------------------- errors and usage

GIVEN = ("--no-align", "--yaw=0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconstruct", "missing.jpg"], r"missing\.jpg"),
        (["reconstruct", "{folder}"], "is not a file"),
        (["reconstruct", "{text}", *GIVEN], "cannot be read as a picture"),
        (["reconstruct", "{empty}", *GIVEN], "cannot be read as a picture"),
        (["reconstruct", "{wide}", *GIVEN], "square"),
        (["reconstruct", "{crop}", *GIVEN, "--mask", "missing.png"], r"missing\.png"),
        (["reconstruct", "{crop}", *GIVEN, "--mask", "{wide}"], "size"),
        (["reconstruct", "{crop}", *GIVEN, "--mask", "{black}"], "empty"),
        (["reconstruct", "{crop}", "--no-align"], "where the camera is"),
        (["reconstruct", "{crop}", "--camera", "{text}"], "--no-align"),
        (["reconstruct", "{crop}", *GIVEN, "--camera", "{text}"], "twice"),
        (["reconstruct", "{crop}", "--no-align", "--camera", "{text}"], "25"),
        (["reconstruct", "{crop}", "--no-align", "--camera", "1,2,3"], "has 3 numbers"),
        (["reconstruct", "{crop}", "--no-align", "--camera", ",".join(["0"] * 25)], "rotation"),
        (["reconstruct", "{crop}", *GIVEN, "--face", "1"], "--no-align"),
        (["reconstruct", "{crop}", *GIVEN, "--generator", "missing.safetensors"], r"missing\.safetensors"),
        (["reconstruct", "{crop}", *GIVEN, "--generator", "{text}"], "note.txt"),
        (["reconstruct", "{crop}", *GIVEN, "--generator", "{encoder}"], "encoder"),
        (["reconstruct", "{crop}", *GIVEN, "--encoder2", "{generator}"], "generator"),
        (["reconstruct", "{crop}", *GIVEN, "--device", "cuda"], "cuda is not available"),
        (["render", "missing.safetensors"], r"missing\.safetensors"),
        (["render", "{generator}"], "triplane"),
        (["render", "{triplane}", "--background", "purple"], "purple"),
        (["render", "{triplane}", "--generator", "{other}"], "generator"),
        (["sample", "--generator", "{text}"], "note.txt"),
        (["evaluate", "--seed", "3"], "1000000"),
    ],
)
def test_user_errors_are_one_line_and_leave_nothing(files, tmp_path, capsys, arguments, words) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    places = _places(files, tmp_path)
    filled = [argument.format(**places) for argument in arguments]
    verb = filled[0]
    defaults = [] if verb == "render" and "--generator" in filled else files.weights[:1]
    if verb in ("reconstruct", "evaluate"):
        defaults = files.weights
    out = tmp_path / "deep" / "out"
    device = [] if "--device" in filled else ["--device=cpu"]
    before = set(tmp_path.rglob("*"))
    assert main([verb, *defaults, *filled[1:], "--out", str(out), *device]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert re.search(words, lines[0]), lines[0]
    assert set(tmp_path.rglob("*")) == before


def test_an_output_folder_that_is_a_file_is_refused(files, tmp_path, capsys) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    assert reconstruct(files, tmp_path / "out" / "deeper") == 1
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (RuntimeError("out of memory"), 1)])
def test_a_stop_halfway_keeps_the_results_of_before(files, result, tmp_path, monkeypatch, capsys, error, code) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sheet.png").write_bytes(b"earlier")

    def stop(*_, **__):
        raise error

    monkeypatch.setattr("dualenc_core.commands.pipeline.save_video", stop)
    assert reconstruct(files, out) == code
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"sheet.png": b"earlier"}
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_programming_error_is_not_hidden(files, tmp_path, monkeypatch) -> None:
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(DualEncoder, "invert", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        reconstruct(files, tmp_path / "out")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["reconstruct"],
        ["reconstruct", "photo.jpg"],
        ["reconstruct", "photo.jpg", "--out=o", "--device=tpu"],
        ["reconstruct", "photo.jpg", "--out=o", "--frames=-1"],
        ["reconstruct", "photo.jpg", "--out=o", "--scale=0"],
        ["render", "a.safetensors", "--out=o", "--yaw", "0", "--orbit", "3"],
        ["train", "--preset", "nothing"],
        ["convert", "only-one.pkl"],
    ],
)
def test_wrong_usage_is_2(arguments, capsys) -> None:
    assert main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(verb, capsys) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"python -m dualenc_core {verb}" in text.split("examples:")[1]


@pytest.mark.parametrize("kind", ["transfer", "blend", "mirror", "mix", "attributes"])
def test_every_edit_explains_itself_with_examples(kind, capsys) -> None:
    assert main(["edit", kind, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"python -m dualenc_core edit {kind} " in text.split("examples:")[1]


def test_convert_refuses_what_is_no_checkpoint(tmp_path, capsys) -> None:
    source, target = tmp_path / "a.pkl", tmp_path / "b.safetensors"
    source.write_bytes(b"hello")
    assert main(["convert", str(source), str(target)]) == 1
    assert capsys.readouterr().err.startswith("error: ") and not target.exists()


def _places(files, folder: Path) -> dict[str, str]:
    """Broken and unsuitable inputs by name."""
    (folder / "note.txt").write_text("not what you think", encoding="utf-8")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (80, 64), "grey").save(folder / "wide.png")
    Image.new("L", (64, 64), 0).save(folder / "black.png")
    Triplane(torch.zeros(1, 3, 12, 16, 16), torch.zeros(1, 6, 16), 3, "0123456789abcdef").save(folder / "t.safetensors")
    return {
        "folder": str(folder),
        "text": str(folder / "note.txt"),
        "empty": str(folder / "empty.png"),
        "wide": str(folder / "wide.png"),
        "black": str(folder / "black.png"),
        "triplane": str(folder / "t.safetensors"),
        "crop": str(files.crop),
        "generator": str(files.generator),
        "other": str(files.generator),
        "encoder": str(files.encoder1),
    }
