"""A texture for a mesh, baked from the generator's pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import DualEncError, require
from .mesh import Mesh
from .mesh_colour import ColourViews, blend_views, fill_unseen
from .unwrap import unwrap


def bake_texture(mesh: Mesh, views: ColourViews, size: int = 1024) -> Mesh:
    """The mesh with uv and texture, for finer colours than its vertices can carry (above all when it is decimated).

    Args:
        views: pictures of its head (`colour_views`).
        size: side of the texture in texels.

    Every texel is coloured as a vertex is, by its own place on the surface, so the same colour lies on both sides of
    a cut and no seam shows. Vertices on cuts are duplicated. Texels that no face covers repeat the nearest that one
    does.

    Raises DualEncError for a size below 64 or too small for the number of charts.
    """
    if size < 64:
        raise DualEncError(f"the texture's size is {size}, expected at least 64 texels (1024 is usual)")
    vertices, faces = mesh.vertices.numpy().astype(np.float64), mesh.faces.numpy()
    flat = unwrap(vertices, faces, size)
    corners = mesh.faces[torch.from_numpy(flat.face)]
    weight = torch.from_numpy(flat.weight.astype(np.float32))
    points = _mixed(mesh.vertices, corners, weight)
    normals = torch.nn.functional.normalize(_mixed(mesh.normals, corners, weight), dim=-1)
    colours, found = blend_views(views, points, normals)
    of_vertices = mesh.colours
    if of_vertices is None:
        seen, vertex_found = blend_views(views, mesh.vertices, mesh.normals)
        of_vertices = fill_unseen(mesh.vertices, seen, vertex_found)
    colours = torch.where(found[:, None], colours, _mixed(of_vertices, corners, weight))
    index = torch.from_numpy(flat.index)
    return mesh.replace(
        vertices=mesh.vertices[index],
        faces=torch.from_numpy(flat.faces),
        normals=mesh.normals[index],
        colours=of_vertices[index],
        uv=torch.from_numpy((flat.uv / size).astype(np.float32)),
        texture=_spread(colours, flat.texel, size),
    )


def _mixed(values: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
    """Vertex values [V,K] at points inside faces: corners and weights [T,3] → [T,K]."""
    a, b, c = (values[corners[:, i]] * weight[:, i, None] for i in range(3))
    return a + b + c


def _spread(colours: Tensor, texel: np.ndarray, size: int) -> Tensor:
    """[3,size,size] with the texels between charts filled, or filtering would pull their colour into the charts."""
    image = np.zeros((size * size, 3), np.float32)
    image[texel] = colours.numpy()
    empty = np.ones(size * size, bool)
    empty[texel] = False
    nearest = require("scipy.ndimage", "scipy").distance_transform_edt(
        empty.reshape(size, size), return_distances=False, return_indices=True
    )
    image = image.reshape(size, size, 3)[tuple(nearest)]
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()
