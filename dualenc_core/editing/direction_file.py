"""Directions of generators whose latent space says nothing of itself: found without labels or given, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError, DualEncError, GeneratorMismatchError
from ..files import atomic_path
from ..generator import PanoHead
from ..people.attributes import Attribute
from .directed import Directions, Traits, Values
from .directions import principal_directions, style_directions

FORMAT = "dualenc-directions/1"
SUFFIX = ".directions.safetensors"
_METADATA = "dualenc"
_FIELDS = {"name": str, "group": str, "unit": str, "low": float, "high": float, "about": str}


class VectorDirections(Directions):
    """Attributes that are vectors: reading one does not see what others moved, as long as none is a sum of others.

    Attributes:
        vectors: [K,num_ws,w_dim], what one unit of each adds.
        origin: [w_dim], where all are 0: the generator's average w.
        generator: fingerprint of the generator.
    """

    def __init__(self, attributes: Sequence[Attribute], vectors: Tensor, origin: Tensor, generator: str) -> None:
        self.attributes = tuple(attributes)
        self.vectors, self.origin, self.generator = vectors, origin, generator
        self._reading = torch.linalg.pinv(vectors.flatten(1).cpu().double())

    def values(self, ws: Tensor) -> dict[str, Tensor]:
        away = (ws.detach().cpu().double() - self.origin.cpu().double()).flatten(1)
        return dict(zip((a.name for a in self.attributes), (away @ self._reading).T, strict=True))

    def traits(self, ws: Tensor, groups: Iterable[str] | None = None) -> dict[str, Tensor]:
        found, groups = self.values(ws), None if groups is None else set(groups)
        return {a.name: found[a.name] for a in self.attributes if groups is None or a.group in groups}

    def neutral(self, ws: Tensor) -> dict[str, Tensor]:
        return {
            a.name: torch.full((len(ws),), a.neutral, dtype=torch.float64)
            for a in self.attributes
            if a.neutral is not None
        }

    def _moved(self, ws: Tensor, values: Values, traits: Traits, still: Collection[str]) -> Tensor:
        now = self.values(ws)
        amounts = {name: values.get(name, 0.0) for name in values.keys() | traits.keys()}
        steps = torch.zeros(len(ws), len(self.attributes), dtype=torch.float64)
        for i, attribute in enumerate(self.attributes):
            if attribute.name in amounts:
                steps[:, i] = amounts[attribute.name]
            if attribute.name in traits:
                steps[:, i] += torch.as_tensor(traits[attribute.name]) - now[attribute.name]
        return ws + torch.einsum("nk,krw->nrw", steps.to(ws), self.vectors.to(ws))

    def _known_traits(self) -> Iterable[str]:
        return [a.name for a in self.attributes]

    def renamed(self, names: Mapping[str, str]) -> VectorDirections:
        """The same under other names, given by old ones. Raises DualEncError for unknown and repeated names."""
        for name in names:
            self.attribute(name)
        rows = [replace(a, name=names.get(a.name, a.name)) for a in self.attributes]
        _check_names([a.name for a in rows])
        return VectorDirections(rows, self.vectors, self.origin, self.generator)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, atomically."""
        rows = [{name: getattr(a, name) for name in (*_FIELDS, "neutral")} for a in self.attributes]
        header = {"format": FORMAT, "generator": self.generator, "attributes": rows}
        tensors = {"vectors": self.vectors.detach().float().cpu().contiguous(), "origin": self.origin.float().cpu()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {_METADATA: json.dumps(header, sort_keys=True)})
        return Path(path)


