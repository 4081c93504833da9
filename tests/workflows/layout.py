"""Places for nodes: columns by dependency depth, stages from left to right, a note in front."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .definitions import Definition
from .stages import Plan

TITLE = 30
SLOT, WIDGET = 20, 24
# Nodes 2.0 draws nodes up to 40 px higher than the classic canvas.
GAP_X, GAP_Y = 60, 60
PADDING, HEADING, FOOT = 20, 50, 50
STAGE_GAP = 40
WIDTH, WIDE = 310, 340
NOTE_WIDTH = 400
PICTURE = 290
# What is below the widgets: previews of pictures, texts, reports, the pose pad.
BELOW = {
    "LoadImage": PICTURE,
    "PreviewImage": PICTURE,
    "SaveImage": PICTURE,
    "SaveVideo": 320,
    "CLIPTextEncode": 90,
    "DualEncAlignPortrait": 120 + PICTURE,
    "DualEncCamera": 220,
    "DualEncCompare": 88,
    "DualEncRegionMask": 220,
    "DualEncSaveMesh": 64,
    "DualEncSaveTriplane": 64,
    "Preview3D": 420,
    "SaveGLB": 420,
}


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas, for a node without its title."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height


def size(definition: Definition) -> tuple[int, int]:
    """Width and height of a node as the classic canvas needs them, advanced widgets shown."""
    rows = max(len(definition.sockets), len(definition.outputs), 1)
    lines = len(definition.widgets) + sum(1 for widget in definition.widgets if widget.companion)
    below = BELOW.get(definition.name, 0)
    height = 6 + SLOT * rows + (8 + WIDGET * lines if lines else 0) + below
    return (WIDE if below >= PICTURE else WIDTH), height


def depths(prompt: dict[str, Any], ids: dict[str, int]) -> dict[str, int]:
    """Longest path to each node from the nodes of ``ids`` that need no other of them, each at least as deep as told."""
    found: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in found:
            found[key] = max([ids[key], *(1 + depth(source) for source in sources(prompt[key]) if source in ids)])
        return found[key]

    return {key: depth(key) for key in ids}


def sources(node: dict[str, Any]) -> list[str]:
    """Ids that a node's inputs are linked to."""
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]


def place(plan: Plan, prompt: dict[str, Any], sizes: dict[str, tuple[int, int]]) -> tuple[dict[str, Box], list[Box]]:
    """Boxes of the nodes by id, and of the stages in the order of the plan."""
    nodes: dict[str, Box] = {}
    groups: list[Box] = []
    left = NOTE_WIDTH + GAP_X
    for column in plan.columns:
        ids = {key: least for stage in column for key, least in stage.ids.items()}
        depth = depths(prompt, ids)
        widths = [max(sizes[k][0] for k in ids if depth[k] == d) for d in range(max(depth.values()) + 1)]
        starts = [left + PADDING + sum(widths[:d]) + d * GAP_X for d in range(len(widths))]
        top = 0
        for stage in column:
            ends = dict.fromkeys(depth.values(), top + HEADING)
            for key in stage.ids:
                width, height = sizes[key]
                y = ends[depth[key]] + TITLE
                nodes[key] = Box(starts[depth[key]], y, width, height)
                ends[depth[key]] = y + height + GAP_Y
            boxes = [nodes[key] for key in stage.ids]
            x, bottom = min(b.x for b in boxes) - PADDING, max(b.bottom for b in boxes) + FOOT
            groups.append(Box(x, top, max(b.right for b in boxes) + PADDING - x, bottom - top))
            top = bottom + STAGE_GAP
        left = starts[-1] + widths[-1] + PADDING + GAP_X
    return nodes, groups


def flow(text: str) -> str:
    """Markdown whose paragraphs and list items are one line each: the note shows every line break."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        starts = not line.strip() or line.startswith(("#", "- ")) or line[:1].isdigit()
        if starts or not lines or not lines[-1] or lines[-1].startswith("#"):
            lines.append(line.strip())
        else:
            lines[-1] += " " + line.strip()
    return "\n".join(lines)


def note_box(text: str) -> Box:
    """Where the note is: left of everything, as high as its words need."""
    lines = sum(math.ceil(len(line) / 60) for line in text.splitlines())
    breaks = sum(1 for line in text.splitlines() if not line)
    return Box(0, TITLE, NOTE_WIDTH, 80 + 17 * lines + 14 * breaks)
