"""Everything of ComfyUI that the nodes use: devices, memory, progress, interrupt, folders.

Imported lazily, with plain-Python stand-ins, so that node classes can be imported and run without ComfyUI.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn

from ..dualenc_core.devices import rays_at_once
from ..dualenc_core.errors import DualEncError
from ..dualenc_core.files import atomic_path, is_temporary, make_folder, reserve, reserved
from .prefix import expand

FOLDER = "dualenc"
EXAMPLES = ("dualenc_portrait.png", "dualenc_expression.png")
# Published formats are listed for DualEnc Convert, which reads them without executing anything; no other node does.
EXTENSIONS = {".safetensors", ".pkl", ".pt", ".pth"}
SMALLEST_CHUNK = 256

T = TypeVar("T")
Progress = Callable[[int, int], None]
log = logging.getLogger(__name__)


@cache
def comfy(module: str) -> Any:
    """A module of ComfyUI, which nobody types; None outside of it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# ------------------------------------------------------------------------------------------------- devices and memory


@dataclass(frozen=True)
class Network:
    """What a generator or encoder socket carries.

    Attributes:
        module: the network.
        name: what the user chose.
        patcher: ComfyUI's ModelPatcher, which decides where the weights are; None outside ComfyUI.
    """

    module: Any  # a PanoHead or a HeadEncoder
    name: str
    patcher: Any = None

    @classmethod
    def wrap(cls, module: nn.Module, name: str) -> Network:
        """Hand a network on the CPU to ComfyUI's memory management."""
        management, patching = comfy("comfy.model_management"), comfy("comfy.model_patcher")
        if management is None or patching is None:
            return cls(module, name)
        patcher = patching.ModelPatcher(module, management.get_torch_device(), management.unet_offload_device())
        return cls(module, name, patcher)


def use(*networks: Network) -> torch.device:
    """Bring networks to the device where they compute, and name it."""
    for network in networks:
        if not isinstance(network, Network):
            raise DualEncError(
                f"a DualEnc model input got a {type(network).__name__}; connect DualEnc Load PanoHead or Load Encoder"
            )
    management = comfy("comfy.model_management")
    if management is None:
        return torch.device("cpu")
    management.load_models_gpu([network.patcher for network in networks])
    return management.get_torch_device()


def compute_device() -> torch.device:
    """Where small networks without a ModelPatcher run."""
    management = comfy("comfy.model_management")
    return torch.device("cpu") if management is None else management.get_torch_device()


def result_device() -> torch.device:
    """Where values wait between nodes."""
    management = comfy("comfy.model_management")
    return torch.device("cpu") if management is None else management.intermediate_device()


def back_off(run: Callable[[int], T], chunk: int | None = None) -> T:
    """``run(chunk)``; when memory runs out, again with half as many rays at once, down to `SMALLEST_CHUNK`.

    None begins with as many as suit the device.
    """
    chunk = chunk or rays_at_once(compute_device())
    management = comfy("comfy.model_management")
    out_of_memory = torch.OutOfMemoryError if management is None else management.OOM_EXCEPTION
    while True:
        try:
            return run(chunk)
        except out_of_memory as error:
            if chunk <= SMALLEST_CHUNK:
                raise DualEncError(
                    f"out of memory even with {chunk} rays at once; close other programs, lower the resolution or the "
                    "number of cameras, or start ComfyUI with --lowvram"
                ) from error
        # Outside the handler: its traceback holds the tensors that did not fit.
        if management is not None:
            management.soft_empty_cache()
        chunk //= 2
        log.warning("out of memory; trying again with %d rays at once", chunk)


def move(value: Any, device: torch.device) -> Any:
    """A triplane, mask or weight in space on a device."""
    return value.map(lambda tensor: tensor.to(device))


def rest(value: Any) -> Any:
    """`move` to where values wait between nodes."""
    return move(value, result_device())


