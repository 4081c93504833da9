from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dualenc_core.errors import DualEncError, MissingDependencyError
from dualenc_core.export import METRES_PER_UNIT, Mesh, bake_texture, colour_mesh, companions, extract_mesh, save_mesh
from tests.benchmarks.meshes import FieldGenerator

from .conftest import ball, ellipsoid

trimesh = pytest.importorskip("trimesh")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def coloured(egg, egg_mesh, egg_views) -> Mesh:
    return colour_mesh(*egg, egg_mesh, egg_views).replace(meta={"photo": "Zoë.png", "mesh": {"resolution": 48}})


@pytest.fixture(scope="module")
def textured(coloured, egg_views) -> Mesh:
    return bake_texture(coloured, egg_views, 128)


def glb_tree(path: Path) -> tuple[dict, bytes]:
    """The JSON and the binary chunk of a GLB, read by the letter of the format."""
    content = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack("<4sIII4s", content[:20])
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(content), b"JSON")
    assert json_length % 4 == 0
    binary_length, binary_kind = struct.unpack("<I4s", content[20 + json_length : 28 + json_length])
    assert binary_kind == b"BIN\0" and binary_length % 4 == 0 and 28 + json_length + binary_length == length
    return json.loads(content[20 : 20 + json_length]), content[28 + json_length :]


def accessor(tree: dict, binary: bytes, index: int) -> np.ndarray:
    entry = tree["accessors"][index]
    view = tree["bufferViews"][entry["bufferView"]]
    kind = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    assert start % np.dtype(kind).itemsize == 0
    values = np.frombuffer(binary, kind, entry["count"] * width, start).reshape(-1, width)
    assert start + values.nbytes <= view.get("byteOffset", 0) + view["byteLength"]
    return values


def srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def only_mesh(path: Path):
    (mesh,) = trimesh.load(path, process=False).geometry.values()
    return mesh


def test_glb_comes_back_through_trimesh(coloured, tmp_path) -> None:
    mesh = only_mesh(save_mesh(coloured, tmp_path / "head.glb"))
    assert np.array_equal(mesh.faces, coloured.faces.numpy())
    assert np.abs(mesh.vertices - coloured.vertices.numpy() * METRES_PER_UNIT).max() < 1e-7
    assert np.abs(mesh.vertex_normals - coloured.normals.numpy()).max() < 1e-6
    assert mesh.is_watertight and mesh.volume > 0
    colours = mesh.visual.vertex_attributes["color"].astype(float) / 65535
    assert np.abs(srgb(colours[:, :3]) - coloured.colours.numpy()).max() < 0.5 / 255 and (colours[:, 3] == 1).all()
    assert trimesh.load(tmp_path / "head.glb").metadata["photo"] == "Zoë.png"


def test_glb_is_valid_by_the_letter(coloured, tmp_path) -> None:
    tree, binary = glb_tree(save_mesh(coloured, tmp_path / "head.glb"))
    (primitive,) = tree["meshes"][0]["primitives"]
    attributes = primitive["attributes"]
    assert attributes.keys() == {"POSITION", "NORMAL", "COLOR_0"}
    position = accessor(tree, binary, attributes["POSITION"])
    entry = tree["accessors"][attributes["POSITION"]]
    assert np.allclose(entry["min"], position.min(0)) and np.allclose(entry["max"], position.max(0))
    assert np.allclose(np.linalg.norm(accessor(tree, binary, attributes["NORMAL"]), axis=1), 1, atol=1e-5)
    colour = tree["accessors"][attributes["COLOR_0"]]
    assert (colour["componentType"], colour["type"], colour["normalized"]) == (5123, "VEC4", True)
    assert accessor(tree, binary, primitive["indices"]).max() == len(position) - 1
    # glTF's colours are linear: middle grey is far below a half.
    grey = coloured.replace(colours=torch.full_like(coloured.colours, 0.5))
    tree, binary = glb_tree(save_mesh(grey, tmp_path / "grey.glb"))
    index = tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
    assert accessor(tree, binary, index)[0, 0] / 65535 == pytest.approx(0.2140, abs=1e-4)


def test_glb_says_where_it_comes_from_and_how_to_show_it(coloured, tmp_path) -> None:
    tree, _ = glb_tree(save_mesh(coloured, tmp_path / "a.glb"))
    for extras in (tree["asset"]["extras"], tree["scenes"][0]["extras"]):
        assert extras["photo"] == "Zoë.png" and extras["mesh"] == {"resolution": 48}
        assert extras["metres_per_unit"] == METRES_PER_UNIT and extras["program"].startswith("dualenc ")
    assert tree["asset"]["version"] == "2.0"
    (material,) = tree["materials"]
    assert material["extensions"] == {"KHR_materials_unlit": {}} and tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    lit, _ = glb_tree(save_mesh(coloured, tmp_path / "b.glb", unlit=False))
    assert "extensionsUsed" not in lit and "extensions" not in lit["materials"][0]


