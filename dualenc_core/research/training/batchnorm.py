"""Batch normalisation while training: frozen, or over the batches of all processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the concatenated batches of all processes.

    PyTorch's own works on CUDA only and has no second derivative, which R1 needs. State-dict keys as `nn.BatchNorm2d`;
    without a process group it is that. Every process must bring as many images of the same size.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not _distributed():
            return super().forward(x)
        total = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = _sum(x.sum((0, 2, 3))) / total
        centred = x - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / total
        self._track(mean.detach(), variance.detach(), total)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: int) -> None:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (total / max(total - 1, 1)), self.momentum)


def synchronise(module: nn.Module) -> nn.Module:
    """Turn every batch norm of ``module`` into a `SyncBatchNorm2d`, in place; weights, statistics and keys stay."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SyncBatchNorm2d
    return module


def freeze(module: nn.Module) -> None:
    """Stored statistics from here on; scale and shift still learn. ``train()`` undoes it."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


@contextlib.contextmanager
def statistics_stay(module: nn.Module) -> Iterator[None]:
    """Forward passes inside do not move running statistics: they are recomputations of earlier ones."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(m.momentum, m.num_batches_tracked) for m in norms]
    for norm in norms:
        # Momentum 0 keeps mean and variance; the counter is taken away.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _sum(x: Tensor) -> Tensor:
    return _SumOverProcesses.apply(x)


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of the processes' gradients, and so on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradient.contiguous())
