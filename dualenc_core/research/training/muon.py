"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import DualEncError

# Newton-Schulz coefficients of the authors: five rounds bring singular values from 0.001..1 to 0.7..1.2.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


class Muon(Optimizer):
    """Steps in which all directions of a weight matrix count alike, not only those with large gradients.

    In a generator these are the rare ones: an unusual hair style, an eye. `torch.optim.Muon` takes matrices only; here
    the kernel of a convolution is the matrix [out, in·k·k].

    Args:
        params: parameters, or groups, of two or more dimensions.
        lr: root mean square of the change of an entry in one step.
        momentum: decay of the averaged gradient.

    Raises DualEncError for values out of range, and for parameters of fewer dimensions (give those to Adam).
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, momentum: float = 0.9):
        if not lr > 0 or not 0 <= momentum < 1:
            raise DualEncError(f"Muon got lr {lr} and momentum {momentum}; expected lr > 0 and 0 <= momentum < 1")
        super().__init__(params, dict(lr=lr, momentum=momentum))
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise DualEncError(
                        f"Muon got a parameter of shape {tuple(p.shape)}, expected two or more dimensions; "
                        "give vectors and numbers to Adam"
                    )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((len(p), p[0].numel(), p.dtype, p.device), []).append(p)
            # All matrices of one shape together: an accelerator spends longer on starting kernels than on these.
            for parameters in alike.values():
                steps = orthogonal(torch.stack([self._ahead(p, group["momentum"]) for p in parameters]))
                for p, change in zip(parameters, steps, strict=True):
                    p.add_(change.reshape(p.shape), alpha=-group["lr"])
        return loss

    def _ahead(self, p: Tensor, momentum: float) -> Tensor:
        """The averaged gradient as a matrix, with Nesterov's look ahead, as Muon's authors use it."""
        state = self.state[p]
        if not state:
            state["average"] = torch.zeros_like(p)
        assert p.grad is not None
        average = state["average"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum).flatten(1)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with equal singular values, roughly, scaled to a root mean square entry of about 1.

    [...,n,m] → [...,n,m].
    """
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    x = wide.float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    # Every round multiplies x by a polynomial of its Gram matrix, which is small: x itself is needed only at the end.
    # In 16 bits that matrix would have negative eigenvalues, and the rounds make one of -0.001 enormous.
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], device=gram.device)
    total = identity
    for _ in range(_ROUNDS):
        factor = _A * identity + _B * gram + _C * gram @ gram
        total, gram = factor @ total, factor @ gram @ factor
    x = (total @ x).to(matrix.dtype) * math.sqrt(wide.shape[-1])
    return x if wide is matrix else x.mT
