from __future__ import annotations

import json
import math

import pytest
import torch

from dualenc_core.camera import DEFAULT_FOCAL, METRES_PER_UNIT, Camera
from dualenc_core.errors import DualEncError

VIEWS = {"yaw": [0.0, 30.0, -75.0, 180.0, 135.0], "pitch": [0.0, 20.0, -35.0, 5.0, 60.0], "roll": [0.0, 0, 12, 0, -40]}


@pytest.fixture
def views() -> Camera:
    return Camera.look_at(**VIEWS)


def test_front_view_has_the_documented_axes():
    camera = Camera.look_at()
    right, down, forward, position = camera.cam2world[0, :3].unbind(-1)
    assert torch.allclose(right, torch.tensor([1.0, 0, 0]), atol=1e-6)
    assert torch.allclose(down, torch.tensor([0.0, -1, 0]), atol=1e-6)
    assert torch.allclose(forward, torch.tensor([0.0, 0, -1]), atol=1e-6)
    assert torch.allclose(position, torch.tensor([0.0, 0, 2.7]), atol=1e-6)
    assert camera.intrinsics[0, 0, 0] == pytest.approx(DEFAULT_FOCAL)


@pytest.mark.parametrize(
    ("yaw", "pitch", "expected"),
    [
        (90, 0, (2.7, 0, 0)),
        (-90, 0, (-2.7, 0, 0)),
        (180, 0, (0, 0, -2.7)),
        (0, 30, (0, 1.35, 2.7 * math.cos(math.pi / 6))),
    ],
)
def test_yaw_goes_to_the_viewers_right_and_pitch_up(yaw, pitch, expected):
    assert torch.allclose(Camera.look_at(yaw, pitch).position[0], torch.tensor(expected), atol=1e-5)


def test_rotations_are_proper_and_angles_come_back(views):
    rotation = views.cam2world[:, :3, :3]
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(5), atol=1e-5)
    yaw, pitch = views.angles
    turn = (yaw - torch.tensor(VIEWS["yaw"]) + 180) % 360 - 180
    assert turn.abs().max() < 1e-3
    assert torch.allclose(pitch, torch.tensor(VIEWS["pitch"]), atol=1e-3)


def test_the_pivot_is_in_the_middle_of_the_picture(views):
    uv, z = views.project(torch.zeros(5, 1, 3))
    assert torch.allclose(uv, torch.full_like(uv, 0.5), atol=1e-5) and torch.allclose(z, torch.full_like(z, 2.7))
    pivot = (0.1, -0.05, 0.02)
    uv, _ = Camera.look_at(40, 10, pivot=pivot).project(torch.tensor([[pivot]]))
    assert torch.allclose(uv, torch.full_like(uv, 0.5), atol=1e-5)


def test_projection_follows_the_axes():
    uv, z = Camera.look_at().project(torch.tensor([[[0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.2], [0, 0, 5.0]]]))
    assert uv[0, 0, 0] > 0.5 and uv[0, 0, 1] == pytest.approx(0.5)
    assert uv[0, 1, 1] < 0.5
    assert z[0, 2] == pytest.approx(2.5) and z[0, 3] < 0


def test_positive_roll_turns_the_camera_clockwise():
    uv, _ = Camera.look_at(roll=30).project(torch.tensor([[[0.0, 0.1, 0.0]]]))
    # The camera turns clockwise, so the picture turns counter-clockwise: what was above moves left.
    assert uv[0, 0, 0] < 0.5 and uv[0, 0, 1] < 0.5


def test_straight_above_is_defined_by_yaw():
    camera = Camera.look_at([0.0, 90.0], [90.0, -90.0])
    assert torch.isfinite(camera.cam2world).all()
    right = camera.cam2world[:, :3, 0]
    assert torch.allclose(right[0], torch.tensor([1.0, 0, 0]), atol=1e-4)
    assert torch.allclose(right[1], torch.tensor([0.0, 0, -1]), atol=1e-4)


def test_field_of_view():
    assert Camera.look_at(fov=13.374).intrinsics[0, 0, 0] == pytest.approx(DEFAULT_FOCAL, abs=2e-3)
    assert Camera.look_at(fov=[30, 90]).intrinsics[1, 1, 1] == pytest.approx(0.5)
    camera = Camera.look_at().zoomed(2)
    assert camera.intrinsics[0, 0, 0] == pytest.approx(2 * DEFAULT_FOCAL) and camera.intrinsics[0, 2, 2] == 1


