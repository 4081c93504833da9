"""Nodes that direct heads, on a small generator that knows people and on one that knows none."""

from __future__ import annotations

import gc
import json
import sys
import weakref

import pytest
import torch

from tests.known_people import somebody, write_people
from tests.small import write_networks


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def generator(pack, dc, tmp_path_factory):
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    path = write_people(tmp_path_factory.mktemp("people") / "people.safetensors")
    return runtime.Network.wrap(dc.load_generator(path), path.name)


@pytest.fixture(scope="module")
def heads(dc, generator):
    made = somebody(generator.module, 3, 20)
    return dc.Triplane(made.planes, made.ws, made.depth, made.generator)


def values(dc, generator, triplane):
    return dc.editing.values_of(generator.module, triplane)


def test_sliders_at_rest_change_nothing(node, generator, heads):
    answer = node.full("DualEncAttributes", generator=generator, triplane=heads)
    result, preview = answer["result"]
    assert torch.equal(result.planes, heads.planes) and torch.equal(result.ws, heads.ws)
    assert preview.shape[0] == 2 and preview.shape[2] == 4 * preview.shape[1]
    assert len(answer["ui"]["images"]) == 2


def test_a_network_that_nobody_uses_any_more_leaves_the_memory(pack, node, dc, tmp_path):
    """ComfyUI warns of a memory leak else, at every prompt."""
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    path = write_people(tmp_path / "people.safetensors")
    mine = runtime.Network.wrap(dc.load_generator(path), path.name)
    head = somebody(mine.module, 3, 20)
    node("DualEncAttributes", generator=mine, triplane=dc.Triplane(head.planes, head.ws, head.depth, head.generator)[0])
    module = weakref.ref(mine.module)
    del mine
    gc.collect()
    assert module() is None


def test_every_slider_moves_its_attribute(node, generator, heads, dc):
    head = heads[0]
    required = node.classes["DualEncAttributes"].INPUT_TYPES()["required"]
    sliders = [name for name, (kind, _) in required.items() if kind == "FLOAT" and name != "hair_colour_amount"]
    asked = {name: round(0.1 * required[name][1]["max"], 3) for name in sliders}
    result, preview = node("DualEncAttributes", generator=generator, triplane=head, **asked)
    before, after = values(dc, generator, head), values(dc, generator, result)
    assert len(sliders) > 25
    for name, amount in asked.items():
        moved = float(after[name] - before[name])
        moved = (moved + 180) % 360 - 180 if name == "light_yaw" else moved
        # The light's pitch may be near its end.
        if name != "light_pitch":
            assert moved == pytest.approx(amount, abs=2e-3 * required[name][1]["max"]), name
    still = node("DualEncAttributes", generator=generator, triplane=head)[1]
    assert not torch.equal(preview, still)


def test_choices_colours_and_others(node, generator, heads, dc):
    given = {"generator": generator, "triplane": heads[0], "hair_style": "bob01", "glasses": "oval"}
    colour = {"hair_colour": "#8a3b12", "hair_colour_amount": 1.0, "eye_colour": "blue"}
    result, _ = node("DualEncAttributes", others='{"nose_hump": 0.3, "hat=fedora": 1}', **given, **colour)
    traits = dc.editing.directions_of(generator.module).traits(result.ws)
    worn = ("style.bob01_512", "glasses.oval", "iris.blue", "hat.fedora")
    assert [float(traits[t]) for t in worn] == pytest.approx([1] * 4, abs=1e-3)
    assert float(traits["hair.r"]) == pytest.approx((0x8A / 255) ** 1.1, abs=1e-3)
    assert result.meta["direct"]["values"]["nose_hump"] == 0.3


def test_a_head_lends_its_expression_and_light(node, generator, heads, dc):
    lent, report = node("DualEncAttributesFrom", generator=generator, triplane=heads, head=1)
    assert "age: " in report and "(years)" in report and json.loads(lent)["traits"].keys() >= {"smile", "light.0r"}
    result, _ = node("DualEncAttributes", generator=generator, triplane=heads[0], values=lent, smile=0.2)
    theirs, mine = values(dc, generator, heads[1]), values(dc, generator, result)
    assert float(mine["smile"] - theirs["smile"]) == pytest.approx(0.2, abs=1e-3)
    assert float(mine["light_yaw"]) == pytest.approx(float(theirs["light_yaw"]), abs=0.1)
    none = {"expression": False, "light": False}
    hair, _ = node("DualEncAttributesFrom", generator=generator, triplane=heads, hair=True, **none)
    assert "hair.r" in json.loads(hair)["traits"] and "smile" not in json.loads(hair)["traits"]


