"""Heads that move: displacements, warps that keep everything else, mouths that open and eyes that close."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import dualenc_core as dc
from dualenc_core.editing import Director, direct, directions_of
from dualenc_core.editing.motion import FaceMotions, Motions, Openings, Paint, Spline, Warper, load_motions
from dualenc_core.editing.motion.openings import EYES, LIPS
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.people.donors import EXPRESSIONS, FEATURES
from dualenc_core.point_weight import Visibility

MOUTH, EYE = (61, 291, 17, 0), 159


@pytest.fixture(scope="module")
def generator():
    return dc.load_generator("demo")


@pytest.fixture(scope="module")
def head(generator):
    """A head of the bundled generator in two tri-grids, joined as those of a photo are."""
    with torch.no_grad():
        ws = generator.mapping(generator.latents(seed=5), truncation_psi=0.5)
        made = generator.synthesize(ws)
        seen = dc.visibility(generator, made, dc.Camera.look_at())
        return dc.stitch(made, made.replace(planes=made.planes * 0.98), seen)


@pytest.fixture(scope="module")
def face(generator, head):
    return FaceMotions.of(generator, head)


class Push:
    """All within a ball about a point goes to the viewer's right."""

    def __init__(self, centre, by=0.02, radius=0.06):
        self.at, self.by, self.radius = torch.tensor([centre]), by, radius

    def __call__(self, points):
        share = (1 - (points - self.at).norm(dim=-1, keepdim=True) / self.radius).clamp(min=0)
        return -share * torch.tensor([self.by, 0.0, 0.0])

    def paint(self, points):
        return None


def test_points_go_where_they_shall_and_far_ones_stay():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(40, 3, generator=generator) - 0.5
    moves = torch.zeros(40, 3)
    moves[:5] = 0.03 * torch.randn(5, 3, generator=generator)
    spline = Spline.through(points + moves, -moves)
    there = points + moves
    assert torch.allclose(there + spline(there), points, atol=2e-4)
    scipy = pytest.importorskip("scipy.interpolate")
    places = torch.rand(20, 3, generator=generator) - 0.5
    same = scipy.RBFInterpolator(there.double(), -moves.double(), kernel="linear", degree=0, smoothing=0.01)
    loose = Spline.through(there, -moves, smoothing=0.01)
    assert torch.allclose(loose(places), torch.from_numpy(same(places.double())).float(), atol=1e-4)


def test_a_warp_brings_what_was_beside_and_holds_the_rest(generator, head, face):
    chin = face.points[152]
    field = Push(chin.tolist())
    warped = Warper(generator, head)(field)
    camera = dc.Camera.look_at([0.0, 90.0, 180.0])
    before, after = (generator.render(h, camera, background=(0.5, 0.5, 0.5)).image for h in (head, warped))
    changed = (after - before).abs().mean(1)
    rows, columns = (changed[0] > 0.05).nonzero().float().mean(0) / before.shape[-1]
    uv, _ = camera[0].project(chin[None, None])
    assert abs(float(columns - uv[0, 0, 0])) < 0.08 and abs(float(rows - uv[0, 0, 1])) < 0.08
    # Behind, and above the mouth, where the same cells are read, nothing shows.
    assert float(changed[2].max()) < 0.05
    top = int(before.shape[-1] * 0.45)
    assert float(changed[0, :top].mean()) < 0.002 and float(changed[1, :top].mean()) < 0.002
    assert torch.equal(warped.ws, head.ws)


