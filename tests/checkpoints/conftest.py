"""A writer of pickles in the layout of official generator files, independent of the reader under test."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

PLANE_AXES = torch.tensor(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    ],
    dtype=torch.float32,
)
_BUFFERS = {"resample_filter", "noise_const", "w_avg", "dataset_label_std"}


@dataclass(eq=False)
class Name:
    """A global, written by name only."""

    module: str
    name: str

    def __call__(self, *_):  # the pickler wants reduce functions to look callable
        raise AssertionError


@dataclass(eq=False)
class Persistent:
    """An object of a persistent class."""

    class_name: str
    state: dict


@dataclass(eq=False)
class Opaque:
    """An object written by class reference and state (NEWOBJ, BUILD)."""

    cls: Name
    state: dict


class EasyDict(dict):
    """Written as dnnlib.util.EasyDict."""


@dataclass(eq=False)
class Style:
    """How a file is written.

    Attributes:
        protocol: pickle protocol.
        ordered: modules keep their tensors in OrderedDict (older PyTorch) or dict.
        numpy_core: module of numpy scalars.
        source: the embedded program text.
    """

    protocol: int = 4
    ordered: bool = True
    numpy_core: str = "numpy.core.multiarray"
    source: str = "raise SystemExit('executed')"
    location: str = "cpu"


class OfficialPickler(pickle._Pickler):
    """The Python pickler with the reductions that official files have."""

    def __init__(self, file, style: Style):
        super().__init__(file, style.protocol)
        self.style = style
        self.names: dict[str, Name] = {}
        self.alive: list = []

    def name(self, module: str, name: str) -> Name:
        return self.names.setdefault(f"{module}.{name}", Name(module, name))

    def save(self, obj, save_persistent_id=True):
        self.alive.append(obj)
        if isinstance(obj, Name):
            if (known := self.memo.get(id(obj))) is not None:
                self.write(self.get(known[0]))
                return
            if self.proto >= 4:
                super().save(obj.module)
                super().save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            self.memoize(obj)
        elif isinstance(obj, Opaque | EasyDict):
            if (known := self.memo.get(id(obj))) is not None:
                self.write(self.get(known[0]))
                return
            self.save(obj.cls if isinstance(obj, Opaque) else self.name("dnnlib.util", "EasyDict"))
            self.save(())
            self.write(pickle.NEWOBJ)
            self.memoize(obj)
            if isinstance(obj, Opaque):
                self.save(obj.state)
                self.write(pickle.BUILD)
            else:
                self._batch_setitems(obj.items())
        else:
            super().save(obj, save_persistent_id)

    def reducer_override(self, obj):
        if isinstance(obj, Persistent):
            meta = {
                "type": "class",
                "version": 6,
                "module_src": self.style.source,
                "class_name": obj.class_name,
                "state": obj.state,
            }
            return self.name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,)
        if isinstance(obj, torch.nn.Parameter):
            return self.name("torch._utils", "_rebuild_parameter"), (obj.data, False, OrderedDict())
        if isinstance(obj, torch.Tensor):
            arguments = (
                torch.storage.TypedStorage(wrap_storage=obj.untyped_storage(), dtype=obj.dtype, _internal=True),
                obj.storage_offset(),
                tuple(obj.size()),
                tuple(obj.stride()),
                False,
                OrderedDict(),
            )
            return self.name("torch._utils", "_rebuild_tensor_v2"), arguments
        if isinstance(obj, torch.storage.TypedStorage):
            stream = io.BytesIO()
            torch.save(obj, stream, _use_new_zipfile_serialization=False)
            blob = stream.getvalue()
            if self.style.location != "cpu":
                blob = blob.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00" + self.style.location.encode())
            return self.name("torch.storage", "_load_from_bytes"), (blob,)
        if isinstance(obj, np.generic):
            return self.name(self.style.numpy_core, "scalar"), obj.__reduce__()[1]
        return NotImplemented


def dumps(obj: object, style: Style | None = None) -> bytes:
    """Pickle with the official reductions."""
    stream = io.BytesIO()
    OfficialPickler(stream, style or Style()).dump(obj)
    return stream.getvalue()


def module_state(style: Style, **attributes) -> dict:
    """The instance dict of a torch module."""
    kind = OrderedDict if style.ordered else dict
    empty = {"_backward_hooks": OrderedDict(), "_forward_hooks": OrderedDict(), "_non_persistent_buffers_set": set()}
    return {"training": False, "_parameters": kind(), "_buffers": kind(), **empty, "_modules": kind(), **attributes}


def network(state_dict: dict[str, torch.Tensor], style: Style, **attributes) -> Persistent:
    """A module tree whose state dict is ``state_dict``, with the tensorless parts of a generator."""
    root = Persistent("TriPlaneGenerator", module_state(style, **attributes))
    for key, tensor in state_dict.items():
        *path, leaf = key.split(".")
        node = root
        for depth, part in enumerate(path):
            if part not in node.state["_modules"]:
                sequential = path[: depth + 1] == ["decoder", "net"]
                state = module_state(style, weight_gain=np.float64(2) ** 0.5)
                sequential_class = Name("torch.nn.modules.container", "Sequential")
                node.state["_modules"][part] = (
                    Opaque(sequential_class, state) if sequential else Persistent("FullyConnectedLayer", state)
                )
            node = node.state["_modules"][part]
        group = "_buffers" if leaf in _BUFFERS else "_parameters"
        node.state[group][leaf] = tensor if group == "_buffers" else torch.nn.Parameter(tensor, requires_grad=False)
    root.state["_parameters"]["absent"] = None
    modules = root.state["_modules"]
    modules["ray_sampler"] = Opaque(
        Name("training.volumetric_rendering.ray_sampler", "RaySampler"), module_state(style)
    )
    marcher = Persistent("MipRayMarcher2", module_state(style))
    renderer = module_state(style, plane_axes=PLANE_AXES.clone())
    renderer["_modules"]["ray_marcher"] = marcher
    renderer["_buffers"]["scratch"] = torch.zeros(3)
    renderer["_non_persistent_buffers_set"] = {"scratch"}
    modules["renderer"] = Persistent("ImportanceRenderer", renderer)
    return root


def official(state_dict: dict[str, torch.Tensor], init_kwargs: dict, rendering_kwargs: dict, style: Style) -> dict:
    """The dict of a whole official file."""
    live = EasyDict(rendering_kwargs, density_noise=0.0)

    def generator() -> Persistent:
        return network(
            state_dict,
            style,
            _init_args=(),
            _init_kwargs=EasyDict(init_kwargs, rendering_kwargs=dict(rendering_kwargs)),
            rendering_kwargs=live,
            neural_rendering_resolution=64,
            z_dim=init_kwargs["z_dim"],
            _last_planes=None,
        )

    discriminator = Persistent("MaskDualDiscriminatorV2", module_state(style, c_dim=25))
    return {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", max_size=7, xflip=True),
        "G": generator(),
        "D": discriminator,
        "G_ema": generator(),
        "augment_pipe": None,
    }


@pytest.fixture(scope="session")
def writer() -> SimpleNamespace:
    """The pickle-writing helpers of this folder."""
    return SimpleNamespace(
        Style=Style, Name=Name, Persistent=Persistent, Opaque=Opaque, EasyDict=EasyDict, dumps=dumps, official=official
    )


@pytest.fixture(scope="session")
def tiny(golden: Path) -> SimpleNamespace:
    """State dict, constructor and rendering arguments of the golden generator ``tiny_d3``."""
    folder = golden / "panohead" / "tiny_d3"
    config = json.loads((folder / "config.json").read_text())
    same = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "channel_base", "channel_max", "num_fp16_res")
    sr = {key: config["sr"][key] for key in ("input_resolution", "hidden_widths", "w_dim")}
    return SimpleNamespace(
        state=load_file(folder / "state.safetensors"),
        init_kwargs={key: config[key] for key in same}
        | {"mapping_kwargs": {"num_layers": config["map_layers"]}, "sr_num_fp16_res": 4, "sr_kwargs": sr},
        rendering_kwargs={key: value for key, value in config["rendering_kwargs"].items() if key != "density_noise"},
    )
