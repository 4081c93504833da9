"""What accelerators want: float32 that is float32, and large pieces of work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

# Rays in memory at once on a CPU.
_RAYS = 4096
# A portion is what a device with 8 GB does at once beside a full-size model: one frame of 512 pixels in float32 needs
# 0.6 GB, 8192 rays in fog as much.
_PORTION_BYTES, _PORTION_RAYS, _MOST_PORTIONS = 8e9, 8192, 8


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def frames_at_once(device: torch.device) -> int:
    """Frames of one head that are drawn together: launches and questions to an accelerator cost as much for several as
    for one. 1 where nothing is gained."""
    return _portions(device) or 1


def rays_at_once(device: torch.device) -> int:
    """Rays in memory at once, unless a call says otherwise."""
    return _PORTION_RAYS * _portions(device) or _RAYS


def _portions(device: torch.device) -> int:
    """0 on devices that want small pieces."""
    return _cuda_portions(device) if device.type == "cuda" else 0


def layout(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """In which convolutions that compute in ``dtype`` are fast, inside of autocast in its type.

    GPUs have their matrix units for 16 bits with channels last, and Winograd's algorithm for float32 with channels
    first; CPUs like channels last.
    """
    first = device.type != "cpu" and dtype == torch.float32 and not torch.is_autocast_enabled(device.type)
    return torch.contiguous_format if first else torch.channels_last


@functools.cache
def _cuda_portions(device: torch.device) -> int:
    size = torch.cuda.get_device_properties(device).total_memory
    return min(max(round(size / _PORTION_BYTES), 1), _MOST_PORTIONS)


@contextmanager
def full_float32() -> Iterator[None]:
    """Within it, convolutions and matrix products of float32 numbers on CUDA are computed in float32.

    PyTorch lets cuDNN round what convolutions read to 10 bits (TF32) unless it is told otherwise, which costs half of
    the decibels between a GPU's pictures and a CPU's. The setting is the process's: it is put back at the end.
    """
    # The names since PyTorch 2.9; the older ones fail where both are used.
    place: Any = getattr(torch.backends.cudnn, "conv", None)
    full: str | bool = "ieee"
    name = "fp32_precision"
    if place is None:
        place, name, full = torch.backends.cudnn, "allow_tf32", False
    before, products = getattr(place, name), _precision_of_products()
    try:
        setattr(place, name, full)
        if products != "highest":
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        setattr(place, name, before)
        if products != "highest":
            torch.set_float32_matmul_precision(products)


def _precision_of_products() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        # The process uses both of PyTorch's ways to say it, which must not be mixed: leave it.
        return "highest"


def in_full_float32(method: Callable[P, T]) -> Callable[P, T]:
    """A method of a module that runs in `full_float32`, but for training, which keeps PyTorch's settings."""

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        module: Any = args[0]
        if module.training or not torch.cuda.is_initialized():
            return method(*args, **kwargs)
        with full_float32():
            return method(*args, **kwargs)

    return run


def half_type(device: torch.device) -> torch.dtype:
    """The 16-bit type that the device computes fast in; float32 where there is none."""
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