def test_label_round_trip(views):
    label = views.label
    assert label.shape == (5, 25)
    back = Camera.from_label(label)
    assert torch.equal(back.cam2world, views.cam2world) and torch.equal(back.intrinsics, views.intrinsics)
    assert torch.equal(Camera.from_label(label[2]).label, label[2:3])
    assert torch.equal(Camera.from_label(label[0].tolist()).label, label[:1])


def test_mirroring(views):
    intrinsics = views.intrinsics.clone()
    intrinsics[:, 0, 2], intrinsics[:, 0, 1] = 0.47, 0.02
    camera = Camera(views.cam2world, intrinsics)
    mirrored = camera.mirrored
    assert torch.allclose(mirrored.mirrored.label, camera.label, atol=1e-7)
    assert torch.allclose(Camera.look_at(30, 10, 5).mirrored.label, Camera.look_at(-30, 10, -5).label, atol=1e-6)
    # A mirrored point appears at the mirrored place.
    points = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0)) * 0.4 - 0.2
    uv, z = camera.project(points)
    other, other_z = mirrored.project(points * torch.tensor([-1.0, 1, 1]))
    assert torch.allclose(other, torch.stack([1 - uv[..., 0], uv[..., 1]], -1), atol=1e-5)
    assert torch.allclose(z, other_z, atol=1e-5)


def test_labels_of_the_reference(golden, parity):
    from safetensors.torch import load_file

    v = load_file(golden / "encoders" / "geometry.safetensors")
    mirrored = Camera.from_label(v["mirror/labels"]).mirrored.label
    parity.check("mirror/labels_mirrored", mirrored, v["mirror/labels_mirrored"], 1e-6, "geometry")
    # Angles of PanoHead's sampler, whose pitch grows downwards and is not an elevation.
    yaw, pitch = torch.deg2rad(v["pose/yaw_pitch_deg"].double() + 90).unbind(-1)
    for name, pivot in (("pivot000", (0, 0, 0)), ("pivot_z0.2", (0, 0, 0.2))):
        camera = Camera.from_panohead_angles(yaw, pitch, pivot)
        parity.check(f"pose/labels_{name}", camera.label, v[f"pose/labels_{name}"], 1e-5, "geometry")


def test_orbit():
    assert len(Camera.orbit(1)) == 1
    yaw = Camera.orbit(4).angles[0] % 360
    assert torch.allclose(yaw, torch.tensor([0.0, 90, 180, 270]), atol=1e-3)
    yaw = Camera.orbit(3, -40, 40, pitch=10).angles[0]
    assert torch.allclose(yaw, torch.tensor([-40.0, 0, 40]), atol=1e-3)


def test_batches(views):
    assert len(views[1]) == 1 and torch.equal(views[-1].label, views.label[4:])
    assert torch.equal(Camera.cat([views[:2], views[2:]]).label, views.label)
    assert len(views[0].expand(3)) == 3 and views.expand(5) is views
    with pytest.raises(DualEncError, match="camera batch is 5, expected 1 or 2"):
        views.expand(2)
    with pytest.raises(IndexError):
        views[5]


def test_load3d_camera():
    info = {"position": {"x": 10, "y": 0, "z": 0}, "target": {"x": 0, "y": 0, "z": 0}, "zoom": 1}
    camera = Camera.from_load3d(info)
    assert torch.allclose(camera.label, Camera.look_at(90).label, atol=1e-5)
    assert camera.position.norm() == pytest.approx(2.7)
    assert Camera.from_load3d(info, radius=None).position.norm() == pytest.approx(10)
    zoomed = Camera.from_load3d({**info, "zoom": 2.0})
    assert zoomed.intrinsics[0, 0, 0] == pytest.approx(2 * DEFAULT_FOCAL)
    # An unrotated viewer camera looks down its own -z: the front view.
    front = {**info, "position": {"x": 0, "y": 0, "z": 5}, "quaternion": {"x": 0, "y": 0, "z": 0, "w": 1}}
    assert torch.allclose(Camera.from_load3d(front).label, Camera.look_at().label, atol=1e-5)


