"""A photo's own details carried along with the surface that an edit moves, on tri-grids that are reliefs.

What a photo gave beyond its style vectors is a residual of planes, T − G(w). Between G(w) and G(w') a surface moves
across each side's plane (`people.relief`); the motion is found by matching what the sides show, and the residual is
looked up where it came from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..people.relief import CHANNELS, SIDES

# Coarse to fine: how often planes are halved, and the steps at each size.
_LEVELS, _STEPS = 3, 3
# Cells that move together, as the standard deviation of a window at each size.
_WINDOW = 2.5
# How much staying counts beside matching, as a share of the mean strength of edges.
_STAY = 0.01


@torch.no_grad()
def carried(residual: Tensor, before: Tensor, after: Tensor, depth: int) -> Tensor:
    """Residuals [N,3,C·D,S,S], moved as the generator's planes ``before`` become those ``after``.

    Features that are no side's stay where they are. Equal planes move nothing.
    """
    if torch.equal(before, after):
        return residual
    result = residual.clone().unflatten(2, (-1, depth))
    residual, before, after = (planes.unflatten(2, (-1, depth)) for planes in (residual, before, after))
    for k, (plane, _) in enumerate(SIDES):
        own = slice(k * CHANNELS, (k + 1) * CHANNELS)
        # All slices of a side show the same, but for their distances.
        move = motion(*(planes[:, plane, own].mean(2) for planes in (before, after)))
        moved = looked_up(residual[:, plane, own].flatten(1, 2), move)
        result[:, plane, own] = moved.unflatten(1, (CHANNELS, depth))
    return result.flatten(2, 3)


def motion(before: Tensor, after: Tensor) -> Tensor:
    """Where pictures ``after`` [N,C,H,W] have come from, as cells [N,2,H,W] (x, y) from their own place.

    Least squares over windows and channels (Lucas and Kanade 1981), coarse to fine; where nothing shows a motion there
    is none.

    Example:
        >>> import torch
        >>> from dualenc_core.editing.carry import motion
        >>> y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        >>> spot = lambda at: torch.exp(-((x - at) ** 2 + (y - 16) ** 2) / 20)[None, None]
        >>> round(float(motion(spot(14), spot(16))[0, 0, 16, 16]), 1)
        -2.0
    """
    pairs = [(before, after)]
    while len(pairs) < _LEVELS and min(pairs[-1][0].shape[-2:]) >= 16:
        first, second = (F.avg_pool2d(part, 2) for part in pairs[-1])
        pairs.append((first, second))
    move = before.new_zeros(len(before), 2, *pairs[-1][0].shape[-2:])
    for first, second in reversed(pairs):
        if move.shape[-2:] != first.shape[-2:]:
            move = 2 * F.interpolate(move, first.shape[-2:], mode="bilinear", align_corners=False)
        for _ in range(_STEPS):
            move = _step(first, second, move)
    return move


def _step(before: Tensor, after: Tensor, move: Tensor) -> Tensor:
    seen = looked_up(before, move)
    padded = F.pad(seen, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    lack = after - seen
    sums = torch.stack([(a * b).sum(1) for a, b in ((dx, dx), (dx, dy), (dy, dy), (dx, lack), (dy, lack))], 1)
    xx, xy, yy, xl, yl = _blurred(sums).unbind(1)
    stay = _STAY * (xx + yy).mean((1, 2), keepdim=True).clamp(min=1e-12)
    # Of the whole motion, not of a step: it is what stays small.
    xl, yl = xl - stay * move[:, 0], yl - stay * move[:, 1]
    xx, yy = xx + stay, yy + stay
    step = torch.stack([yy * xl - xy * yl, xx * yl - xy * xl], 1) / (xx * yy - xy * xy)[:, None]
    # A step further than edges are wide knows nothing.
    return move + step.clamp(-1, 1)


def looked_up(planes: Tensor, move: Tensor) -> Tensor:
    """Planes [N,C,H,W] read ``move`` [N,2,H,W] cells away from every place, the border beyond it."""
    height, width = planes.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).to(move), torch.arange(width).to(move), indexing="ij")
    place = torch.stack([x + move[:, 0], y + move[:, 1]], -1)
    scale = torch.tensor([2 / width, 2 / height]).to(move)
    return F.grid_sample(planes, (place + 0.5) * scale - 1, padding_mode="border", align_corners=False)


def _blurred(values: Tensor) -> Tensor:
    reach = round(3 * _WINDOW)
    bell = torch.exp(-(torch.arange(-reach, reach + 1).to(values) / _WINDOW).square() / 2)
    bell = (bell / bell.sum()).expand(values.shape[1], 1, 1, -1)
    rows = F.conv2d(F.pad(values, (reach, reach, 0, 0)), bell, groups=values.shape[1])
    return F.conv2d(F.pad(rows, (0, 0, reach, reach)), bell.transpose(2, 3), groups=values.shape[1])
