"""The pack in a real server: nodes, shipped prompts, caching, determinism, interrupt, errors, folders."""

from __future__ import annotations

import copy
import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.checkpoints.conftest import Style, dumps, official

from .conftest import API, api_prompt
from .server import PACK, ROOT, Server, find_comfyui, find_python

FOREIGN = "05_head_into_diffusion"  # see test_diffusion.py
OFFICIAL = "easy-khair-180-gpc0.8-trans10-025000.pkl"
NAMES = sorted(path.stem for path in API.glob("*.json"))


def sample(seed: int = 3, yaw: float = 20.0, **render) -> dict:
    """A small prompt: invented head → picture."""
    return {
        "generator": {"class_type": "DualEncLoadPanoHead", "inputs": {"file": "demo (bundled)"}},
        "head": {
            "class_type": "DualEncSample",
            "inputs": {"generator": ["generator", 0], "seed": seed, "truncation": 0.7, "count": 1},
        },
        "camera": {
            "class_type": "DualEncCamera",
            "inputs": {"yaw": yaw, "pitch": 0.0, "roll": 0.0, "radius": 2.7, "fov": 13.374},
        },
        "render": {
            "class_type": "DualEncRender",
            "inputs": {
                "generator": ["generator", 0],
                "triplane": ["head", 0],
                "camera": ["camera", 0],
                "background": "generator",
                "colour": "#808080",
                "resolution": 0,
                "samples": 0,
                "super_resolution": True,
                "quality": "exact",
                **render,
            },
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["render", 0], "filename_prefix": "test"}},
    }


def write_official(path: Path) -> None:
    """A small generator in the format of PanoHead's own file."""
    golden = ROOT / "tests" / "golden" / "panohead" / "tiny_d3"
    config = json.loads((golden / "config.json").read_text())
    same = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "channel_base", "channel_max", "num_fp16_res")
    init = {key: config[key] for key in same} | {
        "mapping_kwargs": {"num_layers": config["map_layers"]},
        "sr_num_fp16_res": 4,
        "sr_kwargs": {key: config["sr"][key] for key in ("input_resolution", "hidden_widths", "w_dim")},
    }
    rendering = {key: value for key, value in config["rendering_kwargs"].items() if key != "density_noise"}
    content = official(load_file(golden / "state.safetensors"), init, rendering, Style())
    path.write_bytes(dumps(content, Style()))


def picture(server: Server, prompt: dict, node: str = "save") -> bytes:
    return server.view(server.run(prompt)[node]["images"][0])


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def test_the_pack_is_imported_without_a_warning(server: Server, pack) -> None:
    ours = [line for line in server.text_log().splitlines() if PACK in line or "dualenc" in line.lower()]
    assert any("seconds:" in line for line in ours), "the pack is not in the list of import times"
    assert not [line for line in ours if "FAILED" in line or "WARNING" in line or "cannot" in line], ours
    info = server.get("/object_info")
    assert set(pack.NODE_CLASS_MAPPINGS) == {name for name in info if name.startswith("DualEnc")}


@pytest.fixture(scope="module")
def known(server: Server) -> set[str]:
    return set(server.get("/object_info"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != FOREIGN])
def test_a_shipped_prompt_runs(server: Server, known, name: str) -> None:
    prompt = api_prompt(name)
    missing = {node["class_type"] for node in prompt.values()} - known
    if missing:
        pytest.skip(f"this ComfyUI has no {', '.join(sorted(missing))}")
    if any(node["class_type"] == "DualEncConvert" for node in prompt.values()):
        write_official(server.base / "models" / "dualenc" / OFFICIAL)
        time.sleep(1.1)  # ComfyUI looks again at folders whose time stamp has changed
    for node in prompt.values():
        if node["class_type"] == "DualEncOptimize":
            # The way through the server is what is tested here, not how well minutes of optimisation do.
            node["inputs"].update(steps=2, tune_steps=1)
        if node["class_type"] == "DualEncAnimate":
            # Every frame is another head.
            node["inputs"]["seconds"] = 0.2
    outputs = server.run(prompt, seconds=500)
    keys = ("images", "files", "3d")
    lines = [line for output in outputs.values() for key in keys for line in output.get(key, [])]
    assert lines
    for line in lines:
        assert len(server.view(line)) > 500, line


