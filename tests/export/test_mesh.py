from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dualenc_core import procedural
from dualenc_core.errors import DualEncError, MissingDependencyError
from dualenc_core.export import Mesh, extract_mesh, surface_density
from dualenc_core.export.mesh_geometry import signed_volumes, smoothed, vertex_normals
from tests.benchmarks.meshes import FieldGenerator, depth_offset

from .conftest import RADII, ball, ellipsoid, ellipsoid_normals


def degrees(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1)))


def arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices.double().numpy(), mesh.faces.numpy()


def assert_closed_and_outward(mesh: Mesh) -> None:
    """Every directed edge once and its reverse once: closed, of consistent winding; volume and normals say outward."""
    vertices, faces = arrays(mesh)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert all((b, a) in directed for a, b in directed)
    assert signed_volumes(vertices, faces).sum() > 0
    assert ((vertex_normals(vertices, faces) * mesh.normals.numpy()).sum(1) > 0).all()


def test_an_ellipsoid_comes_back_where_it_is(egg_mesh) -> None:
    spacing = 0.8 / 48
    assert_closed_and_outward(egg_mesh)
    assert float(ellipsoid(egg_mesh.vertices).abs().mean()) < 0.005 * spacing
    assert float(ellipsoid(egg_mesh.vertices).abs().max()) < 0.03 * spacing
    angle = degrees(egg_mesh.normals, ellipsoid_normals(egg_mesh.vertices))
    assert float(angle.mean()) < 0.1 and float(angle.max()) < 0.5
    low, high = egg_mesh.vertices.aminmax(dim=0)
    assert torch.allclose(high, RADII, atol=0.1 * spacing) and torch.allclose(low, -RADII, atol=0.1 * spacing)
    volume = signed_volumes(*arrays(egg_mesh)).sum()
    assert volume == pytest.approx(4 / 3 * np.pi * float(RADII.prod()), rel=0.01)


def test_a_procedural_head_comes_back_where_it_is(head, head_mesh) -> None:
    spacing = 0.8 / 72
    assert_closed_and_outward(head_mesh)
    above = head_mesh.vertices[:, 1] > -0.38
    points = head_mesh.vertices[above]
    assert float(procedural.signed_distance(head, points[None]).abs().mean()) < 0.02 * spacing
    angle = degrees(head_mesh.normals[above], procedural.surface_normal(head, points[None])[0])
    assert float(angle.median()) < 1 and float(angle.mean()) < 4
    # The bust is cut between the last cell and the end of the box.
    assert -0.4 - 1e-6 < float(head_mesh.vertices[:, 1].min()) < -0.4 + spacing / 2


def test_finer_grids_come_closer(egg) -> None:
    errors = [float(ellipsoid(extract_mesh(*egg, resolution=r).vertices).abs().mean()) for r in (16, 32)]
    assert errors[1] < errors[0] / 3


def test_the_surface_lies_where_the_renderer_shows_it(egg, egg_mesh) -> None:
    """Rendered depth is where a ray loses its light, so it lies behind the surface, by less than a ray step."""
    options = egg[0].config.render
    step = (options.far - options.near) / (options.samples - 1)
    assert -step < depth_offset(*egg, egg_mesh) < 0


def test_a_mirrored_head_has_a_mirrored_mesh() -> None:
    def blob(points):
        return torch.minimum(ellipsoid(points), ball((0.12, 0.1, 0.1), 0.08)(points))

    mirror = torch.tensor([-1.0, 1.0, 1.0])
    meshes = [
        extract_mesh(*FieldGenerator.build(f), resolution=32) for f in (blob, lambda points: blob(points * mirror))
    ]
    one, other = (
        sorted(map(tuple, (m.vertices * s).mul(1e4).round().tolist())) for m, s in zip(meshes, (1, mirror), strict=True)
    )
    assert len(one) == len(other)
    assert np.abs(np.array(one) - np.array(other)).max() <= 1


def test_floaters_and_hollows_go_unless_they_are_asked_for() -> None:
    def distance(points):
        shell = torch.maximum(ellipsoid(points), -ball((0, 0, 0), 0.1)(points))
        return torch.minimum(shell, ball((0.22, 0.25, 0), 0.05)(points))

    generator, triplane = FieldGenerator.build(distance)
    largest = extract_mesh(generator, triplane, 40)
    every = extract_mesh(generator, triplane, 40, largest=False)
    assert len(largest.faces) < len(every.faces)
    assert float(ellipsoid(largest.vertices).abs().max()) < 0.005
    volume = 4 / 3 * np.pi * float(RADII.prod())
    assert signed_volumes(*arrays(largest)).sum() == pytest.approx(volume, rel=0.02)
    assert_closed_and_outward(every)


def test_what_reaches_the_sides_is_closed_there() -> None:
    everywhere = extract_mesh(*FieldGenerator.build(lambda points: points[..., 0] * 0 - 0.01), resolution=16)
    assert_closed_and_outward(everywhere)
    assert torch.allclose(everywhere.vertices.abs().amax(0), torch.tensor([0.3, 0.4, 0.3]), atol=1e-6)


