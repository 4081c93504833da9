"""Ranger: rectified Adam, lookahead, gradient centralisation (encoders.md §3.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import DualEncError


class Ranger(Optimizer):
    """The optimiser of pSp, TriPlaneNet and the paper.

    Every k-th step the parameters move back to a slow copy that follows them with rate ``alpha``. Gradients with two or
    more dimensions lose their mean over all dimensions but the first.

    Args:
        params: parameters or groups.
        lr: learning rate; 1e-4 in the paper.
        alpha, k: lookahead rate and interval.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        rectify_from: the second moment is used once its effective length exceeds this.
        weight_decay: decoupled, scaled by lr.

    Raises DualEncError for values out of range.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-4,
        alpha: float = 0.5,
        k: int = 6,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        rectify_from: float = 5.0,
        weight_decay: float = 0.0,
    ):
        if not lr > 0 or not 0 <= alpha <= 1 or k < 1 or not eps > 0 or not all(0 <= b < 1 for b in betas):
            raise DualEncError(
                f"Ranger got lr {lr}, alpha {alpha}, k {k}, betas {betas}, eps {eps}; "
                "expected lr > 0, 0 <= alpha <= 1, k >= 1, 0 <= betas < 1, eps > 0"
            )
        super().__init__(
            params,
            dict(lr=lr, alpha=alpha, k=k, betas=betas, eps=eps, rectify_from=rectify_from, weight_decay=weight_decay),
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """As `Optimizer.load_state_dict`; step counts read back from a file as tensors become numbers again, so that
        their powers are computed in double precision as before."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["step"] = int(state["step"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update. Unlike the reference, ``.grad`` is left as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["slow_buffer"] = parameter.clone()
        gradient = parameter.grad
        assert gradient is not None
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        m = state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale, rectified = _rectification(state["step"], beta1, beta2, group["rectify_from"])
        if group["weight_decay"]:
            parameter.mul_(1 - group["weight_decay"] * group["lr"])
        if rectified:
            parameter.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-group["lr"] * scale)
        else:
            parameter.add_(m, alpha=-group["lr"] * scale)
        if state["step"] % group["k"] == 0:
            slow = state["slow_buffer"].lerp_(parameter, group["alpha"])
            parameter.copy_(slow)


def _rectification(step: int, beta1: float, beta2: float, threshold: float) -> tuple[float, bool]:
    """RAdam's step scale, and whether the second moment is trusted yet."""
    power = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * power / (1 - power)
    bias = 1 - beta1**step
    if length <= threshold:
        return 1 / bias, False
    variance = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - power) * variance) / bias, True