def test_the_mesh_of_a_prompt_is_a_glb_with_colours_and_the_core_node_writes_its_shape(server: Server) -> None:
    outputs = server.run(api_prompt("10_coloured_mesh"), seconds=500)
    trees = {}
    for key in ("save_mesh", "save_shape"):
        content = server.view(outputs[key]["3d"][0])
        assert content[:4] == b"glTF"
        length = int.from_bytes(content[12:16], "little")
        trees[key] = json.loads(content[20 : 20 + length])
    ours, shape = (trees[key]["meshes"][0]["primitives"][0] for key in ("save_mesh", "save_shape"))
    assert "COLOR_0" in ours["attributes"] and trees["save_mesh"]["asset"]["extras"]["generator"]
    counts, tops = [], []
    for tree, primitive in ((trees["save_mesh"], ours), (trees["save_shape"], shape)):
        accessor = tree["accessors"][primitive["attributes"]["POSITION"]]
        counts.append(accessor["count"])
        tops.append(accessor["max"])
    # The same vertices, in metres: a head is about 25 cm high.
    assert counts[0] == counts[1] and np.allclose(tops[0], tops[1], atol=1e-6) and 0.05 < tops[0][1] < 0.2
    assert outputs["preview_mesh"]["result"][0] == outputs["save_mesh"]["text"][0].split("\n")[0]


def test_a_new_pose_renders_only(server: Server) -> None:
    prompt = api_prompt("01_photo_to_360_head")
    orbit = next(key for key, node in prompt.items() if node["class_type"] == "DualEncOrbit")
    prompt[orbit]["inputs"]["frames"] = 2
    prompt["turntable"]["inputs"].update(views=4, rows=1)
    server.run(prompt)
    again = copy.deepcopy(prompt)
    again[orbit]["inputs"]["pitch"] = 9.0
    cached = set(server.events(server.queue(again))["execution_cached"]["nodes"])
    kept = {key for key, node in prompt.items() if node["class_type"] in ("DualEncEncode", "DualEncAlignPortrait")}
    assert kept and kept <= cached
    render = {key for key, node in prompt.items() if node["class_type"] == "DualEncRender"}
    assert not cached & (render | {orbit})
    assert "turntable" in cached


def test_two_prompts_at_once(server: Server) -> None:
    ids = [server.queue(sample(seed)) for seed in (11, 12)]
    pictures = [server.view(server.wait(i)["outputs"]["save"]["images"][0]) for i in ids]
    assert pictures[0] != pictures[1]


def test_interrupt_stops_an_orbit_and_the_next_prompt_works(server: Server) -> None:
    server.run(sample(21))
    start = time.monotonic()
    server.run(sample(21, yaw=33.0))
    frame = time.monotonic() - start
    prompt = sample(21)
    prompt["camera"] = {
        "class_type": "DualEncOrbit",
        "inputs": {
            "frames": 400,
            "start": 0.0,
            "end": 360.0,
            "pitch": 0.0,
            "swing": False,
            "fps": 24.0,
            "radius": 2.7,
            "fov": 13.374,
        },
    }
    prompt_id = server.queue(prompt)
    time.sleep(max(2.0, 3 * frame))
    start = time.monotonic()
    server.post("/interrupt", {})
    entry = server.wait(prompt_id)
    took = time.monotonic() - start
    assert "execution_interrupted" in [name for name, _ in entry["status"]["messages"]]
    # One frame, and room for the server's own loop on a busy machine.
    assert took < 2 * frame + 2, (took, frame)
    assert picture(server, sample(22))


