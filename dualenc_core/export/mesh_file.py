"""Meshes as files: GLB, PLY, OBJ and STL, in metres, upright, with their provenance. Equal meshes give equal bytes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from .. import __version__
from ..camera import METRES_PER_UNIT
from ..errors import DualEncError, require
from ..files import atomic_path, portable_name
from .mesh import Mesh
from .transfer_curve import to_linear

MESH_SUFFIXES = (".glb", ".ply", ".obj", ".stl")
# Of what `companions` add to a name.
_ROOM = 16
_COMMENT = "dualenc: "
_MATERIAL = "head"
_COMMENT_WIDTH = 120


def save_mesh(mesh: Mesh, path: str | Path, unlit: bool = True) -> Path:
    """Write a GLB, PLY, OBJ or STL file, by the path's suffix, atomically.

    The axes of the world are those of glTF, +y up and +z to the front, so that viewers show the head upright and from
    its face. Vertices are in metres.

    Args:
        unlit: (GLB) show the colours as they are (KHR_materials_unlit): they hold the light of the generator's
            pictures already. False = a matt material that the viewer lights once more.

    A GLB carries the texture if there is one, else the vertex colours (linear, as glTF asks for, in 16 bits), and the
    provenance in ``extras`` of its asset and scene. A PLY carries vertex colours and the provenance as comments, an OBJ
    the same, and the texture if there is one in two more files (`companions`). An STL knows no colours.

    Raises DualEncError for another suffix, an empty mesh, or NaN; MissingDependencyError without trimesh.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise DualEncError(f"the mesh {path} must end in .glb or .ply, or in .obj or .stl")
    if len(mesh.faces) == 0:
        raise DualEncError(f"the mesh for {path} has no faces; nothing was written")
    for name in ("vertices", "normals", "colours", "uv", "texture"):
        value = getattr(mesh, name)
        if value is not None and not bool(torch.isfinite(value).all()):
            raise DualEncError(f"mesh {name} have NaN or infinite values; nothing was written to {path}")
    trimesh = require("trimesh", "trimesh")
    if suffix == ".obj":
        files = _obj(trimesh, mesh, path)
    else:
        write = {".glb": lambda: _glb(trimesh, mesh, unlit), ".ply": lambda: _ply(trimesh, mesh)}
        files = {path: write.get(suffix, lambda: _stl(trimesh, mesh))()}
    # What names the others comes last, so that it never names what is not there.
    for place, content in reversed(files.items()):
        with atomic_path(place) as temporary:
            temporary.write_bytes(content)
    return path


def companions(path: str | Path, mesh: Mesh) -> list[Path]:
    """The files that `save_mesh` writes beside ``path``: of an OBJ with a texture the material and the picture.

    Their names have no spaces, which readers of OBJ take for the end of a name.
    """
    path = Path(path)
    if path.suffix.lower() != ".obj" or mesh.texture is None:
        return []
    stem = re.sub(r"\s", "_", portable_name(path.stem, _ROOM))
    return [path.with_name(f"{stem}.mtl"), path.with_name(f"{stem}-texture.png")]


def _glb(trimesh: ModuleType, mesh: Mesh, unlit: bool) -> bytes:
    body = _body(trimesh, mesh)
    if mesh.uv is not None:
        picture = None if mesh.texture is None else _picture(mesh)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
        body.visual = trimesh.visual.TextureVisuals(uv=_uv(mesh), material=material)
    if mesh.texture is None and mesh.colours is not None:
        # trimesh would write eight bits, too few for dark linear colours; as an attribute it keeps what it is given.
        body.vertex_attributes["_COLOR_0"] = _with_alpha(_levels(to_linear(mesh.colours), 65535), 65535, np.uint16)
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name="head", geom_name="head")
    extras = provenance(mesh)

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"] = {"version": "2.0", "generator": f"dualenc {__version__}", "extras": extras}
        tree["scenes"][0]["extras"] = extras
        primitive = tree["meshes"][0]["primitives"][0]
        attributes = primitive["attributes"]
        if "_COLOR_0" in attributes:
            attributes["COLOR_0"] = attributes.pop("_COLOR_0")
            tree["accessors"][attributes["COLOR_0"]]["normalized"] = True
        material = tree.setdefault("materials", [{}])[0]
        material.update(name="head", doubleSided=False)
        # Without factors of its own a material is a metal.
        material.setdefault("pbrMetallicRoughness", {}).update(metallicFactor=0.0, roughnessFactor=0.9)
        if unlit:
            material["extensions"] = {"KHR_materials_unlit": {}}
            tree["extensionsUsed"] = ["KHR_materials_unlit"]
        primitive["material"] = 0

    return trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=finish)


