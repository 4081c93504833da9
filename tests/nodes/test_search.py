"""The words that people type into the node search, and errors as ComfyUI names them."""

from __future__ import annotations

import pickle
import sys

import pytest

# What somebody types who does not know our names → a node that must be found.
QUERIES = {
    "face turn": "DualEncCamera",
    "turn head": "DualEncCamera",
    "turn face": "DualEncCamera",
    "rotate face": "DualEncCamera",
    "rotate head": "DualEncCamera",
    "camera angle": "DualEncCamera",
    "head pose": "DualEncCamera",
    "avatar": "DualEncInvert",
    "photo to 3d": "DualEncInvert",
    "image to 3d": "DualEncInvert",
    "3d head": "DualEncInvert",
    "3d face": "DualEncInvert",
    "portrait to 3d": "DualEncInvert",
    "head mesh": "DualEncMesh",
    "face mesh": "DualEncMesh",
    "3d model": "DualEncMesh",
    "save glb": "DualEncSaveMesh",
    "export 3d": "DualEncSaveMesh",
    "viewer": "DualEncTurntable",
    "turn with the mouse": "DualEncTurntable",
    "drag head": "DualEncTurntable",
    "gaussian": "DualEncSplat",
    "3dgs": "DualEncSplat",
    "head to splat": "DualEncSplat",
    "spz": "DualEncSplat",
    "turntable": "DualEncOrbit",
    "360": "DualEncOrbit",
    "spin": "DualEncOrbit",
    "crop face": "DualEncAlignPortrait",
    "detect face": "DualEncAlignPortrait",
    "align face": "DualEncAlignPortrait",
    "random face": "DualEncSample",
    "hair": "DualEncTransferRegion",
    "change hair": "DualEncTransferRegion",
    "hairstyle": "DualEncTransferRegion",
    "face mask": "DualEncRegionMask",
    "morph": "DualEncMorph",
    "mix faces": "DualEncBlend",
    "smile": "DualEncAttributes",
    "age": "DualEncAttributes",
    "expression": "DualEncAttributes",
    "relight": "DualEncAttributes",
    "beard": "DualEncAttributes",
    "hair color": "DualEncAttributes",
    "glasses": "DualEncAttributes",
    "transfer expression": "DualEncAttributesFrom",
    "match light": "DualEncAttributesFrom",
    "talking head": "DualEncAnimate",
    "lip sync": "DualEncAnimate",
    "keyframes": "DualEncAnimate",
    "render head": "DualEncRender",
    "depth map": "DualEncRender",
    "load head": "DualEncLoadTriplane",
    "save head": "DualEncSaveTriplane",
    "compare faces": "DualEncCompare",
    "pti": "DualEncOptimize",
    "panohead": "DualEncLoadPanoHead",
    "convert": "DualEncConvert",
    "pkl": "DualEncConvert",
}


@pytest.mark.parametrize(("query", "node"), QUERIES.items())
def test_what_people_type_finds_the_node(pack, query: str, node: str) -> None:
    """In the name or in one alias, as one piece: every frontend finds that."""
    cls = pack.NODE_CLASS_MAPPINGS[node]
    texts = [pack.NODE_DISPLAY_NAME_MAPPINGS[node], *cls.SEARCH_ALIASES]
    assert any(query in text.lower() for text in texts), f"{node}: {texts}"


def test_comfyui_names_our_errors_without_the_module(pack, node) -> None:
    """ComfyUI shows the module and name of a class before its message, the name alone of what is built in."""
    errors = sys.modules[pack.__name__ + ".dualenc_core.errors"]
    with pytest.raises(errors.DualEncError) as caught:
        node("DualEncRender", generator="demo", triplane=None, camera=None)
    assert type(caught.value).__module__ == "builtins" and type(caught.value).__qualname__ == "DualEncError"
    with pytest.raises(errors.NoFaceError) as caught:
        import torch

        node("DualEncAlignPortrait", image=torch.full((1, 96, 96, 3), 0.5))
    assert type(caught.value).__qualname__ == "NoFaceError" and isinstance(caught.value, ValueError)
    # The library's own classes stay as they are: they cross processes.
    assert pickle.dumps(errors.NoFaceError("x"))


def test_a_colour_is_picked_where_comfyui_has_a_picker(pack, monkeypatch) -> None:
    from types import SimpleNamespace

    inputs = sys.modules[pack.__name__ + ".nodes.inputs"]
    kind, options = inputs.colour("A colour.")
    assert kind == "STRING" and options["default"] == "#808080"
    modules = {"comfy_api.latest._io": SimpleNamespace(Color=object)}
    monkeypatch.setattr(inputs.runtime, "comfy", modules.get)
    kind, options = inputs.colour("A colour.")
    # STRING too, so that saved workflows with a link keep it.
    assert kind.split(",") == ["COLOR", "STRING"] and options["widgetType"] == "COLOR"


def test_a_part_is_a_mask_of_a_picture(node, generator, head) -> None:
    """From the front hair is above the face, and from behind there is more of it; a threshold makes it hard."""
    hair = node("DualEncRegionMask", generator=generator, triplane=head, part="hair")[0]
    cameras = node("DualEncOrbit", frames=2)[0]
    given = {"generator": generator, "triplane": head, "mask": hair, "camera": cameras}
    soft = node("DualEncMaskView", **given)[0]
    assert soft.ndim == 3 and len(soft) == 2 and 0 <= soft.min() and soft.max() <= 1
    front, back = soft
    side = front.shape[-1]
    assert front[: side // 2].sum() > 2 * front[side // 2 :].sum() and back.sum() > front.sum() > 0
    hard = node("DualEncMaskView", threshold=0.5, **given)[0]
    assert set(hard.unique().tolist()) == {0.0, 1.0}