def test_another_process_draws_the_same_bytes_and_finds_models_in_extra_folders(server: Server, tmp_path) -> None:
    mine = tmp_path / "elsewhere"
    mine.mkdir()
    shutil.copy(ROOT / "weights" / "demo-generator.safetensors", mine / "mine.safetensors")
    config = tmp_path / "extra.yaml"
    config.write_text(f"other:\n    dualenc: {mine}\n", encoding="utf-8")
    with Server(tmp_path / "base", extra=["--extra-model-paths-config", str(config)]) as other:
        assert picture(other, sample(5)) == picture(server, sample(5))
        info = other.get("/object_info/DualEncLoadPanoHead")["DualEncLoadPanoHead"]
        assert "mine.safetensors" in info["input"]["required"]["file"][0]
        encoders = other.get("/object_info/DualEncLoadEncoder")["DualEncLoadEncoder"]["input"]["required"]["file"][0]
        assert "mine.safetensors" not in encoders
        prompt = sample(5)
        prompt["generator"]["inputs"]["file"] = "mine.safetensors"
        # The files differ in the prompt that ComfyUI writes into them.
        assert pixels(picture(other, prompt)) == pixels(picture(server, sample(5)))
        assert (other.base / "models" / "dualenc").is_dir()


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_bad_value_says_what_is_expected(server: Server) -> None:
    error = server.error(sample(background="colour", colour="reddish"))
    assert "colour is 'reddish', expected #rrggbb" in error["exception_message"]
    assert error["node_id"] == "render"


def test_a_value_out_of_range_is_refused(server: Server) -> None:
    prompt = sample()
    prompt["camera"]["inputs"]["radius"] = 99.0
    errors = server.refused(prompt)["node_errors"]["camera"]["errors"]
    assert "radius" in errors[0]["details"]


def test_a_missing_official_file_says_where_it_comes_from(server: Server) -> None:
    for path in (server.base / "models" / "dualenc").glob("panohead*.safetensors"):
        path.unlink()
    time.sleep(1.1)
    prompt = sample()
    prompt["generator"]["inputs"]["file"] = "panohead.safetensors"
    details = server.refused(prompt)["node_errors"]["generator"]["errors"][0]["details"]
    for part in ("easy-khair-180-gpc0.8-trans10-025000.pkl", "http", "dualenc", "licence", "convert"):
        assert part in details, details


def test_an_official_pickle_is_not_loaded_but_explained(server: Server) -> None:
    path = server.base / "models" / "dualenc" / OFFICIAL
    path.write_bytes(b"\x80\x04.")
    time.sleep(1.1)
    prompt = sample()
    prompt["generator"]["inputs"]["file"] = path.name
    details = server.refused(prompt)["node_errors"]["generator"]["errors"][0]["details"]
    assert "DualEnc Convert" in details and "-m dualenc_core convert" in details


def test_an_official_file_is_converted_loaded_and_rendered_in_one_prompt(server: Server) -> None:
    write_official(server.base / "models" / "dualenc" / OFFICIAL)
    time.sleep(1.1)
    prompt = sample(resolution=16, samples=8)
    prompt["convert"] = {"class_type": "DualEncConvert", "inputs": {"file": OFFICIAL, "half": False, "planes": 288}}
    prompt["generator"]["inputs"]["path"] = ["convert", 0]
    outputs = server.run(prompt)
    assert outputs["save"]["images"] and "complete" in outputs["convert"]["text"][0]
    names = server.get("/object_info/DualEncLoadPanoHead")["DualEncLoadPanoHead"]["input"]["required"]["file"][0]
    assert "panohead.safetensors" in names