def test_a_camera_goes_out_as_load3d_and_comes_back_as_it_was():
    """Also with roll, from the poles, beside the middle of the head, and at other distances and lenses."""
    cameras = Camera.cat(
        [
            Camera.look_at(
                yaw=[0, 37, 90, 180, -135, 12, 250, 3],
                pitch=[0, -20, 90, 15, -90, 60, 89.9, -3],
                roll=[0, 30, 0, -170, 45, 180, 90, 0.5],
                radius=[2.7, 2.7, 3.3, 1.0, 10, 2.2, 2.7, 2.7],
                fov=[13.374, 1, 90, 30, 13.374, 13, 50, 13.374],
            ),
            Camera.look_at(yaw=60, pitch=40, pivot=(0.05, -0.08, 0.02)),
            Camera.orbit(5, pitch=7),
        ]
    )
    infos = json.loads(json.dumps(cameras.to_load3d()))
    assert len(infos) == len(cameras)
    back = Camera.cat([Camera.from_load3d(info, radius=5.0, fov=40.0) for info in infos])
    assert torch.allclose(back.cam2world, cameras.cam2world, atol=5e-7)
    assert torch.allclose(back.intrinsics, cameras.intrinsics, rtol=1e-6, atol=1e-7)


def test_a_viewer_sees_with_a_load3d_camera_what_we_see():
    """Projected as three.js does it: a quaternion that turns -z, vertical field of view, lengths in metres."""
    camera = Camera.look_at(yaw=25, pitch=-10, roll=15, radius=2.4, fov=18)
    info = camera.to_load3d()[0]
    points = torch.rand(1, 9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.4 - 0.2
    x, y, z, w = (info["quaternion"][axis] for axis in "xyzw")
    axis = torch.tensor([x, y, z], dtype=torch.float64)
    local = points[0] * METRES_PER_UNIT - torch.tensor([info["position"][a] for a in "xyz"], dtype=torch.float64)
    # Turned back by the conjugate: v - 2w·(q × v) + 2·q × (q × v).
    once = torch.linalg.cross(axis.expand_as(local), local)
    local = local - 2 * w * once + 2 * torch.linalg.cross(axis.expand_as(local), once)
    half = -local[:, 2] * math.tan(math.radians(info["fov"]) / 2)
    seen = torch.stack([(local[:, 0] / half + 1) / 2, (1 - local[:, 1] / half) / 2], dim=-1)
    assert torch.allclose(seen.float(), camera.project(points.float())[0][0], atol=1e-5)


def test_a_roll_is_said_beside_the_quaternion():
    rolls = Camera.look_at(yaw=[0, 40, 40, 40, 0], pitch=[0, 20, 20, 20, 90], roll=[0, 0, 3, 180, 0]).to_load3d()
    assert [info["useCustomUp"] for info in rolls] == [False, False, True, True, False]


def test_a_lens_that_load3d_cannot_say_is_named():
    camera = Camera.look_at()
    shifted = camera.intrinsics.clone()
    shifted[:, 0, 2] = 0.4
    with pytest.raises(DualEncError, match="principal point"):
        Camera(camera.cam2world, shifted).to_load3d()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Camera.look_at([0, 1], [0, 1, 2]), "yaw has 2 values, expected 1 or 3"),
        (lambda: Camera.look_at(float("nan")), "yaw is .*expected finite"),
        (lambda: Camera.look_at(radius=0), "radius is 0"),
        (lambda: Camera.look_at(fov=180), "fov is"),
        (lambda: Camera.orbit(0), "frames is 0"),
        (lambda: Camera.from_label(torch.zeros(2, 16)), r"camera label has shape \(2, 16\)"),
        (lambda: Camera(torch.eye(4), torch.eye(3)), r"cam2world has shape \(4, 4\)"),
        (lambda: Camera(torch.eye(4)[None], torch.eye(3)[None].expand(2, 3, 3)), "intrinsics has shape"),
        (lambda: Camera.look_at().zoomed(0), "zoom is 0"),
        (lambda: Camera.from_load3d({}), "LOAD3D_CAMERA is"),
        (
            lambda: Camera.from_load3d({"position": dict.fromkeys("xyz", 1), "target": dict.fromkeys("xyz", 1)}),
            "same point",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(DualEncError, match=message):
        build()


def test_a_swing_goes_there_and_back_as_a_loop():
    yaw, pitch = Camera.swing(8, -30, 50, pitch=5).angles
    assert yaw[0] == pytest.approx(-30, abs=1e-3) and yaw[4] == pytest.approx(50, abs=1e-3)
    assert torch.allclose(yaw[1:4], yaw[5:].flip(0), atol=1e-3)
    assert torch.allclose(pitch, torch.full((8,), 5.0), atol=1e-3)
    with pytest.raises(DualEncError, match="frames is 0"):
        Camera.swing(0)