def free(value: Any) -> Any:
    """Copies of tensors that were made in inference mode, so that gradients may pass; call it outside of that mode."""
    return value.map(lambda tensor: tensor.clone() if tensor.is_inference() else tensor)


def mesh(ours: Any) -> Any:
    """ComfyUI's MESH of one of ours, in metres, which it carries along for DualEnc Save Mesh.

    What this ComfyUI's class has no place for is left out: the older one knows vertices and faces only.
    """
    found = comfy("comfy_api.latest._util"), comfy("comfy_extras.nodes_hunyuan3d")
    kind = next((module.MESH for module in found if hasattr(module, "MESH")), None)
    fields = {name: value for name, value in mesh_fields(ours).items() if value is not None}
    if kind is not None:
        known = inspect.signature(kind).parameters
        fields = {name: value for name, value in fields.items() if name in known}
    result = (kind or SimpleNamespace)(**fields)
    result.dualenc = ours
    return result


def mesh_fields(ours: Any) -> dict[str, Any]:
    """What a MESH of one of ours holds: batches of one, metres, colours linear as in glTF (the texture is sRGB)."""
    from ..dualenc_core.export import METRES_PER_UNIT, to_linear

    return {
        "vertices": (ours.vertices * METRES_PER_UNIT)[None],
        "faces": ours.faces[None],
        "normals": ours.normals[None],
        "uvs": None if ours.uv is None else ours.uv[None],
        "vertex_colors": None if ours.colours is None else to_linear(ours.colours).float()[None],
        "texture": None if ours.texture is None else ours.texture.permute(1, 2, 0)[None].contiguous(),
        # The colours hold the light of the pictures already.
        "unlit": True,
    }


def splat(ours: Any) -> Any:
    """ComfyUI's SPLAT of splats of ours: a batch of one, in metres and in the axes of 3D Gaussian Splatting."""
    from ..dualenc_core.export import harmonics, in_file_axes

    turned = in_file_axes(ours)
    kind = comfy("comfy_api.latest._util").SPLAT if has_splats() else SimpleNamespace
    return kind(
        positions=turned.positions[None],
        scales=turned.scales[None],
        rotations=turned.rotations[None],
        opacities=turned.opacities[None, :, None],
        sh=harmonics(turned.colours)[None, :, None],
        counts=None,
    )


def has_splats() -> bool:
    """Whether this ComfyUI has nodes that take a SPLAT."""
    return hasattr(comfy("comfy_api.latest._util"), "SPLAT")


def file3d(path: Path) -> Any:
    """ComfyUI's FILE_3D of a file; None where ComfyUI does not know such a thing yet."""
    types = comfy("comfy_api.latest._util")
    return types.File3D(str(path)) if hasattr(types, "File3D") else None


def has_colour_widget() -> bool:
    """Whether ComfyUI has a widget that picks a colour."""
    return hasattr(comfy("comfy_api.latest._io"), "Color")


# ------------------------------------------------------------------------------------------------ progress, interrupt


def progress(total: int) -> Progress:
    """A progress bar on the running node; every report is also a place where the user can stop the run."""
    utils = comfy("comfy.utils")
    bar = None if utils is None else utils.ProgressBar(total)

    def report(done: int, total: int) -> None:
        check_interrupt()
        if bar is not None:
            bar.update_absolute(done, total)

    return report


def percent() -> Progress:
    """`progress` for work whose size is not known beforehand, or that comes in several passes."""
    report = progress(100)
    return lambda done, total: report(round(100 * done / max(total, 1)), 100)


def executing_node() -> str | None:
    """Id of the node that runs, as the browser knows it."""
    utils = comfy("comfy_execution.utils")
    context = None if utils is None else utils.get_executing_context()
    return None if context is None else context.node_id


