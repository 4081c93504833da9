"""Crop geometry against the golden vectors; similarity; calibration facts."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from dualenc_core.camera import Camera
from dualenc_core.portrait.alignment import (
    CALIBRATION,
    camera_angles,
    crop_camera,
    crop_quad,
    head_pose,
    rotation_x,
    rotation_z,
)
from dualenc_core.portrait.geometry import CROP_SIDE_WORLD, eyes_mouth_quad, similarity


@pytest.fixture(scope="module")
def cropping(golden):
    return load_file(golden / "panohead" / "cropping.safetensors")


def test_the_square_around_eyes_and_mouth(cropping):
    """FFHQ's rule on 68 landmarks in dlib's order (panohead.md §10.2)."""
    lm = cropping["crop.lm68"].astype(np.float64)
    quad = eyes_mouth_quad(lm[36:42].mean(0), lm[42:48].mean(0), (lm[48] + lm[54]) / 2)
    for name, value in (("quad", quad.corners), ("c", quad.centre), ("x", quad.x), ("y", quad.y)):
        np.testing.assert_allclose(value, cropping[f"crop.lm68.ffhq.{name}"], atol=1e-3, rtol=0)
    corners = quad.matrix(512) @ np.array([[0, 0, 1], [0, 512, 1], [512, 512, 1], [512, 0, 1]]).T
    np.testing.assert_allclose(corners.T, quad.corners, atol=1e-3)


def test_similarity_recovers_a_known_one_and_never_reflects():
    rng = np.random.default_rng(1)
    source, weights = rng.normal(size=(50, 3)), rng.uniform(0.1, 1, 50)
    rotation = rotation_z(40) @ rotation_x(-70)
    scale, found, translation = similarity(source, 3 * source @ rotation.T + [1, 2, 3], weights)
    assert scale == pytest.approx(3)
    np.testing.assert_allclose(found, rotation, atol=1e-9)
    np.testing.assert_allclose(translation, [1, 2, 3], atol=1e-9)
    assert np.linalg.det(similarity(source, source * [-1, 1, 1], weights)[1]) == pytest.approx(1)


@pytest.mark.parametrize("yaw, pitch, roll", [(0, 0, 0), (30, -10, 5), (-75, 20, -15)])
@pytest.mark.parametrize("turn", [0, 90, -135])
def test_a_projected_head_gives_its_camera_back(yaw, pitch, roll, turn):
    """Orthographic heads in turned photos: the camera in the photo's frame and the crop are exact."""
    true = Camera.look_at(yaw, pitch, roll)
    rotation = rotation_z(turn) @ true.cam2world[0, :3, :3].double().numpy().T
    points = 800 * CALIBRATION.vertices() @ rotation.T + [300, 200, 0]
    pose = head_pose(points)
    np.testing.assert_allclose(pose.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(pose.origin, [300, 200], atol=1e-6)
    assert pose.residual < 1e-6
    quad = crop_quad(pose)
    assert quad.side == pytest.approx(800 * CROP_SIDE_WORLD)
    found = camera_angles(crop_camera(pose))
    assert found[:2] == pytest.approx((yaw, pitch), abs=1e-3)
    # What the crop's turn does not take stays in the camera as roll.
    total = (found[2] - pose.tilt - roll + turn + 180) % 360 - 180
    assert abs(total) < 1e-3


def test_a_frontal_level_head_needs_no_turn():
    points = 500 * CALIBRATION.vertices() @ np.diag([1.0, -1, -1])
    pose = head_pose(points)
    assert pose.tilt == pytest.approx(0, abs=1e-6)
    assert camera_angles(crop_camera(pose)) == pytest.approx((0, 0, 0), abs=1e-4)


def test_mesh_lies_in_the_world_as_documented():
    vertices = CALIBRATION.vertices()
    outer_eyes = np.linalg.norm(vertices[33] - vertices[263])
    assert 0.19 < outer_eyes < 0.22
    eyes, nose = vertices[[33, 133, 362, 263]].mean(0), vertices[1]
    assert abs(eyes[0]) < 1e-6 and 0.02 < eyes[1] < 0.07 and 0.14 < eyes[2] < 0.2
    assert nose[2] - eyes[2] > 0.07 and nose[1] < eyes[1]
