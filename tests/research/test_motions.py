"""How faces move, measured: what the whole head does is left out, and so is what people do not have in common."""

from __future__ import annotations

import numpy as np
import torch

from dualenc_core.people.donors import EXPRESSIONS, FEATURES
from dualenc_core.research.data.motions import KNOTS, _in_common, _local


def _points(seed=0):
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (60, 3))


def test_a_longer_nose_that_moves_all_else_a_little_moves_the_nose_alone():
    points = _points()
    nose = np.zeros((60, 3))
    nose[:6, 2] = 0.02
    turn = np.deg2rad(0.5)
    turned = points @ np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    way = 1.01 * turned + 0.003 + nose - points
    assert np.abs(way[6:]).max() > 3e-3
    local = _local(points, np.stack([np.zeros_like(way), way]))
    assert torch.allclose(local[0], torch.zeros(60, 3), atol=1e-6)
    assert torch.allclose(local[1], torch.from_numpy(nose).float(), atol=1e-4)


def test_what_moves_most_of_a_head_stays_as_it_is_and_unknown_points_stay_unknown():
    points, wider = _points(), np.zeros((60, 3))
    wider[:, 0] = 0.2 * points_of_a_bend(points)
    wider[3] = np.nan
    local = _local(points, wider[None])
    assert local[0, 3].isnan().all()
    known = [i for i in range(60) if i != 3]
    assert torch.allclose(local[0, known], torch.from_numpy(wider[known]).float())


def points_of_a_bend(points):
    return np.sin(12 * points[:, 0])


def test_ways_that_differ_from_person_to_person_are_none():
    way = np.random.default_rng(1).normal(size=(2, 60, 3))
    same = [way, way * 1.2, way * 0.9]
    assert _in_common(same)
    assert not _in_common([way, -way, 2 * way[::-1]])


def test_every_trait_of_a_shape_is_looked_at():
    assert {*EXPRESSIONS, *(f"features.{name}" for name in FEATURES), "gaze.left", "gaze.up"} <= KNOTS.keys()
    assert all(tuple(sorted(knots)) == knots for knots in KNOTS.values())
