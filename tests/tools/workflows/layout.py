"""Places for nodes: rows of stages, columns by dependency depth within them, a note in the upper left corner."""

from __future__ import annotations

import math
from collections.abc import Collection
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
WIDTH, WIDE = 310, 310
NOTE_WIDTH = 400
PICTURE = 260
# What one looks at longest.
WIDTHS = {"DualEncTurntable": 600}
# What is below the widgets: previews of pictures, texts, reports, the pose pad.
BELOW = {
    "LoadImage": PICTURE,
    "PreviewImage": PICTURE,
    "SaveImage": PICTURE,
    "SaveVideo": 320,
    "CLIPTextEncode": 90,
    "DualEncAlignPortrait": 136 + PICTURE,
    # Sliders are many; below them the head from four sides, and a field of text.
    "DualEncAnimate": 240,
    "DualEncAttributes": 190,
    "DualEncCamera": 220,
    "DualEncCompare": 84,
    "DualEncConvert": 110,
    "DualEncRegionMask": 220,
    "DualEncSaveMesh": 72,
    "DualEncSaveTriplane": 60,
    "DualEncSplat": 60,
    "DualEncTurntable": 440,
    "Preview3D": 400,
    "Preview3DAdvanced": 400,
    "PreviewGaussianSplat": 400,
    "SaveGLB": 400,
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
    return WIDTHS.get(definition.name, WIDE if below >= PICTURE else WIDTH), height


def depths(prompt: dict[str, Any], ids: dict[str, int], pinned: Collection[str] = ()) -> dict[str, int]:
    """Longest path to each node from the nodes of ``ids`` that need no other of them, each at least as deep as told.

    Those that are ``pinned`` are exactly as deep as told.
    """
    found: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in found:
            before = [] if key in pinned else [1 + depth(source) for source in sources(prompt[key]) if source in ids]
            found[key] = max([ids[key], *before])
        return found[key]

    return {key: depth(key) for key in ids}


def sources(node: dict[str, Any]) -> list[str]:
    """Ids that a node's inputs are linked to."""
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]


def place(plan: Plan, prompt: dict[str, Any], sizes: dict[str, tuple[int, int]]) -> tuple[dict[str, Box], list[Box]]:
    """Boxes of the nodes by id, and of the stages in the order of the plan.

    The first column of the first row stands below the note. Every stage stands as high as those of earlier rows, and of
    its own column, let it; nodes below each other are of one width.
    """
    nodes: dict[str, Box] = {}
    groups: list[Box] = []
    note = note_box(flow(plan.note))
    # Without the title, which the note has above its box.
    earlier = [Box(0, 0, note.width, note.bottom)]
    for row in plan.rows:
        left = 0
        for column in row:
            ids = {key: least for stage in column for key, least in stage.ids.items()}
            depth = depths(prompt, ids, {key for stage in column for key in stage.pinned})
            widths = [max(sizes[k][0] for k in ids if depth[k] == d) for d in range(max(depth.values()) + 1)]
            right = left + 2 * PADDING + sum(widths) + GAP_X * (len(widths) - 1)
            starts = [left + PADDING + sum(widths[:d]) + d * GAP_X for d in range(len(widths))]
            top = max((b.bottom + STAGE_GAP for b in earlier if b.x < right and left < b.right), default=0)
            for stage in column:
                ends = dict.fromkeys(depth.values(), top + HEADING)
                for key in stage.ids:
                    height = sizes[key][1]
                    y = ends[depth[key]] + TITLE
                    nodes[key] = Box(starts[depth[key]], y, widths[depth[key]], height)
                    ends[depth[key]] = y + height + GAP_Y
                boxes = [nodes[key] for key in stage.ids]
                x, bottom = min(b.x for b in boxes) - PADDING, max(b.bottom for b in boxes) + FOOT
                groups.append(Box(x, top, max(b.right for b in boxes) + PADDING - x, bottom - top))
                top = bottom + STAGE_GAP
            beside_note = row is plan.rows[0] and column is row[0]
            left = (max(right, note.right) if beside_note else right) + STAGE_GAP
        earlier = [*earlier, *groups]
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
