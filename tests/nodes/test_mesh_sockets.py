"""MESH as ComfyUI's own nodes mean it: what DualEnc Mesh gives them, and what DualEnc Save Mesh takes back."""

from __future__ import annotations

import copy
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

trimesh = pytest.importorskip("trimesh")

SQUARE = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


class Core:
    """A MESH with the fields and defaults of ComfyUI 0.33."""

    def __init__(self, vertices, faces, uvs=None, vertex_colors=None, texture=None, metallic_roughness=None,
                 vertex_counts=None, face_counts=None, unlit=False, normals=None, tangents=None, normal_map=None,
                 occlusion_in_mr=False, material=None, emissive=None):  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})


@pytest.fixture
def runtime(pack, monkeypatch):
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    monkeypatch.setattr(runtime, "comfy", {"comfy_api.latest._util": SimpleNamespace(MESH=Core)}.get)
    return runtime


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ours(pack):
    """A mesh of ours of six vertices, with a texture of two colours."""
    dc = sys.modules[pack.__name__ + ".dualenc_core"]
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(3, 8, 8, generator=generator)
    return dc.export.Mesh(
        SQUARE / dc.export.METRES_PER_UNIT,
        FACES,
        torch.tensor([[0.0, 0, 1]]).expand(4, 3).contiguous(),
        torch.rand(4, 3, generator=generator),
        torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]]),
        texture,
        {"generator": "abc"},
    )


def saved(node, folder, mesh, format="glb"):
    """(tree of the GLB's JSON, what trimesh reads, the answer) of every file that Save Mesh writes."""
    answer = node.full("DualEncSaveMesh", mesh=mesh, filename_prefix="m", format=format)
    found = []
    for line in answer["ui"]["3d"]:
        path = folder / "output" / line["filename"]
        content = path.read_bytes()
        tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")]) if format == "glb" else None
        body = trimesh.load(path, process=False)
        found.append((tree, next(iter(body.geometry.values())) if format == "glb" else body))
    return found, answer


def linear_colours(path_tree, body):
    return np.asarray(body.visual.vertex_attributes["color"], float)[:, :3] / 65535


def test_core_gets_linear_colours_uvs_and_the_texture(runtime, ours):
    mesh = runtime.mesh(ours)
    expected = torch.where(ours.colours <= 0.04045, ours.colours / 12.92, ((ours.colours + 0.055) / 1.055) ** 2.4)
    assert torch.allclose(mesh.vertex_colors, expected[None], atol=1e-6)
    assert torch.equal(mesh.uvs[0], ours.uv)
    assert mesh.texture.shape == (1, 8, 8, 3) and torch.equal(mesh.texture[0, 2, 5], ours.texture[:, 2, 5])
    assert mesh.unlit is True and torch.equal(mesh.normals[0], ours.normals)


@pytest.mark.parametrize("copied", [lambda mesh: mesh, copy.copy, copy.deepcopy])
def test_a_mesh_that_nobody_changed_is_written_as_it_was_made(runtime, node, folder, ours, copied):
    (tree, body), = saved(node, folder, copied(runtime.mesh(ours)))[0]  # fmt: skip
    assert len(body.faces) == 2 and tree["asset"]["extras"]["generator"] == "abc"
    assert "changed" not in tree["asset"]["extras"] and "KHR_materials_unlit" in tree["extensionsUsed"]


def decimated(mesh):
    mesh.faces = mesh.faces[:, :1]


def moved_in_place(mesh):
    mesh.vertices += 1.0


def painted(mesh):
    mesh.vertex_colors = torch.full_like(mesh.vertex_colors, 0.5)
    mesh.texture = mesh.uvs = None


def textured(mesh):
    mesh.texture = torch.zeros(1, 16, 4, 3) + torch.tensor([1.0, 0, 0])


def unwrapped(mesh):
    mesh.texture = None
    mesh.uvs = mesh.uvs.flip(1)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("change", [decimated, moved_in_place, painted, textured, unwrapped])
def test_a_mesh_that_another_node_changed_is_written_as_it_is_now(runtime, node, folder, ours, change, copied):
    """Core nodes copy a MESH with all its attributes, ours among them, and change it also in place."""
    mesh = copied(runtime.mesh(ours))
    change(mesh)
    (tree, body), = saved(node, folder, mesh)[0]  # fmt: skip
    assert len(body.faces) == mesh.faces.shape[1]
    assert np.allclose(body.vertices, mesh.vertices[0], atol=1e-6)
    assert tree["asset"]["extras"] | {"generator": "abc", "changed": "by other nodes"} == tree["asset"]["extras"]
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    assert ("TEXCOORD_0" in attributes) == (mesh.uvs is not None)
    if mesh.texture is not None:
        picture = body.visual.material.baseColorTexture
        assert picture.size == (mesh.texture.shape[2], mesh.texture.shape[1])
        assert np.allclose(np.asarray(picture)[1, 2] / 255, mesh.texture[0, 1, 2], atol=1 / 500)
    else:
        assert "COLOR_0" in attributes


