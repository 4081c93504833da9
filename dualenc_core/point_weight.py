"""Weights in 3D space, by which a triplane's overlays are blended (beyond the paper; see `Triplane.overlays`)."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from .camera import Camera
from .errors import DualEncError
from .volumes import read_volume

W = TypeVar("W", bound="PointWeight")


@dataclass(frozen=True, eq=False)
class PointWeight(abc.ABC):
    """A function from world points to 0..1, one for each batch entry."""

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """World points [N,M,3] → weights [N,M,1] in 0..1."""

    def check(self, count: int) -> None:
        """Raise DualEncError unless it answers for ``count`` heads with weights: for what comes out of a file."""
        corners = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1]]).expand(count, 2, 3)
        weights = self(corners)
        if weights.shape != (count, 2, 1) or not bool(((weights >= 0) & (weights <= 1)).all()):
            raise DualEncError(f"a weight of kind {kind_of(self)} does not give numbers in 0..1 for {count} head(s)")

    def entry(self: W, index: int) -> W:
        """That of one head, as a batch of one."""
        return self.map(lambda tensor: tensor[index : index + 1])

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that define it, by field name, cameras as labels; for storage."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: v.label if isinstance(v, Camera) else v for name, v in values.items()}
        return {name: v for name, v in values.items() if isinstance(v, Tensor)}

    def numbers(self) -> dict[str, Any]:
        """The plain fields that define it; for storage."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if isinstance(getattr(self, f.name), (bool, int, float, str))
        }

    def map(self: W, function: Callable[[Tensor], Tensor]) -> W:
        """The same with ``function`` applied to every tensor (to index the batch or change device)."""
        changes: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Camera):
                changes[f.name] = Camera(function(value.cam2world), function(value.intrinsics))
            elif isinstance(value, Tensor):
                changes[f.name] = function(value)
        return replace(self, **changes)


@dataclass(frozen=True)
class Visibility(PointWeight):
    """How well a point is seen from an input view: sigmoid((d + tolerance - t) / softness) (demo.md §2).

    t is the point's distance from the camera, d the depth of the surface at its pixel. A pixel whose alpha is below
    ¼ is seen to be empty: every point on its ray is visible. Outside the picture nothing is. The four pixels around
    a point are compared one by one and the results are interpolated, so that a silhouette does not smear depths.

    Attributes:
        camera: N input views.
        depth: [N,1,h,w], distance along the unit ray.
        alpha: [N,1,h,w].
        tolerance: world units behind the surface that still count as seen.
        softness: width of the transition in world units.
        inverted: 1 - visibility, the weight of what the view does not show.

    Example:
        >>> import torch
        >>> from dualenc_core import Camera
        >>> from dualenc_core.point_weight import Visibility
        >>> wall = torch.full((1, 1, 8, 8), 2.5)  # a surface 2.5 units before the camera
        >>> seen = Visibility(Camera.look_at(), depth=wall, alpha=torch.ones_like(wall))
        >>> points = torch.tensor([[[0, 0, 0.3], [0, 0, -0.3]]])  # before it and behind it
        >>> seen(points)[0, :, 0].round()
        tensor([1., 0.])
    """

    camera: Camera
    depth: Tensor
    alpha: Tensor
    tolerance: float = 0.04
    softness: float = 0.015
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.depth.ndim != 4 or self.depth.shape != self.alpha.shape or len(self.depth) != len(self.camera):
            raise DualEncError(
                f"visibility has depth {tuple(self.depth.shape)}, alpha {tuple(self.alpha.shape)} and "
                f"{len(self.camera)} cameras; expected [N,1,h,w] twice and N cameras"
            )

    def __call__(self, points: Tensor) -> Tensor:
        height, width = self.depth.shape[-2:]
        uv, z = self.camera.project(points)
        distance = (points - self.camera.position[:, None]).norm(dim=-1)
        x, y = uv[..., 0] * width - 0.5, uv[..., 1] * height - 0.5
        x0, y0 = x.floor(), y.floor()
        total = torch.zeros_like(distance)
        for dy in (0, 1):
            for dx in (0, 1):
                column, row = (x0 + dx).clamp(0, width - 1), (y0 + dy).clamp(0, height - 1)
                surface = self._seen_depth.gather(1, (row * width + column).long())
                share = (1 - (x - x0 - dx).abs()) * (1 - (y - y0 - dy).abs())
                total = total + share * torch.sigmoid((surface + self.tolerance - distance) / self.softness)
        inside = ((uv >= 0) & (uv <= 1)).all(-1) & (z > 0)
        total = torch.where(inside, total, torch.zeros_like(total))[..., None]
        return 1 - total if self.inverted else total

    @cached_property
    def _seen_depth(self) -> Tensor:
        """[N,h·w], very far where nothing is seen."""
        return torch.where(self.alpha < 0.25, torch.full_like(self.depth, 1e4), self.depth).flatten(1)

    @property
    def complement(self) -> Visibility:
        """1 - this."""
        return replace(self, inverted=not self.inverted)


@dataclass(frozen=True)
class LabelVolume(PointWeight):
    """A weight given on a regular grid over the box, interpolated trilinearly; 0 outside.

    Attributes:
        volume: [N,1,Z,Y,X] in 0..1, cell centres evenly spread over the cube of side ``box``.
        box: side of the cube in world units.

    Example:
        >>> import torch
        >>> from dualenc_core.point_weight import LabelVolume
        >>> weight = LabelVolume(torch.ones(1, 1, 4, 4, 4))
        >>> weight(torch.tensor([[[0.0, 0, 0], [0.9, 0, 0]]]))[0, :, 0]  # inside of the box, and outside
        tensor([1., 0.])
    """

    volume: Tensor
    box: float = 1.0

    def __call__(self, points: Tensor) -> Tensor:
        return read_volume(self.volume, points * (2 / self.box))


KINDS: dict[str, type[PointWeight]] = {"visibility": Visibility, "label_volume": LabelVolume}


def kind_of(weight: PointWeight) -> str:
    """Name under which a weight is stored."""
    return next(name for name, cls in KINDS.items() if type(weight) is cls)


def cat(weights: Sequence[PointWeight]) -> PointWeight:
    """Weights of one kind as one of their batch. Raises DualEncError for weights that are told by different numbers."""
    numbers = weights[0].numbers()
    if other := next((w.numbers() for w in weights if w.numbers() != numbers), None):
        raise DualEncError(f"the weights to be joined have {numbers} and {other}, expected the same")
    parts = [weight.tensors() for weight in weights]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return from_parts(kind_of(weights[0]), joined, numbers)


def from_parts(kind: str, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> PointWeight:
    """Inverse of `PointWeight.tensors` and `PointWeight.numbers`; raises DualEncError for what is neither."""
    if kind not in KINDS:
        raise DualEncError(f"point weight kind is {kind!r}, expected one of {', '.join(KINDS)}")
    types = {field.name: (bool,) if field.type == "bool" else (int, float) for field in fields(KINDS[kind])}
    for name, value in numbers.items():
        if type(value) not in types.get(name, ()) or not math.isfinite(value):
            raise DualEncError(f"{name} of a weight of kind {kind} is {value!r:.60}, which it cannot be")
    values: dict[str, Any] = dict(tensors)
    if "camera" in values:
        values["camera"] = Camera.from_label(values["camera"])
    return KINDS[kind](**values, **numbers)
