"""From a downloaded official file to a head inside ComfyUI: DualEnc Convert, and what other nodes say until then."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.conftest import Style, dumps, official

OFFICIAL = "easy-khair-180-gpc0.8-trans10-025000.pkl"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(pack, tmp_path, monkeypatch) -> Path:
    """models/dualenc of a ComfyUI, as its folder_paths shows it."""
    home = tmp_path / "a models" / "dualenc"
    home.mkdir(parents=True)
    folders = SimpleNamespace(
        models_dir=str(home.parent),
        get_filename_list=lambda key: sorted(path.name for path in home.iterdir()),
        get_full_path=lambda key, name: str(home / name) if (home / name).is_file() else None,
        get_folder_paths=lambda key: [str(home)],
        get_directory_by_type=lambda kind: str(tmp_path / kind),
    )
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    monkeypatch.setattr(runtime, "comfy", {"folder_paths": folders}.get)
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture(scope="session")
def pickle(tmp_path_factory) -> Path:
    """A small generator in a file of the official format, with a program in it that leaves a mark when it runs."""
    golden = ROOT / "tests" / "golden" / "panohead" / "tiny_d3"
    config = json.loads((golden / "config.json").read_text())
    same = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "channel_base", "channel_max", "num_fp16_res")
    more = {
        "mapping_kwargs": {"num_layers": config["map_layers"]},
        "sr_num_fp16_res": 4,
        "sr_kwargs": {key: config["sr"][key] for key in ("input_resolution", "hidden_widths", "w_dim")},
    }
    folder = tmp_path_factory.mktemp("official")
    style = Style(source=f"open({str(folder / 'executed')!r}, 'w').write('x')")
    rendering = {key: value for key, value in config["rendering_kwargs"].items() if key != "density_noise"}
    state = load_file(golden / "state.safetensors")
    content = official(state, {key: config[key] for key in same} | more, rendering, style)
    path = folder / OFFICIAL
    path.write_bytes(dumps(content, style))
    return path


def test_an_official_file_becomes_a_generator_in_one_run(node, home, pickle) -> None:
    shutil.copy(pickle, home)
    assert node.classes["DualEncConvert"].INPUT_TYPES()["required"]["file"][0] == [OFFICIAL]
    answer = node.full("DualEncConvert", file=OFFICIAL)
    file, report = answer["result"]
    assert file == "panohead.safetensors" and "complete" in report and answer["ui"]["text"] == [report]
    assert not (pickle.parent / "executed").exists()
    generator = node("DualEncLoadPanoHead", path=file)[0]
    assert file in node.classes["DualEncLoadPanoHead"].INPUT_TYPES()["required"]["file"][0]
    assert file not in node.classes["DualEncLoadEncoder"].INPUT_TYPES()["required"]["file"][0]
    head = node("DualEncSample", generator=generator, seed=1)[0]
    small = {"resolution": 16, "samples": 8, "super_resolution": False}
    picture = node("DualEncRender", generator=generator, triplane=head, camera=node("DualEncCamera")[0], **small)[0]
    assert picture.std() > 0


def test_a_file_is_converted_once_and_nothing_is_overwritten(node, home, pickle) -> None:
    shutil.copy(pickle, home)
    (home / "panohead.safetensors").write_bytes(b"somebody else's")
    file = node("DualEncConvert", file=OFFICIAL)[0]
    assert file == "panohead-2.safetensors" and (home / "panohead.safetensors").read_bytes() == b"somebody else's"
    before = (home / file).stat().st_mtime_ns
    again, report = node("DualEncConvert", file=OFFICIAL)
    assert again == file and "before" in report and (home / file).stat().st_mtime_ns == before
    half = node("DualEncConvert", file=OFFICIAL, half=True)[0]
    assert half == "panohead-3.safetensors" and (home / half).stat().st_size < 0.6 * (home / file).stat().st_size


def test_an_encoder_checkpoint_of_no_known_layout_is_refused(node, home) -> None:
    torch.save({"state_dict": {"some.layer": torch.zeros(3)}}, home / "mine.pt")
    with pytest.raises(ValueError, match="not a pSp or TriPlaneNet checkpoint"):
        node("DualEncConvert", file="mine.pt")
    assert sorted(path.name for path in home.iterdir()) == ["mine.pt"]


@pytest.mark.parametrize("name", ["evil.pkl", "evil.pt"])
def test_hostile_and_foreign_files_are_refused_and_run_nothing(node, home, tmp_path, name: str) -> None:
    import pickle as python

    class Evil:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'executed')!r}, 'w')",))

    (home / name).write_bytes(python.dumps({"G_ema": Evil()}, 4))
    with pytest.raises(ValueError, match=name):
        node("DualEncConvert", file=name)
    assert not (tmp_path / "executed").exists() and [path.name for path in home.iterdir()] == [name]


def said_everywhere(node, home) -> dict[str, str]:
    """What the nodes say about PanoHead's weights while models/dualenc is empty."""
    texts = {}
    with pytest.raises(ValueError) as caught:
        node("DualEncConvert")
    texts["convert"] = str(caught.value)
    texts["load"] = node.classes["DualEncLoadPanoHead"].VALIDATE_INPUTS("panohead.safetensors")
    texts["load official"] = node.classes["DualEncLoadPanoHead"].VALIDATE_INPUTS(OFFICIAL)
    texts["convert in a prompt"] = node.classes["DualEncConvert"].VALIDATE_INPUTS(OFFICIAL)
    return texts


