"""The analytic field: signs, bounds, landmarks, labels, colours."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.procedural import Part, colour, field, parts, sample_heads, signed_distance, surface_normal
from dualenc_core.procedural.renderer import BOX


def at(n: int, *points: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(points).expand(n, -1, -1)


def test_inside_is_negative_and_outside_positive() -> None:
    heads = sample_heads(16, 5)
    assert bool((signed_distance(heads, at(16, (0.0, 0.06, 0.0), (0.0, -0.25, -0.04), (0.0, -0.37, 0.0))) < 0).all())
    assert bool((signed_distance(heads, at(16, (0.0, 0.05, 0.32), (0.0, 0.40, 0.0), (0.3, 0.0, 0.0))) > 0).all())


def test_everything_lies_in_the_box() -> None:
    heads = sample_heads(96, 6)
    low, high = torch.tensor(BOX)
    corners = torch.rand(1500, 3, generator=torch.Generator().manual_seed(0))
    points = low + (high - low) * corners
    axis, side = torch.arange(1500) % 3, (torch.arange(1500) // 3) % 2
    points[torch.arange(1500), axis] = torch.where(side == 0, low[axis], high[axis])
    assert float(signed_distance(heads, points.expand(96, -1, -1)).min()) > 0
    assert BOX == ((-0.29, -0.40, -0.29), (0.29, 0.38, 0.29))


def test_landmarks_sit_where_the_camera_convention_wants_them() -> None:
    heads = sample_heads(64, 7)
    z = torch.linspace(0.10, 0.30, 401)
    along = torch.stack([torch.zeros_like(z), torch.full_like(z, -0.03), z], 1).expand(64, -1, -1)
    tip = z[(signed_distance(heads, along) < 0).float().cumsum(1).argmax(1)]
    assert 0.20 < float(tip.min()) and float(tip.max()) < 0.285
    eye = at(64, (0.072, 0.055, 0.168))
    assert float(signed_distance(heads, eye).abs().max()) < 0.02


def test_labels() -> None:
    heads = sample_heads(8, 8, details=False).replace(
        hair=1.0, hair_length=0.0, fringe=0.0, parting=0.0, curl=0.0, beard=0.0
    )
    points = at(
        8, (0.072, 0.057, 0.168), (0.0, -0.35, 0.12), (0.0, 0.27, -0.04), (0.0, -0.03, 0.23), (0.0, -0.118, 0.18)
    )
    assert parts(heads, points).tolist() == [[Part.EYES, Part.CLOTH, Part.HAIR, Part.SKIN, Part.LIPS]] * 8
    assert bool((parts(heads.replace(glasses=1.0), at(8, (0.124, 0.057, 0.192))) == Part.GLASSES).all())
    assert bool((parts(heads.replace(beard=1.0), at(8, (0.0, -0.17, 0.17))) == Part.BEARD).all())


def test_field_colours_follow_the_part_and_stay_in_range() -> None:
    heads = sample_heads(4, 10, details=False).replace(shirt_colour=torch.tensor([0.1, 0.8, 0.1]))
    points = torch.rand(4, 300, 3, generator=torch.Generator().manual_seed(3)) * 0.7 - 0.35
    distance, rgb = field(heads, points)
    assert torch.equal(distance, signed_distance(heads, points))
    assert rgb.shape == (4, 300, 3) and float(rgb.min()) >= -1 and float(rgb.max()) <= 1
    chest = colour(heads, at(4, (0.0, -0.36, 0.10)))
    assert bool((chest[..., 1] > 2 * chest[..., 0]).all()) and float(chest.min()) >= 0


def test_normals_are_unit_and_point_outwards() -> None:
    heads = sample_heads(4, 11, details=False)
    normal = surface_normal(heads, at(4, (0.0, 0.08, 0.30), (0.30, 0.10, 0.0), (0.0, 0.10, -0.35)))
    assert torch.allclose(normal.norm(dim=-1), torch.ones(4, 3), atol=1e-4)
    assert bool((normal[:, 0, 2] > 0.5).all() & (normal[:, 1, 0] > 0.5).all() & (normal[:, 2, 2] < -0.5).all())


def test_bad_points_are_refused() -> None:
    with pytest.raises(DualEncError, match=r"expected \[2,M,3\]"):
        signed_distance(sample_heads(2, 1), torch.zeros(3, 5, 3))
