"""Attributes, animations and directions from the command line."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dualenc_core import load_generator
from dualenc_core.cli import main
from dualenc_core.editing import values_of
from dualenc_core.triplane import Triplane
from tests.known_people import somebody, write_people
from tests.small import write_networks


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("people")
    path = write_people(folder / "people.safetensors")
    generator = load_generator(path)
    heads = {n: somebody(generator, *n).save(folder / f"{n[0]}.safetensors") for n in ((3,), (20,), (7, 8))}
    return SimpleNamespace(
        folder=folder, path=path, generator=generator, one=heads[3,], other=heads[20,], two=heads[7, 8]
    )


def edit(files, head, out, *options: str) -> int:
    given = [f"--generator={files.path}", f"--out={out}", "--device=cpu", "--quality=reference", "--resolution=8"]
    return main(["edit", "attributes", str(head), *given, *options])


def values(files, path):
    return values_of(files.generator, Triplane.load(path))


def test_sliders_choices_and_colours(files, tmp_path) -> None:
    out = tmp_path / "out"
    options = ["--smile", ".3", "--age=-5", "--light-yaw", "30", "--set", "nose_hump=.4", "hair_grey=.1"]
    assert edit(files, files.one, out, *options, "--hair-style", "bob01:0.5", "--eye-colour=blue") == 0
    before, after = values(files, files.one), values(files, out / "triplane.safetensors")
    for name, moved in (("smile", 0.3), ("age", -5), ("light_yaw", 30), ("nose_hump", 0.4), ("hair_grey", 0.1)):
        # Angles are read as -180 to 180.
        assert (float(after[name] - before[name]) + 180) % 360 - 180 == pytest.approx(moved, abs=0.05)
    assert float(after["weight"] - before["weight"]) == pytest.approx(0, abs=1e-3)
    done = json.loads((out / "edit.json").read_text(encoding="utf-8"))["meta"]["direct"]["values"]
    assert done["hair_style=bob01"] == 0.5 and done["eye_colour=blue"] == 1 and done["age"] == -5
    assert np.asarray(Image.open(out / "sheet.png")).std() > 0


def test_what_another_head_lends(files, tmp_path) -> None:
    wishes = tmp_path / "wishes.json"
    wishes.write_text('{"values": {"age": 9, "smile": 0.2}, "traits": {"brow_up": 0.25}}', encoding="utf-8")
    options = ["--like", str(files.other), "--take", "expression", f"--values={wishes}", "--smile=0.1"]
    assert edit(files, files.two, tmp_path / "out", *options) == 0
    theirs, mine = values(files, files.other), values(files, files.two)
    result = values(files, tmp_path / "out" / "triplane.safetensors")
    for i in range(2):
        assert float(result["squint"][i]) == pytest.approx(float(theirs["squint"]), abs=1e-3)
        assert float(result["smile"][i]) == pytest.approx(float(theirs["smile"]) + 0.1, abs=1e-3)
        assert float(result["brows_up"][i]) == pytest.approx(0.25, abs=1e-3)
        assert float(result["age"][i] - mine["age"][i]) == pytest.approx(9, abs=0.05)
        assert float(result["light_warmth"][i]) == pytest.approx(float(mine["light_warmth"][i]), abs=1e-2)


def test_neutral_heads(files, tmp_path) -> None:
    assert edit(files, files.one, tmp_path / "all", "--neutral") == 0
    assert edit(files, files.one, tmp_path / "light", "--neutral", "light") == 0
    both, light = (values(files, tmp_path / name / "triplane.safetensors") for name in ("all", "light"))
    assert abs(float(both["gaze_yaw"])) < 1e-2 and float(both["light_softness"]) > 0.999
    assert float(light["gaze_yaw"]) == pytest.approx(float(values(files, files.one)["gaze_yaw"]), abs=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--age=300"], "age is 300, expected -60 to 60 (years)"),
        (["--hair-style=mohawk"], "hair_style is 'mohawk', expected one of none, bob02"),
        (["--hair-style=bob01:half"], "--hair-style has 'half' where a number is expected"),
        (["--hair-colour=red"], "hair_colour is 'red', expected #rrggbb"),
        (["--set", "smile"], "--set is 'smile', expected NAME=NUMBER"),
        (["--set", "smiel=1"], "did you mean smile"),
        (["--values", "absent.json"], "absent.json"),
    ],
)
def test_wrong_wishes_are_one_line_and_nothing_is_written(files, tmp_path, capsys, options, message) -> None:
    assert edit(files, files.one, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out" / "triplane.safetensors").exists()


def test_heads_that_lend_must_fit(files, tmp_path, capsys) -> None:
    assert edit(files, files.one, tmp_path / "out", "--like", str(files.two)) == 1
    assert "holds 2 heads, expected one" in capsys.readouterr().err


def test_animations(files, tmp_path) -> None:
    tracks, mouths = tmp_path / "tracks.json", tmp_path / "mouths.txt"
    tracks.write_text('{"tracks": {"smile": [[0, 0], [0.5, 0.8]], "camera.yaw": [[0, -20], [1, 20]]}}')
    mouths.write_text("a 0.1 0.3\n")
    common = [str(files.one), f"--generator={files.path}", "--device=cpu", "--quality=reference", "--resolution=8"]
    out = tmp_path / "talk.webp"
    assert main(["animate", *common, f"--out={out}", f"--tracks={tracks}", f"--visemes={mouths}", "--fps=6"]) == 0
    with Image.open(out) as video:
        assert video.n_frames == 6
        pictures = []
        for i in range(6):
            video.seek(i)
            pictures.append(np.asarray(video.convert("RGB"), np.int16))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(pictures, pictures[1:], strict=False))
    free = tmp_path / "free.png"
    assert main(["animate", *common, f"--out={free}", f"--visemes={mouths}", "--fps=6", "--background=none"]) == 0
    assert Image.open(tmp_path / "free-0000.png").mode == "RGBA" and not (tmp_path / "free-0002.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to animate"),
        (["--tracks", "TRACKS"], "did you mean smile"),
        (["--visemes", "absent.txt"], "absent.txt"),
        (["--visemes", "MOUTHS", "--head=4"], "--head is 4"),
        (["--visemes", "MOUTHS", "--background=none"], "MP4 knows no transparency"),
    ],
)
def test_impossible_animations_are_one_line(files, tmp_path, capsys, options, message) -> None:
    (tmp_path / "TRACKS").write_text('{"seconds": 1, "tracks": {"smiel": [[0, 1]]}}')
    (tmp_path / "MOUTHS").write_text("a 0 1")
    options = [str(tmp_path / o) if o.isupper() else o for o in options]
    given = [str(files.one), f"--generator={files.path}", f"--out={tmp_path / 'x.mp4'}", "--device=cpu"]
    assert main(["animate", *given, *options]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1 and not (tmp_path / "x.mp4").exists()


def test_what_a_generator_knows_is_listed(files, capsys) -> None:
    assert main(["directions", f"--generator={files.path}", "--device=cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("age ") and "-60 to 60 (years)" in line for line in lines)
    assert any(line.startswith("hair_style ") and "ponytail01" in line for line in lines)


def test_directions_for_a_generator_that_names_none(tmp_path, capsys) -> None:
    paths = write_networks(tmp_path)
    generator = load_generator(paths["generator"])
    head = generator.synthesize(generator.mapping(generator.latents(1))).save(tmp_path / "head.safetensors")
    common = [f"--generator={paths['generator']}", "--device=cpu"]
    assert main(["edit", "attributes", str(head), *common, "--smile=1", f"--out={tmp_path / 'a'}"]) == 1
    assert "python -m dualenc_core directions" in capsys.readouterr().err
    np.save(tmp_path / "smile.npy", np.ones(16, np.float32))
    file = tmp_path / "d.safetensors"
    options = ["--principal=2", "--factors=1", "--samples=100", f"--add=smile={tmp_path / 'smile.npy'}"]
    assert main(["directions", *common, f"--out={file}", *options, "--rename=principal_1=size"]) == 0
    assert main(["directions", *common, f"--directions={file}"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-4:]] == [
        "size", "principal_2", "factor_1", "smile",
    ]  # fmt: skip
    given = [*common, f"--directions={file}", "--quality=reference", "--resolution=8"]
    assert main(["edit", "attributes", str(head), *given, "--set=size=2", "--smile=1", f"--out={tmp_path / 'b'}"]) == 0
    moved = Triplane.load(tmp_path / "b" / "triplane.safetensors").ws - Triplane.load(head).ws
    assert np.allclose(moved.numpy().std(axis=1), 0, atol=1e-6) and float(moved.abs().max()) > 0.5
    for wrong in (["--out=d.pt"], [f"--out={file}", "--add=smile"], [f"--out={file}", "--rename=eyes=nose"]):
        assert main(["directions", *common, *wrong, "--samples=100", "--principal=1", "--factors=0"]) == 1


def test_bundled_weights_are_directed_by_default(tmp_path, capsys) -> None:
    assert main(["directions", "--device=cpu"]) == 0
    listed = capsys.readouterr().out
    assert "smile_open" in listed and "light_yaw" in listed and "hair_style" in listed
    assert main(["sample", f"--out={tmp_path}", "--seed=1", "--count=1", "--device=cpu"]) == 0
    head, small = str(next(tmp_path.glob("*.safetensors"))), ["--device=cpu", "--resolution=16", "--quality=draft"]
    assert main(["edit", "attributes", head, "--smile=0.5", f"--out={tmp_path / 'edit'}", *small]) == 0
    done = json.loads((tmp_path / "edit" / "edit.json").read_text(encoding="utf-8"))["meta"]["direct"]
    assert done["values"]["smile"] == 0.5
    (tmp_path / "mouths.txt").write_text("a 0 0.1")
    out = tmp_path / "talk.webp"
    assert main(["animate", head, f"--visemes={tmp_path / 'mouths.txt'}", "--fps=20", f"--out={out}", *small]) == 0
    with Image.open(out) as video:
        assert video.n_frames == 2
