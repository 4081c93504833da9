from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import Alignment, align_head, fit_alignment
from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.inversion import visibility
from dualenc_core.point_weight import LabelVolume, Visibility
from dualenc_core.rendering.trigrid import PLANE_AXES, lookup
from dualenc_core.triplane import Overlay, Triplane

MOVE = Alignment(torch.tensor([1.05, 0.97]), torch.tensor([[0.02, -0.01, 0.03], [0.0, 0.02, -0.02]]))


@pytest.fixture
def ramps() -> Triplane:
    """Planes whose three features are world x, y and z of their cells: exact under any resampling inside the box."""
    size, depth = 32, 3
    fine, deep = ((torch.arange(n) + 0.5) / n - 0.5 for n in (size, depth))
    planes = []
    for w, h, d in PLANE_AXES:
        features = torch.zeros(3, depth, size, size)
        features[w] += fine
        features[h] += fine[:, None]
        features[d] += deep[:, None, None]
        planes.append(features.reshape(3 * depth, size, size))
    return Triplane(torch.stack(planes).expand(2, -1, -1, -1, -1), torch.zeros(2, 2, 4), depth)


def test_the_identity_changes_no_bit(heads):
    nothing = Alignment(torch.ones(1), torch.zeros(1, 3))
    assert align_head(heads[0], nothing) is heads[0]


def test_points_move_as_told(ramps, somewhere):
    moved = align_head(ramps, MOVE)
    there = somewhere * MOVE.scale[:, None, None] + MOVE.shift[:, None]
    before, after = lookup(ramps.planes, somewhere, 3, 1.0), lookup(moved.planes, there, 3, 1.0)
    for plane, (w, h, d) in enumerate(PLANE_AXES):
        for axis in (w, h):
            assert torch.allclose(before[:, plane, :, axis], after[:, plane, :, axis], atol=1e-4)
        # Three slices say less about their own axis: at the outer ones nothing lies further out.
        assert torch.allclose(before[:, plane, :, d], after[:, plane, :, d], atol=0.05)
    assert not torch.allclose(before, lookup(ramps.planes, there, 3, 1.0), atol=1e-2)


def test_overlays_move_along(tiny, heads, somewhere):
    seen = visibility(tiny, heads[0], Camera.look_at([0, 30]), resolution=16)
    coarse = torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    volume = LabelVolume(torch.nn.functional.interpolate(coarse, (32, 32, 32), mode="trilinear"))
    head = heads[0].replace(overlays=(Overlay(heads[1].planes, seen), Overlay(heads[1].planes, volume)))
    moved = align_head(head, MOVE)
    there = somewhere * MOVE.scale[:, None, None] + MOVE.shift[:, None]
    views, volumes = (overlay.weight for overlay in moved.overlays)
    assert isinstance(views, Visibility) and torch.allclose(views(there), seen(somewhere), atol=0.1)
    assert (views(there) - seen(somewhere)).abs().mean() < 0.01
    assert (volumes(there) - volume(somewhere)).abs().mean() < 0.02
    assert not torch.equal(moved.overlays[0].planes, heads[1].planes)


def test_without_a_face_it_says_so(tiny, heads):
    with pytest.raises(NoFaceError, match="no face was found in the frontal picture of the target"):
        fit_alignment(tiny, heads[1][0], heads[0][0], resolution=16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Alignment(torch.ones(2), torch.zeros(1, 3)), r"expected \[N\] and"),
        (lambda: Alignment(torch.zeros(1), torch.zeros(1, 3)), "positive scale"),
        (lambda: Alignment(torch.ones(1), torch.full((1, 3), float("nan"))), "NaN"),
    ],
)
def test_bad_alignments(make, message):
    with pytest.raises(DualEncError, match=message):
        make()


def test_an_alignment_of_another_batch(heads):
    three = Alignment(torch.ones(3), torch.ones(3, 3))
    with pytest.raises(DualEncError, match="alignment is of 3 heads, expected 2"):
        align_head(heads[0], three)
