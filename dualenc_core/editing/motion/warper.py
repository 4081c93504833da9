"""Matter of a head moved along a field of displacements, as tri-grids that need nothing new to be drawn.

A warp mixes axes, which no resampling of the three volumes can follow. But a head shows its surface only, and near a
surface tri-grids can have any features: they are fitted there, by least squares, to those of the place from which
each point has come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...colours.unread import repainted
from ...errors import DualEncError, require
from ...generator import PanoHead
from ...least_squares import least_squares
from ...point_weight import LabelVolume, PointWeight, Visibility
from ...rendering.cells import CellReader, cells_read
from ...rendering.rays import camera_rays
from ...triplane import Overlay, Triplane
from .openings import Paint

# Displacements below this move nothing that anybody sees, world units (the head is about 0.5 high).
STILL = 6e-4
ITERATIONS = 8
# Raw density that is solid.
_SOLID = 20.0
# Cells between the places where a surface is looked for; each stands for points half as far from each other.
_SPACING = 2
# No matter moves further than so many of these places.
_FAR = 6
# Weight of a squared change of a cell, beside the squared errors of the points that read it.
_STAY = 1e-3
# Paint below this is none.
_BARE = 1e-3


class Field(Protocol):
    """Displacements of places, and colours that they take on; all in world units, on one device."""

    @property
    def at(self) -> Tensor:
        """Places [M,3] where small motions are found."""

    def __call__(self, points: Tensor) -> Tensor:
        """What to add to places [M,3] to find where their matter was."""

    def paint(self, points: Tensor) -> Paint | None:
        """Colours that places [M,3] take on; None = as they were."""


class Warper:
    """Warps one head, again and again; where its surface is is looked up once.

    Args:
        generator: that made the head.
        triplane: one head.

    Raises DualEncError for several heads.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.editing.motion import FaceMotions, Warper
        >>> generator = dc.load_generator("demo")
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> smiling = FaceMotions.of(generator, head).field({"smile": (0.0, 0.8)})
        >>> Warper(generator, head)(smiling).planes.shape == head.planes.shape
        True
    """

    @torch.no_grad()
    def __init__(self, generator: PanoHead, triplane: Triplane) -> None:
        if len(triplane) != 1:
            raise DualEncError(f"triplane has {len(triplane)} heads, expected one; take one with triplane[0]")
        self.generator, self.triplane = generator, triplane
        self._box, self._size = generator.config.render.box_warp, max(2, triplane.size // _SPACING // 2 * 2)
        self._places = _places(self._size, self._box).to(triplane.planes.device)
        self._solid = self._is_solid(self._places)
        self._around = _surroundings(self._solid, self._size)

    @torch.no_grad()
    def __call__(self, field: Field, iterations: int = ITERATIONS) -> Triplane:
        """The head whose matter has moved; its ws stay.

        Overlays move along, and so do the weights of what a view has seen.

        Args:
            iterations: of conjugate gradients.
        """
        head = self.triplane
        field = _Near(field, self._near(field), self._box)
        moving, origin, still = self._points(field)
        if not len(moving):
            return head
        grids = [head.planes, *(overlay.planes for overlay in head.overlays)]
        table = rearrange(torch.cat(grids).float(), "g p (c d) h w -> (p d h w) (g c)", d=head.depth)
        shape = (head.depth, head.size, head.size)
        index, weight = cells_read(moving, shape, self._box)
        beside = _reading_the_same(still, index, shape, self._box)
        kept = CellReader.of(*(torch.cat(pair) for pair in zip((index, weight), beside, strict=True)))
        lack = kept.read(table[kept.cells]).neg_()
        lack[len(moving) :] = 0
        lack[: len(moving)] += self._wanted(table, moving, origin, field.paint(moving))
        table[kept.cells] += least_squares(kept.read, kept.spread, lack, _STAY, iterations)
        fitted = rearrange(table, "(p d h w) (g c) -> g p (c d) h w", p=3, d=head.depth, h=head.size, g=len(grids))
        planes, *others = fitted.to(head.planes).split(1)
        overlays = tuple(
            Overlay(other, _moved(overlay.weight, field)) for other, overlay in zip(others, head.overlays, strict=True)
        )
        return head.replace(planes=planes, overlays=overlays)

    def _is_solid(self, points: Tensor) -> Tensor:
        return self.generator.solid_density(self.triplane)(points[None])[0, :, 0] > _SOLID

    def _near(self, field: Field) -> Tensor:
        """[size,size,size], where a field may move anything."""
        half = self._size // 2
        moving = (field(_places(half, self._box).to(self._places)).norm(dim=-1) > STILL).reshape(half, half, half)
        # Small motions fall between these places; there are the points that they go through.
        ends = field.at[field(field.at).norm(dim=-1) > STILL]
        x, y, z = ((ends / self._box + 0.5) * half).long().clamp(0, half - 1).T
        moving[x, y, z] = True
        return F.interpolate(F.max_pool3d(moving[None, None].float(), 3, 1, 1), scale_factor=2)[0, 0] > 0

    def _points(self, field: _Near) -> tuple[Tensor, Tensor, Tensor]:
        """Points near the surface as it was or as it will be: [M,3] that need other features, where these come from,
        and [K,3] that need none.

        The last must be held: a cell is read by points all along its plane's normal.
        """
        size = self._size
        asked = (field.near.flatten() & self._around).nonzero()[:, 0]
        then = self._solid.clone()
        then[asked] = self._is_solid(self._places[asked] + field(self._places[asked]))
        surface = self._solid != then
        for solid in (self._solid, then):
            surface |= _grown(solid, size) & _grown(~solid, size)
        part = torch.tensor([-0.25, 0.25]).to(self._places) * self._box / size
        points = (self._places[surface][:, None] + torch.cartesian_prod(part, part, part)).reshape(-1, 3)
        origin = field(points)
        moved = origin.norm(dim=-1) > STILL
        return points[moved], origin[moved], points[~moved]

    def _wanted(self, table: Tensor, points: Tensor, origin: Tensor, paint: Paint | None) -> Tensor:
        """Features [M,G·C] that points shall have, sums over the planes."""
        head = self.triplane
        sources = CellReader.of(*cells_read(points + origin, (head.depth, head.size, head.size), self._box))
        wanted = sources.read(table[sources.cells])
        if paint is not None and bool((found := paint.share > _BARE).any()):
            # The decoder reads means over the three planes.
            for features in wanted.split(head.features, 1):
                colours = repainted(self.generator, features[found] / 3, paint.colour[found], paint.share[found])
                features[found] = 3 * colours
        return wanted


@dataclass(frozen=True)
class _Near:
    """A field that is asked only where it may move anything [size,size,size], and is still elsewhere."""

    field: Field
    near: Tensor
    box: float

    @property
    def at(self) -> Tensor:
        return self.field.at

    def __call__(self, points: Tensor) -> Tensor:
        size = len(self.near)
        inside = (points.abs() < self.box / 2).all(-1)
        x, y, z = ((points / self.box + 0.5) * size).long().clamp(0, size - 1).unbind(-1)
        some = (self.near[x, y, z] & inside).nonzero()[:, 0]
        return torch.zeros_like(points).index_copy(0, some, self.field(points[some]))

    def paint(self, points: Tensor) -> Paint | None:
        return self.field.paint(points)


def _reading_the_same(points: Tensor, cells: Tensor, shape: tuple[int, int, int], box: float) -> tuple[Tensor, Tensor]:
    """`cells_read` of those points [K,3] that read any of some cells."""
    index, weight = cells_read(points, shape, box)
    read = torch.zeros(3 * shape[0] * shape[1] * shape[2], dtype=torch.bool, device=points.device)
    read[cells.flatten()] = True
    some = read[index].any(1)
    return index[some], weight[some]


def _places(size: int, box: float) -> Tensor:
    """Centres [size³,3] of the cells of a cube, x first."""
    line = ((torch.arange(size) + 0.5) / size - 0.5) * box
    return torch.cartesian_prod(line, line, line)


def _grown(values: Tensor, size: int) -> Tensor:
    """Where a place of a cube [size³], or a neighbour of it, is true."""
    return F.max_pool3d(values.float().reshape(1, 1, size, size, size), 3, 1, 1).flatten() > 0


def _surroundings(solid: Tensor, size: int) -> Tensor:
    """Where a surface may come to, or is: within some steps of it."""
    inside, outside = solid, ~solid
    for _ in range(_FAR):
        inside, outside = _grown(inside, size), _grown(outside, size)
    return inside & outside


def _moved(weight: PointWeight, field: Field) -> PointWeight:
    """A weight that goes along with the matter it is of."""
    if isinstance(weight, Visibility):
        return _seen(weight, field)
    if isinstance(weight, LabelVolume):
        _, _, z, y, x = weight.volume.shape
        lines = [((torch.arange(n) + 0.5) / n - 0.5) * weight.box for n in (z, y, x)]
        places = torch.cartesian_prod(*lines).flip(-1).to(weight.volume)
        return replace(weight, volume=weight((places + field(places))[None]).reshape(weight.volume.shape))
    raise DualEncError(f"a {type(weight).__name__} cannot be moved, expected a Visibility or a LabelVolume")


def _seen(weight: Visibility, field: Field) -> Visibility:
    """The depth of a view after the warp, to first order: how far the source of each place is from the surface."""
    seen = weight.alpha[0, 0] >= 0.25
    if not bool(seen.any()):
        return weight
    # What was empty may be covered now: there the search begins at the depth of the nearest surface.
    edt = require("scipy.ndimage", "scipy").distance_transform_edt
    nearest = edt(~seen.cpu().numpy(), return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(nearest).to(seen.device)
    filled = weight.depth[0, 0][rows, columns]
    origins, directions = camera_rays(weight.camera, filled.shape[-1])
    places = origins[0] + filled.flatten()[:, None] * directions[0]
    origin = field(places)
    uv, _ = weight.camera.project((places + origin)[None])
    grid = (uv * 2 - 1)[:, None]
    surface = F.grid_sample(filled[None, None], grid, padding_mode="border", align_corners=False).flatten()
    alpha = F.grid_sample(weight.alpha, grid, padding_mode="border", align_corners=False)
    # Across a silhouette the surface jumps, which is no motion.
    most = origin.norm(dim=-1)
    change = (surface - (places + origin - weight.camera.position).norm(dim=-1)).clamp(-most, most)
    moves = (most > 0).reshape(weight.depth.shape)
    depth, alpha = (values.reshape(weight.depth.shape) for values in (filled.flatten() + change, alpha))
    return replace(weight, depth=depth.where(moves, weight.depth), alpha=alpha.where(moves, weight.alpha))
