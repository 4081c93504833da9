"""Two heads in one, by cells or by points, whatever overlays they carry; and regions combined with each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import DualEncError, GeneratorMismatchError
from ..point_weight import LabelVolume, PointWeight
from ..triplane import Overlay, Triplane, TriplaneMask
from .checks import Region
from .lifting import read_cells

# Cells a side of a weight that is baked: finer than the softness of a visibility.
BAKED = 128
# Side of a baked volume where no other is known: PanoHead's cube, which no head leaves.
BOX = 1.0


def compose(target: Triplane, donor: Triplane, region: Region, box: float | None = None) -> Triplane:
    """``target`` where the region is 0, ``donor`` where it is 1; the target's ws.

    A mask mixes the cells of every tri-grid of the target with the donor's; a weight in space blends what is decoded,
    as a further overlay. Overlays of the donor come along, limited to the region.

    Args:
        target: N heads.
        donor: N heads, or one, of the same generator (`check_pair`).
        region: fitting both (`fit_region`).
        box: side of the tri-grid's cube, ``generator.config.render.box_warp``; needed to mix cells with a donor that
            carries overlays.

    Where the region is 0 everywhere the target itself comes back, where it is 1 everywhere the donor with the target's
    ws, bit by bit.
    """
    if isinstance(region, TriplaneMask):
        low, high = region.mask.aminmax()
    elif isinstance(region, LabelVolume):
        low, high = region.volume.aminmax()
    else:
        low, high = torch.zeros(()), torch.ones(())
    if float(high) == 0:
        return target
    if float(low) == 1:
        return donor.replace(ws=target.ws, meta=target.meta)
    if isinstance(region, TriplaneMask):
        return _compose_cells(target, donor, region, box)
    return _compose_points(target, donor, region, box)


def _compose_cells(target: Triplane, donor: Triplane, region: TriplaneMask, box: float | None) -> Triplane:
    weight = region.channels(target.features)

    def mix(planes: Tensor) -> Tensor:
        # lerp gives back either end bit by bit at weights 0 and 1.
        return torch.lerp(planes, donor.planes, weight)

    overlays = [Overlay(mix(overlay.planes), overlay.weight) for overlay in target.overlays]
    if not donor.overlays:
        return target.replace(planes=mix(target.planes), overlays=tuple(overlays))
    if box is None:
        raise DualEncError(
            "the second head carries overlays, and cells can be mixed with them only if the size of the tri-grid's "
            "cube is known; give box=generator.config.render.box_warp"
        )
    points = grid_points(BAKED, box, target.planes).expand(len(target), -1, -1)
    inside = _in_parts(lambda part: read_cells(region.mask, part, box), points)
    for overlay in donor.overlays:
        share = bake(overlay.weight, len(target), BAKED, box, target.planes).volume
        overlays.append(Overlay(overlay.planes, LabelVolume(share * inside.reshape(share.shape), box)))
    return target.replace(planes=mix(target.planes), overlays=tuple(overlays))


def _compose_points(target: Triplane, donor: Triplane, region: PointWeight, box: float | None) -> Triplane:
    if not donor.overlays:
        return target.replace(overlays=(*target.overlays, Overlay(donor.planes, region)))
    # A query blends towards overlays one after the other. A donor that is itself Σ shareₖ·planesₖ comes into the target
    # with weight m, if its k-th tri-grid gets m·shareₖ of what the later ones leave.
    box = box or (region.box if isinstance(region, LabelVolume) else BOX)
    m = bake(region, len(target), BAKED, box, target.planes).volume
    stack = [donor.planes, *(overlay.planes for overlay in donor.overlays)]
    weights, left, taken = [], torch.ones_like(m), torch.zeros_like(m)
    for overlay in reversed((None, *donor.overlays)):
        own = 1.0 if overlay is None else bake(overlay.weight, len(target), BAKED, box, target.planes).volume
        share = m * left * own
        weights.append((share / (1 - taken).clamp_min(1e-6)).clamp(0, 1))
        left, taken = left * (1 - own), taken + share
    overlays = [Overlay(planes, LabelVolume(w, box)) for planes, w in zip(stack, reversed(weights), strict=True)]
    return target.replace(overlays=(*target.overlays, *overlays))


def compose_pairs(target: Triplane, edited: Triplane, region: Region, box: float | None = None) -> Triplane:
    """`compose` for an edit that kept the target's overlays and their weights: cells are mixed pair by pair."""
    if not isinstance(region, TriplaneMask):
        return compose(target, edited, region, box)
    weight = region.channels(target.features)
    overlays = tuple(
        Overlay(torch.lerp(a.planes, b.planes, weight), a.weight)
        for a, b in zip(target.overlays, edited.overlays, strict=True)
    )
    return target.replace(planes=torch.lerp(target.planes, edited.planes, weight), overlays=overlays)