def test_colours_come_back_from_linear_light(runtime, node, folder, ours):
    mesh = Core(SQUARE[None], FACES[None], vertex_colors=torch.full((1, 4, 3), 0.25))
    (_, body), = saved(node, folder, mesh, "ply")[0]  # fmt: skip
    # 0.25 in linear light is 137 of 255 in sRGB.
    assert set(np.asarray(body.visual.vertex_colors)[:, :3].reshape(-1)) == {137}
    (_, body), = saved(node, folder, mesh)[0]  # fmt: skip
    assert np.allclose(linear_colours(None, body), 0.25, atol=2e-5)


def test_a_fresh_mesh_of_another_node_gets_normals_and_is_lit_unless_it_says_otherwise(runtime, node, folder):
    """As MergeMeshes makes it: vertices, faces and nothing that is ours."""
    mesh = Core(SQUARE[None], FACES[None])
    (tree, body), = saved(node, folder, mesh)[0]  # fmt: skip
    assert np.allclose(body.vertex_normals, [0, 0, 1], atol=1e-6) and "extensionsUsed" not in tree
    mesh = Core(SQUARE[None], FACES[None], vertex_colors=torch.ones(1, 4, 3), unlit=True)
    (tree, _), = saved(node, folder, mesh)[0]  # fmt: skip
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]


def test_the_oldest_mesh_has_vertices_and_faces_only(pack, node, folder, ours, monkeypatch):
    class Old:
        def __init__(self, vertices, faces):
            self.vertices, self.faces = vertices, faces

    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    monkeypatch.setattr(runtime, "comfy", {"comfy_extras.nodes_hunyuan3d": SimpleNamespace(MESH=Old)}.get)
    mesh = runtime.mesh(ours)
    (tree, body), = saved(node, folder, mesh)[0]  # fmt: skip
    assert body.visual.material.baseColorTexture.size == (8, 8), "ours still carries its texture along"
    mesh.vertices = mesh.vertices * 2
    (tree, body), = saved(node, folder, mesh)[0]  # fmt: skip
    assert np.allclose(body.vertices, SQUARE * 2) and "images" not in tree


def test_a_padded_batch_gives_a_file_for_each_mesh(runtime, node, folder):
    vertices, faces = torch.zeros(2, 6, 3), torch.zeros(2, 3, 3, dtype=torch.long)
    vertices[0, :4], faces[0, :2] = SQUARE, FACES
    vertices[1, :3], faces[1, :1] = SQUARE[:3] + 1, FACES[:1]
    mesh = Core(vertices, faces, vertex_counts=torch.tensor([4, 3]), face_counts=torch.tensor([2, 1]))
    found, answer = saved(node, folder, mesh)
    assert [(len(body.vertices), len(body.faces)) for _, body in found] == [(4, 2), (3, 1)]
    assert answer["result"][0] == answer["ui"]["3d"][0]["filename"]


def test_a_list_of_meshes_gives_a_file_for_each(runtime, node, folder):
    """As newer ComfyUI packs what differs in size."""
    mesh = Core([SQUARE, SQUARE[:3]], [FACES, FACES[:1]], vertex_colors=[torch.rand(4, 3), torch.rand(3, 3)])
    found, _ = saved(node, folder, mesh)
    assert [(len(body.vertices), len(body.faces)) for _, body in found] == [(4, 2), (3, 1)]


def test_what_a_file_of_ours_cannot_hold_is_said(runtime, node, folder, ours):
    mesh = runtime.mesh(ours)
    mesh.normal_map, mesh.material = torch.zeros(1, 4, 4, 3), {"metallic_factor": 1.0}
    warnings = saved(node, folder, mesh)[1]["ui"]["dualenc_warnings"]
    assert len(warnings) == 1 and "normal_map, material" in warnings[0] and "Save 3D Model" in warnings[0]
    assert saved(node, folder, runtime.mesh(ours))[1]["ui"]["dualenc_warnings"] == []
    clear = Core(SQUARE[None], FACES[None], vertex_colors=torch.full((1, 4, 4), 0.5))
    assert "transparency" in saved(node, folder, clear)[1]["ui"]["dualenc_warnings"][0]


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (Core(torch.zeros(1, 0, 3), torch.zeros(1, 0, 3, dtype=torch.long)), "mesh 1 of 1 has 0 vertices"),
        (Core(SQUARE[None], FACES[None] + 2), "outside 0..3"),
        (Core(SQUARE[None], FACES[None], vertex_colors=torch.ones(1, 2, 3)), "colours have shape"),
        (Core(SQUARE[None] + float("nan"), FACES[None]), "NaN or infinite"),
        ("a path", "str without vertices and faces"),
    ],
)
def test_a_mesh_that_is_none_is_refused_and_nothing_is_written(runtime, node, folder, mesh, message):
    with pytest.raises(ValueError, match=message):
        node("DualEncSaveMesh", mesh=mesh)
    assert not list((folder / "output").rglob("*.glb")) if (folder / "output").exists() else True


def test_the_file_is_handed_on_where_comfyui_has_3d_files(pack, node, folder, ours, monkeypatch):
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    assert node("DualEncSaveMesh", mesh=runtime.mesh(ours))[1] is None
    util = SimpleNamespace(MESH=Core, File3D=lambda source: ("3d file", source))
    monkeypatch.setattr(runtime, "comfy", {"comfy_api.latest._util": util}.get)
    kind, source = node("DualEncSaveMesh", mesh=runtime.mesh(ours))[1]
    assert kind == "3d file" and (folder / source).stat().st_size > 500