def _ply(trimesh: ModuleType, mesh: Mesh) -> bytes:
    body = _body(trimesh, mesh)
    if mesh.colours is not None:
        body.visual.vertex_colors = _with_alpha(_levels(mesh.colours, 255), 255, np.uint8)
    content = trimesh.exchange.ply.export_ply(body, vertex_normal=True, include_attributes=False)
    comments = "".join(f"comment {line}\n" for line in _comments(mesh)).encode()
    mark = b"element vertex"
    return content.replace(mark, comments + mark, 1)


def _obj(trimesh: ModuleType, mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """The OBJ and its `companions`."""
    body = _body(trimesh, mesh)
    beside = companions(path, mesh)
    options = {"include_normals": True, "header": "\n# ".join([f"dualenc {__version__}", *_comments(mesh)])}
    if not beside:
        if mesh.colours is not None:
            body.visual.vertex_colors = _with_alpha(_levels(mesh.colours, 255), 255, np.uint8)
        return {path: trimesh.exchange.obj.export_obj(body, include_texture=False, **options).encode()}
    material, picture = beside
    image = _picture(mesh)
    plain = trimesh.visual.material.SimpleMaterial(image=image, name=_MATERIAL)
    body.visual = trimesh.visual.TextureVisuals(uv=_uv(mesh), material=plain)
    text, _ = trimesh.exchange.obj.export_obj(body, return_texture=True, mtl_name=material.name, **options)
    # Not trimesh's own material: the colours hold light already, and are not to be darkened.
    lines = (f"newmtl {_MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {picture.name}")
    with io.BytesIO() as buffer:
        image.save(buffer, format="PNG", compress_level=6)
        return {path: text.encode(), material: "\n".join([*lines, ""]).encode(), picture: buffer.getvalue()}


def _stl(trimesh: ModuleType, mesh: Mesh) -> bytes:
    content = trimesh.exchange.stl.export_stl(_body(trimesh, mesh))
    heading = f"dualenc {__version__}, metres".encode()
    return heading.ljust(80, b" ") + content[80:]


def provenance(mesh: Mesh) -> dict[str, Any]:
    """What files say about where a mesh comes from: its meta, the program and the unit."""
    return {**mesh.meta, "program": f"dualenc {__version__}", "metres_per_unit": METRES_PER_UNIT}


def _comments(mesh: Mesh) -> list[str]:
    """The provenance; readers keep lines in small buffers, so a long text takes several."""
    text = json.dumps(provenance(mesh), sort_keys=True)
    return [_COMMENT + text[i : i + _COMMENT_WIDTH] for i in range(0, len(text), _COMMENT_WIDTH)]


def _picture(mesh: Mesh) -> Image.Image:
    assert mesh.texture is not None
    return Image.fromarray(_levels(mesh.texture.permute(1, 2, 0), 255).astype(np.uint8))


def _uv(mesh: Mesh) -> np.ndarray:
    """As trimesh and OBJ count, v upwards."""
    assert mesh.uv is not None
    return mesh.uv.numpy().astype(np.float64) * [1, -1] + [0, 1]


def _body(trimesh: ModuleType, mesh: Mesh) -> Any:
    return trimesh.Trimesh(
        mesh.vertices.numpy().astype(np.float64) * METRES_PER_UNIT,
        mesh.faces.numpy(),
        vertex_normals=mesh.normals.numpy().astype(np.float64),
        process=False,
    )


def _levels(values: torch.Tensor, top: int) -> np.ndarray:
    return (values.double().clamp(0, 1) * top).round().numpy()


def _with_alpha(rgb: np.ndarray, opaque: int, dtype: type) -> np.ndarray:
    return np.concatenate([rgb, np.full((len(rgb), 1), opaque)], axis=1).astype(dtype)