def test_a_truncated_triplane_is_named(server: Server) -> None:
    prompt = sample(31)
    prompt["keep"] = {
        "class_type": "DualEncSaveTriplane",
        "inputs": {"triplane": ["head", 0], "filename_prefix": "heads/cut", "half": False},
    }
    line = server.run(prompt)["keep"]["files"][0]
    path = server.base / line["type"] / line["subfolder"] / line["filename"]
    path.write_bytes(path.read_bytes()[:1000])
    broken = sample()
    name = f"{line['subfolder']}/{line['filename']} [output]"
    broken["head"] = {"class_type": "DualEncLoadTriplane", "inputs": {"file": name}}
    error = server.error(broken)
    assert line["filename"] in error["exception_message"] and "truncated" in error["exception_message"]


def test_a_file_outside_the_folders_is_refused(server: Server) -> None:
    prompt = sample()
    prompt["head"] = {"class_type": "DualEncLoadTriplane", "inputs": {"file": "../../etc/passwd"}}
    details = server.refused(prompt)["node_errors"]["head"]["errors"][0]["details"]
    assert "outside ComfyUI's input folder" in details


def test_a_photo_without_a_face_says_what_to_do(server: Server, tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    prompt = {
        "load": {"class_type": "LoadImage", "inputs": {"image": server.put_input(tmp_path / "noise.png")}},
        "align": {
            "class_type": "DualEncAlignPortrait",
            "inputs": {
                "image": ["load", 0],
                "face": -1,
                "pose": "estimated",
                "yaw": 0.0,
                "pitch": 0.0,
                "roll": 0.0,
                "scale": 1.0,
                "shift_x": 0.0,
                "shift_y": 0.0,
                "size": 512,
            },
        },
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["align", 0]}},
    }
    error = server.error(prompt)
    # What a person reads is our sentence, after the short name of the error.
    assert error["exception_type"] == "NoFaceError"
    assert "no face was found in the 300×200 photo" in error["exception_message"]
    assert "by hand" in error["exception_message"]
    prompt["align"]["inputs"]["pose"] = "by hand"
    outputs = server.run(prompt)
    assert "by hand" in outputs["align"]["text"][0] and outputs["align"]["dualenc_warnings"]
    # After all these errors the server still works.
    assert picture(server, sample(41))


# ---------------------------------------------------------------------------------------------------------------- names


def test_prefixes_have_the_marks_of_core_nodes(server: Server) -> None:
    """%Node.widget% by type and by title, %date:…%, and %width% where there is a picture."""
    prompt = {name: node for name, node in sample(17).items() if name not in ("render", "save")}
    prompt["head"]["_meta"] = {"title": "My head"}
    prefix = "marks/%date:yyyy%/%DualEncSample.seed%-%My head.count%-%width%"
    prompt["file"] = {
        "class_type": "DualEncSaveTriplane",
        "inputs": {"triplane": ["head", 0], "filename_prefix": prefix, "half": True},
    }
    (line,) = server.run(prompt)["file"]["files"]
    year = time.localtime().tm_year
    assert (line["subfolder"], line["filename"]) == (f"marks/{year}", "17-1-0_00001_.safetensors")
    assert len(server.view(line)) > 1000


# --------------------------------------------------------------------------------------------------------------- client


def test_the_documented_client(server: Server, tmp_path) -> None:
    """Upload a photo, queue a prompt, follow it, fetch the results; with ComfyUI's own Python, as documented."""
    photo = ROOT / "workflows" / "dualenc_portrait.png"
    command = [
        find_python(find_comfyui()),
        API / "client.py",
        server.url,
        photo,
        API / "02_photo_to_turntable_video.json",
    ]
    done = subprocess.run([*map(str, command), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    videos = list(tmp_path.rglob("*.mp4"))
    assert len(videos) == 1 and videos[0].stat().st_size > 10_000
    broken = api_prompt("02_photo_to_turntable_video")
    next(node for node in broken.values() if node["class_type"] == "DualEncRender")["inputs"]["background"] = "sky"
    (tmp_path / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
    command[-1] = tmp_path / "broken.json"
    done = subprocess.run([*map(str, command), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "sky" in done.stdout + done.stderr
