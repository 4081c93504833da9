"""Write the UI workflows from the API prompts, the node definitions and the stages.

    python -m tests.tools.workflows.build

Run it after a change of a prompt, a stage or a node: inputs that a prompt lacks get their defaults, then
workflows/NAME.json is made from workflows/api/NAME.json. The same files come out every time.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from .definitions import API, Definition, definitions, prompts
from .layout import Box, depths, flow, note_box, place, size
from .stages import PLANS, RESULT, Plan

ROOT = API.parents[1]
COMFYUI = "0.3.64"
FRONTEND = "1.27.10"
# Pixels: what a window of 1280 × 800 shows of the canvas in width, one of 1600 × 1000 in height; the corner that its
# menus cover.
WINDOW = (1270, 950)
CORNER = (70, 110)
# Below it the classic canvas writes no text.
READABLE = 0.62
# The frontend's own are olive, on which its links and quotations cannot be read.
NOTE_COLOURS = {"color": "#353535", "bgcolor": "#222222"}
OPTIONAL = 7  # the frontend's shape of a socket that may stay empty
HUGGING_FACE = "https://huggingface.co/"
# Lets the frontend offer the download.
DOWNLOADS = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints",
        HUGGING_FACE + "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    ),
    "control_v11f1p_sd15_depth_fp16.safetensors": (
        "controlnet",
        HUGGING_FACE
        + "comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11f1p_sd15_depth_fp16.safetensors",
    ),
}


def complete(prompt: dict[str, Any], known: dict[str, Definition]) -> dict[str, Any]:
    """The prompt with a value for every widget, inputs in the order of the node; KeyError for unknown ones."""
    full = {}
    for key, node in prompt.items():
        definition = known[node["class_type"]]
        for name in node["inputs"]:
            definition.input(name)
        defaults = {widget.name: widget.default for widget in definition.widgets}
        values = defaults | node["inputs"]
        inputs = {i.name: values[i.name] for i in definition.inputs if i.name in values}
        full[key] = {"inputs": inputs, "class_type": node["class_type"], "_meta": node["_meta"]}
    return full


def workflow(name: str, prompt: dict[str, Any], known: dict[str, Definition], project: dict[str, Any]) -> dict:
    """The UI form. Node i is the i-th of the prompt; the note is the last."""
    plan = PLANS[name]
    numbers = {key: i for i, key in enumerate(prompt, start=1)}
    sizes = {key: size(known[node["class_type"]]) for key, node in prompt.items()} | plan.sizes
    boxes, frames = place(plan, prompt, sizes)
    depth = depths(prompt, dict.fromkeys(prompt, 0))
    order = {key: i for i, key in enumerate(sorted(prompt, key=lambda key: (depth[key], numbers[key])))}
    labels = {} if plan.app is None else {(key, widget): label for key, widget, label in plan.app.inputs}
    links: list[list[Any]] = []
    nodes = {}
    for key, entry in prompt.items():
        definition = known[entry["class_type"]]
        inputs = []
        for slot, declared in enumerate([*definition.sockets, *definition.widgets]):
            line: dict[str, Any] = {"name": declared.name, "type": declared.kind, "link": None}
            if not declared.required:
                line["shape"] = OPTIONAL
            if declared.is_widget:
                line["widget"] = {"name": declared.name}
            if (key, declared.name) in labels:
                line["label"] = labels[key, declared.name]
            value = entry["inputs"].get(declared.name)
            if isinstance(value, list):
                kind = known[prompt[value[0]]["class_type"]].outputs[value[1]][1]
                links.append([len(links) + 1, numbers[value[0]], value[1], numbers[key], slot, kind])
                line["link"] = len(links)
            inputs.append(line)
        nodes[key] = {
            "id": numbers[key],
            "type": definition.name,
            "pos": [boxes[key].x, boxes[key].y],
            "size": [boxes[key].width, boxes[key].height],
            "flags": {},
            "order": order[key],
            "mode": 0,
            "inputs": inputs,
            "outputs": [{"name": label, "type": kind, "links": []} for label, kind in definition.outputs],
            "title": entry["_meta"]["title"],
            "properties": properties(definition, entry, project),
            "widgets_values": values(definition, entry["inputs"]),
        }
    for number, source, slot, *_ in links:
        nodes[list(prompt)[source - 1]]["outputs"][slot]["links"].append(number)
    text = flow(plan.note)
    note = note_box(text)
    stages = [stage for row in plan.rows for column in row for stage in column]
    results = [frame for stage, frame in zip(stages, frames, strict=True) if stage.colour == RESULT]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{project['name']}/workflows/{name}")),
        "revision": 0,
        "last_node_id": len(nodes) + 1,
        "last_link_id": len(links),
        "nodes": [*nodes.values(), note_node(len(nodes) + 1, text, note)],
        "links": links,
        "groups": [
            {
                "id": i,
                "title": stage.title,
                "bounding": [frame.x, frame.y, frame.width, frame.height],
                "color": stage.colour,
                "font_size": 24,
                "flags": {},
            }
            for i, (stage, frame) in enumerate(zip(stages, frames, strict=True), start=1)
        ],
        "config": {},
        "extra": {"ds": view([note, *frames], results), "frontendVersion": FRONTEND, "dualenc_template": name}
        | app(plan, numbers),
        "version": 0.4,
    }


def values(definition: Definition, inputs: dict[str, Any]) -> list[Any]:
    """Widget values by position; a linked widget keeps its default."""
    found = []
    for widget in definition.widgets:
        value = inputs[widget.name]
        found.append(widget.default if isinstance(value, list) else value)
        if widget.companion:
            found.append(widget.companion)
    return found


def properties(definition: Definition, entry: dict[str, Any], project: dict[str, Any]) -> dict[str, Any]:
    ours = definition.name.startswith("DualEnc")
    found: dict[str, Any] = {
        "Node name for S&R": definition.name,
        "cnr_id": project["name"] if ours else "comfy-core",
        "ver": project["version"] if ours else COMFYUI,
    }
    models = [
        {"name": value, "url": DOWNLOADS[value][1], "directory": DOWNLOADS[value][0]}
        for value in entry["inputs"].values()
        if isinstance(value, str) and value in DOWNLOADS
    ]
    return found | ({"models": models} if models else {})


def app(plan: Plan, numbers: dict[str, int]) -> dict[str, Any]:
    """What App mode shows; the graph opens as a graph, and the app is one click away."""
    if plan.app is None:
        return {}
    inputs = [[numbers[key], widget] for key, widget, _ in plan.app.inputs]
    return {
        "linearMode": False,
        "linearData": {"inputs": inputs, "outputs": [numbers[key] for key in plan.app.outputs]},
    }


def note_node(number: int, text: str, box: Box) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Read me",
        "properties": {},
        "widgets_values": [text],
        **NOTE_COLOURS,
    }


def view(boxes: list[Box], results: list[Box]) -> dict[str, Any]:
    """Scale and offset that show the whole width, and the results without scrolling, in letters that can be read."""
    right, bottom = max(b.right for b in boxes), max(b.bottom for b in results)
    fitting = min((WINDOW[0] - CORNER[0]) / right, (WINDOW[1] - CORNER[1]) / bottom)
    scale = round(min(1.0, max(READABLE, fitting)), 3)
    return {"scale": scale, "offset": [round(pixels / scale) for pixels in CORNER]}


# -------------------------------------------------------------------------------------------------------------- files


def prompt_text(prompt: dict[str, Any]) -> str:
    """JSON with a link on one line."""
    text = json.dumps(prompt, indent=2, ensure_ascii=False)
    return re.sub(r'\[\s+("[^"]+"),\s+(\d+)\s+\]', r"[\1, \2]", text) + "\n"


def workflow_text(graph: dict[str, Any]) -> str:
    """JSON with a node, a link or a group on one line."""
    lines = []
    for key, value in graph.items():
        if isinstance(value, list):
            rows = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f'  "{key}": [\n{rows}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def project() -> dict[str, Any]:
    """[project] of pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pytest brings it on 3.10
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def built(known: dict[str, Definition]) -> dict[Path, str]:
    """Every file that a build writes."""
    files = {}
    for name, prompt in prompts().items():
        prompt = complete(prompt, known)
        files[API / f"{name}.json"] = prompt_text(prompt)
        files[API.parent / f"{name}.json"] = workflow_text(workflow(name, prompt, known, project()))
    return files


if __name__ == "__main__":
    from ..help_pictures import load_pack

    for path, text in built(definitions(load_pack().NODE_CLASS_MAPPINGS)).items():
        path.write_text(text, encoding="utf-8")
