"""Workflow 05 on a real server, with a diffusion model of random weights (tiny_diffusion.py)."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .conftest import api_prompt
from .server import Server
from .tiny_diffusion import write_models

SIDE = 64
LAYERS = ("depth", "normals", "alpha", "hair")


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def workflow() -> dict[str, Any]:
    """05, with small pictures and two steps."""
    prompt = api_prompt("05_head_into_diffusion")
    for each in prompt.values():
        if each["class_type"] == "ImageScale":
            each["inputs"].update(width=SIDE, height=SIDE)
        if each["class_type"] == "KSampler":
            each["inputs"].update(steps=2)
    return prompt


def controlled(layer: str) -> dict[str, Any]:
    """05 up to the refined head, held by one picture of the head; it is saved as well, as "held"."""
    prompt = {key: value for key, value in workflow().items() if "background" not in key}
    head, generator, camera = ["invert", 0], ["load_generator", 0], ["camera", 0]
    prompt["alpha"] = node("MaskToImage", mask=["render", 1])
    marked = {"part": "hair", "all_round": False, "precise": False, "grow": 0.0}
    prompt["part"] = node("DualEncRegionMask", generator=generator, triplane=head, **marked)
    seen = {"generator": generator, "triplane": head, "mask": ["part", 0], "camera": camera, "threshold": 0.0}
    prompt["part_seen"] = node("DualEncMaskView", **seen)
    prompt["hair"] = node("MaskToImage", mask=["part_seen", 0])
    sources = {"depth": ["render", 2], "normals": ["render", 3], "alpha": ["alpha", 0], "hair": ["hair", 0]}
    prompt["scale_depth"]["inputs"]["image"] = sources[layer]
    prompt["held"] = node("SaveImage", images=["scale_depth", 0], filename_prefix=f"diffusion/{layer}")
    return prompt


def pixels(server: Server, line: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(server.view(line))).convert("RGB")).astype(float) / 255


@pytest.fixture(scope="module")
def refined(server: Server) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By layer: the control image, and the head refined under it."""
    write_models(server.base / "models")
    time.sleep(1.1)  # ComfyUI looks again at folders whose time stamp has changed
    found = {}
    for layer in LAYERS:
        outputs = server.run(controlled(layer), seconds=1500)
        found[layer] = tuple(pixels(server, outputs[key]["images"][0]) for key in ("held", "save_refined"))
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_a_picture_of_the_head_holds_the_diffusion(refined, layer: str) -> None:
    held, head = refined[layer]
    assert held.shape == head.shape == (SIDE, SIDE, 3)
    assert held.std() > 0.05 and head.std() > 0.01
    if layer != "normals":
        assert np.abs(held - held[..., :1]).max() == 0, "not grey"
    else:
        # Towards the camera is blue.
        assert held[SIDE // 2, SIDE // 2, 2] > 0.6
    if layer == "depth":
        assert held[SIDE // 2, SIDE // 2].mean() > held[2, 2].mean(), "near is white"


def test_the_control_image_counts(refined) -> None:
    """Seeds, words and picture are the same."""
    heads = [head for _, head in refined.values()]
    for i, one in enumerate(heads):
        for other in heads[:i]:
            assert np.abs(one - other).max() > 0.02


def test_the_diffusion_workflow_runs(server: Server, refined) -> None:
    outputs = server.run(workflow(), seconds=1500)
    head, background = (pixels(server, outputs[key]["images"][0]) for key in ("save_refined", "save_background"))
    assert head.shape == background.shape == (SIDE, SIDE, 3)
    assert np.array_equal(head, refined["depth"][1]), "the same prompt gave another picture"
    assert np.abs(head - background).max() > 0.02
