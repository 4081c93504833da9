"""Tracing: exact distances, layers of cards, labels, light, and pictures like those of procedural heads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dualenc_core import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.people import People, Scene, sample_people
from dualenc_core.people import people as people_module
from dualenc_core.people.light import make_light
from dualenc_core.people.part import GLASSES, HAIR, SKIN
from dualenc_core.people.renderer import labels, normals, render, trace
from dualenc_core.people.vectors import harmonics, sphere
from dualenc_core.rendering.rays import camera_rays

from .toy import box, light, parts

pytest.importorskip("embreex", reason="embreex is not installed (dualenc[people])")


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(people_module, "parts_of", lambda pack, person, held_out=False: parts())
    monkeypatch.setattr(people_module, "light_of", lambda pack, person: light())
    return People(None, tuple(sample_people(2, 0)))


def ray(x, y):
    return np.array([[x, y, 2.7]], np.float32), np.array([[0, 0, -1]], np.float32)


def test_distance_normal_and_label_of_a_box():
    scene = Scene(parts(), light())
    hit = scene.trace(*ray(0.05, 0.0))
    assert hit.depth[0] == pytest.approx(2.55, abs=1e-4) and hit.alpha[0] == 1
    assert hit.label[0] == SKIN
    assert np.allclose(hit.normal[0] @ [0, 0, 1], 1, atol=0.6)
    miss = scene.trace(*ray(0.5, 0.0))
    assert miss.alpha[0] == 0 and miss.depth[0] == pytest.approx(3.3) and miss.label[0] == 0
    assert (miss.colour == 0).all()
    behind = scene.trace(np.array([[0, 0, -2.7]], np.float32), np.array([[0, 0, 1]], np.float32))
    assert behind.label[0] == HAIR and behind.depth[0] == pytest.approx(2.5, abs=1e-4)


def test_cards_let_through_what_they_do_not_cover():
    half = box((-0.2, -0.2, 0.3), (0.2, 0.2, 0.3001), (255, 0, 0, 64), kind="card", label=GLASSES, gloss=0.0)
    solid = Scene(parts(), light()).trace(*ray(0.0, 0.0))
    both = Scene([*parts(), half], light()).trace(*ray(0.0, 0.0))
    # Two sheets of a quarter each leave the head its place in depth, and most of its colour.
    assert both.depth[0] == pytest.approx(solid.depth[0], abs=1e-3) and both.label[0] == SKIN
    assert both.alpha[0] == pytest.approx(1, abs=0.02)
    assert both.colour[0, 0] > solid.colour[0, 0] and both.colour[0, 2] < solid.colour[0, 2]


def test_brighter_light_makes_brighter_pictures():
    dim, bright = (Scene(parts(), light(level)).trace(*ray(0.0, 0.0)).colour[0] for level in (0.4, 0.9))
    assert (bright > dim).all()


def test_light_is_balanced_exposed_and_turns():
    directions = sphere(2048)
    sun = np.exp(8 * (directions @ [0.6, 0.5, 0.62] - 1))[:, None] * [6, 5, 2] + [0.2, 0.3, 0.6]
    radiance = 4 * np.pi / len(directions) * harmonics(directions).T @ sun
    environment = np.ones((32, 64, 3), np.float32)
    front = make_light(radiance.astype(np.float32), environment, 0.0, 1.0, 0.5)
    assert front.direction[0] > 0.3 and np.linalg.norm(front.direction) == pytest.approx(1, abs=1e-5)
    turned = make_light(radiance.astype(np.float32), environment, np.pi, 1.0, 0.5)
    assert turned.direction[0] < -0.3
    warm = make_light(radiance.astype(np.float32), environment, 0.0, 1.0, 0.5, warmth=1.0)
    assert warm.harmonics[0, 0] / warm.harmonics[0, 2] > 1.5 * front.harmonics[0, 0] / front.harmonics[0, 2]
    assert front.numbers.shape == (30,)


def test_pictures_have_the_interface_of_procedural_heads(toys):
    camera = Camera.look_at([0.0, 180.0])
    out = render(toys, camera, 32, antialias=2, background=(1.0, 0.0, 0.0))
    assert out.image.shape == (2, 3, 32, 32) and out.depth.shape == out.alpha.shape == (2, 1, 32, 32)
    assert torch.equal(out.image, out.raw) and out.image.abs().max() <= 1
    assert torch.allclose(out.image[0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    assert out.depth[0, 0, 16, 16] == pytest.approx(2.55, abs=0.01)
    assert out.depth[1, 0, 16, 16] == pytest.approx(2.5, abs=0.01)
    assert torch.equal(render(toys, camera, 32).image, render(toys, camera, 32).image)
    assert int(labels(toys.scene(0), camera[[1]], 32)[16, 16]) == HAIR
    assert normals(toys.scene(0), camera[[0]], 16).shape == (3, 16, 16)


def test_rays_of_several_people(toys):
    origins, directions = camera_rays(Camera.look_at([0.0, 0.0]), 8)
    hits = trace(toys, origins, directions)
    assert len(hits) == 2 and hits[0].alpha.shape == (64,)
    with pytest.raises(DualEncError, match=r"must both be \[2,R,3\]"):
        trace(toys, origins[:1], directions[:1])
    with pytest.raises(DualEncError, match="equal numbers"):
        render(toys, Camera.look_at([0.0, 1.0, 2.0]), 8)
    with pytest.raises(DualEncError, match="at least 1"):
        render(toys, Camera.look_at(0.0), 0)


def test_seams_of_a_group_are_one_surface():
    left = box((-0.1, -0.1, 0.0), (0.0, 0.1, 0.1), (128, 128, 128), group=0)
    right = box((0.0, -0.1, 0.0), (0.1, 0.1, 0.1), (128, 128, 128), group=0)
    apart = [dataclasses.replace(p, group=None) for p in (left, right)]
    assert len(Scene([left, right], light())._points) < len(Scene(apart, light())._points)
