"""Tensors inside an official pickle: legacy storage streams parsed by hand, and strided views checked against them.

Each storage is a whole ``torch.save`` stream of the time before zip files (five small pickles, a count, raw data).
It is never handed to ``torch.load``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..errors import CheckpointError
from .pickle_values import Budget, Global, brief
from .restricted_pickle import Machine

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_DIMENSIONS = 8
_DTYPES: Mapping[str, torch.dtype] = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_STORAGE_GLOBALS = {
    f"{module}.{name}Storage": Global(f"{module}.{name}Storage")
    for name in _DTYPES
    for module in ("torch", "torch.cuda")
}
_STORAGE_DTYPES = {f"{module}.{name}Storage": _DTYPES[name] for name in _DTYPES for module in ("torch", "torch.cuda")}


@dataclass(frozen=True, eq=False)
class Storage:
    """Raw little-endian elements, still in the file's own memory.

    Attributes:
        data: the bytes, a slice of the mapped file.
        dtype: element type.
        count: number of elements; ``len(data) == count * dtype.itemsize``.
    """

    data: memoryview
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A checked strided view of a storage, not read yet.

    Attributes:
        storage: where the elements are.
        offset: first element.
        size: shape.
        stride: step per dimension, in elements.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the contiguous tensor."""
        return math.prod(self.size) * self.storage.dtype.itemsize

    def tensor(self) -> torch.Tensor:
        """A new contiguous tensor on the CPU that owns its memory (copied once out of the file)."""
        if math.prod(self.size) == 0:
            return torch.empty(self.size, dtype=self.storage.dtype)
        # The file places elements at any byte address: the copy as bytes is what aligns them.
        first, step = self.offset, self.storage.dtype.itemsize
        extent = 1 + sum((length - 1) * jump for length, jump in zip(self.size, self.stride, strict=True))
        window = self.storage.data[first * step : (first + extent) * step]
        elements = torch.frombuffer(window, dtype=torch.uint8).clone().view(self.storage.dtype)
        return elements.as_strided(self.size, self.stride).contiguous()


def read_storage(blob: object, budget: Budget) -> Storage:
    """Parse one legacy ``torch.save`` stream that holds exactly one storage.

    Args:
        blob: the stream.
        budget: operations left to the file.

    Raises:
        CheckpointError: not such a stream, other storage class, or a count that the bytes do not bear out.
    """
    if not isinstance(blob, memoryview):
        raise CheckpointError(f"a tensor's storage is {brief(blob)} instead of bytes")
    position = 0

    def following(persistent: Callable[[object], object] | None = None) -> object:
        nonlocal position
        value, position = Machine(blob, _STORAGE_GLOBALS, persistent, budget).run(position)
        return value

    if following() != _MAGIC:
        raise CheckpointError("a tensor's storage does not start with PyTorch's magic number")
    if (version := following()) != _PROTOCOL:
        raise CheckpointError(f"a tensor's storage has stream version {brief(version)}; {_PROTOCOL} is expected")
    system = following()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("a tensor's storage is not marked little-endian")
    found = following(_storage_identifier)
    if not isinstance(found, tuple):
        raise CheckpointError(f"a tensor's storage stream holds {brief(found)} instead of one storage")
    key, dtype, declared = found
    keys = following()
    if keys != [key]:
        raise CheckpointError("a tensor's storage stream lists other storages than the one it holds")
    if len(blob) - position < 8:
        raise CheckpointError("a tensor's storage is cut off before its element count")
    count = struct.unpack("<q", blob[position : position + 8])[0]
    data = blob[position + 8 :]
    if count != declared or count < 0 or count * dtype.itemsize != len(data):
        raise CheckpointError(
            f"a tensor's storage declares {brief(declared)} and {count} elements of {dtype} but has {len(data)} bytes"
        )
    return Storage(data, dtype, count)


def _storage_identifier(identifier: object) -> tuple[str, torch.dtype, int]:
    if not isinstance(identifier, tuple) or len(identifier) != 6 or identifier[0] != "storage":
        raise CheckpointError(f"a tensor's storage is identified by {brief(identifier)}")
    _, cls, key, _location, count, view = identifier
    dtype = _STORAGE_DTYPES.get(cls.name) if isinstance(cls, Global) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or view is not None:
        raise CheckpointError("a tensor's storage identifier has other parts than class, key, location, count")
    return key, dtype, count


def rebuild_tensor(arguments: tuple) -> TensorRef:
    """The checked view that ``torch._utils._rebuild_tensor_v2`` would make.

    Args:
        arguments: storage, offset, size, stride, requires_grad, hooks, optional metadata (the last three are ignored).

    Raises:
        CheckpointError: the view leaves its storage, or repeats elements (a small file could then claim any size).
    """
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], Storage):
        raise CheckpointError("a tensor is rebuilt from something other than a storage, offset, size and stride")
    storage, offset, size, stride = arguments[:4]
    for numbers in (size, stride):
        if type(numbers) is not tuple or len(numbers) > _MAX_DIMENSIONS:
            raise CheckpointError(f"a tensor's size or stride is not a tuple of at most {_MAX_DIMENSIONS} numbers")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(number) is not int or not 0 <= number < 2**48 for number in numbers):
        raise CheckpointError("a tensor's offset, size or stride is negative, huge, not whole, or of unequal length")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count and (last >= storage.count or count > storage.count):
        raise CheckpointError(
            f"a tensor of size {size}, stride {stride}, offset {offset} leaves its storage of {storage.count} elements"
        )
    return TensorRef(storage, offset, size, stride)
