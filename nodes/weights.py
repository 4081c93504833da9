"""Weights files in models/dualenc: what is there, what to get, how it becomes usable; one text for every place."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import dualenc_core as dc
from ..dualenc_core.checkpoints.catalog import Entry
from ..dualenc_core.errors import CheckpointError
from . import runtime

BUNDLED = {
    "generator": {"demo (bundled)": "demo"},
    "encoder": {"demo Encoder 1 (bundled)": "demo-e1", "demo Encoder 2 (bundled)": "demo-e2"},
}
PUBLISHED = (".pkl", ".pt", ".pth")
# dualenc_core.editing.direction_file.SUFFIX; importing that here would slow down ComfyUI's start.
DIRECTIONS = ".directions.safetensors"
CONVERTER = "DualEnc Convert"


def files_of(kind: str) -> list[str]:
    """Names in models/dualenc that may be of a kind; a damaged one stays, and loading it says what is wrong."""
    return [name for name in runtime.model_files() if _may_be(kind, name)]


def direction_files() -> list[str]:
    """Names in models/dualenc of files of directions."""
    return [name for name in runtime.model_files() if name.endswith(DIRECTIONS)]


def published_files() -> list[str]:
    """Names in models/dualenc of files as their authors publish them."""
    return [name for name in runtime.model_files() if name.lower().endswith(PUBLISHED)]


def entry_of(name: str) -> Entry | None:
    """The catalog's entry of a published or converted file."""
    bare = Path(name).name
    known = (e for e in dc.checkpoints.read_catalog() if not e.bundled)
    return next((e for e in known if bare in {e.converted, *(file.name for file in e.files)}), None)


def how_to_get(entry: Entry, folder: Path) -> str:
    """What to download, where to put it, and the click that does the rest."""
    name = entry.files[0].name or "the file"
    text = f"get {name} from {entry.url or '(not published)'} and put it into {folder}"
    if entry.converted:
        text += f"; then {how_to_convert(folder / name)}"
    return f"{text}; licence: {entry.licence}"


def how_to_convert(source: Path) -> str:
    """How a published file becomes usable: with a node, or with a command that works as it stands."""
    entry = entry_of(source.name)
    target = source.with_name(entry.converted) if entry and entry.converted else source.with_suffix(".safetensors")
    root = Path(__file__).resolve().parents[1]
    python, *paths = (f'"{p}"' if " " in str(p) else str(p) for p in (sys.executable, root, source, target))
    return (
        f"add the node {CONVERTER}, choose {source.name} and run it: it must be converted to {target.name} once "
        f"(nothing in it is executed); press R and choose that file afterwards. Without ComfyUI the same: "
        f"cd {paths[0]} && {python} -m dualenc_core convert {paths[1]} {paths[2]}"
    )


def encoders_of(fingerprint: str) -> list[str]:
    """Names of encoders, as DualEnc Load Encoder lists them, that were trained for a generator."""
    found = []
    for name in (*BUNDLED["encoder"], *files_of("encoder")):
        alias = BUNDLED["encoder"].get(name)
        try:
            path = runtime.find_model(name) if alias is None else dc.checkpoints.resolve("encoder", alias)
            if path is not None and dc.checkpoints.read_entry(path)["config"].get("generator") == fingerprint:
                found.append(name)
        except CheckpointError:
            continue
    return found


def _may_be(kind: str, name: str) -> bool:
    if name.lower().endswith(PUBLISHED):
        # Choosing it says how to convert it.
        return kind == "generator" and name.lower().endswith(".pkl")
    path = None if name.endswith(DIRECTIONS) else runtime.find_model(name)
    if path is None:
        return False
    try:
        return dc.checkpoints.read_entry(path)["kind"] == kind
    except CheckpointError:
        return True
