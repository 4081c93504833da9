"""The pack in a real browser: pose pad, reports, help, shipped workflows, in each frontend that is there.

COMFYUI_FRONTENDS (default ~/frontends) holds further frontends: a folder for each, with the static files of a
comfyui_frontend_package somewhere in it. They are visited twice, classic and with Nodes 2.0; the installed one classic
only. PLAYWRIGHT_CORE is the node_modules folder with playwright-core (default ~/browser/node_modules).
COMFYUI_SCREENSHOTS keeps the pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tools.workflows.definitions import NEWER as NEWER_WORKFLOWS

from .chromium import drive, missing_browser
from .conftest import api_prompt
from .server import PACK, ROOT, Server

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
FRONTENDS = Path(os.environ.get("COMFYUI_FRONTENDS", "~/frontends")).expanduser()


def frontends() -> list:
    """Parameters (label, static folder or None for the installed one, Nodes 2.0?)."""
    cases = [("installed-classic", None, False)]
    for page in sorted(FRONTENDS.glob("*/**/index.html")):
        if (page.parent / "scripts" / "app.js").is_file():
            name = page.relative_to(FRONTENDS).parts[0]
            cases += [(f"{name}-classic", page.parent, False), (f"{name}-nodes2", page.parent, True)]
    params = [pytest.param(case, id=case[0]) for case in cases]
    if len(cases) == 1:
        reason = f"no other frontend in {FRONTENDS} (set COMFYUI_FRONTENDS to a folder of unpacked frontend packages)"
        params.append(pytest.param(None, id="other", marks=pytest.mark.skip(reason=reason)))
    return params


@pytest.fixture(scope="session")
def frontend_server(request, tmp_path_factory):
    """Function (static folder) → server; only one of ours runs at a time, beside the common one."""
    with ExitStack() as running:
        current: dict[Path, Server] = {}

        def start(root: Path | None) -> Server:
            if root is None:
                return request.getfixturevalue("server")
            if root not in current:
                running.close()
                current.clear()
                current[root] = running.enter_context(Server(tmp_path_factory.mktemp("frontend"), root))
            return current[root]

        yield start


@pytest.fixture(scope="session", params=frontends())
def visit(request, frontend_server, tmp_path_factory) -> dict:
    """What the browser saw with one frontend; see drive.mjs."""
    if missing := missing_browser():
        pytest.skip(missing)
    label, root, nodes2 = request.param
    server = frontend_server(root)
    shots = Path(os.environ.get("COMFYUI_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    return drive("drive.mjs", server.url, shots, label, nodes2, 400, templates=NAMES)


# ------------------------------------------------------------------------------------------------------------- pose pad


def angles(state: dict) -> tuple[float, float]:
    return state["yaw"], state["pitch"]


def test_a_new_pad_shows_the_front(visit) -> None:
    fresh = visit["pad"]["fresh"]
    assert angles(fresh) == (0, 0) and fresh["text"] == "yaw 0° · pitch 0°"
    assert fresh["label"] == "Camera: yaw 0° · pitch 0°"
    width, height = visit["pad"]["size"]
    assert width > 180 and height > 100
    assert "NaN" not in fresh["glyph"] and fresh["glyph"].startswith("M")


def test_dragging_turns_the_head_with_the_pointer(visit) -> None:
    """To the left and down: the camera goes to the right and up."""
    before, after = visit["pad"]["fresh"], visit["pad"]["dragged"]
    yaw, pitch = angles(after)
    assert 20 < yaw < 90 and 5 < pitch < 30
    assert yaw == round(yaw) and pitch == round(pitch)
    assert after["text"] == f"yaw {yaw}° · pitch {pitch}°" and after["glyph"] != before["glyph"]
    assert (after["roll"], after["radius"]) == (before["roll"], before["radius"])
    assert (after["scale"], after["position"]) == (before["scale"], before["position"]), "the canvas or the node moved"


def test_the_queued_prompt_carries_the_pose(visit) -> None:
    pad = visit["pad"]
    for moved, prompt in ((pad["dragged"], pad["draggedPrompt"]), (pad["wheeled"], pad["wheeledPrompt"])):
        assert prompt == {name: moved[name] for name in ("yaw", "pitch", "roll", "radius", "fov")}


def test_undo_takes_a_drag_back_and_the_pad_goes_on_working(visit) -> None:
    undone = visit["pad"]["undone"]
    assert angles(undone) == (0, 0)
    assert undone["text"] == "yaw 0° · pitch 0°" and undone["glyph"] == visit["pad"]["fresh"]["glyph"]
    assert angles(visit["pad"]["wheeled"]) == angles(visit["pad"]["dragged"]), "the second drag, after the undo"


def test_the_wheel_changes_the_radius_and_leaves_the_canvas(visit) -> None:
    before, after = visit["pad"]["dragged"], visit["pad"]["wheeled"]
    assert 2.8 < after["radius"] < 3.3 and after["glyph"] != before["glyph"]
    assert after["scale"] == before["scale"]


def test_arrow_keys_turn_the_head(visit) -> None:
    """Left by 1°, then with Shift down by 10°; the head follows, so the camera goes the other way round."""
    before, after = visit["pad"]["wheeled"], visit["pad"]["keyed"]
    assert angles(after) == (before["yaw"] + 1, before["pitch"] + 10)
    assert after["position"] == before["position"], "the arrows moved the node"


def test_a_double_click_goes_to_the_front(visit) -> None:
    state = visit["pad"]["doubleClicked"]
    assert (*angles(state), state["radius"]) == (0, 0, 2.7)


def test_pitch_stops_and_yaw_goes_round(visit) -> None:
    """200 pixels to the left and 400 down, then four times 100 to the left, as fast as the first drag of 40."""
    far, wrapped = visit["pad"]["far"], visit["pad"]["wrapped"]
    assert far["pitch"] == 90 and wrapped["pitch"] == 90
    assert -180 < far["yaw"] <= 180 and -180 < wrapped["yaw"] <= 180
    speed = visit["pad"]["dragged"]["yaw"] / 40
    assert abs(turned(far["yaw"], 200 * speed)) < 4 and abs(turned(wrapped["yaw"], 600 * speed)) < 10
    assert 600 * speed > 180, "these drags do not go round"


def turned(a: float, b: float) -> float:
    """Degrees from b to a, the short way round."""
    return (a - b + 180) % 360 - 180


def test_touch_works(visit) -> None:
    yaw, pitch = angles(visit["pad"]["touched"])
    assert yaw < -10 and pitch < -3


def test_typing_redraws_the_pad(visit) -> None:
    before, after = visit["pad"]["touched"], visit["pad"]["typed"]
    assert after["yaw"] == -75 and after["text"].startswith("yaw -75° ·") and after["glyph"] != before["glyph"]


def test_a_loaded_workflow_shows_its_pose(visit) -> None:
    saved = visit["pad"]["saved"]
    assert len(saved) == 5 and saved[0] == -75, "the pad itself must not be saved"
    after = visit["pad"]["reloaded"]
    assert after["yaw"] == 110 and after["text"].startswith("yaw 110° ·")


def test_linked_inputs_are_left_alone_and_said(visit) -> None:
    before, yaw, camera, wheel = (visit["pad"][k] for k in ("reloaded", "linkedYaw", "linkedCamera", "linkedWheel"))
    assert yaw["yaw"] == before["yaw"] and yaw["pitch"] > before["pitch"]
    assert "yaw comes from a link" in yaw["text"]
    assert angles(camera) == angles(yaw) and "yaw and pitch come from camera_info" in camera["text"]
    assert wheel["radius"] < camera["radius"]


def test_the_glyph_sees_as_the_camera_does(visit, pack) -> None:
    import dualenc_core as dc

    for point in visit["pad"]["points"]:
        axes = dc.Camera.look_at(*point["pose"]).cam2world[0, :3, :3].T.tolist()
        expected = {"right": axes[0], "up": [-x for x in axes[1]], "back": [-x for x in axes[2]]}
        for name, axis in expected.items():
            assert point[name] == pytest.approx(axis, abs=1e-5), (point["pose"], name)


# ------------------------------------------------------------------------------------------------------------ turntable


def test_the_head_can_be_turned_within_a_second_of_the_run(visit) -> None:
    facts = visit["turntable"]
    assert facts["empty"]["shown"] == -1 and "Run, then drag" in facts["empty"]["text"]
    assert facts["seconds"] <= 1, facts["seconds"]
    print(f"the head was turned {facts['seconds']:+.2f} s after the end of the run")


def test_views_appear_while_they_are_made(visit) -> None:
    counts = visit["turntable"]["counts"]
    assert counts == sorted(counts) and len([count for count in counts if 0 < count < 36]) >= 3, counts


def test_the_viewer_follows_the_pointer(visit) -> None:
    """To the left, the camera goes to the right; down, it goes up, as far as there are pictures."""
    dragged, tilted, far = (visit["turntable"][key] for key in ("dragged", "tilted", "far"))
    assert 20 < dragged["yaw"] < 90 and dragged["pitch"] == 0
    assert dragged["shown"] == 12 + round(dragged["yaw"] / 30) and dragged["text"].startswith(f"yaw {dragged['yaw']}°")
    assert tilted["yaw"] == dragged["yaw"] and 12.5 < tilted["pitch"] <= 25 and tilted["shown"] == dragged["shown"] + 12
    assert far["pitch"] == 25 and tilted["sum"] != dragged["sum"]
    assert (far["scale"], far["position"]) == (dragged["scale"], dragged["position"]), "the canvas or the node moved"


def test_wheel_keys_and_double_click(visit) -> None:
    far, wheeled, keyed, front = (visit["turntable"][key] for key in ("far", "wheeled", "keyed", "front"))
    assert 1.2 < wheeled["zoom"] <= 4 and wheeled["scale"] == far["scale"] and wheeled["sum"] != far["sum"]
    assert keyed["yaw"] == wheeled["yaw"] + 30 and keyed["shown"] != wheeled["shown"]
    assert (front["yaw"], front["pitch"], front["zoom"], front["shown"]) == (0, 0, 1, 12)


def test_it_plays_and_stops_where_it_is(visit) -> None:
    playing, paused = visit["turntable"]["playing"], visit["turntable"]["paused"]
    assert visit["turntable"]["played"] >= 3
    assert playing["yaw"] == 0, "each frame would be a step of undo"
    assert paused["yaw"] != 0 and f"yaw {paused['yaw']}°" in paused["text"]


def test_a_new_view_goes_on_without_new_pictures(visit) -> None:
    facts = visit["turntable"]
    assert facts["prompt"]["yaw"] == facts["paused"]["yaw"] and facts["again"] == 0
    assert not [name for name in facts["prompt"] if name == "turntable"]
    assert len(facts["saved"]) == len([v for v in facts["prompt"].values() if not isinstance(v, list)])


def test_the_viewer_turns_in_an_app(visit) -> None:
    facts = visit["turntable"]["app"]
    if facts is None:
        pytest.skip("this frontend has no App mode")
    assert 0 <= facts["before"] != facts["after"] >= 0 and "yaw" in facts["text"]


def test_a_node_made_anew_shows_its_pictures(visit) -> None:
    paused, anew = visit["turntable"]["paused"], visit["turntable"]["anew"]
    assert anew["pictures"] == 36 and anew["shown"] == paused["shown"] and anew["yaw"] == paused["yaw"]


# --------------------------------------------------------------------------------------------------------- report, help


def test_reports_are_shown_and_never_saved(visit) -> None:
    report = visit["report"]
    assert all(text and "PSNR" not in text for text in report["before"])
    assert sum("PSNR" in text for text in report["reports"]) == 1
    assert any("1 face" in text and "yaw 12.3°" in text for text in report["after"])
    assert any(text.strip() == "dualenc/head_00001_.safetensors" for text in report["after"])
    assert not [name for inputs in report["inputs"].values() for name in inputs if "report" in name]
    typed = [[v for v in inputs.values() if not isinstance(v, list)] for inputs in report["inputs"].values()]
    assert report["saved"] == typed


def test_warnings_are_amber_and_one_toast(visit) -> None:
    report = visit["report"]
    assert "64 pixels" in report["amber"]["text"] and report["amber"]["colour"] == "rgb(245, 158, 11)"
    assert report["toasts"] == 1, "two runs with the same warning"
    assert report["cleared"] == 0, "a run without warnings takes them away"


def test_an_error_is_in_the_report_with_our_sentence(visit) -> None:
    report = visit["report"]
    assert report["error"]["text"] == "no face was found in the 300×200 photo"
    assert report["error"]["colour"] == "rgb(239, 68, 68)"
    assert report["errorGone"], "the next run takes it away"


def test_an_empty_report_takes_one_line(visit) -> None:
    assert all(height <= 44 for height in visit["report"]["emptyHeights"]), visit["report"]["emptyHeights"]


def test_each_of_our_types_has_its_colour(visit) -> None:
    colours = visit["colours"]
    assert len(set(colours["links"].values())) == 5 and len(set(colours["slots"].values())) == 5
    assert "" not in colours["slots"].values() and None not in colours["links"].values()
    assert colours["afterPalette"] == colours["links"], "a change of the palette took them away"


def test_templates_are_listed_by_name(visit) -> None:
    assert visit["templates"]["order"] == NAMES


def test_the_help_page_opens(visit) -> None:
    page = visit["help"]
    assert page["status"] == 200
    assert page["heading"] == re.search(r"^# (.+)$", page["source"], re.MULTILINE)[1]
    first = page["source"].split("\n\n")[1].split(".")[0].replace("\n", " ")
    assert re.sub(r"[*`]", "", first) in page["words"]
    assert all(picture["width"] > 0 for picture in page["pictures"]), page["pictures"]


# ----------------------------------------------------------------------------------------------------------- every node


def test_every_node_shows_its_widgets(visit, pack) -> None:
    nodes = visit["nodes"]
    assert [node["type"] for node in nodes] == sorted(pack.NODE_CLASS_MAPPINGS)
    assert all(min(node["size"]) > 20 for node in nodes)
    assert {node["type"]: node["missing"] for node in nodes if node["missing"]} == {}


def test_every_help_page_opens_and_fits_its_panel(visit) -> None:
    pages = {node["type"]: node["help"] for node in visit["nodes"]}
    assert {name: page["heading"] for name, page in pages.items()} == {n: p["expected"] for n, p in pages.items()}
    assert {name: page["wide"] for name, page in pages.items() if page["wide"]} == {}
    assert [picture for page in pages.values() for picture in page["dead"]] == []


# ------------------------------------------------------------------------------------------------------------ workflows


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_loads_from_the_template_list(visit, name: str) -> None:
    assert name in visit["templates"]["listed"]
    loaded = visit["templates"]["loaded"][name]
    if name in NEWER_WORKFLOWS and loaded["missing"]:
        pytest.skip(f"this ComfyUI has no {', '.join(loaded['missing'])}")
    status, size = loaded["thumbnail"]
    assert status == 200 and size > 1000
    assert loaded["nodes"] > 1 and loaded["missing"] == []
    # As it is laid out, not all of it in the window: that would be too small to read.
    assert loaded["scales"][0] == pytest.approx(loaded["scales"][1])
    assert not loaded["marked"], "undo would move the canvas"
    assert loaded["small"] == [], "no room for what they show"
    assert not [text for text in loaded["dialogs"] if "DualEnc" in text or "issing node" in text], loaded["dialogs"]


@pytest.mark.parametrize("name", NAMES)
def test_the_note_can_be_read(visit, name: str) -> None:
    note = visit["templates"]["loaded"][name]["note"]
    assert note["parts"] >= 3 and note["least"] > 4.5, note


@pytest.mark.parametrize("name", NAMES)
def test_the_queued_prompt_is_the_shipped_one(visit, name: str) -> None:
    if name in NEWER_WORKFLOWS and visit["templates"]["loaded"][name]["missing"]:
        pytest.skip("this ComfyUI lacks nodes of it")
    ours, shipped = (canonical(prompt) for prompt in (visit["templates"]["loaded"][name]["prompt"], api_prompt(name)))
    assert ours == shipped


# The frontend adds its viewers to core nodes as widgets, of which the server knows nothing.
VIEWERS = {("Preview3D", "image"), ("SaveGLB", "image"), ("PreviewGaussianSplat", "viewport_state")}
# Optional inputs of newer versions, which their frontends add with the default.
NEWER = {("CreateVideo", "bit_depth"), ("SaveVideo", "format.codec")}


def canonical(prompt: dict) -> list[str]:
    """Nodes as sorted text; a link names what it leads to (class and all its inputs, as a hash) instead of an id."""
    done: dict[str, str] = {}

    def value(given):
        if isinstance(given, list) and len(given) == 2 and str(given[0]) in prompt:
            return [hashlib.sha256(node(str(given[0])).encode()).hexdigest()[:12], given[1]]
        return int(given) if isinstance(given, float) and given.is_integer() else given

    def node(key: str) -> str:
        if key not in done:
            kind = prompt[key]["class_type"]
            typed = prompt[key]["inputs"].items()
            inputs = {name: value(given) for name, given in typed if (kind, name) not in VIEWERS | NEWER}
            done[key] = json.dumps({"class_type": kind, "inputs": inputs}, sort_keys=True)
        return done[key]

    return sorted(node(key) for key in prompt)


def test_apps_have_labels_and_work_by_click(visit) -> None:
    if visit["apps"] is None:
        pytest.skip("this frontend has no App mode")
    apps = {"01_photo_to_360_head", "02_photo_to_turntable_video", "08_hair_transfer", "15_direct_a_head"}
    assert set(visit["apps"]) == apps
    for name, seen in visit["apps"].items():
        assert seen["labels"] and all(shown for _, shown in seen["labels"]), (name, seen["labels"])
        before, after = seen["stepped"]
        assert after > before, name


def test_blueprints_are_listed_and_make_prompts(visit) -> None:
    if visit["blueprints"] is None:
        pytest.skip("this ComfyUI lists no blueprints")
    made = visit["blueprints"]
    assert set(made) == {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    assert made["Head to 3D File (DualEnc)"]["classes"] == ["DualEncMesh", "DualEncSaveMesh"]
    assert "format" in made["Head to 3D File (DualEnc)"]["widgets"]
    assert "DualEncInvert" in made["Photo to Head (DualEnc)"]["classes"]
    assert "CreateVideo" in made["Head to Turntable (DualEnc)"]["classes"]


def test_the_console_has_no_error_of_ours(visit) -> None:
    """But for what the frontend tries by itself: help pages in the user's language, the registry of nodes offline."""
    asked = rf"/{PACK}/docs/DualEnc\w+/[\w-]+\.md$|https://api\.comfy\.org/"
    lines = [f"{error['text']} {error['url']}" for error in visit["errors"]]
    assert [line for line in lines if re.search("dualenc", line, re.IGNORECASE) and not re.search(asked, line)] == []
    assert [url for url in visit["failed"] if PACK in url and not re.search(asked, url)] == []
