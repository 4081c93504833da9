"""Weights into networks: strictly, and with one way to say what does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .errors import CheckpointError

# The usual advice.
SAME_FILE = "Check that weights and configuration come from the same file."
_NAMED = 3


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], whose: str, advice: str) -> None:
    """Give a network all of its weights, of any float type as float32; the tensors become its own.

    Args:
        whose: of what the weights are, for the message.
        advice: what to do when they do not fit.

    Raises CheckpointError that counts and names tensors that are missing, unexpected or of another shape; then the
    network is as it was.

    Example:
        >>> import torch
        >>> from dualenc_core.networks import load_strictly
        >>> layer = torch.nn.Linear(2, 1)
        >>> load_strictly(layer, {"weight": torch.ones(1, 3)}, "the layer", "Give it its own.")
        Traceback (most recent call last):
            ...
        dualenc_core.errors.CheckpointError: the weights do not fit the layer: 1 missing (bias); 1 of another shape \
(weight (1, 3) instead of (1, 2)). Give it its own.
    """
    expected = module.state_dict()
    given = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    problems = {
        "missing": [k for k in expected if k not in given],
        "unexpected": [k for k in given if k not in expected],
        "of another shape": [
            f"{k} {tuple(given[k].shape)} instead of {tuple(tensor.shape)}"
            for k, tensor in expected.items()
            if k in given and given[k].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        text = "; ".join(f"{len(names)} {label} ({_some(names)})" for label, names in problems.items() if names)
        raise CheckpointError(f"the weights do not fit {whose}: {text}. {advice}")
    module.load_state_dict(given, strict=True, assign=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
