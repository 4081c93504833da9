"""ComfyUI's MESH → meshes of the library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime

# What a MESH can carry that our files have no place for.
NOT_WRITTEN = ("metallic_roughness", "normal_map", "emissive", "material", "occlusion_in_mr")


def from_comfy(mesh: Any) -> list[dc.export.Mesh]:
    """The meshes of a MESH, of our own node or any other.

    A MESH that still is what `runtime.mesh` made gives the very mesh that it was made of. After another node has
    changed it, it gives what it holds: vertices, faces, uvs, normals (made anew where there are none), colours (linear
    → sRGB) and texture.

    Raises DualEncError for something else than a MESH, for an empty one, and for attributes that do not fit.
    """
    if not all(_holds_tensors(getattr(mesh, name, None)) for name in ("vertices", "faces")):
        raise DualEncError(
            f"mesh is a {type(mesh).__name__} without vertices and faces; link DualEnc Mesh or a node that gives a MESH"
        )
    ours = getattr(mesh, "dualenc", None)
    if isinstance(ours, dc.export.Mesh) and _untouched(mesh, ours):
        return [ours]
    origin = ours.meta if isinstance(ours, dc.export.Mesh) else {}
    return [_item(mesh, index, origin) for index in range(len(mesh.vertices))]


def left_out(mesh: Any) -> list[str]:
    """Names of what a MESH carries and `from_comfy` leaves out."""
    found = [name for name in NOT_WRITTEN if _present(getattr(mesh, name, None))]
    colours = getattr(mesh, "vertex_colors", None)
    if isinstance(colours, Tensor) and colours.shape[-1] == 4 and bool((colours[..., 3] < 1).any()):
        found.append("the transparency of vertex_colors")
    return found


def _holds_tensors(values: Any) -> bool:
    """A batch, or a list of what may differ in size, as newer nodes give it."""
    if isinstance(values, (list, tuple)):
        return len(values) > 0 and all(isinstance(value, Tensor) for value in values)
    return isinstance(values, Tensor)


def _present(value: Any) -> bool:
    return value is not None and value is not False and value != {} if not isinstance(value, Tensor) else True


def _untouched(mesh: Any, ours: dc.export.Mesh) -> bool:
    """By content: other nodes copy a MESH with all its attributes, and change tensors also in place."""
    made = runtime.mesh_fields(ours)
    for name in ("vertices", "faces", "uvs", "vertex_colors", "normals", "texture"):
        held = getattr(mesh, name, None)
        if held is None:
            continue  # an older MESH has no place for it
        if (
            made[name] is None
            or not isinstance(held, Tensor)
            or held.shape != made[name].shape
            or not torch.equal(held.cpu(), made[name])
        ):
            return False
    lacks = [n for n in ("uvs", "vertex_colors", "texture") if made[n] is not None and getattr(mesh, n, 0) is None]
    return not lacks and getattr(mesh, "unlit", True) is True and not left_out(mesh)


def _item(mesh: Any, index: int, origin: Mapping[str, Any]) -> dc.export.Mesh:
    counts = getattr(mesh, "vertex_counts", None), getattr(mesh, "face_counts", None)
    points, triangles = (None if count is None else int(count[index]) for count in counts)
    vertices = _rows(mesh, "vertices", index, points)
    assert vertices is not None  # `from_comfy` looks
    faces = mesh.faces[index].detach().cpu().long()[:triangles]
    if len(vertices) == 0 or len(faces) == 0:
        raise DualEncError(
            f"mesh {index + 1} of {len(mesh.vertices)} has {len(vertices)} vertices and {len(faces)} faces; there is "
            "nothing to save"
        )
    normals = _rows(mesh, "normals", index, points)
    colours = _rows(mesh, "vertex_colors", index, points)
    uv = _rows(mesh, "uvs", index, points)
    texture = getattr(mesh, "texture", None)
    if texture is not None and uv is not None:
        texture = texture[min(index, len(texture) - 1)].detach().cpu().float()[..., :3].permute(2, 0, 1).clamp(0, 1)
    found = dc.export.Mesh(
        vertices / dc.export.METRES_PER_UNIT,
        faces,
        torch.zeros_like(vertices) if normals is None else torch.nn.functional.normalize(normals, dim=-1),
        None if colours is None else dc.export.to_srgb(colours[:, :3]),
        uv,
        texture if uv is not None else None,
        {**origin, "changed": "by other nodes"},
    )
    return found if normals is not None else found.replace(normals=dc.export.normals_of(vertices, faces))


def _rows(mesh: Any, name: str, index: int, count: int | None) -> Tensor | None:
    values = getattr(mesh, name, None)
    if values is None:
        return None
    if isinstance(values, Tensor) and values.ndim != 3:
        values = values[None]
    return values[min(index, len(values) - 1)].detach().cpu().float()[:count].contiguous()