def test_a_warp_of_everything_is_the_shifted_head(generator, head):
    class Shift:
        at = torch.zeros(1, 3)

        def __call__(self, points):
            return torch.tensor([-0.0125, 0.0, 0.0]).expand_as(points)

        def paint(self, points):
            return None

    bare = head.replace(overlays=())
    warped = Warper(generator, bare)(Shift(), iterations=30)
    alignment = dc.editing.Alignment(torch.ones(1), torch.tensor([[0.0125, 0.0, 0.0]]))
    wanted = dc.editing.align_head(bare, alignment, generator.config.render.box_warp)
    camera = dc.Camera.look_at([0.0, 120.0])
    pictures = [generator.render(h, camera, background=(0.5, 0.5, 0.5)).image for h in (bare, wanted, warped)]
    unmoved, error = ((p - pictures[1]).square().mean() for p in (pictures[0], pictures[2]))
    assert float(error) < 0.1 * float(unmoved)


def test_nothing_moves_nothing(generator, head):
    assert Warper(generator, head)(Push((0.39, 0.39, 0.39), radius=0.01)) is head


def test_the_seen_part_moves_along(generator, head, face):
    chin = face.points[152]
    warped = Warper(generator, head)(Push(chin.tolist(), by=0.02))
    before, after = (h.overlays[0].weight for h in (head, warped))
    assert isinstance(after, Visibility) and after.depth.shape == before.depth.shape
    changed = (after.depth - before.depth).abs() > 1e-5
    assert 0 < float(changed.float().mean()) < 0.1
    assert float((after.depth - before.depth).abs().max()) <= 0.021


def test_smiles_move_the_corners_of_the_mouth_of_the_head(generator, head, face):
    known = directions_of(generator)
    smiling = Director(generator, head, known)({"smile": 1.0})
    found = FaceMotions.of(generator, smiling)
    moved = found.points - face.points
    for corner, side in ((61, -1), (291, 1)):
        assert float(moved[corner, 0]) * side > 0.004 and float(moved[corner, 1]) > 0.002
    assert float(moved[10].norm()) < 0.008  # forehead
    before, after = (float(known.values(ws)["smile"]) for ws in (head.ws, smiling.ws))
    assert after == pytest.approx(before + 1, abs=0.01)


def test_an_open_mouth_is_dark_inside(generator, head, face):
    opened = direct(generator, head, {"mouth_open": 1.0})
    camera = dc.Camera.look_at()
    pictures = [generator.render(h, camera).image for h in (head, opened)]
    landmarks = FaceMotions.of(generator, opened).points
    uv, _ = camera.project(landmarks[[13, 14]].mean(0)[None, None])
    column, row = (uv[0, 0] * pictures[0].shape[-1]).long().tolist()
    spots = [p[0, :, row - 3 : row + 4, column - 6 : column + 7].mean() for p in pictures]
    assert float(landmarks[13, 1] - landmarks[14, 1]) > float(face.points[13, 1] - face.points[14, 1]) + 0.008
    assert float(spots[1]) < float(spots[0]) - 0.15


def test_expressions_do_not_close_a_closed_mouth(face):
    points = face.points.clone()
    points[14] = points[13] - torch.tensor([0.0, 1e-4, 0.0])
    closed = FaceMotions(face.motions, points[:468], torch.ones(468))
    field = closed.field({"mouth_open": (1.0, 0.0)})
    assert float(field(closed.points[[13, 17]]).norm(dim=-1).max()) < 1.5e-3
    opens = closed.field({"mouth_open": (0.0, 1.0)})
    assert float(opens(closed.points[[17]]).norm()) > 5e-3


def test_lids_close_by_their_own_opening(face):
    narrow = face.points[:468].clone()
    for above, below in EYES:
        narrow[list(above), 1] = narrow[list(below), 1].mean() + 0.006
    own = FaceMotions(face.motions, narrow, torch.ones(468))
    ways = own._ways("eyes_closed", 0.0, 1.0)
    assert 0 < -float(ways[EYE, 1]) < 0.012 < -float(face.motions.between("eyes_closed", 0.0, 1.0)[EYE, 1])


