"""UI workflow → API prompt, as the frontend's "Export (API)" does it."""

from __future__ import annotations

from typing import Any

from .definitions import Definition

NOTES = ("Note", "MarkdownNote")
MUTED, BYPASSED = 2, 4


def to_api(graph: dict[str, Any], known: dict[str, Definition]) -> dict[str, Any]:
    """Prompt by node number (as text).

    Raises ValueError for what a shipped workflow must not have: muted or bypassed nodes, widget values that do not fit
    the node, links that lead nowhere.
    """
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        if node["mode"] in (MUTED, BYPASSED):
            raise ValueError(f"node {node['id']} ({node['type']}) is muted or bypassed")
        definition = known[node["type"]]
        inputs = widget_values(definition, node["widgets_values"])
        for slot, line in enumerate(node["inputs"]):
            if line["link"] is None:
                continue
            _, source, output, target, at, _ = links[line["link"]]
            if (target, at) != (node["id"], slot):
                raise ValueError(f"link {line['link']} does not end at input {line['name']} of node {node['id']}")
            inputs[line["name"]] = [str(source), output]
        prompt[str(node["id"])] = {
            "inputs": inputs,
            "class_type": node["type"],
            "_meta": {"title": node["title"]},
        }
    return prompt


def widget_values(definition: Definition, values: list[Any]) -> dict[str, Any]:
    """Values by name; the second value of a seed (control after generate) or an upload is left out."""
    rest = list(values)
    found = {}
    for widget in definition.widgets:
        if not rest:
            raise ValueError(f"{definition.name} has too few widget values: {values}")
        found[widget.name] = rest.pop(0)
        if widget.companion:
            rest.pop(0)
    if rest:
        raise ValueError(f"{definition.name} has too many widget values: {values}")
    return found


def named(prompt: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The prompt with ``names[i - 1]`` in place of "i"."""

    def value(given: Any) -> Any:
        return [names[int(given[0]) - 1], given[1]] if isinstance(given, list) else given

    return {
        names[int(key) - 1]: {**node, "inputs": {name: value(v) for name, v in node["inputs"].items()}}
        for key, node in prompt.items()
    }