def find_directions(
    generator: PanoHead, principal: int = 8, factors: int = 8, samples: int = 4096, seed: int = 0
) -> VectorDirections:
    """Directions without labels: the main axes of w, and the factors of the style layers.

    Args:
        principal: how many main axes (`principal_directions`).
        factors: how many factors (`style_directions`).
        samples, seed: random latents that the spread of w is measured on.

    One unit of each is a standard deviation of w along it.
    """
    if principal < 0 or factors < 0 or not 1 <= principal + factors <= generator.config.w_dim:
        raise DualEncError(
            f"principal is {principal} and factors {factors}, expected 1 to {generator.config.w_dim} in all"
        )
    rows, found = [], []
    if principal:
        found += list(principal_directions(generator, principal, samples, seed))
        rows += [_unnamed(f"principal_{i}", f"main axis {i} of w") for i in range(1, principal + 1)]
    if factors:
        axes = style_directions(generator, factors)
        spread = principal_directions(generator, min(64, generator.config.w_dim), samples, seed)
        found += [axis * (spread @ axis).norm() for axis in axes]
        rows += [_unnamed(f"factor_{i}", f"factor {i} of the style layers") for i in range(1, factors + 1)]
    vectors = torch.stack(found)[:, None].expand(-1, generator.config.num_ws, -1).contiguous()
    return VectorDirections(rows, vectors, generator.w_avg, generator.fingerprint)


def with_directions(
    known: VectorDirections | None, generator: PanoHead, more: Mapping[str, Tensor]
) -> VectorDirections:
    """The same with directions [num_ws,w_dim] of others, by name (`load_direction`)."""
    rows = [*(known.attributes if known else ()), *(_unnamed(name, f"more {name}") for name in more)]
    _check_names([a.name for a in rows])
    parts = [*([known.vectors.cpu()] if known else ()), *(vector[None].cpu() for vector in more.values())]
    return VectorDirections(rows, torch.cat(parts), generator.w_avg, generator.fingerprint)


def joined(first: VectorDirections, second: VectorDirections) -> VectorDirections:
    """Both, of one generator. Raises DualEncError for a name that both have."""
    rows = [*first.attributes, *second.attributes]
    _check_names([a.name for a in rows])
    vectors = torch.cat([first.vectors.cpu(), second.vectors.cpu()])
    return VectorDirections(rows, vectors, first.origin, first.generator)


def read_generator(path: str | Path) -> str:
    """Fingerprint of the generator that a file of directions belongs to. Raises as `load_directions`."""
    return _header(Path(path))["generator"]


def load_directions(path: str | Path, generator: PanoHead) -> VectorDirections:
    """Read a file of `VectorDirections.save`.

    Raises CheckpointError for a missing, damaged or foreign file, GeneratorMismatchError for another generator's.
    """
    path = Path(path)
    header = _header(path)
    if header["generator"] != generator.fingerprint:
        raise GeneratorMismatchError(
            f"the directions {path.name} belong to generator {header['generator']}, this one is "
            f"{generator.fingerprint}; make some for it: python -m dualenc_core directions"
        )
    try:
        with safe_open(str(path), "pt") as file:
            vectors, origin = file.get_tensor("vectors").float(), file.get_tensor("origin").float()
        rows = [_attribute(entry) for entry in header["attributes"]]
        _check_names([a.name for a in rows])
        expected = (len(rows), generator.config.num_ws, generator.config.w_dim)
        if tuple(vectors.shape) != expected or tuple(origin.shape) != expected[2:]:
            raise ValueError(f"vectors are {tuple(vectors.shape)}, expected {expected}")
        if not rows or not bool(torch.isfinite(vectors).all() and torch.isfinite(origin).all()):
            raise ValueError("it holds nothing, or NaN")
        return VectorDirections(rows, vectors, origin, generator.fingerprint)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise CheckpointError(f"{path} is not a usable file of directions: {error}; make it again") from error


def _header(path: Path) -> dict:
    if not path.is_file():
        raise CheckpointError(f"directions file {path} does not exist; check the name")
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, expected {FORMAT!r}")
        return {"generator": str(header["generator"]), "attributes": header["attributes"]}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a file of directions: {error}") from error


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not name.isidentifier() or names.count(name) > 1:
            raise DualEncError(f"the name {name!r} is no name or used twice, expected letters, digits and _, once")


def _unnamed(name: str, about: str) -> Attribute:
    return Attribute(name, "other", "standard deviations", -4.0, 4.0, about)


def _attribute(entry: Mapping) -> Attribute:
    values = {name: kind(entry[name]) for name, kind in _FIELDS.items()}
    if not values["low"] < values["high"]:
        raise ValueError(f"the range of {values['name']} is {values['low']} to {values['high']}")
    neutral = entry.get("neutral")
    return Attribute(**values, neutral=None if neutral is None else float(neutral))