def same_weight(first: PointWeight, second: PointWeight) -> bool:
    """Whether two weights are bit-equal."""
    if type(first) is not type(second) or first.numbers() != second.numbers():
        return False
    a, b = first.tensors(), second.tensors()
    return all(torch.equal(a[name], b[name]) for name in a)


def read_region(region: Region, points: Tensor, box: float) -> Tensor:
    """How much world points [N,M,3] belong to a region: [N,M] in 0..1; cells as the decoder averages planes."""
    return read_cells(region.mask, points, box) if isinstance(region, TriplaneMask) else region(points)[..., 0]


def bake(weight: PointWeight, count: int, size: int, box: float, like: Tensor) -> LabelVolume:
    """Any weight in space as a LabelVolume [count,1,size,size,size] over the box, on the device of ``like``."""
    weight = weight.map(lambda tensor: tensor.to(like.device))
    if isinstance(weight, LabelVolume) and weight.box == box and weight.volume.shape[-1] == size:
        return LabelVolume(weight.volume.expand(count, -1, -1, -1, -1), box)
    rows = len(next(iter(weight.tensors().values())))
    if rows not in (1, count):
        raise DualEncError(f"the weight is a batch of {rows}, expected 1 or {count}")
    points = grid_points(size, box, like)
    values = _in_parts(lambda part: weight(part.expand(rows, -1, -1))[..., 0], points[None])
    return LabelVolume(values.reshape(rows, 1, size, size, size).expand(count, -1, -1, -1, -1), box)


def grid_points(size: int, box: float, like: Tensor) -> Tensor:
    """Centres [size³,3] of a LabelVolume's cells, x fastest."""
    line = ((torch.arange(size, device=like.device, dtype=torch.float32) + 0.5) / size - 0.5) * box
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3)


def union(*regions: Region) -> Region:
    """What lies in any of the regions: 1 - Π(1 - mₖ), as "keep" of two hairs is the product of both (editing.md §2.3).

    Regions of one kind, masks or volumes of one size; other weights are baked first.

    Example:
        >>> import torch
        >>> from dualenc_core import TriplaneMask
        >>> from dualenc_core.editing import union
        >>> left, right = (TriplaneMask(torch.zeros(1, 3, 3, 8, 8)) for _ in range(2))
        >>> left.mask[..., :4], right.mask[..., 4:] = 1, 1
        >>> union(left, right).mask.min().item()
        1.0
    """
    return _combine(regions, lambda values: 1 - torch.stack([1 - v for v in values]).prod(0))


def intersection(*regions: Region) -> Region:
    """What lies in all of the regions: Πmₖ. Combined with `complement` it takes one region out of another."""
    return _combine(regions, lambda values: torch.stack(values).prod(0))


def complement(region: Region) -> Region:
    """1 - region."""
    return _combine((region,), lambda values: 1 - values[0])


def _combine(regions: Sequence[Region], function: Callable[[list[Tensor]], Tensor]) -> Region:
    if not regions:
        raise DualEncError("no region was given, expected at least one")
    masks = [region for region in regions if isinstance(region, TriplaneMask)]
    weights = [region for region in regions if not isinstance(region, TriplaneMask)]
    if not weights:
        values = _same([mask.mask for mask in masks])
        meta = {"kind": "region", "of": [dict(mask.meta) for mask in masks]}
        made = {str(mask.meta["generator"]) for mask in masks if mask.meta.get("generator")}
        if len(made) > 1:
            raise GeneratorMismatchError(
                f"the regions were made with generators {', '.join(sorted(made))}; use one generator for all"
            )
        return TriplaneMask(function(values), meta | ({"generator": made.pop()} if made else {}))
    if masks:
        raise DualEncError(
            "a mask of cells and a weight in space cannot be combined; use mask_from_weight on the weight"
        )
    volumes = [weight for weight in weights if isinstance(weight, LabelVolume)]
    size = max((volume.volume.shape[-1] for volume in volumes), default=BAKED)
    box = volumes[0].box if volumes else BOX
    first = next(iter(weights[0].tensors().values()))
    count = max(len(next(iter(weight.tensors().values()))) for weight in weights)
    values = _same([bake(weight, count, size, box, first).volume for weight in weights])
    return LabelVolume(function(values), box)


def _same(values: list[Tensor]) -> list[Tensor]:
    count = max(len(value) for value in values)
    shape = values[0].shape[1:]
    for value in values:
        if value.shape[1:] != shape or len(value) not in (1, count):
            raise DualEncError(
                f"the regions have shapes {', '.join(str(tuple(v.shape)) for v in values)}, expected the same"
            )
    return [value.to(values[0]).expand(count, *shape) for value in values]


def _in_parts(function: Callable[[Tensor], Tensor], points: Tensor, chunk: int = 1 << 18) -> Tensor:
    return torch.cat([function(part) for part in points.split(chunk, 1)], 1)
