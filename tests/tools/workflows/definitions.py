"""What nodes take and give, in the form of ComfyUI's /object_info.

Our nodes are asked directly. The core nodes are in core_nodes.json, recorded from a real ComfyUI 0.3.64, and those that
only newer versions have (`NEWER` names the workflows that need them) from 0.33:

    python -m tests.tools.workflows.definitions

starts one (see tests/comfyui/server.py) and writes the definitions of the core nodes that the shipped prompts use; what
that one does not know stays as it is. Lists of files are left empty: they say what is on that machine.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
API = HERE.parents[2] / "workflows" / "api"
CORE = HERE / "core_nodes.json"
# Combos of files: their values depend on the user's folders.
FILES = ("image", "ckpt_name", "control_net_name")
OUR_FILES = (("DualEncConvert", "file"),)
# Workflows with nodes that ComfyUI 0.3.64 does not have.
NEWER = ("13_head_into_3d",)
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
# The state of a viewer, which its frontend fills.
VIEWPORT = "LOAD_3D"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", DYNAMIC, VIEWPORT)


@dataclass(frozen=True)
class Input:
    """One input; ``kind`` is COMBO for a list of ``choices``, and may name several types, with commas."""

    name: str
    kind: str
    options: dict[str, Any]
    choices: tuple[str, ...]
    required: bool

    @classmethod
    def parse(cls, name: str, declared: Any, required: bool) -> Input:
        """From /object_info or INPUT_TYPES: (type or list, options), or the type alone."""
        kind, *rest = [declared] if isinstance(declared, str) else declared
        options = rest[0] if rest else {}
        choices = tuple(kind if isinstance(kind, (list, tuple)) else options.get("options", ()))
        choices = tuple(choice["key"] if isinstance(choice, dict) else choice for choice in choices)
        return cls(name, kind if isinstance(kind, str) else "COMBO", options, choices, required)

    def takes(self, kind: str) -> bool:
        """Whether an output of that type can be linked to it."""
        return kind in self.kind.split(",")

    @property
    def is_widget(self) -> bool:
        return self.kind in WIDGETS and not self.options.get("forceInput")

    @property
    def companion(self) -> str | None:
        """What the frontend saves after the value of a widget that brings a second one."""
        if self.options.get("control_after_generate"):
            return "fixed"
        return "image" if self.options.get("image_upload") else None

    @property
    def default(self) -> Any:
        if "default" in self.options:
            return self.options["default"]
        empty = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, VIEWPORT: {}}
        return self.choices[0] if self.choices else empty.get(self.kind, "")

    def problem(self, value: Any) -> str | None:
        """Why ComfyUI would refuse a value of this widget, None if it would not."""
        kinds = {"INT": int, "FLOAT": (int, float), "BOOLEAN": bool, VIEWPORT: dict}
        if not isinstance(value, kinds.get(self.kind, str)) or (isinstance(value, bool) and self.kind != "BOOLEAN"):
            return f"{value!r} is not a {self.kind}"
        if self.choices and value not in self.choices:
            return f"{value!r} is not one of {', '.join(self.choices)}"
        if self.kind in ("INT", "FLOAT"):
            low, high = self.options.get("min", value), self.options.get("max", value)
            return None if low <= value <= high else f"{value} is not in {low}..{high}"
        return None


@dataclass(frozen=True)
class Definition:
    """A node class: ``inputs`` in ComfyUI's order, ``outputs`` as (name, type)."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]
    output_node: bool

    @classmethod
    def parse(cls, info: dict[str, Any]) -> Definition:
        groups = (("required", True), ("optional", False))
        inputs = [
            Input.parse(name, declared, required)
            for group, required in groups
            for name, declared in info["input"].get(group, {}).items()
        ]
        outputs = tuple(zip(info["output_name"], info["output"], strict=True))
        return cls(info["name"], tuple(inputs), outputs, info["output_node"])

    def input(self, name: str) -> Input:
        """KeyError for a name that the class does not have."""
        found = next((i for i in self.inputs if i.name == name), None)
        if found is None:
            raise KeyError(f"{self.name} has no input {name!r}; it has {', '.join(i.name for i in self.inputs)}")
        return found

    @property
    def sockets(self) -> list[Input]:
        return [i for i in self.inputs if not i.is_widget]

    @property
    def widgets(self) -> list[Input]:
        return [i for i in self.inputs if i.is_widget]


def definitions(classes: dict[str, Any]) -> dict[str, Definition]:
    """Nodes by class name: those of a pack (its NODE_CLASS_MAPPINGS) and the recorded core nodes."""
    infos = json.loads(CORE.read_text(encoding="utf-8"))
    for name, cls in classes.items():
        infos[name] = {
            "name": name,
            "input": cls.INPUT_TYPES(),
            "output": cls.RETURN_TYPES,
            "output_name": cls.RETURN_NAMES,
            "output_node": getattr(cls, "OUTPUT_NODE", False),
        }
    for name, field in OUR_FILES:
        if name in infos:
            infos[name]["input"]["required"][field][0].clear()
    return {name: Definition.parse(info) for name, info in infos.items()}


def prompts() -> dict[str, dict[str, Any]]:
    """The shipped API prompts by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(API.glob("*.json"))}


def record() -> None:
    """Ask a real ComfyUI."""
    from ...comfyui.server import Server

    used = {node["class_type"] for prompt in prompts().values() for node in prompt.values()}
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        infos = server.get("/object_info")
    before = json.loads(CORE.read_text(encoding="utf-8"))
    core = {name: infos.get(name) or before[name] for name in sorted(used) if not name.startswith("DualEnc")}
    for info in core.values():
        for name, declared in info["input"].get("required", {}).items():
            if name in FILES and isinstance(declared[0], list):
                declared[0].clear()
    CORE.write_text(json.dumps(core, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
