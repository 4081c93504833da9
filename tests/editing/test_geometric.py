from __future__ import annotations

import pytest
import torch

from dualenc_core.editing import ball, behind_ears, box_region, cells_of_volume, half_space, read_region
from dualenc_core.errors import DualEncError
from dualenc_core.triplane import TriplaneMask


def at(*points: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor([points])


def weights(region, *points):
    return pytest.approx(region(at(*points))[0, :, 0].tolist(), abs=0.05)


def test_what_lies_in_them():
    assert weights(half_space((0, 2, 0), 0.1), (0, 0.2, 0), (0.3, 0.05, 0), (0, 0.1, 0)) == [1, 0, 0.5]
    assert weights(box_region((-0.1, 0, 0), (0.1, 0.2, 0.3)), (0, 0.1, 0.1), (0, 0.1, -0.1), (0.2, 0.1, 0.1)) == [
        1,
        0,
        0,
    ]
    assert weights(ball((0.1, 0, 0), 0.1), (0.1, 0.05, 0), (-0.05, 0, 0)) == [1, 0]
    assert weights(behind_ears(), (0, 0.05, -0.15), (0, 0.05, 0.1), (0.16, 0.03, -0.02)) == [1, 0, 0]
    assert weights(behind_ears(0.1), (0.16, 0.03, -0.02)) == [1]


def test_a_box_other_than_one():
    region = ball((0, 0, 0), 0.1, box=0.8)
    assert region.box == 0.8 and weights(region, (0.05, 0, 0), (0.15, 0, 0)) == [1, 0]


def test_as_cells():
    back = half_space((0, 0, -1), 0.0)
    mask = cells_of_volume(back, 32)
    assert isinstance(mask, TriplaneMask) and mask.mask.shape == (1, 3, 3, 32, 32)
    xy, xz, yz = mask.mask[0]
    # z runs along the slices of plane xy, and along H of plane xz and W of plane yz... in front nothing, behind all.
    assert xy[0].min() > 0.9 and xy[2].max() < 0.1
    assert xz[:, :14].min() > 0.99 and xz[:, 18:].max() < 0.01
    assert yz[:, :14].min() > 0.99 and yz[:, 18:].max() < 0.01
    points = at((0.1, 0.1, -0.3), (0.1, 0.1, 0.3))
    assert read_region(mask, points, 1.0)[0, 0] > 0.95 and read_region(mask, points, 1.0)[0, 1] < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: half_space((0, 0, 0)), "expected a direction"),
        (lambda: half_space((0, 1)), "three finite numbers"),
        (lambda: box_region((0, 0, 0), (0, 1, 1)), "low below high"),
        (lambda: ball((0, 0, 0), 0), "radius is 0"),
        (lambda: ball((0, 0, float("nan")), 1), "three finite numbers"),
        (lambda: half_space((0, 0, 1), size=1), "size is 1"),
        (lambda: cells_of_volume(half_space((0, 0, 1)), 0), "size is 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(DualEncError, match=message):
        make()
