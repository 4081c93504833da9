"""Edits of the W+ of a head that keep what an encoder added to its tri-grid (editing.md §3.4, §4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead
from ..triplane import Overlay, Triplane
from .checks import Region, check_head, check_pair, fit_region
from .compose import compose_pairs


@torch.no_grad()
def restyle(
    generator: PanoHead, triplane: Triplane, ws: Tensor, region: Region | None = None, before: Tensor | None = None
) -> Triplane:
    """T + G(w') − G(w): the change that other style vectors make, added to tri-grids that no ws make exactly.

    Args:
        triplane: N heads.
        ws: w' [N,num_ws,w_dim].
        region: where; None = the whole head, which then also takes w' for super-resolution and background.
        before: planes of G(w), where they are known already.

    The same ws, or a region of 0, change no bit. Raises DualEncError for shapes that do not fit or NaN,
    GeneratorMismatchError for a triplane of another generator.
    """
    generator.check(triplane)
    check_head(triplane)
    if ws.shape != triplane.ws.shape:
        raise DualEncError(f"ws has shape {tuple(ws.shape)}, expected {tuple(triplane.ws.shape)}, as the head has")
    if not bool(torch.isfinite(ws).all()):
        raise DualEncError("ws has NaN or infinite values; use a smaller strength, or another direction")
    region = None if region is None else fit_region(region, triplane)
    ws = ws.to(triplane.ws)
    before = generator.synthesize(triplane.ws).planes if before is None else before
    change = generator.synthesize(ws).planes - before
    overlays = tuple(Overlay(overlay.planes + change, overlay.weight) for overlay in triplane.overlays)
    edited = triplane.replace(planes=triplane.planes + change, overlays=overlays)
    if region is None:
        return edited.replace(ws=ws)
    return compose_pairs(triplane, edited, region, generator.config.render.box_warp)


def mix_styles(
    generator: PanoHead, first: Triplane, second: Triplane, rows: Sequence[int], strength: float = 1.0
) -> Triplane:
    """The first head with some W+ rows of the second: early rows are shape, late ones colour.

    Args:
        first: N heads.
        second: N heads, or one.
        rows: indices of W+ rows, for example ``range(8, 14)``; negative ones count from the end.
        strength: 0..1, how far the rows move towards the second's.

    Raises as `restyle`, and for a row that does not exist.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.editing import mix_styles
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> heads = generator.synthesize(generator.mapping(generator.latents(seed=0, count=2)))
        >>> mixed = mix_styles(generator, heads[0], heads[1], rows=[4, 5])
        >>> (mixed.ws == heads[1].ws).all(-1)[0].tolist()
        [False, False, False, False, True, True]
    """
    second = check_pair(first, second, ("first", "second"))
    share = row_weights(rows, first.ws.shape[1]).to(first.ws) * _unit(strength)
    mixed = restyle(generator, first, torch.lerp(first.ws, second.ws, share[:, None]))
    meta = {"rows": list(rows), "strength": strength, "first": dict(first.meta), "second": dict(second.meta)}
    return mixed.replace(meta={"mix_styles": meta})


def edit_latent(
    generator: PanoHead,
    triplane: Triplane,
    direction: Tensor,
    strength: float,
    rows: Sequence[int] | None = None,
    region: Region | None = None,
) -> Triplane:
    """A head moved along a direction of the latent space, T + G(w + strength · d) − G(w).

    Args:
        triplane: N heads.
        direction: [w_dim], [num_ws,w_dim] or [N,num_ws,w_dim], from `load_direction`, `principal_directions` or
            `style_directions`.
        strength: any number; 0 changes nothing.
        rows: W+ rows that move; None = all.
        region: where; None = the whole head.

    Raises as `restyle`.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.editing import edit_latent
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> from dualenc_core.editing import principal_directions
        >>> axis = principal_directions(generator, count=1, samples=16)[0]
        >>> edit_latent(generator, head, axis, strength=0).planes.equal(head.planes)
        True
    """
    shape = triplane.ws.shape
    if direction.shape not in (shape[2:], shape[1:], shape):
        raise DualEncError(
            f"direction has shape {tuple(direction.shape)}, expected {tuple(shape[2:])}, {tuple(shape[1:])} or "
            f"{tuple(shape)}; it may belong to another generator"
        )
    step = direction.to(triplane.ws) * strength
    if rows is not None:
        step = step * row_weights(rows, shape[1]).to(step)[:, None]
    edited = restyle(generator, triplane, triplane.ws + step, region)
    meta = {"strength": strength, "rows": None if rows is None else list(rows), "head": dict(triplane.meta)}
    return edited.replace(meta={"edit_latent": meta})


def row_weights(rows: Sequence[int], count: int) -> Tensor:
    """1 for the chosen rows of ``count``, 0 for the others; raises DualEncError for one that does not exist."""
    weights = torch.zeros(count)
    for row in rows:
        if not -count <= row < count:
            raise DualEncError(f"row {row} does not exist; this generator has W+ rows 0 to {count - 1}")
        weights[row] = 1
    return weights


def _unit(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise DualEncError(f"strength is {strength}, expected 0..1")
    return strength