def test_neutral_comes_before_the_sliders(node, generator, heads, dc):
    result, _ = node(
        "DualEncAttributes", generator=generator, triplane=heads, neutral="expression and light", smile=0.3
    )
    found = values(dc, generator, result)
    assert torch.allclose(found["smile"], torch.tensor(0.3).double(), atol=1e-3)
    assert float(found["light_softness"].min()) > 0.999


def test_frames_follow_the_tracks(node, generator, heads):
    tracks = json.dumps({"seconds": 1, "fps": 4, "tracks": {"mouth_open": [[0, 0], [0.5, 1]], "camera.yaw": [[0, 0]]}})
    image, alpha, fps = node("DualEncAnimate", generator=generator, triplane=heads[0], tracks=tracks)
    assert len(image) == len(alpha) == 4 and fps == 4 and image.min() >= 0 and image.max() <= 1
    assert not torch.equal(image[0], image[1]) and torch.equal(image[2], image[3])
    camera = node("DualEncOrbit", frames=2)[0]
    turn = node("DualEncAnimate", generator=generator, triplane=heads[0], tracks=tracks, camera=camera, fps=8.0)
    assert len(turn[0]) == 8 and turn[2] == 8 and not torch.equal(turn[0][3], turn[0][4])
    talk = node("DualEncAnimate", generator=generator, triplane=heads[0], tracks="", mouths="a 0.1 0.5", fps=6.0)
    assert len(talk[0]) == 3 and not torch.equal(talk[0][0], talk[0][2])


def test_the_example_of_the_widget_runs(node, generator, heads):
    image, _, fps = node("DualEncAnimate", generator=generator, triplane=heads[0], seconds=0.1)
    assert len(image) == 2 and fps == 24


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("DualEncAttributes", {"others": '{"smiel": 1}'}, "did you mean smile"),
        ("DualEncAttributes", {"others": "smile"}, "others cannot be read"),
        ("DualEncAttributes", {"values": "[]"}, "values cannot be read"),
        ("DualEncAttributes", {"hair_colour": "red", "hair_colour_amount": 1.0}, "expected #rrggbb"),
        ("DualEncAttributesFrom", {"head": 5}, "head is 5, but the batch holds 2"),
        ("DualEncAnimate", {"tracks": "{"}, "tracks cannot be read"),
        ("DualEncAnimate", {"mouths": "a b"}, "mouths, line 1 is 'a b'"),
        ("DualEncAnimate", {"tracks": ""}, "seconds of the animation is 0"),
        ("DualEncAnimate", {"head": 2}, "head is 2"),
    ],
)
def test_wrong_input_is_named(node, generator, heads, name, given, message):
    with pytest.raises(ValueError, match=message):
        node(name, generator=generator, triplane=heads, **given)


def test_generators_that_know_nothing_find_a_file_of_directions(node, dc, pack, folder, monkeypatch):
    runtime, weights = (sys.modules[f"{pack.__name__}.nodes.{name}"] for name in ("runtime", "weights"))
    generator = runtime.Network.wrap(dc.load_generator(write_networks(folder)["generator"]), "small")
    head = node("DualEncSample", generator=generator, seed=3)[0]
    for name in ("DualEncAttributes", "DualEncAttributesFrom", "DualEncAnimate"):
        with pytest.raises(ValueError, match="names no directions"):
            node(name, generator=generator, triplane=head)
    file = folder / "demo.directions.safetensors"
    dc.editing.find_directions(generator.module, 2, 0, samples=64).save(file)
    (folder / "broken.directions.safetensors").write_bytes(b"no")
    names = ["broken.directions.safetensors", file.name]
    monkeypatch.setattr(runtime, "model_files", lambda: names)
    monkeypatch.setattr(runtime, "find_model", lambda name: folder / name)
    assert weights.files_of("generator") == weights.files_of("encoder") == []
    result, _ = node("DualEncAttributes", generator=generator, triplane=head, others='{"principal_1": 2}')
    assert not torch.equal(result.ws, head.ws) and not torch.equal(result.planes, head.planes)
    with pytest.raises(ValueError, match="no attribute 'smile'"):
        node("DualEncAttributes", generator=generator, triplane=head, smile=0.5)


def test_the_bundled_generator_can_be_directed(node, dc):
    bundled = node("DualEncLoadPanoHead")[0]
    head = node("DualEncSample", generator=bundled, seed=3)[0]
    lent, report = node("DualEncAttributesFrom", generator=bundled, triplane=head, hair=True)
    assert "age: " in report and "hair.r" in json.loads(lent)["traits"]
    result, preview = node("DualEncAttributes", generator=bundled, triplane=head, smile_open=0.5, light_yaw=40.0)
    before, after = (values(dc, bundled, t) for t in (head, result))
    assert float(after["smile_open"] - before["smile_open"]) == pytest.approx(0.5, abs=1e-2)
    assert preview.shape[2] == 4 * preview.shape[1] and not torch.equal(result.planes, head.planes)