def send(event: str, data: dict[str, Any]) -> None:
    """A message to the page that queued the running prompt, if there is one."""
    server = getattr(getattr(comfy("server"), "PromptServer", None), "instance", None)
    if server is not None and server.client_id is not None:
        server.send_sync(event, data, server.client_id)


def check_interrupt() -> None:
    """Stop here if the user has asked for it."""
    management = comfy("comfy.model_management")
    if management is not None:
        management.throw_exception_if_processing_interrupted()


# ------------------------------------------------------------------------------------------------------------ folders


def register_folder() -> None:
    """Make models/dualenc known to ComfyUI, keeping what extra_model_paths.yaml has said about it.

    A folder that cannot be made or read is no reason to do without the nodes: the bundled models need none.
    """
    folders = comfy("folder_paths")
    if folders is None:
        return
    home = os.path.join(folders.models_dir, FOLDER)
    folders.add_model_folder_path(FOLDER, home)
    # A new key accepts every file.
    folders.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)
    if (problem := models_problem()) is not None:
        _say_once(f"{problem}; the bundled demo models work without it")


def models_problem() -> str | None:
    """Why no folder of weights files can be used, None if one can."""
    folders = comfy("folder_paths")
    if folders is None:
        return None
    own = os.path.join(folders.models_dir, FOLDER)
    reasons = [_unusable(home, make=home == own) for home in folders.get_folder_paths(FOLDER)]
    if reasons and None not in reasons:
        return reasons[0]
    try:
        folders.get_filename_list(FOLDER)
    except OSError as error:
        return f"{own} cannot be listed: {error}"
    return None


@cache
def _say_once(text: str) -> None:
    log.warning("DualEnc: %s", text)


def _unusable(home: str, make: bool) -> str | None:
    """Why a folder cannot be read, or made."""
    try:
        if make:
            make_folder(home)
        with os.scandir(home) as entries:
            next(entries, None)
    except DualEncError as error:
        return str(error)
    except OSError as error:
        return f"the folder {home} cannot be used: {error.strerror or error}"
    return None


def model_files() -> list[str]:
    """Names of the files in models/dualenc and the other folders of that key; `models_problem` says why there are
    none."""
    folders = comfy("folder_paths")
    try:
        return [] if folders is None else folders.get_filename_list(FOLDER)
    except OSError as error:
        # A drive that fails must not take the node away.
        _unlisted(error)
        return []


def find_model(name: str) -> Path | None:
    """Full path of a name of `model_files`; None if it is not there."""
    folders = comfy("folder_paths")
    found = None if folders is None else folders.get_full_path(FOLDER, name)
    return Path(found) if found else None


def model_home() -> Path:
    """The folder where users put weights files."""
    folders = comfy("folder_paths")
    return Path("models", FOLDER) if folders is None else Path(folders.get_folder_paths(FOLDER)[0])


def place(kind: str) -> Path:
    """ComfyUI's folder "input", "output" or "temp"."""
    folders = comfy("folder_paths")
    return Path(kind) if folders is None else Path(folders.get_directory_by_type(kind))


def stored_files(extension: str) -> list[str]:
    """Files with an extension in input/ (plain names) and output/ ("name [output]"), newest first.

    What is not finished yet, empty, or vanishes meanwhile is left out.
    """
    found = []
    for kind, mark in (("input", ""), ("output", " [output]")):
        root = place(kind)
        for folder, _, names in os.walk(root, onerror=_unlisted):
            for path in (Path(folder, name) for name in names if name.endswith(extension)):
                with contextlib.suppress(OSError):
                    stat, name = path.stat(), path.relative_to(root)
                    if stat.st_size and not is_temporary(name):
                        found.append((stat.st_mtime_ns, name.as_posix() + mark))
    return [name for _, name in sorted(found, key=lambda item: (-item[0], item[1]))]