def test_glb_carries_the_texture(textured, tmp_path) -> None:
    path = save_mesh(textured, tmp_path / "head.glb")
    tree, binary = glb_tree(path)
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    # A viewer multiplies the texture by vertex colours.
    assert attributes.keys() == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert np.abs(accessor(tree, binary, attributes["TEXCOORD_0"]) - textured.uv.numpy()).max() < 1e-6
    material = only_mesh(path).visual.material
    expected = (textured.texture.permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(np.asarray(material.baseColorTexture.convert("RGB")), expected)
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_ply_comes_back_through_trimesh(coloured, tmp_path) -> None:
    path = save_mesh(coloured, tmp_path / "head.PLY")
    mesh = trimesh.load(path, process=False)
    assert np.array_equal(mesh.faces, coloured.faces.numpy())
    assert np.abs(mesh.vertices - coloured.vertices.numpy() * METRES_PER_UNIT).max() < 1e-7
    assert np.abs(mesh.vertex_normals - coloured.normals.numpy()).max() < 1e-6
    # A PLY's colours are sRGB.
    assert np.array_equal(mesh.visual.vertex_colors[:, :3], (coloured.colours * 255).round().numpy())
    header = path.read_bytes().split(b"end_header")[0].decode().splitlines()
    text = "".join(line.removeprefix("comment dualenc: ") for line in header if line.startswith("comment dualenc: "))
    assert json.loads(text)["photo"] == "Zoë.png"
    assert max(map(len, header)) < 200 and "\n".join(header).isascii()


def test_a_mesh_without_colours_can_be_saved(egg_mesh, tmp_path) -> None:
    for suffix in (".glb", ".ply"):
        mesh = trimesh.load(save_mesh(egg_mesh, tmp_path / f"a{suffix}"), process=False, force="mesh")
        assert len(mesh.faces) == len(egg_mesh.faces)


@pytest.mark.parametrize("suffix", [".glb", ".ply"])
def test_a_file_opens_upright_facing_the_viewer_and_life_size(suffix, tmp_path) -> None:
    """A head with a nose in front (+z), a bun on top (+y) and an earring on the viewer's right (+x)."""

    def distance(points):
        parts = [ball((0, 0, 0.2), 0.03), ball((0, 0.23, 0), 0.05), ball((0.18, 0, 0), 0.03)]
        return torch.stack([ellipsoid(points), *(part(points) for part in parts)]).amin(0)

    mesh = extract_mesh(*FieldGenerator.build(distance), resolution=48)
    loaded = trimesh.load(save_mesh(mesh, tmp_path / f"head{suffix}"), process=False, force="mesh")
    nose, bun, earring = (loaded.vertices[loaded.vertices[:, axis].argmax()] for axis in (2, 1, 0))
    metre = METRES_PER_UNIT
    assert np.allclose(nose, np.array([0, 0, 0.23]) * metre, atol=0.01)
    assert np.allclose(bun, np.array([0, 0.28, 0]) * metre, atol=0.01)
    assert np.allclose(earring, np.array([0.21, 0, 0]) * metre, atol=0.01)
    assert loaded.extents[1] == pytest.approx((0.22 + 0.28) * metre, abs=0.002)


def test_the_scale_is_that_of_the_cameras() -> None:
    """The picture's 0.6331 world units at the head show 264.4 mm of it (panohead.md §10)."""
    assert METRES_PER_UNIT * 2.7 / 4.2647 == pytest.approx(0.2644, abs=2e-4)


def test_equal_meshes_give_equal_bytes(coloured, textured, tmp_path) -> None:
    for mesh, name in ((coloured, "a.glb"), (coloured, "a.ply"), (textured, "t.glb")):
        first = save_mesh(mesh, tmp_path / name).read_bytes()
        assert save_mesh(mesh, tmp_path / f"again-{name}").read_bytes() == first


def test_another_process_writes_the_same_bytes(tmp_path) -> None:
    code = """
import torch
from dualenc_core.export import Mesh, save_mesh
corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
normals = torch.nn.functional.normalize(corners - 0.25, dim=-1)
save_mesh(Mesh(corners, faces, normals, corners, meta={"b": 1, "a": {"y": 2, "x": 3}}), path)
"""
    here, there = tmp_path / "here.glb", tmp_path / "there.glb"
    exec(code, {"path": here})  # noqa: S102
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"path = {str(there)!r}{code}"]
    subprocess.run(command, check=True, env=environment, timeout=120)
    assert here.read_bytes() == there.read_bytes()


