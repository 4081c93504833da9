"""The shipped workflow files: complete, current, well laid out, the same in UI and API form."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from PIL import Image

from dualenc_core import Camera

from ..tools.workflows.build import built, project
from ..tools.workflows.convert import NOTES, named, to_api
from ..tools.workflows.definitions import API, Definition, definitions, prompts
from ..tools.workflows.layout import TITLE
from ..tools.workflows.portrait import EXAMPLES, LENDER, PORTRAIT
from ..tools.workflows.thumbnails import MOST_BYTES, WIDTH
from .executor import PromptError, check

WORKFLOWS = API.parent
PROMPTS = prompts()
NAMES = sorted(PROMPTS)
FOREIGN = "05_head_into_diffusion"


@pytest.fixture(scope="module")
def known(pack) -> dict[str, Definition]:
    return definitions(pack.NODE_CLASS_MAPPINGS)


def graph(name: str) -> dict[str, Any]:
    """A shipped UI workflow, a fresh copy."""
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def rectangle(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# -------------------------------------------------------------------------------------------------------------- files


def test_every_workflow_has_its_prompt_and_picture() -> None:
    assert len(NAMES) >= 7
    assert sorted(path.stem for path in WORKFLOWS.glob("*.json")) == NAMES
    assert sorted(path.stem for path in WORKFLOWS.glob("*.jpg")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_thumbnail_is_small(name: str) -> None:
    path = WORKFLOWS / f"{name}.jpg"
    assert path.stat().st_size <= MOST_BYTES
    with Image.open(path) as picture:
        assert (picture.format, picture.width) == ("JPEG", WIDTH)
        assert max(high - low for low, high in picture.getextrema()) > 100


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_photo_is_small(path) -> None:
    assert path.stat().st_size < 300_000
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (512, 512))


@pytest.mark.parametrize("name", NAMES)
def test_the_listed_folder_has_only_the_ui_form(name: str) -> None:
    """ComfyUI lists every JSON file there, and an API prompt would not open."""
    shipped = graph(name)
    assert shipped["version"] == 0.4 and isinstance(shipped["nodes"], list) and isinstance(shipped["links"], list)
    assert all("class_type" in node for node in PROMPTS[name].values())


def test_the_files_are_what_a_build_writes(known) -> None:
    """python -m tests.tools.workflows.build"""
    files = built(known)
    assert {path.name for path in files} == {f"{name}.json" for name in NAMES}
    old = [str(path) for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert old == [], "run: python -m tests.tools.workflows.build"


# ------------------------------------------------------------------------------------------------------------ prompts


@pytest.mark.parametrize("name", NAMES)
def test_the_ui_form_is_the_prompt(known, name: str) -> None:
    assert named(to_api(graph(name), known), list(PROMPTS[name])) == PROMPTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_there_and_every_link_fits(known, name: str) -> None:
    for key in PROMPTS[name]:
        check(PROMPTS[name], key, known)


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_titles_mean_something(name: str) -> None:
    for key, node in PROMPTS[name].items():
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", key), key
        assert node["_meta"]["title"] and node["_meta"]["title"] != node["class_type"]
    titles = [node["_meta"]["title"] for node in PROMPTS[name].values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_runs_at_once_and_always_the_same(known, name: str) -> None:
    """Bundled models, the example photos, fixed seeds."""
    shipped = graph(name)
    for key, node in PROMPTS[name].items():
        if node["class_type"] in ("DualEncLoadPanoHead", "DualEncLoadEncoder"):
            assert "(bundled)" in node["inputs"]["file"]
        if node["class_type"] == "LoadImage":
            assert node["inputs"]["image"] == (LENDER if key == "load_lender" else PORTRAIT).name
    for node in shipped["nodes"]:
        if node["type"] not in NOTES:
            seeds = [i for i in known[node["type"]].widgets if i.options.get("control_after_generate")]
            assert node["widgets_values"].count("fixed") == len(seeds), node["type"]


def test_the_checks_find_what_they_look_for(known) -> None:
    name = "02_photo_to_turntable_video"
    broken = {
        ("render", "triplane"): ["orbit", 0],
        ("render", "background"): "plaid",
        ("orbit", "frames"): 0,
        ("orbit", "swing"): 1,
        ("invert", "generator"): "demo",
        ("video", "speed"): 2.0,
        ("save_video", "codec"): "vp9",
    }
    for (key, field), value in broken.items():
        prompt = copy.deepcopy(PROMPTS[name])
        prompt[key]["inputs"][field] = value
        with pytest.raises(PromptError, match=key):
            check(prompt, key, known)
    prompt = copy.deepcopy(PROMPTS[name])
    del prompt["video"]["inputs"]["fps"]
    with pytest.raises(PromptError, match="fps"):
        check(prompt, "video", known)


def test_the_converter_sees_every_change(known) -> None:
    name = "03_sample_heads"
    names = list(PROMPTS[name])

    def changed(number: int, change) -> dict[str, Any]:
        shipped = graph(name)
        change(next(node for node in shipped["nodes"] if node["id"] == number))
        return named(to_api(shipped, known), names)

    seed = names.index("sample") + 1
    assert changed(seed, lambda node: None) == PROMPTS[name]
    # Position 1 is "fixed", which is no input.
    values = [8, "fixed", 0.5, 4]
    assert changed(seed, lambda node: node.update(widgets_values=values))["sample"]["inputs"] == {
        "generator": ["load_generator", 0], "seed": 8, "truncation": 0.5, "count": 4
    }  # fmt: skip
    for values in ([7, "fixed", 0.7], [7, "fixed", 0.7, 8, 1]):
        with pytest.raises(ValueError, match="widget values"):
            changed(seed, lambda node, values=values: node.update(widgets_values=values))
    with pytest.raises(ValueError, match="muted"):
        changed(seed, lambda node: node.update(mode=4))
    with pytest.raises(ValueError, match="does not end"):
        changed(seed, lambda node: node["inputs"].reverse())


# ----------------------------------------------------------------------------------------------------------- the canvas


@pytest.mark.parametrize("name", NAMES)
def test_numbers_orders_and_links_agree(known, name: str) -> None:
    shipped = graph(name)
    nodes = {node["id"]: node for node in shipped["nodes"]}
    assert sorted(nodes) == list(range(1, shipped["last_node_id"] + 1))
    assert sorted(node["order"] for node in nodes.values()) == list(range(len(nodes)))
    assert [link[0] for link in shipped["links"]] == list(range(1, shipped["last_link_id"] + 1))
    for number, source, output, target, slot, kind in shipped["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
        assert nodes[source]["outputs"][output]["type"] == kind
        assert kind in nodes[target]["inputs"][slot]["type"].split(",")
        assert nodes[source]["order"] < nodes[target]["order"]
    ends = [n for node in nodes.values() for output in node["outputs"] for n in output["links"]]
    assert sorted(ends) == sorted(link[0] for link in shipped["links"])


@pytest.mark.parametrize("name", NAMES)
def test_nodes_neither_overlap_nor_leave_their_group(name: str) -> None:
    shipped = graph(name)
    boxes = {node["id"]: rectangle(node) for node in shipped["nodes"]}
    clashes = [(a, b) for a in boxes for b in boxes if a < b and overlap(boxes[a], boxes[b])]
    assert clashes == []
    groups = [(x, y, x + width, y + height) for x, y, width, height in (g["bounding"] for g in shipped["groups"])]
    assert not [(a, b) for a in groups for b in groups if a < b and overlap(a, b)]
    for node in shipped["nodes"]:
        x0, y0, x1, y1 = boxes[node["id"]]
        inside = [g for g in groups if g[0] <= x0 and g[1] <= y0 and x1 <= g[2] and y1 <= g[3]]
        assert len(inside) == (0 if node["type"] in NOTES else 1), node["title"]
    assert all(node["size"][0] >= 300 for node in shipped["nodes"])


@pytest.mark.parametrize("name", NAMES)
def test_links_go_from_left_to_right_or_from_row_to_row(name: str) -> None:
    shipped = graph(name)
    boxes = {node["id"]: rectangle(node) for node in shipped["nodes"]}

    def back(source: tuple[float, ...], target: tuple[float, ...]) -> bool:
        beside = source[1] < target[3] and target[1] < source[3]
        return beside and source[2] >= target[0]

    assert [link for link in shipped["links"] if back(boxes[link[1]], boxes[link[3]])] == []


def on_screen(name: str) -> tuple[float, list[tuple[float, ...]], list[tuple[float, ...]]]:
    """The scale of a workflow as it opens, and rectangles in pixels of all nodes, and of those that show results."""
    shipped = graph(name)
    scale, (x, y) = shipped["extra"]["ds"]["scale"], shipped["extra"]["ds"]["offset"]

    def pixels(node: dict[str, Any]) -> tuple[float, ...]:
        left, top, right, bottom = rectangle(node)
        return (left + x) * scale, (top + y) * scale, (right + x) * scale, (bottom + y) * scale

    results = [node for node in shipped["nodes"] if node["type"] in SHOWS]
    return scale, [pixels(node) for node in shipped["nodes"]], [pixels(node) for node in results]


SHOWS = (
    *("SaveImage", "SaveVideo", "Preview3D", "Preview3DAdvanced", "PreviewGaussianSplat", "SaveGLB"),
    *("DualEncCompare", "DualEncTurntable"),
)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_in_view_after_a_run(name: str) -> None:
    """In a window of 1600 × 1000 at once, in one of 1280 × 800 by scrolling down, never to the right."""
    scale, nodes, results = on_screen(name)
    assert 0.6 < scale <= 1 and results
    assert max(right for *_, right, _ in results) <= 1280 and max(bottom for *_, bottom in results) <= 960
    assert max(right for *_, right, _ in nodes) <= 1290
    # The menu bar is 90 pixels high, the side bar 60 wide.
    assert min(left for left, *_ in nodes) >= 60 and min(top for _, top, *_ in nodes) >= 90
    # Nothing is left empty that could show more.
    assert max(right for *_, right, _ in nodes) > 1000 and max(bottom for *_, bottom in nodes) > 600


@pytest.mark.parametrize("name", NAMES)
def test_notes_can_be_read(name: str) -> None:
    """Light grey on the note's own colour, and no quoted code, whose colours the frontend chooses."""
    (note,) = [node for node in graph(name)["nodes"] if node["type"] in NOTES]
    levels = [int(note["bgcolor"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    luminance = sum(w * level**2.2 for w, level in zip((0.2126, 0.7152, 0.0722), levels, strict=True))
    grey = (0xBB / 255) ** 2.2
    assert (grey + 0.05) / (luminance + 0.05) > 7
    assert "`" not in note["widgets_values"][0]


# Viewers that the page adds to nodes; they are no inputs.
VIEWERS = ("turntable",)
APPS = {"01_photo_to_360_head", "02_photo_to_turntable_video", "08_hair_transfer", "15_direct_a_head"}


@pytest.mark.parametrize("name", NAMES)
def test_apps_show_labelled_inputs_and_results(known, name: str) -> None:
    extra = graph(name)["extra"]
    assert ("linearData" in extra) == (name in APPS)
    if name not in APPS:
        return
    nodes = {node["id"]: node for node in graph(name)["nodes"]}
    for number, widget in extra["linearData"]["inputs"]:
        if widget in VIEWERS:
            assert nodes[number]["type"] == "DualEncTurntable"
            continue
        (line,) = [line for line in nodes[number]["inputs"] if line["name"] == widget]
        assert line["widget"]["name"] == widget and line["link"] is None
        assert line["label"][0].isupper() and line["label"] != widget
    for number in extra["linearData"]["outputs"]:
        assert known[nodes[number]["type"]].output_node


@pytest.mark.parametrize("name", sorted(APPS))
@pytest.mark.parametrize("frames", [None, 5])
def test_apps_show_the_front_first(name: str, frames: int | None) -> None:
    """App mode shows the last picture of a batch large, however many there are."""
    prompt, extra = PROMPTS[name], graph(name)["extra"]
    outputs = [list(prompt)[number - 1] for number in extra["linearData"]["outputs"]]
    pictures = [prompt[key]["inputs"]["images"][0] for key in outputs if "images" in prompt[key]["inputs"]]
    assert pictures or name == "02_photo_to_turntable_video"
    for key in pictures:
        path = prompt[prompt[key]["inputs"]["camera"][0]]["inputs"]
        yaw, _ = Camera.orbit(frames or path["frames"], path["start"], path["end"]).angles
        assert float(yaw[-1]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_say_where_they_come_from(name: str) -> None:
    for node in graph(name)["nodes"]:
        if node["type"] in NOTES:
            continue
        ours = node["type"].startswith("DualEnc")
        expected = {"cnr_id": project()["name"], "ver": project()["version"]} if ours else {"cnr_id": "comfy-core"}
        assert expected.items() <= node["properties"].items()
        assert node["properties"]["Node name for S&R"] == node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_a_note_says_what_to_do(name: str) -> None:
    (note,) = [node for node in graph(name)["nodes"] if node["type"] in NOTES]
    text = note["widgets_values"][0]
    assert text.startswith("# ") and "**Run**" in text
    # What the note calls by its title, in italics with a capital, has to be there.
    titles = [node["title"] for node in graph(name)["nodes"]] + [group["title"] for group in graph(name)["groups"]]
    for said in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text):
        assert any(title.startswith(said) for title in titles), said


def test_the_foreign_files_are_named_where_they_are_needed() -> None:
    shipped = graph(FOREIGN)
    models = [model for node in shipped["nodes"] for model in node["properties"].get("models", [])]
    (note,) = [node["widgets_values"][0] for node in shipped["nodes"] if node["type"] in NOTES]
    chosen = [
        node["inputs"].get(key) for node in PROMPTS[FOREIGN].values() for key in ("ckpt_name", "control_net_name")
    ]
    assert {model["name"] for model in models} == {name for name in chosen if name}
    for model in models:
        assert model["url"].endswith(f"/{model['name']}") and model["name"] in note
        assert f"models/{model['directory']}/" in note


def test_the_readme_names_ids_and_inputs_that_exist(known) -> None:
    """Every row of the first table, and every prompt has one."""
    text = (API / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d_\w+) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == NAMES
    for name, change, results in rows:
        prompt = PROMPTS[name]
        for part in change.split(" · "):
            ids = re.findall(r"`(\w+)`", part)
            assert ids and set(ids) <= set(prompt), part
            # What is not an id is an input of each of them.
            for field in re.findall(r"\w+", re.sub(r"`\w+`,?", "", part)):
                for key in ids:
                    assert known[prompt[key]["class_type"]].input(field).is_widget
        assert set(re.findall(r"`(\w+)`", results)) <= set(prompt), results
