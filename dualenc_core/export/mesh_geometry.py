"""What a triangle mesh needs besides marching cubes. Vertices [V,3] float64 and faces [F,3] int64, both NumPy."""

from __future__ import annotations

import numpy as np

from ..errors import DualEncError, require

# Taubin's pair of factors: the second, negative step undoes the shrinkage of the first; the pass band is
# 1/SHRINK + 1/SWELL = 0.11.
SHRINK, SWELL = 0.5, -0.53


def largest_component(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected component that encloses most; hollows have a negative volume and never win."""
    sparse, graph = require("scipy.sparse", "scipy"), require("scipy.sparse.csgraph", "scipy")
    a, b = faces[:, [0, 1]].T
    c = faces[:, 2]
    rows, columns = np.concatenate([a, b]), np.concatenate([b, c])
    links = sparse.coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(len(vertices),) * 2)
    count, label = graph.connected_components(links, directed=False)
    volumes = np.bincount(label[faces[:, 0]], signed_volumes(vertices, faces), minlength=count)
    return compact(vertices, faces[label[faces[:, 0]] == volumes.argmax()])


def compact(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the vertices that no face uses; their order is kept."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def signed_volumes(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] volume between each face and the origin; their sum is positive when faces look outward."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F,3], as long as twice the face's area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V,3] unit normals: the faces around a vertex weighted by their angle there, so that slivers count little."""
    normals = _unit(face_normals(vertices, faces))
    total = np.zeros_like(vertices)
    for i in range(3):
        corner, after, before = (vertices[faces[:, (i + k) % 3]] for k in range(3))
        cosine = np.einsum("ij,ij->i", _unit(after - corner), _unit(before - corner))
        total += _sum_at(faces[:, i], normals * np.arccos(cosine.clip(-1, 1))[:, None], len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, _unit(total), [0.0, 1.0, 0.0])


def smoothed(vertices: np.ndarray, faces: np.ndarray, passes: int) -> np.ndarray:
    """Taubin smoothing (SIGGRAPH 1995): each pass moves vertices towards the mean of their neighbours and back."""
    if passes == 0:
        return vertices
    # A closed mesh has every edge in both directions.
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    neighbours = np.bincount(start, minlength=len(vertices)).clip(1)[:, None]
    for factor in (SHRINK, SWELL) * passes:
        mean = _sum_at(start, vertices[end], len(vertices)) / neighbours
        vertices = vertices + factor * (mean - vertices)
    return vertices


def decimated(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """About ``count`` faces left by quadric edge collapse.

    Raises DualEncError when the mesh cannot be simplified that far, MissingDependencyError without
    fast-simplification.
    """
    if count >= len(faces):
        return vertices, faces
    fast = require("fast_simplification", "fast-simplification")
    vertices, faces = fast.simplify(vertices, faces.astype(np.int32), target_count=count)
    if len(faces) == 0:
        raise DualEncError(f"nothing is left of the mesh when it is decimated to {count} faces; ask for more")
    return compact(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))


def _sum_at(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums [count,3] of the rows of ``values`` that share an index."""
    return np.stack([np.bincount(index, column, minlength=count) for column in values.T], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of length 0 stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
