"""Short ways to declare inputs; every one has a tooltip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

from ..dualenc_core.errors import DualEncError
from . import runtime

GENERATOR = "DUALENC_GENERATOR"
ENCODER = "DUALENC_ENCODER"
TRIPLANE = "DUALENC_TRIPLANE"
MASK = "DUALENC_MASK"
CAMERA = "DUALENC_CAMERA"
LOAD3D_CAMERA = "LOAD3D_CAMERA"
# Files for viewers and save nodes; ComfyUI without the type has no node that takes it.
FILE_3D = "FILE_3D"
# Of splats: their viewer and save node take no other (comfyui.md §1).
FILE_3D_SPLAT = "FILE_3D_SPLAT_ANY"

GREY = "#808080"

Declaration = tuple[Any, dict[str, Any]]


def refuse_empty(run: Callable[..., Any]) -> Callable[..., Any]:
    """A node's function that refuses batches of nothing, whatever they are of, by the name of their input."""

    @functools.wraps(run)
    def checked(self: Any, *args: Any, **inputs: Any) -> Any:
        for name, value in inputs.items():
            if isinstance(value, Sized) and not isinstance(value, (str, bytes, Mapping)) and len(value) == 0:
                raise DualEncError(f"{name} is empty: a batch of 0; connect one with at least one entry")
        return run(self, *args, **inputs)

    return checked


def socket(kind: str, tooltip: str) -> Declaration:
    """An input that is linked, never typed."""
    return kind, {"tooltip": tooltip}


def decimal(default: float, low: float, high: float, step: float, tooltip: str, **options: Any) -> Declaration:
    """A FLOAT widget, rounded to its step (or finer)."""
    options = {"round": step, **options}
    return "FLOAT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip, **options}


def hidden_colours() -> Declaration:
    """How far hidden parts take on the colours of visible ones."""
    tooltip = (
        "points: how far hidden parts take on the colours of visible ones; 0 = Encoder 2's own, 1 = matched. For other "
        "encoders than the bundled ones, which have learned these colours and do not change with it."
    )
    return decimal(1.0, 0.0, 1.0, 0.05, tooltip, advanced=True)


def whole(default: int, low: int, high: int, tooltip: str, **options: Any) -> Declaration:
    """An INT widget."""
    return "INT", {"default": default, "min": low, "max": high, "tooltip": tooltip, **options}


def choice(values: Sequence[str], tooltip: str, **options: Any) -> Declaration:
    """A list; the first value is the default unless ``default`` says otherwise."""
    return list(values), {"tooltip": tooltip, **options}


def switch(default: bool, tooltip: str, **options: Any) -> Declaration:
    """A BOOLEAN widget."""
    return "BOOLEAN", {"default": default, "tooltip": tooltip, **options}


def colour(tooltip: str, **options: Any) -> Declaration:
    """A colour as #rrggbb: ComfyUI's picker where it has one, which a STRING may be linked to as before."""
    if runtime.has_colour_widget():
        return "COLOR,STRING", {"default": GREY, "widgetType": "COLOR", "tooltip": tooltip, **options}
    return text(GREY, tooltip, **options)


def linked_text(tooltip: str) -> Declaration:
    """A STRING that comes through a link only."""
    return "STRING", {"forceInput": True, "tooltip": tooltip}


def text(default: str, tooltip: str, **options: Any) -> Declaration:
    """A STRING widget."""
    return "STRING", {"default": default, "tooltip": tooltip, **options}
