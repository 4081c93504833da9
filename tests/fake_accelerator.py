"""An accelerator that is none: finds tensors of two devices in one operation on machines that have only a CPU.

"cpu:0" and "cpu" are the same memory, but PyTorch can tell them apart as arguments. Tensors that are made on, moved to,
or computed from tensors on cpu:0 are marked, and where marked and unmarked ones meet, a `MixedDevices` is raised, as
CUDA would. It sees Python calls alone, which is where such mistakes are made.

    with accelerator() as device:
        generator = load_generator("demo", device=device)
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

DEVICE = torch.device("cpu", 0)
HOST = torch.device("cpu")
# Copy between devices, or have a rule of their own in CUDA too.
_FREE = {
    "copy_",
    "_foreach_copy_",
    "__setitem__",
    "__deepcopy__",
    "__reduce_ex__",
    "set_",
    "_has_compatible_shallow_copy_type",
}
_REAL_GENERATOR = torch.Generator


class MixedDevices(RuntimeError):
    """What CUDA would not do."""


class _Generator(torch.Generator):
    """Random numbers of the accelerator."""

    device = DEVICE


class _AnyGenerator:
    """Stands for `torch.Generator`."""

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:
        return _Generator() if _is_accelerator(device) else _REAL_GENERATOR(device)


@contextlib.contextmanager
def accelerator() -> Iterator[torch.device]:
    """The device; everything inside is watched."""
    plain_parameter, plain_copy, plain_to = torch.nn.Parameter.__new__, copy.deepcopy, torch.nn.Module.to

    def parameter(cls: type, data: Tensor | None = None, requires_grad: bool = True) -> Tensor:
        return _mark(plain_parameter(cls, data, requires_grad), data is not None and _marked(data))

    def deepcopy(value: Any, *memo: dict) -> Any:
        twin = plain_copy(value, *memo)
        if isinstance(value, torch.nn.Module) and any(map(_marked, value.parameters())):
            _mark_module(twin)
        return twin

    def to(module: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
        module = plain_to(module, *args, **kwargs)
        if any(_is_accelerator(a) for a in (*args, *kwargs.values()) if isinstance(a, (torch.device, str))):
            _mark_module(module)
        return module

    with (
        mock.patch.object(torch.nn.Parameter, "__new__", parameter),
        mock.patch.object(torch.nn.Module, "to", to),
        mock.patch.object(copy, "deepcopy", deepcopy),
        mock.patch.object(torch, "Generator", _AnyGenerator),
        _Watch(),
    ):
        yield DEVICE


class _Watch(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if name in ("__get__", "__set__"):
            return self._attribute(func, args, kwargs)
        if name in ("to", "cpu", "type_as"):
            return self._moved(func, name, args, kwargs)
        if name == "numpy" and _marked(args[0]) and not kwargs.get("force"):
            raise MixedDevices("numpy() of a tensor on the accelerator; call .cpu() first")
        if name == "__getitem__":
            if not _marked(args[0]) and any(map(_marked, tensors)):
                raise MixedDevices("a tensor of the CPU is indexed by one of the accelerator")
            return _mark(func(*args, **kwargs), _marked(args[0]))
        if not tensors or name.startswith("new_") or name.endswith("_like") or name == "as_tensor":
            return self._made(func, name, tensors, args, kwargs)
        large = [tensor for tensor in tensors if tensor.ndim]
        if name not in _FREE and len({_marked(tensor) for tensor in large}) == 2:
            sides = ", ".join(f"{'accelerator' if _marked(t) else 'cpu'} {tuple(t.shape)}" for t in large)
            raise MixedDevices(f"{resolve_name(func) or name} of {sides}")
        result = func(*args, **kwargs)
        if name in _FREE:
            return _mark(result, _marked(args[0])) if isinstance(args[0], Tensor) else result
        return _mark(result, any(map(_marked, tensors)))

    def _attribute(self, func: Any, args: tuple, kwargs: dict) -> Any:
        if func.__self__ is Tensor.device:
            return DEVICE if _marked(args[0]) else HOST
        result = func(*args, **kwargs)
        return _mark(result, True) if isinstance(result, Tensor) and _marked(args[0]) else result

    def _moved(self, func: Any, name: str, args: tuple, kwargs: dict) -> Any:
        before = after = _marked(args[0])
        if name == "cpu":
            after = False
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, (torch.device, str)):
                after = _is_accelerator(value)
            elif isinstance(value, Tensor):
                after = _marked(value)
        result = func(*args, **kwargs)
        if before == after:
            return _mark(result, after)
        result = result.clone() if result is args[0] else result
        result._accelerated = after
        return result

    def _made(self, func: Any, name: str, tensors: list[Tensor], args: tuple, kwargs: dict) -> Any:
        """New tensors: of a factory, or like another tensor."""
        device, rng = kwargs.get("device"), kwargs.get("generator")
        where = any(map(_marked, tensors)) if device is None else _is_accelerator(device)
        if rng is not None and isinstance(rng, _Generator) != where:
            raise MixedDevices(f"{name} with a random generator of another device than {device or 'the default'}")
        result = func(*args, **kwargs)
        if where and any(result is tensor for tensor in tensors):
            result = result.clone()
        return _mark(result, where)


def _marked(tensor: Tensor) -> bool:
    return getattr(tensor, "_accelerated", False)


def _mark(values: Any, accelerated: bool) -> Any:
    if accelerated:
        for value in pytree.tree_leaves(values):
            if isinstance(value, Tensor):
                value._accelerated = True
    return values


def _mark_module(module: torch.nn.Module) -> None:
    _mark([*module.parameters(), *module.buffers()], True)


def _is_accelerator(device: torch.device | str) -> bool:
    try:
        device = torch.device(device)
    except RuntimeError:
        return False
    return device.type == DEVICE.type and device.index == DEVICE.index
