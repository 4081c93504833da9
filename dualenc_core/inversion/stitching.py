"""Joining two heads into one, by tri-grid cells (paper Fig. 4) or by points in space (beyond the paper)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import DualEncError, GeneratorMismatchError
from ..point_weight import Visibility
from ..triplane import Overlay, Triplane, TriplaneMask


def stitch(visible: Triplane, occluded: Triplane, mask: TriplaneMask | Visibility) -> Triplane:
    """One head from what the photo shows and what it does not.

    Args:
        visible: N heads, the faithful ones (Encoder 1). Their ws drive colours, super-resolution and background.
        occluded: N heads of the same generator, the plausible ones (Encoder 2).
        mask: a TriplaneMask (1 = occluded) joins cells, ``(1 - O)·T1 + O·T2``, into one plain tri-grid. A Visibility
            (1 = visible) joins points: decoded density and features are blended wherever the head is queried, and the
            result carries the second tri-grid as an overlay. For one head the mask may also serve a whole batch.

    By points one of the two heads may itself carry overlays; by cells none.

    Returns N heads, with what they were made of in ``meta``.

    Raises GeneratorMismatchError for heads of two generators; DualEncError for shapes or batches that do not fit, NaN,
    a mask outside 0..1, or overlays that cannot be joined.

    Example:
        >>> import torch
        >>> import dualenc_core as dc
        >>> ws = torch.zeros(1, 6, 512)
        >>> zeros, ones = (dc.Triplane(torch.full((1, 3, 12, 16, 16), v), ws) for v in (0.0, 1.0))
        >>> mask = dc.TriplaneMask(torch.full((1, 3, 3, 16, 16), 0.25))  # a quarter occluded
        >>> dc.stitch(visible=zeros, occluded=ones, mask=mask).planes.unique()
        tensor([0.2500])
    """
    check_heads(visible, occluded)
    if isinstance(mask, TriplaneMask):
        return _stitch_cells(visible, occluded, mask)
    if isinstance(mask, Visibility):
        return _stitch_points(visible, occluded, mask)
    raise DualEncError(
        f"mask is a {type(mask).__name__}, expected a TriplaneMask (cells) or a Visibility (points); "
        "make one with occlusion_mask or visibility"
    )


def _stitch_cells(visible: Triplane, occluded: Triplane, mask: TriplaneMask) -> Triplane:
    carrier = "visible" if visible.overlays else "occluded"
    if visible.overlays or occluded.overlays:
        raise DualEncError(
            f"the {carrier} triplane carries overlays, which one plain tri-grid cannot hold; stitch by points "
            "(visibility), or stitch by cells before the step that added the overlays"
        )
    n, size = len(visible), visible.size
    expected = (3, visible.depth, size, size)
    if tuple(mask.mask.shape[1:]) != expected or len(mask) not in (1, n):
        raise DualEncError(f"mask has shape {tuple(mask.mask.shape)}, expected {(n, *expected)}")
    weight = mask.mask.to(visible.planes)
    _check_unit("mask", weight)
    weight = TriplaneMask(weight.expand(n, *expected)).channels(visible.features)
    # lerp gives back either end bit by bit at weights 0 and 1.
    planes = torch.lerp(visible.planes, occluded.planes, weight)
    return visible.replace(planes=planes, meta=_provenance(visible, occluded, "cells", dict(mask.meta)))


def _stitch_points(visible: Triplane, occluded: Triplane, weight: Visibility) -> Triplane:
    weight = views_of(weight, visible)
    meta = _provenance(visible, occluded, "points", weight.numbers())
    # A query blends towards overlays one after the other, so the head that has some must come first.
    if occluded.overlays:
        if visible.overlays:
            raise DualEncError(
                "both triplanes carry overlays, and a query can blend only one such head with a plain one; "
                "stitch before the step that added overlays to one of them"
            )
        overlays = (*occluded.overlays, Overlay(visible.planes, weight))
        return visible.replace(planes=occluded.planes, overlays=overlays, meta=meta)
    return visible.replace(overlays=(*visible.overlays, Overlay(occluded.planes, weight.complement)), meta=meta)


def views_of(seen: Visibility, heads: Triplane) -> Visibility:
    """A view for every head, where the heads are; raises DualEncError for other numbers of views, and for NaN."""
    n = len(heads)
    if len(seen.camera) not in (1, n):
        raise DualEncError(f"the visibility is of {len(seen.camera)} views, expected {n}, one for each head")
    if len(seen.camera) != n:
        seen = seen.map(lambda tensor: tensor.expand(n, *tensor.shape[1:]))
    seen = seen.map(lambda tensor: tensor.to(heads.planes.device))
    if not bool(torch.isfinite(seen.depth).all()):
        raise DualEncError("the depth of the visibility has NaN or infinite values; render it again")
    _check_unit("the alpha of the visibility", seen.alpha)
    return seen


def check_heads(visible: Triplane, occluded: Triplane) -> None:
    """Raise as `stitch` does unless the heads can be joined."""
    if visible.generator and occluded.generator and visible.generator != occluded.generator:
        raise GeneratorMismatchError(
            f"the visible triplane was made by generator {visible.generator}, the occluded one by "
            f"{occluded.generator}; cells of two generators mean different things, use one generator for both"
        )
    if visible.planes.shape != occluded.planes.shape or visible.depth != occluded.depth:
        raise DualEncError(
            f"the visible triplane has planes {tuple(visible.planes.shape)} of depth {visible.depth}, the occluded one "
            f"{tuple(occluded.planes.shape)} of depth {occluded.depth}; expected the same shape and batch"
        )
    for name, triplane in (("visible", visible), ("occluded", occluded)):
        if not bool(torch.isfinite(triplane.planes).all()):
            raise DualEncError(f"the {name} triplane has NaN or infinite values; encode the photo again")


def _check_unit(name: str, values: Tensor) -> None:
    low, high = (float(v) for v in values.aminmax())
    if not (low >= -1e-5 and high <= 1 + 1e-5):
        raise DualEncError(f"{name} has values from {low:g} to {high:g}, expected 0..1 without NaN")


def _provenance(visible: Triplane, occluded: Triplane, mode: str, mask: dict[str, Any]) -> dict[str, Any]:
    return {"stitched": {"mode": mode, "visible": dict(visible.meta), "occluded": dict(occluded.meta), "mask": mask}}
