"""The closed list of globals that an official generator pickle may name, and what each stands for here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from ..errors import CheckpointError
from .pickle_values import Budget, Buildable, Global, brief, check_key
from .torch_storage import Storage, TensorRef, read_storage, rebuild_tensor

PERSISTENCE_VERSION = 6
MAX_STORAGES = 50_000

_SCALARS = {
    "f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b",
    "u8": "<Q", "u4": "<I", "u2": "<H", "u1": "<B", "b1": "<?",
}  # fmt: skip

_OPAQUE_CLASSES = (
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.activation.Softplus",
    "training.volumetric_rendering.ray_sampler.RaySampler",
    "training.volumetric_rendering.renderer.ImportanceRenderer",
    "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
)


class Recorded(Buildable):
    """An object of the file, kept as data: the name of its class and its attributes. Nothing of it can run.

    Attributes:
        class_name: without the module.
        state: attribute name → value.
    """

    __slots__ = ("class_name", "state")

    def __init__(self, class_name: str, state: dict | None = None) -> None:
        self.class_name = class_name
        self.state = {} if state is None else state

    def build(self, state: object) -> None:
        """Take attributes as data; special names and slot tuples are refused."""
        if type(state) is not dict or any(not isinstance(key, str) or key.startswith("__") for key in state):
            raise CheckpointError(
                f"the state of a {self.class_name} is {brief(state)} or sets special attributes; "
                "a dict of plain attribute names is expected"
            )
        self.state = state


class _ScalarType(Buildable):
    """numpy.dtype of a scalar: its two-letter code."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code

    def build(self, state: object) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|"):
            raise CheckpointError("a numpy dtype is not little-endian")
        if any(item is not None and not isinstance(item, int | str) for item in state):
            raise CheckpointError("a numpy dtype has fields; only plain numbers are read")


def official_table(budget: Budget) -> dict[str, Global]:
    """Dotted name → ``Global`` for one file; storages that it parses draw on ``budget``."""
    table = [
        Global("torch_utils.persistence._reconstruct_persistent_obj", call=_record),
        Global("torch._utils._rebuild_parameter", call=_parameter),
        Global("torch._utils._rebuild_tensor_v2", call=rebuild_tensor),
        Global("torch.storage._load_from_bytes", call=_StorageReader(budget)),
        Global("collections.OrderedDict", call=partial(_empty, dict, "collections.OrderedDict"), new=dict),
        Global("dnnlib.util.EasyDict", call=partial(_empty, dict, "dnnlib.util.EasyDict"), new=dict),
        Global("numpy.dtype", call=_dtype),
        Global("numpy._core.multiarray.scalar", call=_scalar),
        Global("numpy.core.multiarray.scalar", call=_scalar),
        # Protocol 3 and older have no opcodes for these.
        Global("builtins.set", call=_set),
        Global("__builtin__.set", call=_set),
        Global("builtins.object"),
        Global("__builtin__.object"),
        Global("copyreg._reconstructor", call=_reconstructor),
        Global("copy_reg._reconstructor", call=_reconstructor),
        *(Global(name, new=partial(Recorded, name.rpartition(".")[2])) for name in _OPAQUE_CLASSES),
    ]
    return {entry.name: entry for entry in table}


def _record(arguments: tuple) -> Recorded:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        raise CheckpointError("a persistent object is not described by one dict")
    meta = arguments[0]
    kind, version = meta.get("type"), meta.get("version")
    if kind != "class" or version != PERSISTENCE_VERSION:
        raise CheckpointError(
            f"a persistent object has type {brief(kind)} and version {brief(version)}; "
            f"'class' and {PERSISTENCE_VERSION} are read"
        )
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or type(state) is not dict:
        raise CheckpointError(f"a persistent object has class name {brief(name)} and state {brief(state)}")
    # meta["module_src"] is the program that the usual loader would execute; it is not looked at.
    return Recorded(name, state)


def _parameter(arguments: tuple) -> TensorRef:
    if len(arguments) != 3 or not isinstance(arguments[0], TensorRef):
        raise CheckpointError("a parameter is rebuilt from something other than a tensor")
    return arguments[0]


class _StorageReader:
    """``torch.storage._load_from_bytes`` for one file, with a limit on how often it may be asked."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._count = 0

    def __call__(self, arguments: tuple) -> Storage:
        self._count += 1
        if self._count > MAX_STORAGES:
            raise CheckpointError(f"more than {MAX_STORAGES} tensor storages")
        if len(arguments) != 1:
            raise CheckpointError("a tensor's storage is not given by one string of bytes")
        return read_storage(arguments[0], self._budget)


def _empty(make: Callable[[], object], name: str, arguments: tuple) -> object:
    if arguments != ():
        raise CheckpointError(f"{name} is called with arguments; none are expected")
    return make()


def _dtype(arguments: tuple) -> _ScalarType:
    if not arguments or not isinstance(arguments[0], str) or arguments[0] not in _SCALARS:
        raise CheckpointError(f"numpy dtype {brief(arguments[0] if arguments else None)}; plain numbers are read")
    return _ScalarType(arguments[0])


def _scalar(arguments: tuple) -> float | int | bool:
    if len(arguments) != 2 or not isinstance(arguments[0], _ScalarType) or not isinstance(arguments[1], memoryview):
        raise CheckpointError("a numpy scalar is not given by a dtype and bytes")
    code = _SCALARS[arguments[0].code]
    if len(arguments[1]) != struct.calcsize(code):
        raise CheckpointError(f"a numpy scalar of type {arguments[0].code} has {len(arguments[1])} bytes")
    return struct.unpack(code, arguments[1])[0]


def _set(arguments: tuple) -> set:
    if len(arguments) > 1 or (arguments and type(arguments[0]) not in (list, tuple)):
        raise CheckpointError("a set is not made from a list")
    return {check_key(item) for item in (arguments[0] if arguments else ())}


def _reconstructor(arguments: tuple) -> object:
    if len(arguments) != 3 or not all(isinstance(item, Global) for item in arguments[:2]) or arguments[2] is not None:
        raise CheckpointError("an object is reconstructed from something other than a class and object")
    cls, base, _ = arguments
    if cls.new is None or not base.name.endswith(".object"):
        raise CheckpointError(f"the file makes an object of {brief(cls)} over {brief(base)}, which is not known here")
    return cls.new()