def test_what_cannot_be_written_leaves_no_file(coloured, tmp_path) -> None:
    broken = coloured.vertices.clone()
    broken[3] = float("nan")
    for mesh, name, words in (
        (coloured, "head.fbx", r"must end in \.glb or \.ply"),
        (coloured.replace(vertices=broken), "head.glb", "vertices have NaN"),
        (coloured.replace(faces=coloured.faces[:0]), "head.ply", "no faces"),
    ):
        with pytest.raises(DualEncError, match=words):
            save_mesh(mesh, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(coloured, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingDependencyError, match="pip install trimesh"):
        save_mesh(coloured, tmp_path / "head.glb")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- OBJ and STL


def test_a_textured_obj_comes_back_with_its_picture(textured, tmp_path) -> None:
    path = save_mesh(textured, tmp_path / "my head.obj")
    assert {file.name for file in tmp_path.iterdir()} == {"my head.obj", "my_head.mtl", "my_head-texture.png"}
    assert [path, *companions(path, textured)] == [
        tmp_path / n for n in ("my head.obj", "my_head.mtl", "my_head-texture.png")
    ]
    mesh = trimesh.load(path, process=False, maintain_order=True)
    assert np.array_equal(mesh.faces, textured.faces.numpy())
    assert np.abs(mesh.vertices - textured.vertices.numpy() * METRES_PER_UNIT).max() < 1e-6
    expected = textured.uv.numpy() * [1, -1] + [0, 1]
    assert np.abs(mesh.visual.uv - expected).max() < 1e-6
    pixels = np.asarray(mesh.visual.material.image.convert("RGB"))
    assert np.abs(pixels / 255 - textured.texture.permute(1, 2, 0).numpy()).max() < 0.51 / 255
    assert tuple(mesh.visual.material.diffuse[:3]) == (255, 255, 255), "the texture is not to be darkened"
    text = path.read_text(encoding="utf-8")
    assert json.loads("".join(line[11:] for line in text.splitlines() if line.startswith("# dualenc: ")))["mesh"]


def test_an_obj_without_a_texture_has_colours_of_vertices(coloured, tmp_path) -> None:
    path = save_mesh(coloured, tmp_path / "head.obj")
    assert [file.name for file in tmp_path.iterdir()] == ["head.obj"] and companions(path, coloured) == []
    mesh = trimesh.load(path, process=False, maintain_order=True)
    assert np.array_equal(mesh.faces, coloured.faces.numpy())
    assert np.abs(mesh.visual.vertex_colors[:, :3] / 255 - coloured.colours.numpy()).max() < 1.01 / 255
    assert np.abs(mesh.vertex_normals - coloured.normals.numpy()).max() < 1e-5


def test_an_stl_is_the_same_closed_surface(coloured, tmp_path) -> None:
    path = save_mesh(coloured, tmp_path / "head.stl")
    mesh, expected = trimesh.load(path), only_mesh(save_mesh(coloured, tmp_path / "head.glb"))
    assert mesh.is_watertight and len(mesh.faces) == len(coloured.faces)
    assert mesh.volume == pytest.approx(expected.volume, rel=1e-4)
    assert np.abs(mesh.bounds - expected.bounds).max() < 1e-6
    assert path.read_bytes()[:7] == b"dualenc", "a header that begins with 'solid' is taken for text"


def test_what_goes_wrong_halfway_leaves_no_part_of_an_obj(textured, tmp_path, monkeypatch) -> None:
    import os

    replace, done = os.replace, []

    def full(source, target):
        if str(target).endswith(".mtl"):
            raise OSError(28, "No space left on device", str(source))
        done.append(str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_mesh(textured, tmp_path / "head.obj")
    assert not (tmp_path / "head.obj").exists(), "the file that names the others comes last"


@pytest.mark.parametrize("suffix", ["obj", "stl"])
def test_equal_meshes_give_equal_files(textured, tmp_path, suffix) -> None:
    first, second = (save_mesh(textured, tmp_path / name / f"a.{suffix}") for name in "ab")
    for one, other in zip([first, *companions(first, textured)], [second, *companions(second, textured)], strict=True):
        assert one.read_bytes() == other.read_bytes()