def test_the_threshold_moves_the_surface(egg) -> None:
    level = surface_density(egg[0].config.render)
    inside = extract_mesh(*egg, resolution=32, threshold=level + 50)
    assert float(ellipsoid(inside.vertices).mean()) == pytest.approx(-50 / 5000, rel=0.05)
    assert inside.meta["mesh"]["threshold"] == level + 50


def test_smoothing_takes_noise_away_and_keeps_the_volume(egg_mesh) -> None:
    vertices, faces = arrays(egg_mesh)
    noise = torch.randn(len(vertices), 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    rough = vertices + 0.003 * noise * egg_mesh.normals.double().numpy()
    smooth = smoothed(rough, faces, 5)
    true = ellipsoid_normals(egg_mesh.vertices)

    def roughness(v):
        return float(degrees(torch.from_numpy(vertex_normals(v, faces)).float(), true).mean())

    assert roughness(rough) > 4 * roughness(vertices)
    assert roughness(smooth) < roughness(rough) / 2
    assert roughness(smoothed(rough, faces, 20)) < roughness(rough) / 4
    assert signed_volumes(smooth, faces).sum() == pytest.approx(signed_volumes(vertices, faces).sum(), rel=0.01)
    assert np.array_equal(smoothed(vertices, faces, 0), vertices)


def test_smooth_is_applied(egg, egg_mesh) -> None:
    smooth = extract_mesh(*egg, resolution=48, smooth=3)
    assert torch.equal(smooth.faces, egg_mesh.faces) and not torch.equal(smooth.vertices, egg_mesh.vertices)
    assert float(ellipsoid(smooth.vertices).abs().mean()) < 0.02 * 0.8 / 48


def test_decimation_keeps_the_shape(egg, egg_mesh) -> None:
    pytest.importorskip("fast_simplification")
    light = extract_mesh(*egg, resolution=48, decimate=1000)
    assert 900 <= len(light.faces) <= 1000 < len(egg_mesh.faces)
    assert_closed_and_outward(light)
    assert float(ellipsoid(light.vertices).abs().mean()) < 0.1 * 0.8 / 48
    assert torch.equal(light.vertices, extract_mesh(*egg, resolution=48, decimate=1000).vertices)


def test_decimating_to_more_faces_than_there_are_changes_nothing(egg, egg_mesh) -> None:
    assert torch.equal(extract_mesh(*egg, resolution=48, decimate=10**6).vertices, egg_mesh.vertices)


def test_equal_heads_give_equal_meshes(egg, egg_mesh) -> None:
    again = extract_mesh(*egg, resolution=48, chunk=5000)
    for name in ("vertices", "faces", "normals"):
        assert torch.equal(getattr(again, name), getattr(egg_mesh, name)), name


def test_a_random_generator_works_too(real) -> None:
    generator, triplane = real
    sigma, _ = generator.query(triplane, torch.rand(1, 4096, 3, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3)
    mesh = extract_mesh(generator, triplane, 24, threshold=float(sigma.median()))
    assert_closed_and_outward(mesh)
    at_surface, _ = generator.query(triplane, mesh.vertices[None])
    inner = (mesh.vertices.abs() < 0.37).all(-1)
    assert bool(inner.any())
    error = (at_surface[0, inner, 0] - sigma.median()).abs().mean()
    assert float(error) < 0.1 * float(sigma.std())


def test_a_head_without_a_surface_is_said() -> None:
    generator, triplane = FieldGenerator.build(lambda points: points[..., 0] * 0 + 1)
    with pytest.raises(DualEncError, match="no surface.*lower the threshold"):
        extract_mesh(generator, triplane, 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smooth": -1}, "smooth is -1"),
        ({"decimate": 3}, "decimate 3"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": 1e9}, "no surface"),
    ],
)
def test_wrong_arguments_are_refused(egg, options, words) -> None:
    with pytest.raises(DualEncError, match=words):
        extract_mesh(*egg, resolution=16, **options)


def test_a_missing_package_is_named_before_the_work_begins(egg, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    started = []
    with pytest.raises(MissingDependencyError, match="scikit-image"):
        extract_mesh(*egg, resolution=16, progress=lambda *step: started.append(step))
    assert started == []


def test_a_mesh_that_contradicts_itself_is_refused(egg_mesh) -> None:
    for changes, words in (
        ({"normals": egg_mesh.normals[1:]}, "normals"),
        ({"faces": egg_mesh.faces + 1}, "faces"),
        ({"faces": egg_mesh.faces[:, :2]}, "faces"),
        ({"colours": egg_mesh.vertices[:, :2]}, "colours"),
        ({"texture": torch.zeros(3, 8, 8)}, "both"),
    ):
        with pytest.raises(DualEncError, match=words):
            egg_mesh.replace(**changes)
