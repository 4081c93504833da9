"""Less memory: activation checkpointing and autocast put around networks from outside, and how much was used."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...encoders.bottleneck import Bottleneck
from ...encoders.style_encoder import StyleHead
from ...encoders.triplane_encoder import DoubleConv
from ...generator import PanoHead
from ...generator.synthesis import SynthesisBlock
from ...triplane import Triplane
from .batchnorm import statistics_stay

# Parts whose insides are worth recomputing: their outputs are small beside what they keep for the backward pass.
_PARTS = (Bottleneck, StyleHead, DoubleConv, SynthesisBlock)


def checkpoint_activations(module: nn.Module) -> None:
    """Recompute the insides of the module's blocks in the backward pass. Results, keys and statistics stay the same."""
    for child in module.modules():
        if isinstance(child, _PARTS) or (isinstance(child, nn.Sequential) and _is_convolution_stack(child)):
            again = functools.partial(_recomputed, child, child.forward)
            child.forward = again  # type: ignore[method-assign]  # hooks and calls stay those of the block
    if isinstance(module, PanoHead):
        module.query = functools.partial(_recomputed_query, module.query)  # type: ignore[method-assign]


def _is_convolution_stack(child: nn.Sequential) -> bool:
    """The last layers of stage two, which work at the size of the planes."""
    return len(child) == 5 and isinstance(child[0], nn.Conv2d) and isinstance(child[1], nn.PReLU)


def _recomputed(module: nn.Module, forward: Callable, *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        return contextlib.nullcontext(), statistics_stay(module)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **options)


def _recomputed_query(query: Callable, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled():
        return query(triplane, points)

    def run(planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        return query(triplane.replace(planes=planes), points)

    return checkpoint(run, triplane.planes, points, use_reentrant=False)


def autocast(module: nn.Module, method: str, device: str, precision: str) -> None:
    """Run ``module.method`` in half precision ("bf16", "fp16"); what it returns is float32 again."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    original = getattr(module, method)

    def run(*args, **options):
        with torch.autocast(device, dtype=kind):
            return original(*args, **options).float()

    setattr(module, method, run)


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far (CUDA; a process's peak on the CPU cannot be reset)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float:
    """Largest memory so far in GiB: of CUDA tensors, else of the whole process (nan where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