def test_between_the_lips_it_is_what_the_upper_jaw_has_and_dark_below():
    before = torch.zeros(468, 3)
    for part, y in zip(LIPS, (0.001, -0.001), strict=True):
        before[list(part), 0] = torch.linspace(-0.05, 0.05, len(part))
        before[list(part), 1] = y
    after = before.clone()
    after[list(LIPS[1][1:-1]), 1] -= 0.03
    openings = Openings(before, after)
    places = torch.tensor([[0.0, -0.025, 0.0], [0.0, -0.003, 0.0], [0.0, 0.02, 0.0], [0.2, -0.02, 0.0]])
    paint = openings.paint(places)
    assert isinstance(paint, Paint)
    assert paint.share.gt(0.9).tolist() == [True, True, False, False] and paint.share[2:].sum() == 0
    assert float(paint.colour[0].mean()) < -0.6 < 0.2 < float(paint.colour[1].mean())  # teeth above
    smiling = Openings(before, after, bared=1.0).paint(torch.tensor([[0.0, -0.015, 0.0]]))
    assert float(smiling.colour.mean()) > 0.2 > float(openings.paint(torch.tensor([[0.0, -0.015, 0.0]])).colour.mean())


def test_the_table_knows_every_shape_and_is_read_as_it_was_written(tmp_path):
    motions = load_motions()
    assert set(motions.knots) == {*EXPRESSIONS, "gaze.left", "gaze.up", "sex"} | {
        f"features.{name}" for name in FEATURES
    }
    assert all(tuple(sorted(k)) == k and len(k) == len(motions.moves[n]) for n, k in motions.knots.items())
    assert not motions.points.isnan().any()
    again = motions.save(tmp_path / "motions.safetensors")
    from dualenc_core.editing.motion.motions import _load

    read = _load(again)
    assert read.knots == motions.knots and all(
        torch.equal(read.moves[n].nan_to_num(), motions.moves[n].nan_to_num()) for n in motions.moves
    )
    assert read.between("smile", 0.2, 0.7).allclose(0.5 * motions.between("smile", 0.0, 1.0), equal_nan=True)
    less = Motions(motions.points, {"smile": (0.0, 0.5, 1.0)}, {"smile": motions.moves["smile"]})
    with pytest.raises(CheckpointError, match="smile has 3 knots"):
        _load(less.save(tmp_path / "less.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="broken"):
        _load(tmp_path / "broken.safetensors")


def test_a_slider_back_at_zero_is_the_head_again(generator, head):
    director = Director(generator, head, directions_of(generator))
    moved = director({"smile": 0.5})
    assert not torch.equal(moved.planes, head.planes)
    assert torch.equal(director({}).planes, head.planes)
    assert torch.equal(director({"smile": 0.5}).planes, moved.planes)


def test_a_batch_moves_head_by_head(generator, head):
    two = dc.Triplane.cat([head, head])
    both = direct(generator, two, {"smile": 0.5})
    one = direct(generator, head, {"smile": 0.5})
    assert len(both) == 2 and both[1].planes.allclose(one.planes, atol=1e-4)


def test_heads_whose_overlays_are_told_by_other_numbers_are_no_batch(head):
    overlay = head.overlays[0]
    looser = dataclasses.replace(overlay.weight, tolerance=0.2)
    other = head.replace(overlays=(dataclasses.replace(overlay, weight=looser),))
    with pytest.raises(DualEncError, match="tolerance.*0.2"):
        dc.Triplane.cat([head, other])
    with pytest.raises(DualEncError, match="differ"):
        dc.Triplane.cat([head, head.replace(overlays=())])


def test_several_heads_are_no_head(generator, head):
    with pytest.raises(DualEncError, match="2 heads"):
        Warper(generator, dc.Triplane.cat([head, head]))


def test_a_table_of_one_point_is_linear_between_its_knots():
    ways = torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    motions = Motions(torch.zeros(1, 3), {"age": (0.0, 1.0, 3.0)}, {"age": ways})
    assert float(motions.between("age", 0.5, 2.0)) == pytest.approx(1.0)
    assert float(motions.between("age", 3.0, 5.0)) == pytest.approx(1.0)
