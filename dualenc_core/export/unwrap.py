"""Laying a closed surface out flat: charts seen along the six axes, packed into one square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DualEncError, require
from .mesh_geometry import face_normals

# Projection directions and the two world axes that become right and down in the texture, so that no chart is mirrored.
DIRECTIONS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
RIGHT = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], np.float64)
DOWN = np.array([[0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [0, -1, 0]], np.float64)
# A face joins its neighbours' chart unless it looks away from it by more than 75 degrees.
LEAST_COSINE = 0.25
ROUNDS = 10
# Free texels around every chart.
MARGIN = 3
MOST_LAYERS = 8


@dataclass(frozen=True)
class Unwrapped:
    """A surface cut into charts.

    Attributes:
        index: [V'] the vertex that each new vertex copies; vertices on cuts have several copies.
        faces: [F,3] into the new vertices, in the old order.
        uv: [V',2] position in texels from the upper left corner; (0.5, 0.5) is the first texel's centre.
        texel: [T] row-major index of every texel that a face covers, ascending.
        face, weight: [T] and [T,3], the face there and its barycentric coordinates.
    """

    index: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texel: np.ndarray
    face: np.ndarray
    weight: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, size: int) -> Unwrapped:
    """Lay a mesh out in a square of ``size`` texels, without mirrored or overlapping parts and all at one scale.

    Args:
        vertices, faces: [V,3] and [F,3].

    Raises DualEncError when the square is too small for the number of charts.
    """
    pairs = _neighbours(faces)
    label = _labels(vertices, faces, pairs)
    layer = np.zeros(len(faces), np.int64)
    for _ in range(MOST_LAYERS):
        chart = _components(label + 6 * layer, pairs)
        corners = _packed(vertices, faces, label, chart, size)
        covered = _cover(corners, size)
        loser = _hidden(vertices, faces, label, covered)
        if not loser.any():
            break
        layer[loser] += 1
    owner = np.unique(covered[0], return_index=True)[1]
    texel, face, weight = (values[owner] for values in covered)
    return Unwrapped(*_split(faces, chart, corners), texel, face, weight)


def _neighbours(faces: np.ndarray) -> np.ndarray:
    """[K,2] faces that share an edge."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    key = edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order][1:] == key[order][:-1])
    return np.stack([order[same], order[same + 1]], axis=1) % len(faces)


def _labels(vertices: np.ndarray, faces: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[F] direction along which each face is seen: the one it looks at, smoothed over the neighbours."""
    normals = face_normals(vertices, faces)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    cosine = (normals / np.where(length > 0, length, 1)) @ DIRECTIONS.T
    allowed = np.where(cosine >= np.minimum(LEAST_COSINE, cosine.max(1, keepdims=True)), 0.0, -np.inf)
    label = cosine.argmax(1)
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    others = np.concatenate([pairs[:, 1], pairs[:, 0]])
    for _ in range(ROUNDS):
        votes = np.bincount(rows * 6 + label[others], minlength=6 * len(faces)).reshape(-1, 6)
        label = (cosine + 0.5 * votes + allowed).argmax(1)
    return label


def _components(label: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[F] number of the connected set of equal labels that each face belongs to."""
    sparse, graph = require("scipy.sparse", "scipy"), require("scipy.sparse.csgraph", "scipy")
    a, b = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]].T
    links = sparse.coo_matrix((np.ones(len(a), bool), (a, b)), shape=(len(label),) * 2)
    return graph.connected_components(links, directed=False)[1]


def _packed(vertices: np.ndarray, faces: np.ndarray, label: np.ndarray, chart: np.ndarray, size: int) -> np.ndarray:
    """[F,3,2] corners in texels: charts on shelves, as large as they fit."""
    points = vertices[faces]
    flat = np.stack([np.einsum("fki,fi->fk", points, axes[label]) for axes in (RIGHT, DOWN)], axis=-1)
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, flat.min(1))
    np.maximum.at(high, chart, flat.max(1))
    extent = high - low
    order = np.lexsort((np.arange(count), -extent[:, 1]))
    smallest, largest = 0.0, size / max(float(extent.max()), 1e-9)
    best = None
    for _ in range(24):
        scale = (smallest + largest) / 2
        places = _shelves(extent[order] * scale + 2 * MARGIN, size)
        if places is None:
            largest = scale
        else:
            smallest, best = scale, places
    if best is None:
        raise DualEncError(f"a texture of {size} texels is too small for {count} charts; use a larger one or smooth")
    place = np.empty_like(extent)
    place[order] = best
    return (flat - low[chart][:, None]) * smallest + place[chart][:, None] + MARGIN


def _shelves(boxes: np.ndarray, size: int) -> np.ndarray | None:
    """Upper left corners [K,2] of boxes [K,2] (width, height; highest first) in rows, or None when they do not fit."""
    places = np.empty_like(boxes)
    x = y = shelf = 0.0
    for i, (width, height) in enumerate(boxes.tolist()):
        if x + width > size:
            x, y, shelf = 0.0, y + shelf, 0.0
        if width > size or y + height > size:
            return None
        places[i] = x, y
        x, shelf = x + width, max(shelf, height)
    return places


def _cover(corners: np.ndarray, size: int, chunk: int = 1 << 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texels [T] whose centres faces [F,3,2] cover, the faces [T] and barycentric coordinates [T,3]."""
    parts = []
    for start in range(0, len(corners), chunk):
        triangles = corners[start : start + chunk]
        low = np.ceil(triangles.min(1) - 0.5).astype(np.int64).clip(0, size)
        wide = (np.floor(triangles.max(1) - 0.5).astype(np.int64).clip(-1, size - 1) - low + 1).clip(0)
        cells = wide.prod(1)
        face = np.repeat(np.arange(len(triangles)), cells)
        step = np.arange(len(face)) - np.repeat(np.cumsum(cells) - cells, cells)
        column, row = low[face, 0] + step % wide[face, 0], low[face, 1] + step // wide[face, 0]
        centre = np.stack([column, row], axis=1) + 0.5
        a, b, c = (triangles[face, i] - centre for i in range(3))
        weight = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
        area = weight.sum(1, keepdims=True)
        weight = weight / np.where(np.abs(area) > 1e-12, area, np.inf)
        inside = (weight >= 0).all(1) & (weight.sum(1) > 0.5)
        parts.append(((row * size + column)[inside], face[inside] + start, weight[inside]))
    texels, faces_of, weights = (np.concatenate(values) for values in zip(*parts, strict=True))
    return texels, faces_of, weights


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _hidden(vertices: np.ndarray, faces: np.ndarray, label: np.ndarray, covered: tuple) -> np.ndarray:
    """[F] whether a face lies behind another one of its chart somewhere; a shared edge does not count."""
    texel, face, weight = covered
    height = np.einsum("tki,ti->tk", vertices[faces[face]], DIRECTIONS[label[face]])
    height = (height * weight).sum(1)
    order = np.lexsort((height, texel))
    same = texel[order][1:] == texel[order][:-1]
    apart = height[order][1:] - height[order][:-1] > 1e-6
    hidden = np.zeros(len(faces), bool)
    hidden[face[order][:-1][same & apart]] = True
    return hidden


def _split(faces: np.ndarray, chart: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices copied for every chart that uses them: index [V'], faces [F,3], uv [V',2]."""
    key = chart[:, None] * (int(faces.max()) + 1) + faces
    unique, first, inverse = np.unique(key.reshape(-1), return_index=True, return_inverse=True)
    return faces.reshape(-1)[first], inverse.reshape(-1, 3), corners.reshape(-1, 2)[first]
