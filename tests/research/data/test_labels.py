from __future__ import annotations

import json

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.research.data import camera_density, copies_by_density, pose_angles, read_labels, write_labels


def write(folder, content) -> None:
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_floats_and_strings_are_the_same_labels(tmp_path):
    label = Camera.look_at(20, 5).label[0]
    write(
        tmp_path,
        {"labels": [["a.png", label.tolist()], ["sub\\b.png", [f"{n:.6f}" for n in label.tolist()]], ["c.png", None]]},
    )
    labels, problems = read_labels(tmp_path)
    assert set(labels) == {"a.png", "sub/b.png"} and labels["a.png"].dtype == torch.float32
    assert torch.allclose(labels["a.png"], label) and torch.allclose(labels["sub/b.png"], label, atol=1e-6)
    assert problems == {"c.png": "has no label"}


def test_written_labels_are_panoheads_strings_and_come_back(tmp_path):
    cameras = {name: Camera.look_at(yaw, 3) for name, yaw in (("b.png", 30), ("ä/a.png", -60))}
    path = write_labels(tmp_path / "dataset.json", cameras)
    rows = json.loads(path.read_text(encoding="utf-8"))["labels"]
    assert [row[0] for row in rows] == ["b.png", "ä/a.png"]
    assert rows[0][1][12:17] == ["0.000000", "0.000000", "0.000000", "1.000000", "4.264700"]
    labels, problems = read_labels(path)
    assert not problems
    assert all(torch.allclose(labels[name], camera.label[0], atol=1e-6) for name, camera in cameras.items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n: n[:24], "24 numbers, expected 25"),
        (lambda n: [*n[:3], "x", *n[4:]], "not a list of numbers"),
        (lambda n: [*n[:3], "nan", *n[4:]], "NaN"),
        (lambda n: [2 * n[0], *n[1:]], "not a rotation"),
        (lambda n: [*n[:16], -1.0, *n[17:]], "focal length"),
        (lambda n: 7, "not a list of numbers"),
    ],
)
def test_a_wrong_label_is_listed_and_left_out(tmp_path, change, reason):
    good = Camera.look_at(10).label[0].tolist()
    write(tmp_path, {"labels": [["bad.png", change(good)], ["good.png", good], ["good.png", good], 5]})
    labels, problems = read_labels(tmp_path)
    assert set(labels) == {"good.png"}
    assert reason in problems["bad.png"] and "twice" in problems["good.png"] and len(problems) == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": null}', '{"other": []}'])
def test_files_that_are_no_labels(tmp_path, content):
    with pytest.raises(DualEncError, match="dataset.json"):
        read_labels(tmp_path)
    write(tmp_path, content)
    with pytest.raises(DualEncError, match="dataset.json"):
        read_labels(tmp_path)


def test_a_wrong_camera_is_never_written(tmp_path):
    label = Camera.look_at(0).label[0].clone()
    label[3] = float("nan")
    with pytest.raises(DualEncError, match=r"a\.png.*NaN"):
        write_labels(tmp_path / "dataset.json", {"a.png": label})
    assert not (tmp_path / "dataset.json").exists()


# ------------------------------------------------------------------------------------------------------------ rebalance


def test_angles_are_those_of_the_definition():
    front = pose_angles(Camera.look_at(0).label)
    assert torch.allclose(front, torch.full_like(front, torch.pi / 2), atol=1e-6)
    labels = Camera.look_at([-100, -40, 10, 75], [-20, 5, 30, 0]).label
    theta, phi = pose_angles(labels).unbind(-1)
    rebuilt = 2.7 * torch.stack([theta.cos(), theta.sin() * phi.cos(), theta.sin() * phi.sin()], -1)
    assert torch.allclose(rebuilt.float(), labels[:, [3, 7, 11]], atol=1e-5)


def test_the_density_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = torch.Generator().manual_seed(0)
    yaw = 25 * torch.randn(700, generator=rng)
    labels = Camera.look_at(yaw, 8 * torch.randn(700, generator=rng) + 0.2 * yaw).label
    angles = pose_angles(labels).T.numpy()
    expected = torch.from_numpy(stats.gaussian_kde(angles)(angles))
    assert torch.allclose(camera_density(labels), expected, rtol=1e-5)


def test_rare_poses_are_repeated_by_the_published_table():
    density = torch.tensor([0.5, 0.1, 0.09, 0.06, 0.05, 0.04, 0.03, 0.02, 0.015, 0.01, 0.001, 0.0])
    assert copies_by_density(density).tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]
    rng = torch.Generator().manual_seed(1)
    yaw, pitch = 25 * torch.randn(1500, generator=rng), 12 * torch.randn(1500, generator=rng)
    copies = copies_by_density(camera_density(Camera.look_at(yaw, pitch).label)).float()
    assert copies[yaw.abs() < 10].mean() < 1.5 < 3 < copies[yaw.abs() > 60].mean()


def test_no_density_without_spread():
    with pytest.raises(DualEncError, match="at least 3"):
        camera_density(Camera.look_at([0, 1]).label)
    with pytest.raises(DualEncError, match="one line"):
        camera_density(Camera.look_at([5.0] * 4).label)
