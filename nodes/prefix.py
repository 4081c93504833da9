"""Marks in file name prefixes, with the meaning that they have in ComfyUI's own save nodes.

ComfyUI's browser part replaces %date:…% and %Node.widget% for a fixed list of its own nodes; %width%, %year% and so on
are the server's. Here all are replaced by the node, so that prompts from programs may use them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..dualenc_core.files import portable_name

# What no file name may have somewhere; the browser part replaces the same.
_FORBIDDEN = re.compile(r'[/?<>\\:*|"\x00-\x1F\x7F]')
_DATE = re.compile("dd?|MM?|hh?|mm?|ss?|yyy?y?")
# Of the number and the longest ending, _00001_-0000.safetensors, and a few more digits.
_ROOM = 32


def expand(
    prefix: str,
    now: datetime,
    size: tuple[int, int] = (0, 0),
    prompt: Mapping[str, Any] | None = None,
    workflow: Mapping[str, Any] | None = None,
) -> str:
    """The prefix with its marks replaced, cut where a name would be too long. Unknown marks stay as they are.

    Args:
        prefix: may name folders.
        size: width and height of the picture; 0 where there is none, as in ComfyUI.
        prompt: the running prompt, for %Node.widget%: Node is the node's name for search and replace, or its title.
        workflow: of the browser, which knows the names for search and replace; without it they are the nodes' types.
    """
    plain = {"width": str(size[0]), "height": str(size[1]), "year": str(now.year)}
    plain |= {name: f"{getattr(now, name):02}" for name in ("month", "day", "hour", "minute", "second")}

    def replaced(mark: re.Match) -> str:
        text = mark[1]
        if text in plain:
            return plain[text]
        if text.startswith("date:"):
            return _FORBIDDEN.sub("_", format_date(text.removeprefix("date:"), now))
        node, _, widget = text.partition(".")
        value = _widget(node, widget, prompt or {}, workflow or {})
        return mark[0] if value is None else _FORBIDDEN.sub("_", value)

    *folders, name = re.sub("%([^%]+)%", replaced, prefix.replace("\\", "/")).split("/")
    # Parts that lead elsewhere stay, to be refused.
    folders = [part if part in ("", ".", "..") else portable_name(part) for part in folders]
    return "/".join([*folders, name and portable_name(name, _ROOM)])


def format_date(pattern: str, now: datetime) -> str:
    """yyyy, yy, M, MM, d, dd, h, hh, m, mm, s, ss as ComfyUI's browser part reads them (hours of 24)."""
    parts = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}
    years = {"yyyy": str(now.year), "yy": str(now.year)[2:], "yyy": "yyy"}

    def part(mark: re.Match) -> str:
        return years.get(mark[0]) or str(parts[mark[0][0]]).zfill(len(mark[0]))

    return _DATE.sub(part, pattern)


def _widget(node: str, widget: str, prompt: Mapping[str, Any], workflow: Mapping[str, Any]) -> str | None:
    """The value of a widget; None when there is no such node or widget, or the value comes through a link."""
    names = {str(item.get("id")): _search_name(item) for item in _all_nodes(workflow)}
    for title in (False, True):
        for key, entry in prompt.items():
            # A node inside a subgraph is called 12:3.
            own = names.get(str(key).rpartition(":")[2]) or entry.get("class_type")
            known = (entry.get("_meta") or {}).get("title") if title else own
            inputs = entry.get("inputs", {})
            if known == node and widget in inputs and not isinstance(inputs[widget], (list, dict)):
                return _as_text(inputs[widget])
    return None


def _all_nodes(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs") or []
    for graph in (*subgraphs, workflow):
        yield from graph.get("nodes") or []


def _search_name(item: Mapping[str, Any]) -> str | None:
    properties = item.get("properties")
    return properties.get("Node name for S&R") if isinstance(properties, dict) else None


def _as_text(value: Any) -> str:
    """As JavaScript writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
