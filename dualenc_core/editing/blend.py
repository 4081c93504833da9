"""Between heads: blends, and paths for morph videos (editing.md §4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..choices import MIXES
from ..errors import DualEncError
from ..generator import PanoHead
from ..point_weight import LabelVolume, PointWeight
from ..triplane import Overlay, Triplane, TriplaneMask
from .checks import Region, check_pair, fit_region
from .compose import BAKED, BOX, bake, compose, same_weight


def blend(first: Triplane, second: Triplane, weight: float | Tensor | Region, box: float | None = None) -> Triplane:
    """A head between two, or one with a region of the other.

    Args:
        first: N heads.
        second: N heads, or one, of the same generator.
        weight: share of the second: a number or [N] in 0..1 blends planes and ws, and overlays pair by pair; a
            TriplaneMask or a PointWeight joins them without a seam's treatment (see `transfer`), with the first's ws.
        box: side of the tri-grid's cube, ``generator.config.render.box_warp``; needed for a mask and a second head with
            overlays.

    0 gives the first back and 1 the second, bit by bit.

    Raises GeneratorMismatchError for heads of two generators; DualEncError for shapes or batches that do not fit, NaN,
    or a weight outside 0..1.

    Example:
        >>> import torch
        >>> from dualenc_core import Triplane
        >>> from dualenc_core.editing import blend
        >>> first, second = (Triplane(torch.full((1, 3, 12, 16, 16), v), torch.zeros(1, 6, 512)) for v in (0.0, 1.0))
        >>> blend(first, second, 0.25).planes.unique()
        tensor([0.2500])
    """
    second = check_pair(first, second, ("first", "second"))
    meta: dict[str, Any] = {"blend": {"first": dict(first.meta), "second": dict(second.meta)}}
    if isinstance(weight, TriplaneMask | PointWeight):
        return compose(first, second, fit_region(weight, first, "weight"), box).replace(meta=meta)
    share = torch.as_tensor(weight, dtype=torch.float32, device=first.planes.device).reshape(-1)
    if len(share) not in (1, len(first)) or not bool(((share >= 0) & (share <= 1)).all()):
        raise DualEncError(f"weight is {share.tolist()}, expected one number, or one for each of {len(first)}, in 0..1")
    meta["blend"]["weight"] = share.tolist()
    if bool((share == 0).all()):
        return first.replace(meta=meta)
    if bool((share == 1).all()):
        return second.replace(meta=meta)

    def mix(a: Tensor, b: Tensor) -> Tensor:
        return torch.lerp(a, b, share.expand(len(first)).reshape(-1, *[1] * (a.ndim - 1)).to(a))

    overlays = tuple(
        Overlay(mix(a.planes, b.planes), _mix_weights(a.weight, b.weight, len(first), mix))
        for a, b in zip(*_paired(first, second), strict=True)
    )
    planes, ws = mix(first.planes, second.planes), mix(first.ws, second.ws)
    return first.replace(planes=planes, ws=ws, overlays=overlays, meta=meta)


def _paired(first: Triplane, second: Triplane) -> tuple[tuple[Overlay, ...], tuple[Overlay, ...]]:
    """As many overlays for both, without changing either head."""
    a, b = first.overlays, second.overlays
    count = max(len(a), len(b))
    return _padded(first, b, count), _padded(second, a, count)


def _padded(head: Triplane, others: tuple[Overlay, ...], count: int) -> tuple[Overlay, ...]:
    if not head.overlays:
        # Blended with itself a head stays what it is, whatever the weight.
        return tuple(Overlay(head.planes, other.weight) for other in others)
    missing = others[len(head.overlays) : count]
    nothing = LabelVolume(head.planes.new_zeros(len(head), 1, 1, 1, 1))
    return (*head.overlays, *(Overlay(other.planes, nothing) for other in missing))


def _mix_weights(a: PointWeight, b: PointWeight, count: int, mix: Callable[[Tensor, Tensor], Tensor]) -> PointWeight:
    if a is b or same_weight(a, b):
        return a
    like = next(iter(a.tensors().values()))
    return LabelVolume(mix(bake(a, count, BAKED, BOX, like).volume, bake(b, count, BAKED, BOX, like).volume), BOX)


def interpolate(
    heads: Triplane | Sequence[Triplane],
    frames: int,
    *,
    loop: bool = False,
    smooth: bool = True,
    space: str = "planes",
    generator: PanoHead | None = None,
) -> Iterator[Triplane]:
    """A path of single heads from the first through all others, for a morph video.

    Args:
        heads: K heads, a batch or a list of single ones.
        frames: T.
        loop: return to the first; the last frame is then the one before it.
        smooth: slow down at every head.
        space: "planes" blends tri-grids; "styles" goes through the generator's own heads between the W+ of both, and
            blends what the tri-grids have besides.
        generator: needed for "styles".

    Yields T heads, one at a time, so that a video needs memory for one.

    Raises as `blend`; DualEncError for fewer than two heads, no frame, or "styles" without a generator.

    Example:
        >>> import torch
        >>> from dualenc_core import Triplane
        >>> from dualenc_core.editing import interpolate
        >>> heads = Triplane(torch.tensor([0.0, 1]).view(2, 1, 1, 1, 1).expand(2, 3, 12, 8, 8), torch.zeros(2, 6, 512))
        >>> [head.planes.mean().item() for head in interpolate(heads, 3)]
        [0.0, 0.5, 1.0]
    """
    path = [heads[i] for i in range(len(heads))] if isinstance(heads, Triplane) else list(heads)
    if len(path) < 2 or any(len(head) != 1 for head in path):
        raise DualEncError(f"the path has {len(path)} head(s), expected at least two single ones")
    if frames < 1:
        raise DualEncError(f"frames is {frames}, expected at least 1")
    if space not in MIXES:
        raise DualEncError(f"space is {space!r}, expected 'planes' or 'styles'")
    if space == "styles" and generator is None:
        raise DualEncError("space 'styles' needs the generator of the heads")
    for other in path[1:]:
        check_pair(path[0], other, ("first head", "another head"))
    path = [*path, path[0]] if loop else path
    return _frames(path, frames, loop, smooth, generator if space == "styles" else None)


def _frames(
    path: list[Triplane], frames: int, loop: bool, smooth: bool, generator: PanoHead | None
) -> Iterator[Triplane]:
    segments = len(path) - 1
    steps = frames if loop else max(frames - 1, 1)
    for i in range(frames):
        place = segments * i / steps
        segment = min(int(place), segments - 1)
        t = place - segment
        t = t * t * (3 - 2 * t) if smooth else t
        first, second = path[segment], path[segment + 1]
        head = blend(first, second, t)
        yield head if generator is None or t in (0, 1) else _through_styles(generator, first, second, head, t)


@torch.no_grad()
def _through_styles(generator: PanoHead, first: Triplane, second: Triplane, head: Triplane, t: float) -> Triplane:
    a, b, between = (generator.synthesize(ws).planes for ws in (first.ws, second.ws, head.ws))
    change = between - torch.lerp(a, b, t)
    overlays = tuple(Overlay(overlay.planes + change, overlay.weight) for overlay in head.overlays)
    return head.replace(planes=head.planes + change, overlays=overlays)
