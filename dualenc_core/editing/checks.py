"""Checks that all edits share."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DualEncError, GeneratorMismatchError
from ..point_weight import PointWeight
from ..triplane import Triplane, TriplaneMask

Region = TriplaneMask | PointWeight


def check_pair(target: Triplane, other: Triplane, names: tuple[str, str] = ("target", "reference")) -> Triplane:
    """``other`` repeated to the batch of ``target``.

    Raises GeneratorMismatchError for heads of two generators; DualEncError for shapes or batches that do not fit, NaN.
    """
    first, second = names
    if target.generator and other.generator and target.generator != other.generator:
        raise GeneratorMismatchError(
            f"the {first} was made by generator {target.generator}, the {second} by {other.generator}; cells of two "
            "generators mean different things, use one generator for both"
        )
    if (target.planes.shape[2:], target.depth) != (other.planes.shape[2:], other.depth):
        raise DualEncError(
            f"the {first} has planes {tuple(target.planes.shape)} of depth {target.depth}, the {second} "
            f"{tuple(other.planes.shape)} of depth {other.depth}; expected the same channels, size and depth"
        )
    if len(other) not in (1, len(target)):
        raise DualEncError(
            f"the {second} is a batch of {len(other)} and the {first} of {len(target)}; expected one {second}, or as "
            "many"
        )
    check_head(target, first)
    check_head(other, second)
    return expand_head(other, len(target))


def check_head(triplane: Triplane, name: str = "triplane") -> None:
    """Raise DualEncError for NaN or infinite planes."""
    for planes in (triplane.planes, *(overlay.planes for overlay in triplane.overlays)):
        if not bool(torch.isfinite(planes).all()):
            raise DualEncError(f"the {name} has NaN or infinite values; make it again")


def expand_head(triplane: Triplane, count: int) -> Triplane:
    """A batch of one repeated ``count`` times."""
    if len(triplane) == count:
        return triplane
    return triplane.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))


def check_unit(name: str, values: Tensor) -> None:
    """Raise DualEncError for NaN and for values outside 0..1."""
    if values.numel() == 0:
        raise DualEncError(f"{name} is empty: shape {tuple(values.shape)}")
    low, high = (float(v) for v in values.aminmax())
    if not (low >= -1e-5 and high <= 1 + 1e-5):
        raise DualEncError(f"{name} has values from {low:g} to {high:g}, expected 0..1 without NaN")


def fit_region(region: Region, triplane: Triplane, name: str = "region") -> Region:
    """The region on the triplane's device and for its batch.

    Raises DualEncError for another kind of value, a shape or batch that does not fit, or values outside 0..1;
    GeneratorMismatchError for a mask of another generator's cells.
    """
    planes = triplane.planes
    n, size = len(triplane), triplane.size
    if isinstance(region, TriplaneMask):
        expected = (3, triplane.depth, size, size)
        if tuple(region.mask.shape[1:]) != expected or len(region) not in (1, n):
            raise DualEncError(f"{name} has shape {tuple(region.mask.shape)}, expected {(n, *expected)}")
        check_unit(name, region.mask)
        made = region.meta.get("generator", "")
        if made and triplane.generator and made != triplane.generator:
            raise GeneratorMismatchError(
                f"the {name} was made with generator {made}, the head by {triplane.generator}; cells of two generators "
                "lie elsewhere, make the mask again with the head's generator"
            )
        return TriplaneMask(region.mask.to(planes).expand(n, *expected), region.meta)
    if not isinstance(region, PointWeight):
        raise DualEncError(
            f"{name} is a {type(region).__name__}, expected a TriplaneMask or a PointWeight; make one with region_mask "
            "or region_volume"
        )
    count = len(next(iter(region.tensors().values())))
    if count not in (1, n):
        raise DualEncError(f"{name} is a batch of {count} and the head of {n}; expected one, or as many")
    return region.map(lambda t: (t if len(t) == n else t.expand(n, *t.shape[1:])).to(planes.device))


def select_region(region: Region, index: int) -> Region:
    """The region of one head of the batch."""
    if isinstance(region, TriplaneMask):
        return TriplaneMask(region.mask[index : index + 1], region.meta)
    return region.map(lambda tensor: tensor[index : index + 1])
