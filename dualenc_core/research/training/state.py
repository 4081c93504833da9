"""Training checkpoints as safetensors: resumable, atomic, and nothing in them can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...files import atomic_path


def save_state(
    path: str | Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    rng: Mapping[str, torch.Generator],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write everything that a run needs to go on as if it had not stopped."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"step": step, "extra": dict(extra or {}), "optimizers": {}}
    for name, module in modules.items():
        tensors.update({f"module.{name}.{k}": v for k, v in module.state_dict().items()})
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        numbers["optimizers"][name] = [
            {k: v for k, v in group.items() if k != "params" and isinstance(v, (int, float, bool, list, tuple))}
            for group in state["param_groups"]
        ]
        for index, entries in state["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value)
    for name, generator in rng.items():
        tensors[f"rng.{name}"] = generator.get_state()
    tensors["rng.torch"] = torch.get_rng_state()
    with atomic_path(path) as temporary:
        # clone: parameters that share storage (an EMA at its start) must be written twice.
        values = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        save_file(values, temporary, {"dualenc-training": json.dumps(numbers)})


def load_state(
    path: str | Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    rng: Mapping[str, torch.Generator],
) -> tuple[int, dict[str, Any]]:
    """Restore what `save_state` wrote; returns the step and the extra values. Raises CheckpointError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            numbers = json.loads((file.metadata() or {})["dualenc-training"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a usable training checkpoint ({error}); delete it to start again"
        ) from error
    for name, module in modules.items():
        module.load_state_dict(_below(tensors, f"module.{name}."))
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        entries: dict[int, dict[str, Any]] = {}
        for key, value in _below(tensors, f"optimizer.{name}.").items():
            index, _, field = key.partition(".")
            entries.setdefault(int(index), {})[field] = value
        for group, saved in zip(state["param_groups"], numbers["optimizers"][name], strict=True):
            group.update(saved)
        optimizer.load_state_dict({"state": entries, "param_groups": state["param_groups"]})
    for name, generator in rng.items():
        generator.set_state(tensors[f"rng.{name}"])
    torch.set_rng_state(tensors["rng.torch"])
    return numbers["step"], numbers["extra"]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
