"""What networks are given of `people.relief`: a decoder that reads it without having learned anything, clean backs.

Space is empty where any side finds a point before its surface. The colour is the sum of what the sides see, each times
its share, without those that see something else in front of the point.
"""

from __future__ import annotations

import torch

from ...encoders.lifted_refiner import LiftedRefiner
from ...errors import DualEncError
from ...generator import PanoHead
from ...people.relief import CHANNELS, FEATURES, SIDES

# Steepness, per tri-grid unit of distance, of the edge of a surface and of the end of a colour.
_EDGE, _END = 40.0, 25.0
# Tri-grid units behind its surface where a side's colour ends: rays are sampled a little below the surface.
_BEHIND = 0.15
# Raw density inside: opaque within a thousandth or two of a world unit; and how far below zero it goes outside.
_DENSITY, _EMPTY = 1000.0, 4.0
# Steepness of a colour: a soft plus is straight from one of its units on.
_COLOUR = 16.0
# Hidden units of a side.
_UNITS = 6


@torch.no_grad()
def read_reliefs(generator: PanoHead) -> None:
    """Set decoder and to-RGB of a generator, in place.

    Raises DualEncError for a decoder of fewer than 30 hidden units or 20 features.
    """
    (first, second), to_rgb = generator.decoder.layers, generator.torgb
    units, features = first.weight.shape
    if units < _UNITS * len(SIDES) or features < FEATURES:
        raise DualEncError(
            f"the decoder has {units} hidden units and {features} features; to read what {len(SIDES)} sides see it "
            f"takes {_UNITS * len(SIDES)} and {FEATURES}"
        )
    weight, bias = torch.randn_like(first.weight) * 0.3, torch.zeros(units)
    out = second.weight * 0.1
    out[:4] = 0
    weight[: _UNITS * len(SIDES)] = 0
    for side in range(len(SIDES)):
        edge, far, end, *colours = range(_UNITS * side, _UNITS * (side + 1))
        distance = CHANNELS * side + CHANNELS - 1
        # Falls where the distance is positive, and no further after a while.
        weight[[edge, far], distance], bias[far] = _EDGE, -_EMPTY
        out[0, edge], out[0, far] = -_DENSITY, _DENSITY
        weight[[end, *colours], distance], bias[[end, *colours]] = _END, _END * _BEHIND
        for c, unit in enumerate(colours):
            weight[unit, CHANNELS * side + c] = _COLOUR
            # What the distance alone raises is no colour.
            out[1 + c, unit], out[1 + c, end] = 1 / _COLOUR, -1 / _COLOUR
    out[:4] /= second.weight_gain
    first.weight.copy_(weight / first.weight_gain)
    first.bias.copy_(bias)
    second.weight.copy_(out)
    second.bias[0] = _DENSITY
    # Grey of 0.5 is nothing: it is what lies behind every head.
    second.bias[1:4] = -0.5
    to_rgb.weight.zero_()
    to_rgb.bias.zero_()
    # The same to-RGB for everybody, at first.
    to_rgb.affine.weight.zero_()
    to_rgb.weight[[0, 1, 2], [0, 1, 2]] = 2 / to_rgb.style_gain


def leave_backs(refiner: LiftedRefiner) -> None:
    """Make a lifted refiner with `LiftedConfig.own_ends` leave the colours of the back to stage one, for good.

    In place: the weights that would change them become zero, and get no gradients. The front's pixels are scattered
    into the plane that front and back share: within a training of some hundred steps, faces showed faintly behind.
    """
    plane, _ = back = SIDES[1]
    channels, depth = CHANNELS * SIDES.index(back), refiner.config.depth
    assert refiner.out.bias is not None
    ends = [refiner.out.weight, refiner.out.bias]
    ends += [] if refiner.direct is None else [refiner.direct.weight]
    for weights in ends:
        keep = torch.ones_like(weights)
        # Grouped by plane; a cell's features are its colours and the distance, each for all slices.
        keep.unflatten(0, (3, -1))[plane][channels * depth : (channels + CHANNELS - 1) * depth] = 0
        weights.data.mul_(keep)
        weights.register_hook(keep.mul)
