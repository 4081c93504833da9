from __future__ import annotations

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.export import colour_cameras, colour_mesh, colour_views, extract_mesh
from dualenc_core.export.mesh_colour import blend_views, fill_unseen, views_of
from tests.benchmarks.meshes import FieldGenerator

from .conftest import ball, ellipsoid, ellipsoid_normals, waves

LEVEL = 1 / 255


def test_an_ellipsoid_takes_the_colours_of_its_field(egg, egg_mesh, egg_views) -> None:
    mesh = colour_mesh(*egg, egg_mesh, egg_views)
    truth = (waves(egg_mesh.vertices) + 1) / 2
    error = (mesh.colours - truth).abs()
    assert float(error.mean()) < 2 * LEVEL and float(error.max()) < 12 * LEVEL
    assert egg_mesh.colours is None, "the mesh that was given has changed"


def test_a_procedural_head_takes_the_colours_of_its_pictures(head, head_mesh, head_views) -> None:
    colours, found = blend_views(head_views, head_mesh.vertices, head_mesh.normals)
    colours = fill_unseen(head_mesh.vertices, colours, found)
    truth = procedural.colour(head, head_mesh.vertices[None])[0]
    error = (colours - truth).abs().mean(-1)
    assert float(found.float().mean()) > 0.97
    assert float(error.median()) < 0.5 * LEVEL and float(error.mean()) < 3 * LEVEL
    # A grey head would be far off.
    assert float((truth.mean(0) - truth).abs().mean()) > 30 * LEVEL


def test_views_are_rendered_when_none_are_given(egg, egg_mesh) -> None:
    """Super-resolved, with random weights here, so that only their shape and range are known."""
    steps = []
    mesh = colour_mesh(*egg, egg_mesh, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 16) for i in range(1, 17)]
    assert mesh.colours.shape == mesh.vertices.shape
    assert 0 <= float(mesh.colours.min()) < float(mesh.colours.max()) <= 1


def test_super_resolved_pictures_are_used_when_asked_for(real) -> None:
    camera = Camera.look_at(yaw=[0.0, 90.0])
    fine, raw = (colour_views(*real, camera, super_resolve=flag) for flag in (True, False))
    assert fine.image.shape[-1] == real[0].config.image_resolution and raw.image.shape[-1] == 8
    assert fine.visible.depth.shape == raw.visible.depth.shape == (2, 1, 8, 8)


def test_what_stands_behind_takes_no_colour_of_what_stands_before() -> None:
    """A red ball before a blue one, seen from the front only: behind the red one the blue one is not seen."""
    near, far = ball((0.0, 0.0, 0.2), 0.06), ball((0.0, 0.0, -0.1), 0.16)

    def colour(points):
        red = (near(points) < far(points))[..., None]
        return torch.where(red, torch.tensor([1.0, -1.0, -1.0]), torch.tensor([-1.0, -1.0, 1.0]))

    generator, triplane = FieldGenerator.build(lambda points: torch.minimum(near(points), far(points)), colour)
    mesh = extract_mesh(generator, triplane, 48, largest=False)
    views = colour_views(generator, triplane, Camera.look_at(), super_resolve=False)
    colours, found = blend_views(views, mesh.vertices, mesh.normals)
    blue = far(mesh.vertices) < near(mesh.vertices)
    assert bool(found[blue].any()) and bool(found[~blue].any())
    assert float(colours[blue & found, 0].max()) < 0.1
    shadow = blue & (mesh.vertices[:, :2].norm(dim=-1) < 0.04) & (mesh.vertices[:, 2] > 0)
    assert bool(shadow.any()) and not bool(found[shadow].any())
    behind = mesh.normals[:, 2] < -0.2
    assert not bool(found[behind].any())
    assert torch.equal(colours[~found], torch.zeros_like(colours[~found]))


def test_views_that_look_straight_on_count_most(egg_mesh, egg) -> None:
    """Two views 80 degrees apart that disagree: each rules where it faces the surface, and between them it is mixed."""
    camera = Camera.look_at(yaw=[-40.0, 40.0])
    rendering = egg[0].render(egg[1], camera, super_resolve=False, background="none")
    rendering.image[0], rendering.image[1] = -1.0, 1.0
    views = views_of(rendering, camera)
    points = egg_mesh.vertices[egg_mesh.vertices[:, 1].abs() < 0.1]
    colours, found = blend_views(views, points, ellipsoid_normals(points))
    yaw = torch.rad2deg(torch.atan2(*ellipsoid_normals(points)[:, [0, 2]].T))
    seen = found & (yaw.abs() < 60)
    order = yaw[seen].argsort()
    value = colours[seen, 0][order]
    assert float(value[:5].max()) < 0.05 and float(value[-5:].min()) > 0.95
    assert float((value.diff().clamp(max=0)).min()) > -0.15, "the transition goes one way"
    middle = seen & (yaw.abs() < 6)
    assert float(colours[middle, 0].mean()) == pytest.approx(0.5, abs=0.05)


def test_unseen_vertices_take_the_nearest_colour(egg, egg_mesh) -> None:
    views = colour_views(*egg, Camera.look_at(), super_resolve=False)
    colours, found = blend_views(views, egg_mesh.vertices, egg_mesh.normals)
    mesh = colour_mesh(*egg, egg_mesh, views)
    assert 0.2 < float(found.float().mean()) < 0.6
    assert torch.equal(mesh.colours[found], colours[found])
    hidden = int((~found).nonzero()[0])
    nearest = (egg_mesh.vertices[found] - egg_mesh.vertices[hidden]).norm(dim=-1).argmin()
    assert torch.equal(mesh.colours[hidden], colours[found][nearest])


def test_chunks_change_nothing(egg_mesh, egg_views) -> None:
    whole = blend_views(egg_views, egg_mesh.vertices, egg_mesh.normals)
    parts = blend_views(egg_views, egg_mesh.vertices, egg_mesh.normals, chunk=501)
    assert torch.allclose(whole[0], parts[0], atol=1e-6) and torch.equal(whole[1], parts[1])


def test_the_cameras_see_all_of_a_head_and_are_symmetric(head_mesh, head_views) -> None:
    camera = colour_cameras()
    assert len(camera) == 16
    places = {tuple(round(v, 3) + 0.0 for v in row) for row in camera.position.tolist()}
    assert {(-x + 0.0, y, z) for x, y, z in places} == places
    sides = torch.nn.functional.normalize(camera.position, dim=-1)
    for direction in torch.cat([torch.eye(3), -torch.eye(3)]):
        assert float((sides @ direction).max()) > 0.95


def test_wrong_input_is_refused(egg, egg_mesh) -> None:
    generator, triplane = egg
    rendering = generator.render(triplane, Camera.look_at(), 8, super_resolve=False)
    with pytest.raises(DualEncError, match="1 pictures and 2 cameras"):
        views_of(rendering, Camera.orbit(2))
    away = views_of(rendering, Camera.look_at())
    moved = egg_mesh.replace(vertices=egg_mesh.vertices + 5)
    with pytest.raises(DualEncError, match="no view shows the mesh"):
        colour_mesh(generator, triplane, moved, away)
    two = triplane.replace(planes=triplane.planes.repeat(2, 1, 1, 1, 1), ws=triplane.ws.repeat(2, 1, 1))
    with pytest.raises(DualEncError, match="2 heads"):
        colour_views(generator, two)


def test_the_ellipsoid_of_these_tests_is_one() -> None:
    points = torch.tensor([[0.16, 0.0, 0.0], [0.0, -0.22, 0.0], [0.0, 0.0, 0.19]])
    assert float(ellipsoid(points).abs().max()) < 1e-6
