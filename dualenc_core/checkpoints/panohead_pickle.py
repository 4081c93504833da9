"""Reading an official PanoHead ``.pkl``: weights, arguments and attributes of the generator, and nothing executed.

Such a file is a pickle of whole network objects which carries the Python source of their classes; the usual loader runs
that source. Here the objects are only recorded (``allowlist``), the source is not looked at, and the state dict is
assembled from the recorded ``_parameters``, ``_buffers`` and ``_modules``.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..files import sha256
from .allowlist import Recorded, official_table
from .pickle_values import Budget, brief
from .restricted_pickle import Machine
from .sniff import KINDS, file_kind
from .torch_storage import TensorRef

GENERATOR_CLASS = "TriPlaneGenerator"
DEFAULT_NEURAL_RESOLUTION = 64
PLANE_AXES = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
)
"""Axis permutations of PanoHead's three planes: (x,y), (x,z), (y,z)."""

_MAX_MODULE_DEPTH = 32
_MAX_MODULES = 10_000
_MAX_CONFIG_VALUES = 10_000

_CONVERT = "is converted with `python -m dualenc_core convert FILE OUT.safetensors`"
_ADVICE = {
    "missing": "check the path",
    "empty": "download it again",
    "torch-zip": f"an encoder or ArcFace checkpoint {_CONVERT}",
    "torch-legacy": f"an ArcFace checkpoint {_CONVERT}",
    "safetensors": "load it directly, it needs no conversion",
    "html": "open the page in a browser and download the file itself",
    "git-lfs": "fetch the file with `git lfs pull`",
    "gzip": "unpack it first",
    "unknown": "for example easy-khair-180-gpc0.8-trans10-025000.pkl",
}


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What an official file holds for inference.

    Attributes:
        state_dict: official key → contiguous CPU tensor in the file's own dtype (float32 in released files).
        init_kwargs: constructor arguments without ``rendering_kwargs``.
        rendering_kwargs: the live ones of the generator, which training may have changed after construction.
        neural_rendering_resolution: pixels per side of the volume rendering.
        provenance: JSON-safe: ``file``, ``sha256``, ``network`` (``"G_ema"`` or ``"G"``), ``class_name``,
            ``training_set_kwargs``, ``notes`` (list of remarks).
    """

    state_dict: dict[str, torch.Tensor]
    init_kwargs: dict
    rendering_kwargs: dict
    neural_rendering_resolution: int
    provenance: dict = field(default_factory=dict)

    @property
    def config(self) -> dict:
        """The part of our file format that rebuilds the generator."""
        return {
            "init_kwargs": self.init_kwargs,
            "rendering_kwargs": self.rendering_kwargs,
            "neural_rendering_resolution": self.neural_rendering_resolution,
        }


def read_official(path: str | Path, progress: Callable[[int, int], None] | None = None) -> OfficialCheckpoint:
    """Read an official generator pickle without executing anything from it.

    Memory: the chosen network's tensors; the rest of the file is mapped, not read.

    Args:
        path: a ``.pkl`` as PanoHead's training, or its PTI, writes it.
        progress: called with (tensors read, tensors in all).

    Raises:
        CheckpointError: missing, empty, another format, damaged, hostile, without a generator, or with other planes.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind != "pickle":
        raise CheckpointError(
            f"{path} is {KINDS[kind]}; a PanoHead pickle (.pkl) is expected here: {_ADVICE.get(kind, '')}"
        )
    try:
        with path.open("rb") as file:
            # A private mapping: nothing is copied until a tensor is taken out, and writes could never reach the file.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return _interpret(data, path, progress)
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path.name}: {error}") from None
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"cannot read {path}: {error or 'out of memory'}") from error


