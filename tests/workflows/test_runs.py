"""The shipped prompts run, without ComfyUI (see executor.py).

Orbits and animations are cut to three frames, turntables to four and optimisations to two steps here, which tests the
same and saves most of the time.
"""

from __future__ import annotations

import copy
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ..tools.workflows.definitions import NEWER, definitions, prompts
from ..tools.workflows.portrait import EXAMPLES, PORTRAIT_YAW
from .executor import CORE, Executor, PromptError, Results, needed

FRAMES = 3
FOREIGN = "05_head_into_diffusion"
USERS_FILES = ("CheckpointLoaderSimple", "ControlNetLoader")
# Of these the rest needs files that only users have, or nodes of a newer ComfyUI; tests/comfyui runs them.
WEIGHTS = "12_real_panohead"
NAMES = [name for name in sorted(prompts()) if name not in (FOREIGN, WEIGHTS, *NEWER)]


def short(name: str) -> dict[str, Any]:
    """A shipped prompt with short orbits and optimisations."""
    prompt = prompts()[name]
    for node in prompt.values():
        if node["class_type"] == "DualEncOrbit":
            node["inputs"]["frames"] = FRAMES
        if node["class_type"] == "DualEncAnimate":
            node["inputs"].update(seconds=FRAMES / 24, fps=24.0)
        if node["class_type"] == "DualEncOptimize":
            node["inputs"].update(steps=2, tune_steps=1)
        if node["class_type"] == "DualEncTurntable":
            node["inputs"].update(views=4, rows=1, size=128)
    return prompt


@pytest.fixture
def run(pack, tmp_path, monkeypatch):
    """Function (prompt, only=()) → results and the bytes of all files, run in a folder of its own."""
    count = 0

    def go(prompt: dict[str, Any], only=()) -> tuple[Results, dict[str, bytes]]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        (folder / "input").mkdir(parents=True)
        for photo in EXAMPLES:
            shutil.copy(photo, folder / "input")
        monkeypatch.chdir(folder)
        results = Executor(pack).run(prompt, only)
        return results, {path.as_posix(): path.read_bytes() for path in results.files()}

    return go


def pictures(results: Results, known) -> dict[str, torch.Tensor]:
    """Every IMAGE and MASK of a run by "id.output"."""
    found = {}
    for key, outputs in results.outputs.items():
        for (name, kind), value in zip(known[results.classes[key]].outputs, outputs, strict=True):
            if kind in ("IMAGE", "MASK"):
                found[f"{key}.{name}"] = value
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_runs_twice_to_the_same_bytes(pack, run, name: str) -> None:
    prompt = short(name)
    before = copy.deepcopy(prompt)
    results, files = run(prompt)
    assert prompt == before
    assert set(results.outputs) == set(prompt)
    known = definitions(pack.NODE_CLASS_MAPPINGS)
    for key, value in pictures(results, known).items():
        assert value.ndim in (3, 4) and value.dtype == torch.float32, key
        assert torch.isfinite(value).all() and value.min() >= 0 and value.max() <= 1, key
        if key.startswith(("load_photo.MASK", "load_lender.MASK", "blank.", "first_frames.", "frames.")):
            continue
        # Each picture of a batch shows something.
        assert (value.flatten(1).std(1) > 0.02).all(), key
    saved = [key for key, node in prompt.items() if known[node["class_type"]].output_node]
    assert saved and all(results.ui[key] for key in saved)
    assert files and all(files.values())
    for path in (Path(p) for p in files if p.endswith(".png")):
        pixels = np.asarray(Image.open(path), dtype=float)
        assert pixels.std() > 4, path
    again = run(short(name))[1]
    assert digests(again) == digests(files)


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """By path; of the turntable's sheet without the token that no two runs share."""
    plain = {re.sub(r"_[0-9a-f]{32}(?=\.)", "", path): data for path, data in files.items()}
    return {path: hashlib.sha256(data).hexdigest() for path, data in plain.items()}


def test_the_example_portrait_is_found_and_lies_inside_the_photo(run) -> None:
    results, _ = run(prompts()["01_photo_to_360_head"], ["align"])
    (report,) = results.ui["align"]["alignment"]
    assert report["confidence"] >= 0.6 and report["outside"] == 0 and report["warnings"] == ()
    assert abs(report["yaw"] - PORTRAIT_YAW) < 6


