"""Mirrored heads, and the side that a photo does not show from the side that it does (editing.md §4)."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from ..errors import DualEncError
from ..point_weight import LabelVolume, PointWeight, Visibility
from ..triplane import Overlay, Triplane, TriplaneMask
from .checks import Region, check_head, fit_region
from .compose import BAKED, BOX, bake, compose


def mirror(triplane: Triplane) -> Triplane:
    """The head mirrored at x = 0, exactly: what `query` says at a point it now says at the mirrored one.

    x runs along W in planes xy and xz and along the slices in plane yz. Overlays and their weights are mirrored too.
    Twice is the identity, bit by bit.

    Example:
        >>> import torch
        >>> from dualenc_core import Triplane
        >>> from dualenc_core.editing import mirror
        >>> head = Triplane(torch.randn(1, 3, 12, 16, 16), torch.zeros(1, 6, 512))
        >>> mirror(head).planes.equal(head.planes), mirror(mirror(head)).planes.equal(head.planes)
        (False, True)
    """
    depth = triplane.depth
    overlays = tuple(Overlay(_mirror_planes(o.planes, depth), mirror_weight(o.weight)) for o in triplane.overlays)
    return triplane.replace(planes=_mirror_planes(triplane.planes, depth), overlays=overlays)


def mirror_mask(mask: TriplaneMask) -> TriplaneMask:
    """A region or occlusion mask of the mirrored head."""
    return TriplaneMask(_mirror_cells(mask.mask), mask.meta)


def mirror_weight(weight: PointWeight) -> PointWeight:
    """A weight in space, mirrored: w(x, y, z) becomes w(−x, y, z)."""
    if isinstance(weight, LabelVolume):
        return LabelVolume(weight.volume.flip(-1), weight.box)
    if isinstance(weight, Visibility):
        return replace(weight, camera=weight.camera.mirrored, depth=weight.depth.flip(-1), alpha=weight.alpha.flip(-1))
    raise DualEncError(f"a {type(weight).__name__} cannot be mirrored, expected a Visibility or a LabelVolume")


def complete_symmetric(
    triplane: Triplane, hidden: TriplaneMask | PointWeight, strength: float = 1.0, box: float | None = None
) -> Triplane:
    """Fill what a view hides with its mirror image, where the view shows that.

    Hair and light are seldom symmetric: a soft mask and a strength below 1 keep seams low.

    Args:
        triplane: N heads.
        hidden: 1 = hidden, soft: an `occlusion_mask`, or the complement of a `visibility`.
        strength: 0..1.
        box: side of the tri-grid's cube, ``generator.config.render.box_warp``; needed for a mask and a head that
            carries overlays.

    Where nothing is hidden, or both sides are, the head stays, bit by bit.

    Raises DualEncError for shapes that do not fit or values outside 0..1.
    """
    check_head(triplane)
    if not 0 <= strength <= 1:
        raise DualEncError(f"strength is {strength}, expected 0..1")
    hidden = fit_region(hidden, triplane, "hidden")
    return compose(triplane, mirror(triplane), _borrowed(hidden, strength, len(triplane), triplane.planes), box)


def _borrowed(hidden: Region, strength: float, count: int, like: Tensor) -> Region:
    """Hidden here, shown on the other side."""
    if isinstance(hidden, TriplaneMask):
        return TriplaneMask(strength * hidden.mask * (1 - _mirror_cells(hidden.mask)), hidden.meta)
    size, box = (hidden.volume.shape[-1], hidden.box) if isinstance(hidden, LabelVolume) else (BAKED, BOX)
    volume = bake(hidden, count, size, box, like).volume
    return LabelVolume(strength * volume * (1 - volume.flip(-1)), box)


def _mirror_planes(planes: Tensor, depth: int) -> Tensor:
    xy, xz, yz = rearrange(planes, "n p (c d) h w -> p n c d h w", d=depth)
    mirrored = [xy.flip(-1), xz.flip(-1), yz.flip(2)]
    return rearrange(mirrored, "p n c d h w -> n p (c d) h w")


def _mirror_cells(cells: Tensor) -> Tensor:
    xy, xz, yz = cells.unbind(1)
    return torch.stack([xy.flip(-1), xz.flip(-1), yz.flip(1)], 1)