def _unlisted(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        _say_once(f"files cannot be listed: {error}")


def stored_path(name: str) -> Path:
    """Path of a name as `stored_files` gives it ("name", "name [input]", "name [output]" or "name [temp]").

    Raises DualEncError for a name that leaves its folder: prompts come from other people too.
    """
    kind = "input"
    if match := re.fullmatch(r"(.*) \[(input|output|temp)\]", name):
        name, kind = match.groups()
    root = place(kind).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DualEncError(f"the file {name!r} is outside ComfyUI's {kind} folder; give a name inside it")
    return path


@contextlib.contextmanager
def new_output(
    prefix: str,
    extension: str,
    size: tuple[int, int] = (0, 0),
    beside: Callable[[Path], Iterable[Path]] = lambda path: (),
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a path "prefix_00001_.ext" in output/ that nobody else has or gets, and its line for `ui`.

    The path is taken for us (an empty file, to be written over); when that fails it is free again.

    Args:
        prefix: may contain folders and the marks of ComfyUI's own save nodes (`prefix.expand`).
        size: width and height, for %width% and %height%.
        beside: further files that will be written with a path, which must be free too.
    """
    root = place("output")
    prompt, workflow = _running()
    prefix = expand(prefix, datetime.now(), size, prompt, workflow)
    folder, name, counter = _output_folder(root, prefix)

    def names() -> Iterator[Path]:
        for number in itertools.count(counter):
            path = folder / f"{name}_{number:05}_{extension}"
            if not any(os.path.lexists(other) for other in beside(path)):
                yield path

    with reserved(names()) as path:
        yield path, output_line(path)


def output_line(path: Path) -> dict[str, str]:
    """What `ui` says of a file in output/."""
    subfolder = path.parent.absolute().relative_to(place("output").absolute()).as_posix()
    return {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}


def _output_folder(root: Path, prefix: str) -> tuple[Path, str, int]:
    """Folder and name that a prefix means, and the number after the highest that is there."""
    folders = comfy("folder_paths")
    if folders is None:
        folder = (root / prefix).parent
        if not folder.resolve().is_relative_to(root.resolve()):
            raise DualEncError(f"the prefix {prefix!r} leads out of the output folder; use a name inside it")
        return make_folder(folder), Path(prefix).name, 1
    try:
        folder, name, counter, _, _ = folders.get_save_image_path(prefix, str(root))
    except OSError:
        # Says what is in the way, if something is.
        make_folder((root / prefix).parent)
        raise
    return Path(folder), name, counter


def _running() -> tuple[dict[str, Any], dict[str, Any]]:
    """The prompt that runs, and the browser's workflow of it; empty outside of ComfyUI, or when others run too."""
    server = None if comfy("folder_paths") is None else comfy("server")
    queue = getattr(getattr(getattr(server, "PromptServer", None), "instance", None), "prompt_queue", None)
    try:
        ((_, _, prompt, extra, *_),) = getattr(queue, "currently_running", {}).values()
        return dict(prompt), dict((extra.get("extra_pnginfo") or {}).get("workflow") or {})
    except (AttributeError, TypeError, ValueError):
        return {}, {}


def new_preview(name: str) -> tuple[Path, dict[str, str]]:
    """A path for a picture in temp/ that is taken for us, and its line for `ui`."""
    root = make_folder(place("temp"))
    path = reserve(root / f"{name}_{number:05}_.png" for number in itertools.count(1))
    return path, {"filename": path.name, "subfolder": "", "type": "temp"}


def share_examples(folder: Path) -> None:
    """Put the example photos beside ComfyUI's own example picture, so that the shipped workflows run at once."""
    if comfy("folder_paths") is None:
        return
    for name in EXAMPLES:
        source, target = folder / name, place("input") / name
        try:
            if source.is_file() and target.parent.is_dir() and not os.path.lexists(target):
                with atomic_path(target) as temporary:
                    Path(temporary).write_bytes(source.read_bytes())
        except (OSError, DualEncError) as error:
            log.info("the example photo cannot be copied to %s: %s", target, error)
