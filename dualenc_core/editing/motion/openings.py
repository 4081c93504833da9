"""Mouths that open and eyes that close: where skin parts or meets, a smooth displacement would stretch lips and irises.

What lies between the lips stays with the upper jaw; what was not seen before is dark, with teeth at its top. A lid
that comes down brings the skin above its lashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Inner lips and eyes, from corner to corner: landmarks of the face mesh above and below.
LIPS = ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
# World units (a face is .3 wide): soft edges, how far before and behind the lips an opening reaches, how much lids have
# to move to count, the height of an upper lid's skin and of its lashes, openings too small for lids or teeth.
_EDGE, _THICK, _MOVED, _LID, _LASHES, _SLIT = 0.003, 0.03, 0.0015, 0.012, 0.004, 0.006
# sRGB in -1..1 of what opens; the share of it that upper teeth fill, and the most, in world units, of which a smile has
# twice as much; lips further apart than the last show teeth already, or their gap.
_DARK, _TEETH = (-0.62, -0.88, -0.9), (0.5, 0.42, 0.32)
_TEETH_SHARE, _TEETH_HEIGHT, _APART = 0.4, 0.010, 0.010


class Paint(NamedTuple):
    """Colours that places [M] take on: how far [M], 0..1, and sRGB [M,3] in -1..1."""

    share: Tensor
    colour: Tensor


class _Curves(NamedTuple):
    """Heights and depths [M] of an upper and a lower edge over places, and whether these lie between the corners."""

    upper: Tensor
    lower: Tensor
    depth: Tensor
    between: Tensor

    @classmethod
    def over(cls, points: Tensor, ends: tuple[tuple[int, ...], tuple[int, ...]], at: Tensor) -> _Curves:
        above, below = (points[list(part)] for part in ends)
        between = (at[:, 0] > above[0, 0]) & (at[:, 0] < above[-1, 0])
        x = at[:, 0].contiguous()
        return cls(_along(above, 1, x), _along(below, 1, x), _along(above, 2, x), between)


@dataclass(frozen=True)
class Openings:
    """Lips and lids that move.

    Attributes:
        before, after: [468,3] landmarks of the face mesh on the surface.
        bared: how much teeth are bared, 0 = as in speaking, 1 = as in a broad smile.
    """

    before: Tensor
    after: Tensor
    bared: float = 0.0

    def corrected(self, points: Tensor, origin: Tensor) -> Tensor:
        """``origin`` [M,3], what leads from places [M,3] to where their matter was, put right at lips and lids."""
        for eye in EYES:
            origin = self._lid(points, origin, eye)
        inside, source, dark = self._mouth(points)
        shift = torch.zeros_like(origin)
        shift[:, 1:] = source
        return torch.where(((inside > 0.5) & (dark < 0.5))[:, None], shift, origin)

    def paint(self, points: Tensor) -> Paint:
        """What opens between the lips."""
        _, _, dark = self._mouth(points)
        now = _Curves.over(self.after, LIPS, points)
        share = _TEETH_SHARE + self.bared * (1 - _TEETH_SHARE)
        height = ((now.upper - now.lower) * share).clamp(max=_TEETH_HEIGHT * (1 + self.bared))
        # A row or none: not where the middle shows teeth already, or hardly opens.
        middle = [part[len(part) // 2] for part in LIPS]
        apart, opened = (float(p[middle[0], 1] - p[middle[1], 1]) for p in (self.before, self.after))
        row = min(max((_APART - apart) / _EDGE, 0.0), 1.0) * min(max((opened - _SLIT) / _EDGE, 0.0), 1.0)
        tooth = (row * _step(points[:, 1] - (now.upper - height)))[:, None]
        nothing, teeth = points.new_tensor(_DARK), points.new_tensor(_TEETH)
        return Paint(dark, nothing + tooth * (teeth - nothing))

    def _mouth(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far places lie between the lips, the upper lip's way back there in y and z, and how far it opened."""
        was, now = (_Curves.over(p, LIPS, points) for p in (self.before, self.after))
        y = points[:, 1]
        inside = _step(now.upper - y) * _step(y - now.lower) * now.between
        inside = inside * ((points[:, 2] - now.depth).abs() < _THICK)
        back = torch.stack([was.upper - now.upper, was.depth - now.depth], 1)
        opened = ((now.upper - now.lower) > (was.upper - was.lower) + _MOVED) & was.between
        # Between the corners of before and after nothing was open.
        new = torch.where(was.between, _step(was.lower - (y + back[:, 0])), torch.ones_like(y))
        return inside * opened, back, inside * opened * new

    def _lid(self, points: Tensor, origin: Tensor, eye: tuple[tuple[int, ...], tuple[int, ...]]) -> Tensor:
        was, now = (_Curves.over(p, eye, points) for p in (self.before, self.after))
        edge = torch.maximum(now.upper, now.lower)
        y, top = points[:, 1], was.upper + _LID
        covered = was.between & (y < top) & (y > edge) & ((points[:, 2] - was.depth).abs() < _THICK)
        covered &= was.upper - edge > _MOVED
        share = ((was.upper - was.lower) / _SLIT).clamp(0, 1) * covered
        source = was.upper + _LASHES + (y - edge) / (top - edge) * (_LID - _LASHES)
        down = torch.stack([torch.zeros_like(y), source - y, torch.zeros_like(y)], 1)
        return torch.lerp(origin, down, share[:, None])


def _step(distance: Tensor) -> Tensor:
    """0 outside, 1 inside, soft."""
    return (distance / _EDGE + 0.5).clamp(0, 1)


def _along(points: Tensor, axis: int, x: Tensor) -> Tensor:
    """y or z of a line of points [K,3] over x [M]; beyond its ends, theirs."""
    order = points[:, 0].argsort()
    xs, values = points[order, 0].contiguous(), points[order, axis]
    right = torch.searchsorted(xs, x).clamp(1, len(xs) - 1)
    share = ((x - xs[right - 1]) / (xs[right] - xs[right - 1]).clamp(min=1e-6)).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], share)
