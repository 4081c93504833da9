"""The subgraph blueprints: current, sound, and what they hold runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..tools.workflows.blueprints import BLUEPRINTS, FOLDER, INSIDE, OUTSIDE, built
from ..tools.workflows.definitions import Definition, definitions
from .executor import Executor


@pytest.fixture(scope="module")
def known(pack) -> dict[str, Definition]:
    return definitions(pack.NODE_CLASS_MAPPINGS)


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_the_files_are_what_a_build_writes(known) -> None:
    files = built(known)
    assert {path.name for path in FOLDER.glob("*")} == {path.name for path in files}
    old = [path.name for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert old == [], "run: python -m tests.tools.workflows.blueprints"


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_one_node_whose_links_and_widgets_exist(known, name: str) -> None:
    shipped = load(name)
    (outer,) = shipped["nodes"]
    (inner,) = shipped["definitions"]["subgraphs"]
    assert outer["type"] == inner["id"] and inner["name"] == name and inner["description"].endswith(".")
    nodes = {node["id"]: node for node in inner["nodes"]}
    for line in inner["links"]:
        source, target = line["origin_id"], line["target_id"]
        given = inner["inputs"] if source == INSIDE else nodes[source]["outputs"]
        taken = inner["outputs"] if target == OUTSIDE else nodes[target]["inputs"]
        assert given[line["origin_slot"]]["type"] == taken[line["target_slot"]]["type"] == line["type"]
    for part in ("inputs", "outputs"):
        assert [(p["name"], p["type"]) for p in outer[part]] == [(p["name"], p["type"]) for p in inner[part]]
        assert all(p["linkIds"] for p in inner[part])
    for number, widget in outer["properties"]["proxyWidgets"]:
        assert known[nodes[int(number)]["type"]].input(widget).is_widget
    for node in inner["nodes"]:
        missing = [i.name for i in known[node["type"]].sockets if i.required]
        linked = [line["name"] for line in node["inputs"] if line["link"] is not None]
        assert set(missing) <= set(linked), node["type"]


def flat(name: str, known: dict[str, Definition], given: dict[str, list]) -> dict[str, Any]:
    """The nodes of a blueprint as a prompt, with links for its inputs."""
    from ..tools.workflows.convert import widget_values

    (inner,) = load(name)["definitions"]["subgraphs"]
    links = {line["id"]: line for line in inner["links"]}
    prompt = {}
    for node in inner["nodes"]:
        inputs = widget_values(known[node["type"]], node["widgets_values"])
        for line in node["inputs"]:
            if (found := links.get(line["link"])) is None:
                continue
            source, slot = found["origin_id"], found["origin_slot"]
            inputs[line["name"]] = given[inner["inputs"][slot]["name"]] if source == INSIDE else [f"n{source}", slot]
        prompt[f"n{node['id']}"] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["title"]}}
    return prompt


def test_a_head_becomes_a_file(pack, known, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    sample = {"seed": 3, "truncation": 0.7, "count": 1, "generator": ["load", 0]}
    prompt = {
        "load": {"class_type": "DualEncLoadPanoHead", "inputs": {"file": "demo (bundled)"}},
        "sample": {"class_type": "DualEncSample", "inputs": sample},
        **flat("Head to 3D File (DualEnc)", known, {"generator": ["load", 0], "head": ["sample", 0]}),
    }
    prompt["n1"]["inputs"]["resolution"] = 32
    results = Executor(pack).run(prompt)
    assert results.files()[0].suffix == ".glb" and results.files()[0].stat().st_size > 1000
