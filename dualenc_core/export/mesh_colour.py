"""Colours of a surface from the generator's own pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError, require
from ..generator import PanoHead
from ..images import sample_at
from ..point_weight import Visibility
from ..rendering.output import Rendering
from ..triplane import Triplane
from .mesh import Mesh

# A view counts by (normal · direction to the camera) to this power: nearly only the views that look straight on.
SHARPNESS = 4
# A point is seen while it lies at most this many ray spacings behind the nearest surface around its pixel ...
TOLERANCE = 4
# ... and it counts as coloured when its best view weighs at least this much.
FAINTEST = 0.002


@dataclass(frozen=True)
class ColourViews:
    """Pictures of one head from N sides, without background.

    Attributes:
        camera: N views.
        image: [N,3,H,W] in -1..1.
        visible: the test whether a view sees a point; its alpha is that of the pictures.
    """

    camera: Camera
    image: Tensor
    visible: Visibility

    def __len__(self) -> int:
        return len(self.camera)


def colour_cameras() -> Camera:
    """16 views: eight around, three from above and three from below aimed at the bust, straight down, straight up.

    All keep the distance and field of view that generators are trained with, because super-resolution expects its
    scale. Together they are symmetric left to right.
    """
    return Camera.cat(
        [
            Camera.orbit(8),
            Camera.look_at(yaw=[60, 180, 300], pitch=40, pivot=(0.0, -0.08, 0.0)),
            Camera.look_at(yaw=[0, 120, 240], pitch=-20, pivot=(0.0, -0.15, 0.0)),
            Camera.look_at(pitch=[85, -85]),
        ]
    )


@torch.no_grad()
def colour_views(
    generator: PanoHead,
    triplane: Triplane,
    camera: Camera | None = None,
    resolution: int | None = None,
    super_resolve: bool = True,
    progress: Callable[[int, int], None] | None = None,
    chunk: int = 4096,
) -> ColourViews:
    """Render the pictures that colour a mesh.

    Args:
        triplane: a batch of one.
        camera: views; None = `colour_cameras`.
        resolution, super_resolve, chunk: as in `PanoHead.render`.
        progress: called as progress(views done, views in all).
    """
    if len(triplane) != 1:
        raise DualEncError(f"triplane has {len(triplane)} heads, expected one; take one with triplane[0]")
    camera = colour_cameras() if camera is None else camera
    options = {"background": "none", "progress": progress, "chunk": chunk, "quality": "exact"}
    rendering = generator.render(triplane, camera, resolution, super_resolve, **options)
    return views_of(rendering, camera)


def views_of(rendering: Rendering, camera: Camera) -> ColourViews:
    """Views of pictures that exist already; where alpha is low their colour is not used."""
    if len(rendering.image) != len(camera):
        raise DualEncError(f"there are {len(rendering.image)} pictures and {len(camera)} cameras, expected one each")
    camera = camera.to(rendering.image.device)
    # The nearest depth around a pixel: what lies close behind an edge gets no colour that bleeds over from it.
    nearest = -F.max_pool2d(-rendering.depth, 3, stride=1, padding=1)
    spacing = float((camera.position.norm(dim=1) / camera.intrinsics[:, 0, 0]).mean()) / rendering.depth.shape[-1]
    visible = Visibility(camera, nearest, rendering.alpha, tolerance=TOLERANCE * spacing, softness=spacing / 4)
    return ColourViews(camera, rendering.image.clamp(-1, 1), visible)


@torch.no_grad()
def blend_views(views: ColourViews, points: Tensor, normals: Tensor, chunk: int = 1 << 16) -> tuple[Tensor, Tensor]:
    """Colours of surface points.

    Args:
        points, normals: [M,3], on the CPU; unit normals that point outward.
        chunk: points at once.

    Returns sRGB [M,3] in 0..1 and whether any view shows the point [M]; where none does the colour is 0.
    """
    colours, found = [], []
    for start in range(0, len(points), chunk):
        part = slice(start, start + chunk)
        colour, weight = _blend(views, points[part].to(views.image), normals[part].to(views.image))
        colours.append(colour.cpu())
        found.append((weight >= FAINTEST).cpu())
    return torch.cat(colours), torch.cat(found)


def _blend(views: ColourViews, points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    total, weights, best = torch.zeros_like(points), points.new_zeros(len(points)), points.new_zeros(len(points))
    for i in range(len(views)):
        camera = views.camera[i]
        towards = F.normalize(camera.position - points, dim=-1)
        facing = (normals * towards).sum(-1).clamp(min=0) ** SHARPNESS
        visible = views.visible.entry(i)
        uv = camera.project(points[None])[0]
        alpha = F.grid_sample(visible.alpha, (uv * 2 - 1)[:, None], padding_mode="zeros", align_corners=False)[0, 0, 0]
        solid = ((alpha - 0.5) * 4).clamp(0, 1)
        weight = facing * solid * visible(points[None])[0, :, 0]
        total = total + weight[:, None] * sample_at(views.image[i : i + 1], uv)[0].T
        weights = weights + weight
        best = torch.maximum(best, weight)
    colour = (total / weights.clamp(min=1e-6)[:, None] + 1) / 2
    return torch.where((best >= FAINTEST)[:, None], colour, torch.zeros_like(colour)).clamp(0, 1), best


def fill_unseen(points: Tensor, colours: Tensor, found: Tensor) -> Tensor:
    """Colours [M,3] where points that no view shows take the colour of the nearest one that is shown.

    Raises DualEncError when none is.
    """
    if bool(found.all()):
        return colours
    if not bool(found.any()):
        raise DualEncError("no view shows the mesh; render the views from the head that the mesh was made of")
    tree = require("scipy.spatial", "scipy").cKDTree(points[found].numpy())
    nearest = tree.query(points[~found].numpy())[1]
    colours = colours.clone()
    colours[~found] = colours[found][torch.from_numpy(np.asarray(nearest))]
    return colours


def colour_mesh(
    generator: PanoHead,
    triplane: Triplane,
    mesh: Mesh,
    views: ColourViews | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mesh:
    """The mesh with a colour for every vertex.

    Args:
        triplane: the head that the mesh was made of.
        views: pictures of it; None = `colour_views`.
        progress: called as progress(views done, views in all).

    Every vertex takes the views that see it (a depth test against the rendered depth), weighted by how straight they
    look at it. A vertex that none sees, inside an ear or under the chin, takes the nearest coloured vertex's.
    """
    views = colour_views(generator, triplane, progress=progress) if views is None else views
    colours, found = blend_views(views, mesh.vertices, mesh.normals)
    return mesh.replace(colours=fill_unseen(mesh.vertices, colours, found))
