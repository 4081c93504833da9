"""The mean of several trainings of one network, tensor by tensor, which can be better than each of them.

They must have begun from the same weights, or one from the other: networks that were initialised differently have
nothing to do with each other tensor by tensor, and their mean is noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, DualEncError
from ..files import sha256
from .store import WeightsFile, load_weights, read_entry, save_weights

# How many batches a batch norm has seen: nothing reads it when heads are encoded, and trainings differ in it.
_COUNTER = "num_batches_tracked"
_ABSENT = "absent"


def average(
    sources: Sequence[str | Path],
    target: str | Path,
    shares: Sequence[float] | None = None,
    keep: Collection[str] = (),
    generator: str | None = None,
) -> WeightsFile:
    """Write the mean of weights files.

    Args:
        sources: two or more files of ours, of one kind, configuration, and set of tensors. All but the weights comes
            from the first: types of tensors, configuration, counters of batch norms, provenance; to which ``mean_of``
            is added, a line for each source with its weight and SHA-256.
        target: a ``.safetensors`` path; replaced atomically.
        shares: a positive weight for each source; they are made to sum to 1. None = equal ones.
        keep: settings that may differ between the sources, as in ``passes`` and ``lifted.plane_scale``.
        generator: fingerprint of the generator that averaged encoders are for; None = that of the sources.

    Returns what was written.

    Raises:
        CheckpointError: a source that cannot be read, or differs from the first; the message names the first setting or
            tensor that does.
        DualEncError: fewer than two sources, one given twice, weights that are not one positive number each, a target
            that is a source or no ``.safetensors`` path, a generator for what is no encoder.
    """
    paths, target = [Path(source) for source in sources], Path(target)
    _check_paths(paths, target)
    portions = _portions(shares, len(paths))
    kind = read_entry(paths[0])["kind"]
    if generator is not None and kind != "encoder":
        raise DualEncError(f"a generator is given, but {paths[0]} is of kind {kind!r}; only encoders are for one")
    files = [load_weights(path, kind, as_stored=True) for path in paths]
    first = files[0]
    for path, file in zip(paths[1:], files[1:], strict=True):
        _check_settings(file.config, first.config, path, paths[0], {*keep, *(["generator"] if generator else [])})
        _check_tensors(file.state_dict, first.state_dict, path, paths[0])
    mean = WeightsFile(
        kind,
        {name: _mean([file.state_dict[name] for file in files], portions) for name in first.state_dict},
        first.config | ({"generator": generator} if generator else {}),
        first.provenance | {"mean_of": [_source(path, share) for path, share in zip(paths, portions, strict=True)]},
        all(file.complete for file in files),
    )
    save_weights(target, mean)
    return mean


def _check_paths(paths: list[Path], target: Path) -> None:
    if len(paths) < 2:
        raise DualEncError(f"{len(paths)} weights file(s) to average, expected two or more")
    if target.suffix != ".safetensors":
        raise DualEncError(f"the target {target} must end in .safetensors")
    whole = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if whole[number] in whole[:number]:
            raise DualEncError(f"{path} is given twice; give each file once, and a larger weight to what counts more")
        if whole[number] == target.resolve():
            raise DualEncError(f"the target {target} is one of the files to average; choose another name")


def _portions(shares: Sequence[float] | None, count: int) -> list[float]:
    """The weights, which sum to 1."""
    values = [1.0] * count if shares is None else [float(share) for share in shares]
    if len(values) != count or not all(0 < value < math.inf for value in values):
        raise DualEncError(f"the weights are {values}, expected {count} positive numbers, one for each file")
    return [value / sum(values) for value in values]


def _check_settings(config: dict, other: dict, path: Path, first: Path, free: Collection[str]) -> None:
    for name, mine, theirs in _differences(config, other):
        if name not in free:
            way = ", or --generator names the one that the mean is for" if name == "generator" else ""
            raise CheckpointError(
                f"setting {name} is {mine} in {path} and {theirs} in {first}, expected the same in all; take trainings "
                f"of one configuration, or --keep {name} takes that of the first file{way}"
            )


def _differences(config: Mapping, other: Mapping, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Settings that differ: their names, as in ``lifted.depth``, and both values."""
    for name in sorted({*config, *other}):
        mine, theirs = config.get(name, _ABSENT), other.get(name, _ABSENT)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            yield from _differences(mine, theirs, f"{where}{name}.")
        elif mine != theirs:
            yield where + name, mine, theirs


def _check_tensors(tensors: dict[str, torch.Tensor], others: dict[str, torch.Tensor], path: Path, first: Path) -> None:
    for name in sorted({*tensors, *others}):
        mine, theirs = tensors.get(name), others.get(name)
        found = f"tensor {name} is {_described(mine)} in {path} and {_described(theirs)} in {first}"
        if mine is None or theirs is None or _form(mine) != _form(theirs):
            raise CheckpointError(f"{found}, expected the same in all; average trainings of one network")
        if not mine.is_floating_point() and not name.endswith(_COUNTER) and not torch.equal(mine, theirs):
            raise CheckpointError(f"{found} with other values; numbers that are not floats have no mean")


def _form(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype | None]:
    """What must be the same: shape and type, but floats may be of any precision."""
    return tensor.shape, None if tensor.is_floating_point() else tensor.dtype


def _described(tensor: torch.Tensor | None) -> str:
    return _ABSENT if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _mean(tensors: list[torch.Tensor], portions: list[float]) -> torch.Tensor:
    """In the type of the first."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, portion in zip(tensors, portions, strict=True):
        total += portion * tensor.double()
    return total.to(tensors[0].dtype)


def _source(path: Path, portion: float) -> str:
    return f"{path.name}, weight {portion:g}, sha256 {sha256(path)}"
