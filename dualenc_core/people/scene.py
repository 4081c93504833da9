"""Ray tracing of a person: geometry and baked shadows, then any rays (embree through embreex)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import require
from .light import Light
from .part import Part
from .shading import Surface, shade, tone
from .vectors import LINEAR, dot, harmonics, sphere, unit

# Rays that find out how much of the sky a point sees, and of the key light.
SKY_RAYS, KEY_RAYS = 64, 12
# Layers of half transparent cards that a ray goes through.
LAYERS = 10
# Distance of rays that meet nothing (as procedural heads).
FAR = 3.3


@dataclass(frozen=True)
class Hits:
    """What rays meet.

    Attributes:
        colour: [n,3] sRGB in 0..1, 0 where nothing is met.
        alpha: [n] in 0..1.
        depth: [n] distance along the unit ray to the surface that makes it half opaque, 3.3 where there is none.
        normal: [n,3] of that surface, towards the ray; 0 where there is none.
        label: [n] uint8, `part.LABELS`.
    """

    colour: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    label: np.ndarray


class Scene:
    """Meshes under a light. Raises MissingDependencyError where embreex is not installed."""

    def __init__(self, parts: Sequence[Part], light: Light) -> None:
        self.parts = [p for p in parts if len(p.faces)]
        self.light = light
        offsets = np.cumsum([0] + [len(p.vertices) for p in self.parts])
        vertices = np.concatenate([p.vertices for p in self.parts]).astype(np.float32)
        faces = np.concatenate([p.faces + o for p, o in zip(self.parts, offsets[:-1], strict=True)])
        self._uv = np.concatenate([p.uv[p.faces] for p in self.parts]).astype(np.float32)
        self._part = np.repeat(np.arange(len(self.parts)), [len(p.faces) for p in self.parts])
        triangles = vertices[faces]
        edge1, edge2 = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
        # Vertices at seams are one point, so that light is smooth across them.
        group = np.array([i + 100 if p.group is None else p.group for i, p in enumerate(self.parts)])
        owner = np.repeat(np.arange(len(self.parts)), np.diff(offsets))
        key = np.c_[np.round(vertices * 3e4), group[owner]].astype(np.int64)
        _, first, weld = np.unique(key, axis=0, return_index=True, return_inverse=True)
        self._faces, self._points = weld.ravel()[faces], vertices[first]
        self._normals = unit(_scattered(np.cross(edge1, edge2)[:, None].repeat(3, 1), self._faces, len(first)))
        d1, d2 = self._uv[:, 1] - self._uv[:, 0], self._uv[:, 2] - self._uv[:, 0]
        # Along the strands of hair: where v grows.
        self._strand = unit(edge2 * d1[:, :1] - edge1 * d2[:, :1])
        self._tracer, self._mesh = tracer(triangles)
        self._visible = self._baked(triangles)

    def _baked(self, triangles: np.ndarray) -> np.ndarray:
        """[points,4]: the share of the environment's light that reaches a point (RGB), and of the key light."""
        solid = np.array([p.kind not in ("card", "glass") for p in self.parts])[self._part]
        occluders, mesh = tracer(triangles[solid])
        points, normals, light = self._points, self._normals, self.light
        count = len(points)
        reached, whole = np.full((count, 3), 1e-4, np.float32), np.full((count, 3), 1e-4, np.float32)
        origins, directions = points + normals * 0.003, sphere(SKY_RAYS)
        for d, radiance in zip(directions, np.maximum(harmonics(directions) @ light.harmonics, 0.02), strict=True):
            cosine = normals @ d
            some = np.flatnonzero(cosine > 0.02)
            energy = cosine[some, None] * radiance
            whole[some] += energy
            reached[some] += energy * _free(occluders, origins[some], d)[:, None]
        key = np.zeros((count, 1), np.float32)
        wobble = np.random.default_rng(0).normal(size=(KEY_RAYS, 3)) * 0.09
        for d in unit(light.direction + wobble).astype(np.float32):
            some = np.flatnonzero(normals @ d > -0.3)
            key[some, 0] += _free(occluders, origins[some] + normals[some] * 0.004, d)
        visible = np.c_[reached / whole, key / KEY_RAYS]
        for _ in range(2):
            total, near = visible.copy(), np.ones((count, 1), np.float32)
            for i, j in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
                to = self._faces[:, i]
                for c in range(4):
                    total[:, c] += np.bincount(to, visible[self._faces[:, j], c], count)
                near[:, 0] += np.bincount(to, minlength=count)
            visible = total / near
        del mesh
        return visible.astype(np.float32)

    def trace(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """What rays [n,3] (unit directions, float32) meet."""
        n = len(origins)
        light, alpha = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
        depth, travelled = np.full(n, FAR, np.float32), np.zeros(n, np.float32)
        normal, label = np.zeros((n, 3), np.float32), np.zeros(n, np.uint8)
        active, o = np.arange(n), origins.astype(np.float32).copy()
        directions = directions.astype(np.float32)
        for _ in range(LAYERS):
            met = self._tracer.run(o[active], directions[active], output=True)
            hit = met["primID"] >= 0
            rays, triangle = active[hit], met["primID"][hit]
            if not len(rays):
                break
            u, v, t = met["u"][hit], met["v"][hit], met["tfar"][hit]
            corner = np.stack([1 - u - v, u, v], 1)
            index, d = self._faces[triangle], directions[rays]
            towards = unit(_between(self._normals, index, corner))
            towards *= np.where(dot(towards, d) > 0, -1, 1).astype(np.float32)[:, None]
            uv = np.einsum("ij,ijk->ik", corner, self._uv[triangle])
            visible = _between(self._visible, index, corner)
            lit, opacity = np.zeros((len(rays), 3), np.float32), np.ones(len(rays), np.float32)
            seen = np.zeros(len(rays), np.uint8)
            owner = self._part[triangle]
            for i in np.unique(owner):
                some, part = np.flatnonzero(owner == i), self.parts[i]
                colour, fourth = _texel(part.texture, uv[some])
                surface = Surface(towards[some], d[some], self._strand[triangle[some]], visible[some])
                lit[some] = shade(part, colour, fourth, surface, self.light)
                seen[some] = part.label if part.labels is None else _nearest(part.labels, uv[some])
                if part.kind != "skin":
                    opacity[some] = fourth
            opacity *= 1 - alpha[rays]
            light[rays] += lit * opacity[:, None]
            first = (alpha[rays] < 0.5) & (alpha[rays] + opacity >= 0.5)
            depth[rays[first]] = (travelled[rays] + t)[first]
            normal[rays[first]], label[rays[first]] = towards[first], seen[first]
            alpha[rays] += opacity
            travelled[rays] += t + 1e-4
            o[rays] += d * (t + 1e-4)[:, None]
            active = rays[alpha[rays] < 0.98]
            if not len(active):
                break
        colour = tone(light / np.maximum(alpha, 1e-4)[:, None]) * (alpha > 0)[:, None]
        return Hits(colour.astype(np.float32).clip(0, 1), alpha.clip(0, 1), depth, normal, label)


def tracer(triangles: np.ndarray) -> tuple[Any, Any]:
    """Embree's scene of triangles [n,3,3], and its mesh."""
    core = require("embreex.rtcore_scene", "embreex (dualenc[people])")
    mesh = require("embreex.mesh_construction", "embreex (dualenc[people])")
    scene = core.EmbreeScene()
    # The scene does not keep its mesh alive.
    return scene, mesh.TriangleMesh(scene, np.ascontiguousarray(triangles, np.float32))


def _free(scene: Any, origins: np.ndarray, direction: np.ndarray) -> np.ndarray:
    if not len(origins):
        return np.zeros(0, bool)
    rays = np.ascontiguousarray(np.broadcast_to(direction, origins.shape), np.float32)
    return scene.run(np.ascontiguousarray(origins, np.float32), rays, query="OCCLUDED") < 0


def _scattered(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """Sum of [m,3,3] at index [m,3] → [count,3]."""
    flat = index.ravel()
    return np.stack([np.bincount(flat, values[..., c].ravel(), count) for c in range(3)], 1).astype(np.float32)


def _between(values: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Values [points,k] at triangles' corners [n,3], mixed by barycentric weights [n,3] → [n,k]."""
    a, b, c = (values[index[:, k]] * corner[:, k, None] for k in range(3))
    return a + b + c


def _texel(texture: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour [n,3] and fourth channel [n] (1 where there is none), bilinear."""
    h, w = texture.shape[:2]
    x, y = uv[:, 0] * w - 0.5, uv[:, 1] * h - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None].astype(np.float32), (y - y0)[:, None].astype(np.float32)

    def at(j: np.ndarray, i: np.ndarray) -> np.ndarray:
        found = texture[j % h, i % w]
        return np.concatenate([LINEAR[found[:, :3]], found[:, 3:] / np.float32(255)], 1)

    top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
    value = top * (1 - fy) + (at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx) * fy
    return value[:, :3], value[:, 3] if texture.shape[2] == 4 else np.ones(len(uv), np.float32)


def _nearest(labels: np.ndarray, uv: np.ndarray) -> np.ndarray:
    h, w = labels.shape
    return labels[(uv[:, 1] * h).astype(int) % h, (uv[:, 0] * w).astype(int) % w]
