"""What a piece of work asks of a machine: multiply-adds, bytes and tri-grid lookups, and what the machine can do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# Texels that one lookup reads: eight of each of three planes.
_TEXELS = 24
# Operators that read only a part of their first tensor: as much as they return.
_PICKING = ("index.", "index_select", "gather", "take", "embedding.")


@dataclass(frozen=True)
class Count:
    """Of one run.

    Attributes:
        multiply_adds: of convolutions and matrix products, which are nearly all arithmetic.
        bytes: that operators read and write, each for itself; what stays in a cache costs less than that.
        lookups: points at which a tri-grid was read.
    """

    multiply_adds: int
    bytes: int
    lookups: int


@dataclass(frozen=True)
class Machine:
    """Rates that this process reaches on a device.

    Attributes:
        multiply_adds: a second, in a float32 product of large matrices.
        bytes: a second, read and written, when a tensor larger than the caches is copied.
    """

    multiply_adds: float
    bytes: float

    @classmethod
    def measure(cls, device: torch.device, size: int = 1024, repeats: int = 5) -> Machine:
        """Takes about a second. Processor time counts on CPUs with one thread, as other work may share the core."""
        a, b = torch.randn(2, size, size, device=device)
        source = torch.ones(64 * size * size // 4, device=device)
        target = torch.empty_like(source)
        product = _fastest(lambda: torch.mm(a, b), device, repeats)
        copy = _fastest(lambda: target.copy_(source), device, repeats)
        return cls(size**3 / product, 2 * source.numel() * source.element_size() / copy)

    def limit(self, count: Count) -> float:
        """Seconds that the work would take if nothing but arithmetic, or nothing but memory, held it up."""
        return max(count.multiply_adds / self.multiply_adds, count.bytes / self.bytes)


def count(run: Callable[[], Any]) -> Count:
    """Run once and count."""
    with _Traffic() as traffic, FlopCounterMode(display=False) as flops:
        run()
    return Count(flops.get_total_flops() // 2, traffic.bytes, traffic.lookups)


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.lookups = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name().removeprefix("aten::")
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if function.is_view or name.startswith(("empty", "new_empty")):
            return result
        written = sum(map(_size, outputs))
        read = sum(map(_size, inputs))
        if name.startswith("_embedding_bag"):
            table, index, offsets = args[:3]
            read += index.numel() * table.shape[1] * table.element_size() - _size(table)
            if index.numel() == _TEXELS * offsets.numel():
                self.lookups += offsets.numel()
        elif name.startswith("grid_sampler_3d"):
            volume = args[0]
            read += 8 * written - _size(volume)
            self.lookups += outputs[0].numel() // volume.shape[1] // 3
        elif name.startswith(_PICKING) and inputs:
            read += written - _size(inputs[0])
        self.bytes += written + read
        return result


def _size(tensor: Tensor) -> int:
    # An expanded tensor has fewer numbers than places.
    held = math.prod(n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step != 0)
    return held * tensor.element_size()


def _fastest(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        start = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return min(times[1:])
