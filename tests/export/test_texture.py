from __future__ import annotations

import numpy as np
import pytest
import torch

from dualenc_core import procedural
from dualenc_core.errors import DualEncError
from dualenc_core.export import Mesh, bake_texture
from dualenc_core.export.mesh_geometry import face_normals
from dualenc_core.export.unwrap import unwrap

from .conftest import waves

SIZE = 256
LEVEL = 1 / 255


@pytest.fixture(scope="module")
def textured(egg_mesh, egg_views) -> Mesh:
    return bake_texture(egg_mesh, egg_views, SIZE)


@pytest.fixture(scope="module")
def textured_head(head_mesh, head_views) -> Mesh:
    return bake_texture(head_mesh, head_views, 512)


def sampled(mesh: Mesh, uv: torch.Tensor) -> torch.Tensor:
    """What a viewer shows at uv [M,2]: the texture, filtered between texels."""
    grid = (uv * 2 - 1)[None, None]
    return torch.nn.functional.grid_sample(mesh.texture[None], grid, align_corners=False, padding_mode="border")[
        0, :, 0
    ].T


def scattered(mesh: Mesh, count: int = 20000) -> dict[str, torch.Tensor]:
    """Random points on the surface: what the mesh's vertices say there."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    face = torch.multinomial(torch.linalg.cross(b - a, c - a).norm(dim=-1), count, True, generator=generator)
    weight = torch.rand(count, 3, generator=generator).log()
    weight = (weight / weight.sum(1, keepdim=True))[..., None]
    return {n: (getattr(mesh, n)[mesh.faces[face]] * weight).sum(1) for n in ("vertices", "uv", "colours")}


def test_the_surface_is_the_same(egg_mesh, textured) -> None:
    assert torch.equal(textured.vertices[textured.faces], egg_mesh.vertices[egg_mesh.faces])
    assert torch.equal(textured.normals[textured.faces], egg_mesh.normals[egg_mesh.faces])
    assert len(textured.vertices) < 1.3 * len(egg_mesh.vertices)
    assert textured.texture.shape == (3, SIZE, SIZE) and textured.colours.shape == textured.vertices.shape


def test_every_place_shows_its_colour(textured) -> None:
    at = scattered(textured)
    error = (sampled(textured, at["uv"]) - (waves(at["vertices"]) + 1) / 2).abs()
    assert float(error.mean()) < 2 * LEVEL and float(error.max()) < 16 * LEVEL


def test_a_texture_is_finer_than_vertex_colours(head, textured_head) -> None:
    at = scattered(textured_head)
    truth = procedural.colour(head, at["vertices"][None])[0]
    by_texture = (sampled(textured_head, at["uv"]) - truth).abs().mean()
    by_vertices = (at["colours"] - truth).abs().mean()
    assert float(by_texture) < 3 * LEVEL and float(by_texture) < 0.8 * float(by_vertices)


def test_no_seam_shows(textured, textured_head) -> None:
    """Vertices on cuts have copies in several charts; all show the same colour."""
    for mesh, mean_level, high_level in ((textured, 1.5, 3), (textured_head, 5, 20)):
        _, group = torch.unique(mesh.vertices, dim=0, return_inverse=True)
        count = torch.bincount(group)
        shown = sampled(mesh, mesh.uv)
        mean = torch.zeros(len(count), 3).index_add_(0, group, shown) / count[:, None]
        difference = (shown - mean[group]).abs().amax(-1)[count[group] > 1]
        assert len(difference) > 50
        assert float(difference.mean()) < mean_level * LEVEL
        assert float(difference.quantile(0.95)) < high_level * LEVEL


@pytest.mark.parametrize("which", ["egg_mesh", "head_mesh"])
def test_charts_do_not_overlap_nor_mirror_and_have_one_scale(which, request) -> None:
    mesh = request.getfixturevalue(which)
    vertices, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
    flat = unwrap(vertices, faces, 512)
    assert np.array_equal(flat.index[flat.faces], faces)
    assert flat.uv.min() >= 0 and flat.uv.max() <= 512
    a, b, c = (flat.uv[flat.faces[:, i]] for i in range(3))
    # v counts downwards, so faces that are counter-clockwise from outside run clockwise here.
    signed = -np.cross(b - a, c - a) / 2
    assert (signed >= -1e-9).all()
    area = np.linalg.norm(face_normals(vertices, faces), axis=1) / 2
    big = area > np.median(area) / 4
    scale = signed[big] / area[big]
    assert np.quantile(scale, 0.01) > 0.2 * scale.max(), "no face is squeezed to less than a fifth"
    # Area that is covered twice would be missing from the texels.
    assert len(np.unique(flat.texel)) == len(flat.texel)
    assert len(flat.texel) == pytest.approx(signed.sum(), rel=0.02)
    assert len(flat.texel) > 0.35 * 512 * 512, "the square is well used"


def test_a_surface_that_lies_over_itself_is_cut() -> None:
    """Two turns of a ramp are one connected chart from above, and cover each other."""
    turn = np.linspace(0, 4 * np.pi, 81)
    rim = np.stack([np.cos(turn), turn / 20, np.sin(turn)], 1)
    vertices = np.concatenate([0.2 * rim * [1, 5, 1], 0.1 * rim * [1, 10, 1]])
    low = np.arange(80)
    faces = np.concatenate([np.stack([low, low + 81, low + 1], 1), np.stack([low + 1, low + 81, low + 82], 1)])
    flat = unwrap(vertices, faces, 128)
    a, b, c = (flat.uv[flat.faces[:, i]] for i in range(3))
    assert len(flat.texel) == pytest.approx(np.abs(np.cross(b - a, c - a)).sum() / 2, rel=0.03)


def test_the_texels_between_charts_are_filled(textured) -> None:
    flat = textured.texture.reshape(3, -1)
    assert not bool((flat == 0).all(0).any())


def test_wrong_sizes_are_refused(head_mesh, egg_mesh, egg_views) -> None:
    with pytest.raises(DualEncError, match="size is 32"):
        bake_texture(egg_mesh, egg_views, 32)
    with pytest.raises(DualEncError, match="too small for .* charts"):
        unwrap(head_mesh.vertices.double().numpy(), head_mesh.faces.numpy(), 20)


def test_equal_input_gives_equal_textures(egg_mesh, egg_views, textured) -> None:
    again = bake_texture(egg_mesh, egg_views, SIZE)
    assert torch.equal(again.texture, textured.texture) and torch.equal(again.uv, textured.uv)
