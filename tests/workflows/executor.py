"""Runs API prompts in this process: our nodes, and small stand-ins for the core nodes that the shipped prompts use.

Checks what ComfyUI checks before it runs a prompt, strictly: an input that a class does not have is an error too.
Files are read and written below the current directory (input/, output/, temp/), as our nodes do without ComfyUI.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..tools.workflows.definitions import Definition, definitions
from ..tools.workflows.layout import sources

Prompt = dict[str, dict[str, Any]]


class PromptError(Exception):
    """A prompt that ComfyUI would refuse."""


@dataclass
class Results:
    """By node id: class names, output tuples, and what ComfyUI would put into /history."""

    classes: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple] = field(default_factory=dict)
    ui: dict[str, dict[str, Any]] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """Every file that a node names in its ``ui``, in the order of the run."""
        lines = [x for ui in self.ui.values() for value in ui.values() for x in value if isinstance(x, dict)]
        return [Path(x["type"], x["subfolder"], x["filename"]) for x in lines if "filename" in x]


class Executor:
    def __init__(self, pack: ModuleType) -> None:
        self.classes = pack.NODE_CLASS_MAPPINGS

    def run(self, prompt: Prompt, only: Iterable[str] = ()) -> Results:
        """Run a prompt, or only some nodes and what they need."""
        # Combos list the files of the folders, so the definitions are asked now.
        known = definitions(self.classes)
        order = needed(prompt, only or prompt)
        for key in order:
            check(prompt, key, known, self._validate(prompt[key]))
        results = Results()
        with torch.inference_mode():
            for key in order:
                answer = self._call(prompt[key], results.outputs)
                if isinstance(answer, dict):
                    results.ui[key] = answer.get("ui", {})
                    answer = answer.get("result", ())
                results.outputs[key] = answer
                results.classes[key] = prompt[key]["class_type"]
        return results

    def _validate(self, node: dict[str, Any]) -> set[str]:
        """VALIDATE_INPUTS, which sees what is typed but not what is linked; the names of the inputs that it judges."""
        validate = getattr(self.classes.get(node["class_type"]), "VALIDATE_INPUTS", None)
        if validate is None:
            return set()
        asked = set(inspect.signature(validate).parameters)
        typed = {n: v for n, v in node["inputs"].items() if n in asked and not isinstance(v, list)}
        if (answer := validate(**typed)) is not True:
            raise PromptError(f"{node['class_type']}: {answer}")
        return asked

    def _call(self, node: dict[str, Any], outputs: dict[str, tuple]) -> Any:
        inputs = {n: outputs[v[0]][v[1]] if isinstance(v, list) else v for n, v in node["inputs"].items()}
        cls = self.classes.get(node["class_type"])
        return CORE[node["class_type"]](**inputs) if cls is None else getattr(cls(), cls.FUNCTION)(**inputs)


def needed(prompt: Prompt, wanted: Iterable[str]) -> list[str]:
    """``wanted`` and all that it depends on, sources first."""
    order: dict[str, None] = {}

    def visit(key: str, path: tuple[str, ...] = ()) -> None:
        if key in path:
            raise PromptError(f"{' → '.join((*path, key))} is a circle")
        if key not in prompt:
            raise PromptError(f"{path[-1]} is linked to {key!r}, which the prompt does not have")
        for source in sources(prompt[key]):
            visit(source, (*path, key))
        order[key] = None

    for key in wanted:
        visit(key)
    return list(order)


def check(prompt: Prompt, key: str, known: dict[str, Definition], judged: Iterable[str] = ()) -> None:
    """PromptError unless every input is known, present, of the right type and in range.

    As in ComfyUI the values of ``judged`` inputs are left to the node.
    """
    node = prompt[key]
    definition = known.get(node["class_type"])
    if definition is None:
        raise PromptError(f"{key}: there is no node {node['class_type']}")
    names = {i.name for i in definition.inputs}
    missing = [i.name for i in definition.inputs if i.required and i.name not in node["inputs"]]
    if missing or set(node["inputs"]) - names:
        raise PromptError(f"{key}: missing {missing}, unknown {sorted(set(node['inputs']) - names)}")
    for name, value in node["inputs"].items():
        declared = definition.input(name)
        if isinstance(value, list):
            outputs = known[prompt[value[0]]["class_type"]].outputs
            kind = outputs[value[1]][1] if value[1] < len(outputs) else "nothing"
            if not declared.takes(kind):
                raise PromptError(f"{key}.{name} takes {declared.kind}, but is linked to {kind} ({value})")
        elif not declared.is_widget:
            raise PromptError(f"{key}.{name} must be a link, not {value!r}")
        elif name not in judged and (problem := declared.problem(value)):
            raise PromptError(f"{key}.{name}: {problem}")


# --------------------------------------------------------------------------------------------------------- core nodes


def load_image(image: str) -> tuple[Tensor, Tensor]:
    picture = ImageOps.exif_transpose(Image.open(Path("input", image)))
    if "A" in picture.getbands():
        mask = 1 - torch.from_numpy(np.array(picture.getchannel("A"), dtype=np.float32) / 255)
    else:
        mask = torch.zeros(64, 64)
    return torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255)[None], mask[None]


def free_path(folder: str, prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """A new file "prefix_00001_.suffix" and its line for ``ui``."""
    (Path(folder) / prefix).parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := Path(folder, f"{prefix}_{number:05}_.{suffix}")).exists():
        number += 1
    parent = Path(prefix).parent.as_posix()
    return path, {"filename": path.name, "subfolder": "" if parent == "." else parent, "type": folder}


def save_image(images: Tensor, filename_prefix: str = "preview", folder: str = "output") -> dict[str, Any]:
    lines = []
    for image in images:
        path, line = free_path(folder, filename_prefix, "png")
        Image.fromarray((image.numpy() * 255).clip(0, 255).astype(np.uint8)).save(path)
        lines.append(line)
    return {"ui": {"images": lines}}


def save_video(video: tuple[Tensor, float], filename_prefix: str, format: str, codec: str) -> dict[str, Any]:
    from dualenc_core.export import save_video as write

    images, fps = video
    path, line = free_path("output", filename_prefix, "mp4")
    write(list(images[..., :3].movedim(-1, 1) * 2 - 1), path, fps)
    return {"ui": {"images": [line], "animated": (True,)}}


def image_scale(image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
    if crop != "disabled" or not width or not height:
        raise NotImplementedError("this stand-in neither crops nor works out a side")
    mode = {"lanczos": "bicubic"}.get(upscale_method, upscale_method)
    options = {} if mode in ("nearest-exact", "area") else {"align_corners": False}
    return (F.interpolate(image.movedim(-1, 1), (height, width), mode=mode, **options).movedim(1, -1).clamp(0, 1),)


def image_stitch(
    image1: Tensor, direction: str, match_image_size: bool, spacing_width: int, spacing_color: str, image2: Tensor
) -> tuple[Tensor]:
    if direction != "right" or not match_image_size or spacing_width:
        raise NotImplementedError("this stand-in only puts pictures of one height side by side")
    height = image1.shape[1]
    width = round(image2.shape[2] * height / image2.shape[1])
    second = image_scale(image2, "lanczos", width, height, "disabled")[0]
    return (torch.cat([image1, second], dim=2),)


def save_glb(mesh: Any, filename_prefix: str) -> dict[str, Any]:
    """The shape alone, as ComfyUI 0.3.64 writes it."""
    import trimesh

    lines = []
    for vertices, faces in zip(mesh.vertices, mesh.faces, strict=True):
        path, line = free_path("output", filename_prefix, "glb")
        trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False).export(path)
        lines.append(line)
    return {"ui": {"3d": lines}}


def preview_3d(model_file: str, camera_info: Any = None) -> dict[str, Any]:
    if not Path("output", model_file).is_file():
        raise FileNotFoundError(f"there is no {model_file} in the output folder")
    return {"ui": {"result": [model_file, camera_info]}}


CORE: dict[str, Callable[..., Any]] = {
    "LoadImage": load_image,
    "PreviewImage": lambda images: save_image(images, folder="temp"),
    "SaveImage": save_image,
    "CreateVideo": lambda images, fps, audio=None: ((images, fps),),
    "SaveVideo": save_video,
    "MaskToImage": lambda mask: (mask[..., None].expand(-1, -1, -1, 3),),
    "InvertMask": lambda mask: (1 - mask,),
    "ImageScale": image_scale,
    "ImageStitch": image_stitch,
    "ImageBatch": lambda image1, image2: (torch.cat([image1, image2]),),
    "EmptyImage": lambda width, height, batch_size, color: (
        torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]).div(255).expand(batch_size, height, width, 3),
    ),
    "SaveGLB": save_glb,
    "Preview3D": preview_3d,
}
