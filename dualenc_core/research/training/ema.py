"""Exponential moving average of a model's parameters."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class ExponentialMovingAverage(Generic[M]):
    """Keeps a smoothed copy; the decay ramps up so that the random start is forgotten."""

    def __init__(self, module: M, decay: float = 0.998) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Blend in the parameters of ``source``; buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(source.parameters()), 1 - decay)
        torch._foreach_copy_(list(self.module.buffers()), list(source.buffers()))