def test_every_place_says_the_same_about_an_empty_folder(node, home) -> None:
    """What to download, from where, into which folder, and which node does the rest."""
    texts = said_everywhere(node, home)
    instructions = {text[text.index("get easy-khair") :] for text in texts.values()}
    assert len(instructions) == 1, texts
    text = instructions.pop()
    for part in (
        "https://drive.google.com",
        str(home),
        "DualEnc Convert",
        "panohead.safetensors",
        "licence",
        "press R",
    ):
        assert part in text, part


def test_a_missing_network_of_the_measures_is_explained_alike(node, home) -> None:
    picture = torch.zeros(1, 32, 32, 3)
    with pytest.raises(ValueError) as caught:
        node("DualEncCompare", image=picture, reference=picture, perceptual=True)
    for part in ("alexnet-owt-7be5be79.pth", "https://", str(home), "DualEnc Convert", "lpips-alexnet.safetensors"):
        assert part in str(caught.value), part


def test_an_official_file_chosen_in_the_load_node_names_the_click_and_a_command_that_works(node, home, pickle) -> None:
    shutil.copy(pickle, home)
    message = node.classes["DualEncLoadPanoHead"].VALIDATE_INPUTS(OFFICIAL)
    assert "add the node DualEnc Convert" in message and OFFICIAL in message
    command = message[message.index("cd ") :]
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert node.classes["DualEncLoadPanoHead"].VALIDATE_INPUTS("panohead.safetensors") is True


def test_the_command_of_the_library_works_too(dc, tmp_path, pickle) -> None:
    """It names the weights folder that is in use, also one with a blank in its name."""
    root = tmp_path / "my weights"
    root.mkdir()
    shutil.copy(pickle, root)
    entry = next(entry for entry in dc.checkpoints.read_catalog() if entry.id == "panohead")
    command = dc.checkpoints.catalog.convert_command(entry, root).removeprefix("python ")
    done = subprocess.run(f"{sys.executable} {command}", shell=True, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0 and (root / "panohead.safetensors").is_file()


@pytest.mark.parametrize("name", ["DualEncInvert", "DualEncEncode"])
def test_a_generator_without_encoders_points_to_optimisation(node, home, pickle, encoder, name: str) -> None:
    shutil.copy(pickle, home)
    generator = node("DualEncLoadPanoHead", path=node("DualEncConvert", file=OFFICIAL)[0])[0]
    encoders = {"encoder": encoder} if name == "DualEncEncode" else {"encoder1": encoder, "encoder2": encoder}
    given = {"generator": generator, "image": torch.rand(1, 256, 256, 3), "camera": node("DualEncCamera")[0]}
    with pytest.raises(ValueError) as caught:
        node(name, **given, **encoders)
    message = str(caught.value)
    assert "no encoder for panohead.safetensors" in message and "DualEnc Optimize (mode PTI)" in message


def test_the_wrong_encoder_of_a_generator_that_has_some_names_these(node, home, generator, encoder, pack) -> None:
    """The demo's encoders are known although they are not in models/dualenc."""
    weights = sys.modules[pack.__name__ + ".nodes.weights"]
    found = weights.encoders_of(generator.module.fingerprint)
    assert found == ["demo Encoder 1 (bundled)", "demo Encoder 2 (bundled)"]
