"""The values that flow between stages: a head as a tri-grid, and masks over its cells. Saved as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from . import point_weight
from .errors import CheckpointError, DualEncError
from .files import atomic_path
from .point_weight import PointWeight

_FORMAT = "dualenc-triplane/1"
_MASK_FORMAT = "dualenc-mask/1"
_METADATA = "dualenc"


@dataclass(frozen=True)
class Overlay:
    """A further tri-grid of the same generator and its weight at every point."""

    planes: Tensor
    weight: PointWeight


@dataclass(frozen=True)
class Triplane:
    """A batch of heads in the tri-grid representation. Never mutated; use `replace`.

    Attributes:
        planes: [N,3,C·D,H,W]; planes xy, xz, yz; channel = feature·D + slice (panohead.md §4).
        ws: [N,num_ws,w_dim]; the last row drives to-RGB and super-resolution, the first rows the background.
        depth: D.
        generator: fingerprint of the weights that made it; empty = not checked.
        meta: provenance, JSON-compatible.
        overlays: further tri-grids. A query blends decoded density and features towards each overlay in turn by
            its weight in 3D.

    Example:
        >>> import torch
        >>> from dualenc_core import Triplane
        >>> heads = Triplane(planes=torch.zeros(2, 3, 12, 16, 16), ws=torch.zeros(2, 6, 512), depth=3)
        >>> len(heads), heads.size, heads.features
        (2, 16, 4)
        >>> heads[0].planes.shape
        torch.Size([1, 3, 12, 16, 16])
    """

    planes: Tensor
    ws: Tensor
    depth: int = 3
    generator: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    overlays: tuple[Overlay, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.planes.shape)
        if len(shape) != 5 or shape[1] != 3 or shape[3] != shape[4]:
            raise DualEncError(f"triplane planes have shape {shape}, expected [N,3,C·D,H,H]")
        if self.depth < 1 or shape[2] % self.depth:
            raise DualEncError(f"triplane has {shape[2]} channels, expected a multiple of its depth {self.depth}")
        if self.ws.ndim != 3 or len(self.ws) != shape[0]:
            raise DualEncError(f"triplane ws has shape {tuple(self.ws.shape)}, expected [{shape[0]},num_ws,w_dim]")
        for overlay in self.overlays:
            if overlay.planes.shape != self.planes.shape:
                raise DualEncError(f"overlay planes have shape {tuple(overlay.planes.shape)}, expected {shape}")

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: int | slice) -> Triplane:
        """A sub-batch; an integer keeps the batch dimension (N = 1)."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"triplane {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return self.map(lambda tensor: tensor[index])

    @classmethod
    def cat(cls, heads: Sequence[Triplane]) -> Triplane:
        """Heads as one batch; meta and all that is no tensor are the first's.

        Raises DualEncError for heads that differ in size, depth, or kind and numbers of overlays.
        """
        overlays = (tuple(point_weight.kind_of(o.weight) for o in head.overlays) for head in heads)
        kinds = {(head.planes.shape[1:], head.depth, kind) for head, kind in zip(heads, overlays, strict=True)}
        if len(kinds) > 1:
            raise DualEncError(f"the heads differ in size, depth or overlays ({len(kinds)} kinds), expected one kind")
        joined = tuple(
            Overlay(torch.cat([o.planes for o in same]), point_weight.cat([o.weight for o in same]))
            for same in zip(*(head.overlays for head in heads), strict=True)
        )
        planes, ws = (torch.cat([getattr(head, name) for head in heads]) for name in ("planes", "ws"))
        return replace(heads[0], planes=planes, ws=ws, overlays=joined)

    @property
    def size(self) -> int:
        """Cells along each side of a plane."""
        return self.planes.shape[-1]

    @property
    def features(self) -> int:
        """Channels of one cell, C."""
        return self.planes.shape[2] // self.depth

    def replace(self, **changes: Any) -> Triplane:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to(self, *args: Any, **kwargs: Any) -> Triplane:
        """Move or cast all tensors, as ``Tensor.to``."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Triplane:
        """Cut from the autograd graph."""
        return self.map(lambda tensor: tensor.detach())

    def map(self, function: Callable[[Tensor], Tensor]) -> Triplane:
        """The same with ``function`` applied to every tensor (to index the batch or change device)."""
        overlays = tuple(Overlay(function(o.planes), o.weight.map(function)) for o in self.overlays)
        return replace(self, planes=function(self.planes), ws=function(self.ws), overlays=overlays)

    def save(self, path: str | Path, half: bool = False) -> Path:
        """Write a safetensors file, atomically.

        Args:
            half: planes in float16 (half the size); float32 round-trips bit-exactly.

        Raises DualEncError for NaN or infinite values: nothing is written.

        Example:
            >>> import tempfile, torch
            >>> from dualenc_core import Triplane
            >>> head = Triplane(torch.randn(1, 3, 12, 16, 16), torch.randn(1, 6, 512), meta={"name": "Ada"})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     again = Triplane.load(head.save(f"{folder}/head.safetensors"))
            >>> again.planes.equal(head.planes), again.meta
            (True, {'name': 'Ada'})
        """
        tensors = {"planes": self.planes, "ws": self.ws}
        overlays = []
        for i, overlay in enumerate(self.overlays):
            tensors[f"overlay{i}.planes"] = overlay.planes
            tensors.update({f"overlay{i}.weight.{k}": v for k, v in overlay.weight.tensors().items()})
            overlays.append({"kind": point_weight.kind_of(overlay.weight), "numbers": overlay.weight.numbers()})
        if half:
            tensors = {k: v.half() if k.endswith("planes") else v for k, v in tensors.items()}
        header = {"depth": self.depth, "generator": self.generator, "meta": dict(self.meta), "overlays": overlays}
        return _save(path, tensors, _FORMAT, header)

    @classmethod
    def load(cls, path: str | Path) -> Triplane:
        """Read a file of `save`, as float32 on the CPU.

        Raises CheckpointError for a missing, truncated or foreign file and for NaN.
        """
        tensors, header = _load(path, _FORMAT, "triplane")
        try:
            overlays = []
            for i, entry in enumerate(header["overlays"]):
                prefix = f"overlay{i}.weight."
                parts = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                weight = point_weight.from_parts(entry["kind"], parts, entry["numbers"])
                overlays.append(Overlay(tensors[f"overlay{i}.planes"], weight))
            kinds = {"depth": int, "generator": str, "meta": dict}
            depth, generator, meta = (header[name] for name in kinds)
            for name, kind in kinds.items():
                if type(header[name]) is not kind:
                    raise ValueError(f"{name} is {header[name]!r:.60}, expected {kind.__name__}")
            head = cls(tensors["planes"], tensors["ws"], depth, generator, meta, tuple(overlays))
            if 0 in (*head.planes.shape, *head.ws.shape):
                raise ValueError(f"planes {tuple(head.planes.shape)} and ws {tuple(head.ws.shape)} hold nothing")
            for overlay in overlays:
                overlay.weight.check(len(head))
            return head
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise CheckpointError(f"{path} is not a usable triplane file: {reason}; save it again") from error


@dataclass(frozen=True)
class TriplaneMask:
    """A weight for every cell of a tri-grid.

    Attributes:
        mask: [N,3,D,H,W] in 0..1; for an occlusion mask 1 = occluded.
        meta: provenance.

    Example:
        >>> import torch
        >>> from dualenc_core import TriplaneMask
        >>> mask = TriplaneMask(torch.zeros(1, 3, 3, 16, 16))  # all is visible
        >>> mask.channels(features=4).shape
        torch.Size([1, 3, 12, 16, 16])
    """

    mask: Tensor
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.ndim != 5 or self.mask.shape[1] != 3:
            raise DualEncError(f"triplane mask has shape {tuple(self.mask.shape)}, expected [N,3,D,H,W]")

    def __len__(self) -> int:
        return len(self.mask)

    def map(self, function: Callable[[Tensor], Tensor]) -> TriplaneMask:
        """The same with ``function`` applied to the mask."""
        return replace(self, mask=function(self.mask))

    def channels(self, features: int) -> Tensor:
        """[N,3,features·D,H,W]: the weight of every channel of planes (channel = feature·D + slice)."""
        return repeat(self.mask, "n p d h w -> n p (c d) h w", c=features)

    def save(self, path: str | Path, half: bool = False) -> Path:
        """Write a safetensors file, atomically; ``half`` rounds to float16. Raises DualEncError for NaN."""
        mask = self.mask.half() if half else self.mask
        return _save(path, {"mask": mask}, _MASK_FORMAT, {"meta": dict(self.meta)})

    @classmethod
    def load(cls, path: str | Path) -> TriplaneMask:
        """Read a file of `save`; raises CheckpointError for anything else."""
        tensors, header = _load(path, _MASK_FORMAT, "triplane mask")
        try:
            if not isinstance(header["meta"], dict):
                raise ValueError(f"meta is {header['meta']!r:.60}, expected dict")
            return cls(tensors["mask"], header["meta"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise CheckpointError(f"{path} is not a usable triplane mask file: {reason}; save it again") from error


def _save(path: str | Path, tensors: dict[str, Tensor], kind: str, header: dict[str, Any]) -> Path:
    from safetensors.torch import save_file

    # One entry only: safetensors writes several in an order that changes from process to process.
    metadata = {_METADATA: json.dumps({"format": kind, **header}, sort_keys=True)}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise DualEncError(f"{name} has NaN or infinite values; nothing was written to {path}")
    stored: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # The writer refuses tensors that share memory, such as two views of one batch.
        tensor = tensor.clone() if tensor.untyped_storage().data_ptr() in memory else tensor
        memory.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata)
    return Path(path)


def _load(path: str | Path, expected: str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"{what} file {path} does not exist; check the name")
    try:
        with safe_open(str(path), "pt") as file:
            entry = (file.metadata() or {}).get(_METADATA)
            header = json.loads("{}" if entry is None else entry)
            if header.get("format") != expected:
                hint = "another program wrote it" if entry is None else f"its format is {header.get('format')!r}"
                raise CheckpointError(f"{path}: it is not a {what} file ({hint}, expected {expected!r})")
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except CheckpointError:
        raise
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be read as a {what}: {error}; it may be truncated") from error
    if other := next((name for name, tensor in tensors.items() if not tensor.is_floating_point()), None):
        raise CheckpointError(f"{path}: {other} is of type {tensors[other].dtype}, expected floating-point numbers")
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} has NaN or infinite values; the file is damaged, save it again")
    return tensors, header