def _interpret(data: memoryview, path: Path, progress: Callable[[int, int], None] | None) -> OfficialCheckpoint:
    budget = Budget()
    content, end = Machine(data, official_table(budget), budget=budget).run()
    if end != len(data):
        raise CheckpointError(
            f"{len(data) - end} bytes follow the end of the pickle; the file is not a plain checkpoint"
        )
    network, generator, notes = _choose_generator(content)
    described = content.get("training_set_kwargs") if isinstance(content, dict) else None
    state = generator.state
    notes += _check_plane_axes(state)
    state_dict = _read_tensors(_collect(generator), limit=len(data), progress=progress)

    init_kwargs = _plain_dict(state.get("_init_kwargs"), "_init_kwargs")
    if state.get("_init_args", ()) not in ((), []):
        raise CheckpointError(
            "the generator was constructed with positional arguments; only keyword arguments are known"
        )
    constructed = init_kwargs.pop("rendering_kwargs", None)
    live = state.get("rendering_kwargs")
    if live is None:
        if not isinstance(constructed, dict):
            raise CheckpointError("the generator has no rendering_kwargs, neither as attribute nor as argument")
        notes.append(
            "rendering_kwargs taken from the constructor arguments: the generator has no attribute of that name"
        )
    rendering_kwargs = constructed if live is None else _plain_dict(live, "rendering_kwargs")
    if isinstance(constructed, dict) and constructed != rendering_kwargs:
        changed = sorted(
            k for k in constructed.keys() | rendering_kwargs.keys() if constructed.get(k) != rendering_kwargs.get(k)
        )
        notes.append(f"rendering_kwargs changed after construction (live values are used): {', '.join(changed)}")
    resolution = state.get("neural_rendering_resolution")
    if resolution is None:
        resolution = DEFAULT_NEURAL_RESOLUTION
        notes.append(f"neural_rendering_resolution is not in the file; {resolution} is assumed")
    if type(resolution) is not int or not 1 <= resolution <= 4096:
        raise CheckpointError(
            f"neural_rendering_resolution is {brief(resolution)}; a whole number 1 to 4096 is expected"
        )
    provenance = {
        "file": path.name,
        "sha256": sha256(path),
        "network": network,
        "class_name": generator.class_name,
        "training_set_kwargs": _plain(described, "training_set_kwargs"),
        "notes": notes,
    }
    return OfficialCheckpoint(state_dict, init_kwargs, rendering_kwargs, resolution, provenance)


def _choose_generator(content: object) -> tuple[str, Recorded, list[str]]:
    if type(content) is not dict:
        raise CheckpointError(f"the pickle holds {brief(content)}; a dict with the entry 'G_ema' is expected")
    notes: list[str] = []
    name = "G_ema" if content.get("G_ema") is not None else "G"
    network = content.get(name)
    if network is None:
        keys = ", ".join(brief(key) for key in list(content)[:8]) or "nothing"
        raise CheckpointError(f"the pickle has neither 'G_ema' nor 'G', but {keys}; it is not a generator checkpoint")
    if name == "G":
        notes.append("the file has no G_ema; the raw training generator G is used (usually of lower quality)")
    if not isinstance(network, Recorded) or network.class_name != GENERATOR_CLASS:
        found = network.class_name if isinstance(network, Recorded) else brief(network)
        raise CheckpointError(f"{name} is {found[:80]!r}; a {GENERATOR_CLASS} of PanoHead is expected")
    return name, network, notes


def _check_plane_axes(state: dict) -> list[str]:
    modules = state.get("_modules")
    renderer = modules.get("renderer") if isinstance(modules, dict) else None
    renderer = renderer if renderer is not None else state.get("renderer")
    axes = renderer.state.get("plane_axes") if isinstance(renderer, Recorded) else None
    if axes is None:
        return ["the file does not store plane_axes; PanoHead's planes (x,y), (x,z), (y,z) are assumed"]
    if (
        not isinstance(axes, TensorRef)
        or axes.size != (3, 3, 3)
        or axes.tensor().tolist() != [[list(map(float, row)) for row in plane] for plane in PLANE_AXES]
    ):
        raise CheckpointError(
            "the renderer's plane_axes are not PanoHead's (x,y), (x,z), (y,z): this generator (an EG3D model?) "
            "reads its planes differently and would give wrong pictures"
        )
    return []