def test_shapes_of_the_first_prompt(run) -> None:
    results, files = run(short("01_photo_to_360_head"), ["save", "preview_mask"])
    images, alpha, depth, normal = results.outputs["render"]
    side = images.shape[1]
    assert images.shape == depth.shape == normal.shape == (FRAMES, side, side, 3) and alpha.shape == (
        FRAMES,
        side,
        side,
    )
    assert sum(path.startswith("output/dualenc/360_head") for path in files) == FRAMES
    # Four views side by side.
    height, width = results.outputs["mask"][1].shape[1:3]
    assert width == 4 * height


def test_the_video_has_the_frames_of_the_orbit(run) -> None:
    av = pytest.importorskip("av", exc_type=ImportError)
    _, files = run(short("02_photo_to_turntable_video"), ["save_video"])
    (path,) = [p for p in files if p.endswith(".mp4")]
    with av.open(path) as video:
        stream = video.streams.video[0]
        assert sum(1 for _ in video.decode(stream)) == FRAMES and float(stream.average_rate) == 24.0


def test_eight_seeds_are_eight_heads(run) -> None:
    images = run(prompts()["03_sample_heads"], ["render"])[0].outputs["render"][0]
    assert len(images) == 8
    for i in range(8):
        for j in range(i):
            assert (images[i] - images[j]).abs().mean() > 0.01


def test_a_transparent_view_is_saved_with_its_alpha(run) -> None:
    _, files = run(prompts()["04_pose_controlled_views"], ["save_cutout"])
    (path,) = [p for p in files if "cutout" in p]
    picture = Image.open(path)
    assert picture.mode == "RGBA"
    low, high = picture.getchannel("A").getextrema()
    assert low == 0 and high == 255


def test_the_diffusion_prompt_gives_the_diffusion_nodes_what_they_need(run) -> None:
    """As far as it goes without a checkpoint: everything else of the prompt needs one."""
    prompt = prompts()[FOREIGN]
    ours = [key for key in prompt if all(prompt[k]["class_type"] not in USERS_FILES for k in needed(prompt, [key]))]
    assert {"scale_image", "scale_depth", "background_mask", "preview_depth"} <= set(ours)
    outputs = run(prompt, ours)[0].outputs
    for key in ("scale_image", "scale_depth"):
        assert outputs[key][0].shape == (1, 512, 512, 3) and outputs[key][0].std() > 0.05
    mask = outputs["background_mask"][0]
    assert mask[:, :4, :4].mean() > 0.95 and mask[:, mask.shape[1] // 2, mask.shape[2] // 2].mean() < 0.05


def test_a_reloaded_head_renders_like_the_one_in_memory(run) -> None:
    prompt = short("06_save_and_reload")
    prompt["kept"] = copy.deepcopy(prompt["render"])
    prompt["kept"]["inputs"]["triplane"] = ["sample", 0]
    results, files = run(prompt)
    assert torch.equal(results.outputs["render"][0], results.outputs["kept"][0])
    assert "output/dualenc/head_00001_.safetensors" in files
    assert results.outputs["save_head"] == ("dualenc/head_00001_.safetensors [output]",)


def test_the_comparison_says_its_numbers(run) -> None:
    prompt = prompts()["07_compare_encoders"]
    results, _ = run(prompt, ["compare_1", "compare_2", "compare_both", "front"])
    for key in ("compare_1", "compare_2", "compare_both"):
        (row,) = results.ui[key]["metrics"]
        assert row["l2"] > 0 and row["psnr"] > 5 and 0 < row["ssim"] < 1
    height, width = results.outputs["front"][0].shape[1:3]
    assert width == 4 * height


# ----------------------------------------------------------------------------------------------------- the executor


def test_every_core_node_of_the_prompts_has_a_stand_in(pack) -> None:
    core = {node["class_type"] for name in NAMES for node in prompts()[name].values()} - set(pack.NODE_CLASS_MAPPINGS)
    assert core <= set(CORE)


def test_the_executor_refuses_what_comfyui_refuses(run) -> None:
    def changed(key: str, field: str, value: Any) -> dict[str, Any]:
        prompt = prompts()["06_save_and_reload"]
        prompt[key]["inputs"][field] = value
        return prompt

    with pytest.raises(PromptError, match="circle"):
        run(changed("save_head", "triplane", ["load_head", 0]))
    with pytest.raises(PromptError, match="does not have"):
        run(changed("render", "camera", ["nowhere", 0]))
    with pytest.raises(PromptError, match="takes DUALENC_CAMERA"):
        run(changed("render", "camera", ["sample", 0]))
    with pytest.raises(PromptError, match="gone.safetensors"):
        run(changed("load_generator", "file", "gone.safetensors"))
    with pytest.raises(PromptError, match="outside"):
        run(changed("load_head", "file", "../secret.safetensors"))
