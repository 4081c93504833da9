"""Write the subgraph blueprints, groups of nodes that newer frontends offer as one node.

    python -m tests.tools.workflows.blueprints

Each is a part of a shipped prompt: its nodes, what is linked into and out of it, and the widgets that it shows.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .build import ROOT, complete, project, properties, values
from .definitions import Definition, definitions, prompts
from .layout import depths, size

FOLDER = ROOT / "subgraphs"
INSIDE, OUTSIDE = -10, -20


@dataclass(frozen=True)
class Blueprint:
    """A part of a prompt.

    Attributes:
        prompt: name of the shipped prompt that the nodes come from.
        nodes: their ids.
        inputs: (name, [(id, input)]): what is linked from outside, to one or more nodes.
        outputs: (name, id, slot).
        widgets: (id, widget) that the group shows, in this order.
        description, category: for the list of nodes.
    """

    prompt: str
    nodes: tuple[str, ...]
    inputs: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    outputs: tuple[tuple[str, str, int], ...]
    widgets: tuple[tuple[str, str], ...]
    description: str
    category: str = "DualEnc"


BLUEPRINTS = {
    "Photo to Head (DualEnc)": Blueprint(
        "02_photo_to_turntable_video",
        ("load_generator", "load_encoder_1", "load_encoder_2", "align", "invert"),
        (("photo", (("align", "image"),)),),
        (
            ("generator", "load_generator", 0),
            ("head", "invert", 0),
            ("camera", "align", 1),
            ("reconstruction", "invert", 1),
            ("overlay", "align", 3),
            ("report", "align", 4),
        ),
        (("align", "face"), ("align", "pose"), ("align", "yaw"), ("align", "pitch"), ("load_generator", "file")),
        "One photo becomes a head that can be seen from all sides.",
    ),
    "Head to Turntable (DualEnc)": Blueprint(
        "02_photo_to_turntable_video",
        ("orbit", "render", "video"),
        (("generator", (("render", "generator"),)), ("head", (("render", "triplane"),))),
        (("video", "video", 0), ("images", "render", 0), ("alpha", "render", 1)),
        (("orbit", "frames"), ("orbit", "pitch"), ("orbit", "swing"), ("orbit", "fps"), ("render", "background")),
        "A head becomes a video that goes once round it.",
    ),
    "Head to 3D File (DualEnc)": Blueprint(
        "10_coloured_mesh",
        ("mesh", "save_mesh"),
        (("generator", (("mesh", "generator"),)), ("head", (("mesh", "triplane"),))),
        (("mesh", "mesh", 0), ("path", "save_mesh", 0), ("model_3d", "save_mesh", 1)),
        (("mesh", "resolution"), ("mesh", "texture"), ("mesh", "triangles"), ("save_mesh", "format")),
        "A head becomes a coloured mesh, saved as GLB or PLY.",
    ),
}


def graph(name: str, known: dict[str, Definition]) -> dict[str, Any]:
    """A workflow of one node, the group."""
    plan = BLUEPRINTS[name]
    prompt = {key: node for key, node in complete(prompts()[plan.prompt], known).items() if key in plan.nodes}
    numbers = {key: i for i, key in enumerate(plan.nodes, start=1)}
    depth = depths(prompt, dict.fromkeys(plan.nodes, 0))
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{project()['name']}/subgraphs/{name}"))
    links: list[dict[str, Any]] = []
    nodes: dict[str, dict[str, Any]] = {}
    heights: dict[int, int] = {}
    outside = {(key, field): slot for slot, (_, ends) in enumerate(plan.inputs) for key, field in ends}

    def link(origin: int, origin_slot: int, target: int, slot: int, kind: str) -> int:
        ends = {"origin_id": origin, "origin_slot": origin_slot, "target_id": target, "target_slot": slot}
        links.append({"id": len(links) + 1, **ends, "type": kind})
        return len(links)

    for key in sorted(plan.nodes, key=lambda key: (depth[key], numbers[key])):
        entry, definition = prompt[key], known[prompt[key]["class_type"]]
        width, height = size(definition)
        top = heights.get(depth[key], 0)
        heights[depth[key]] = top + height + 90
        inputs = []
        for slot, declared in enumerate([*definition.sockets, *definition.widgets]):
            line: dict[str, Any] = {"name": declared.name, "type": declared.kind, "link": None}
            if not declared.required:
                line["shape"] = 7
            if declared.is_widget:
                line["widget"] = {"name": declared.name}
            value = entry["inputs"].get(declared.name)
            if (key, declared.name) in outside:
                line["link"] = link(INSIDE, outside[key, declared.name], numbers[key], slot, declared.kind)
            elif isinstance(value, list) and value[0] in plan.nodes:
                kind = known[prompt[value[0]]["class_type"]].outputs[value[1]][1]
                line["link"] = link(numbers[value[0]], value[1], numbers[key], slot, kind)
            inputs.append(line)
        nodes[key] = {
            "id": numbers[key],
            "type": definition.name,
            "pos": [depth[key] * 400, top],
            "size": [width, height],
            "flags": {},
            "order": len(nodes),
            "mode": 0,
            "inputs": inputs,
            "outputs": [{"name": label, "type": kind, "links": []} for label, kind in definition.outputs],
            "title": entry["_meta"]["title"],
            "properties": properties(definition, entry, project()),
            "widgets_values": values(definition, entry["inputs"]),
        }
    outputs = []
    for slot, (label, key, at) in enumerate(plan.outputs):
        kind = known[prompt[key]["class_type"]].outputs[at][1]
        number = link(numbers[key], at, OUTSIDE, slot, kind)
        outputs.append({"id": _id(identity, "out", label), "name": label, "type": kind, "linkIds": [number]})
    for line in links:
        if line["origin_id"] > 0:
            nodes[plan.nodes[line["origin_id"] - 1]]["outputs"][line["origin_slot"]]["links"].append(line["id"])
    inputs = []
    for slot, (label, ends) in enumerate(plan.inputs):
        kind = known[prompt[ends[0][0]]["class_type"]].input(ends[0][1]).kind
        numbers_in = [line["id"] for line in links if (line["origin_id"], line["origin_slot"]) == (INSIDE, slot)]
        inputs.append({"id": _id(identity, "in", label), "name": label, "type": kind, "linkIds": numbers_in})
    right = max(depth.values()) * 400 + 400
    subgraph = {
        "id": identity,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INSIDE, "bounding": [-220, 0, 130, 40 + 20 * len(inputs)]},
        "outputNode": {"id": OUTSIDE, "bounding": [right, 0, 130, 40 + 20 * len(outputs)]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": list(nodes.values()),
        "groups": [],
        "links": links,
        "extra": {},
        "category": plan.category,
        "description": plan.description,
    }
    node = {
        "id": 1,
        "type": identity,
        "pos": [0, 0],
        "size": [320, 60 + 24 * (len(plan.widgets) + max(len(inputs), len(outputs)))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": i["name"], "type": i["type"], "link": None} for i in inputs],
        "outputs": [{"name": o["name"], "type": o["type"], "links": []} for o in outputs],
        "title": name,
        "properties": {
            "proxyWidgets": [[str(numbers[key]), widget] for key, widget in plan.widgets],
            "cnr_id": project()["name"],
            "ver": project()["version"],
        },
        "widgets_values": [],
    }
    return {
        "id": _id(identity, "graph", name),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": plan.description},
    }


def _id(identity: str, kind: str, label: str) -> str:
    return str(uuid.uuid5(uuid.UUID(identity), f"{kind}/{label}"))


def built(known: dict[str, Definition]) -> dict[Path, str]:
    """Every file that a build writes."""
    return {FOLDER / f"{name}.json": json.dumps(graph(name, known), ensure_ascii=False) + "\n" for name in BLUEPRINTS}


if __name__ == "__main__":
    from ..help_pictures import load_pack

    FOLDER.mkdir(exist_ok=True)
    for path, text in built(definitions(load_pack().NODE_CLASS_MAPPINGS)).items():
        path.write_text(text, encoding="utf-8")