def _collect(root: Recorded) -> dict[str, TensorRef]:
    """State-dict order of PyTorch: a module's parameters, its persistent buffers, then its children."""
    found: dict[str, TensorRef] = {}
    pending: list[tuple[str, Recorded, int]] = [("", root, 0)]
    visited = 0
    while pending:
        prefix, module, depth = pending.pop()
        visited += 1
        if visited > _MAX_MODULES or depth > _MAX_MODULE_DEPTH:
            raise CheckpointError(f"the network has more than {_MAX_MODULES} modules or {_MAX_MODULE_DEPTH} levels")
        label = prefix[:-1] or module.class_name
        hidden = module.state.get("_non_persistent_buffers_set") or ()
        if not isinstance(hidden, set | frozenset | tuple):
            raise CheckpointError(f"{label}: _non_persistent_buffers_set is {brief(hidden)} instead of a set")
        for group in ("_parameters", "_buffers"):
            for name, tensor in _named(module, group, label):
                if tensor is None or (group == "_buffers" and name in hidden):
                    continue
                if not isinstance(tensor, TensorRef):
                    raise CheckpointError(f"{prefix}{name} is {brief(tensor)} instead of a tensor")
                found[prefix + name] = tensor
        children: list[tuple[str, Recorded, int]] = []
        for name, child in _named(module, "_modules", label):
            if not child:
                continue
            if not isinstance(child, Recorded):
                raise CheckpointError(f"{prefix}{name} is {brief(child)} instead of a module")
            children.append((f"{prefix}{name}.", child, depth + 1))
        pending.extend(reversed(children))
    if not found:
        raise CheckpointError("the generator has no parameters")
    return found


def _named(module: Recorded, group: str, label: str) -> list[tuple[str, object]]:
    entries = module.state.get(group, {})
    if type(entries) is not dict:
        raise CheckpointError(f"{label}: {group} is {brief(entries)} instead of a dict")
    for name in entries:
        if not isinstance(name, str) or not name or "." in name or len(name) > 200:
            raise CheckpointError(f"{label}: {group} has the name {brief(name)}; a short text without dots is expected")
    return list(entries.items())


def _read_tensors(
    refs: dict[str, TensorRef], limit: int, progress: Callable[[int, int], None] | None
) -> dict[str, torch.Tensor]:
    total = sum(ref.nbytes for ref in refs.values())
    if total > limit:
        raise CheckpointError(f"the tensors claim {total} bytes together, more than the file's {limit}")
    tensors = {}
    for done, (name, ref) in enumerate(refs.items(), start=1):
        tensors[name] = ref.tensor()
        if progress:
            progress(done, len(refs))
    return tensors


def _plain_dict(value: object, name: str) -> dict:
    if type(value) is not dict:
        raise CheckpointError(f"the generator's {name} is {brief(value)}; a dict is expected")
    return _plain(value, name)


def _plain(value: object, name: str) -> Any:
    """A JSON-safe copy of configuration values; tuples become lists."""
    remaining = _MAX_CONFIG_VALUES

    def convert(item: object, where: str, depth: int) -> object:
        nonlocal remaining
        remaining -= 1
        if remaining < 0 or depth > 16:
            raise CheckpointError(f"{name} has more than {_MAX_CONFIG_VALUES} values or 16 levels")
        if item is None or isinstance(item, str | bool):
            return item
        if isinstance(item, int) and abs(item) < 2**63:
            return item
        if isinstance(item, float) and math.isfinite(item):
            return item
        if isinstance(item, list | tuple):
            return [convert(child, f"{where}[{index}]", depth + 1) for index, child in enumerate(item)]
        if type(item) is dict and all(isinstance(key, str) for key in item):
            return {key: convert(child, f"{where}.{key[:40]}", depth + 1) for key, child in item.items()}
        raise CheckpointError(f"{where[:200]} is {brief(item)}; numbers, texts, lists and dicts are expected")

    return convert(value, name, 0)
