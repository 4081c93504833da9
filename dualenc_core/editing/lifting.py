"""From labels of rays to weights of tri-grid cells or of a volume (editing.md §3.1, §3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..rendering.marching import interval_weights
from ..rendering.rays import camera_rays
from ..rendering.renderer import RenderOptions, query_samples
from ..rendering.sampling import importance_depths, stratified_depths
from ..rendering.trigrid import lookup, plane_coordinates
from ..triplane import Triplane
from ..volumes import corners
from .morphology import gaussian

Progress = Callable[[int, int], None]
Unseen = Literal["nearby", "zero"]

# Of the 96 samples of a ray on a solid head fewer than this carry weight.
_KEPT = 12
_LEAST_WEIGHT = 1e-3
_TOUCHED = 1e-4


class Samples(NamedTuple):
    """What the rays of views meet of one head: points [M,3], compositing weights [M], labels [M] in 0..1."""

    points: Tensor
    weights: Tensor
    labels: Tensor


# (index of the view, points [M,3], pixel index [M]) → labels [M]
Label = Callable[[int, Tensor, Tensor], Tensor]


@torch.no_grad()
def collect_samples(
    generator: PanoHead,
    head: Triplane,
    cameras: Camera,
    label: Label,
    resolution: int,
    samples: int | tuple[int, int] | None = None,
    chunk: int = 4096,
    progress: Progress | None = None,
) -> Samples:
    """March the views' rays through one head and label what they meet.

    Args:
        head: one head.
        cameras: V views of it.
        label: labels of points of a view.
        resolution: rays along each side.
        samples: coarse and importance samples a ray; None = the generator's.
        chunk: rays in memory at once.
        progress: called as progress(views done, V).
    """
    options = generator.render_options(samples)
    cameras = cameras.to(head.planes.device)
    density = generator.solid_density(head)
    parts = []
    for view in range(len(cameras)):
        origins, directions = camera_rays(cameras[view], resolution)
        found = [
            _ray_samples(density, o, d, options)
            for o, d in zip(origins.split(chunk, 1), directions.split(chunk, 1), strict=True)
        ]
        points, weights = (torch.cat(tensors, 1)[0] for tensors in zip(*found, strict=True))
        pixels = torch.arange(len(points), device=points.device)[:, None].expand_as(weights)
        kept = weights > _LEAST_WEIGHT
        points, weights, pixels = points[kept], weights[kept], pixels[kept]
        parts.append(Samples(points, weights, label(view, points, pixels)))
        if progress is not None:
            progress(view + 1, len(cameras))
    return Samples(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _ray_samples(
    solid: Callable[[Tensor], Tensor], origins: Tensor, directions: Tensor, options: RenderOptions
) -> tuple[Tensor, Tensor]:
    """The heaviest intervals of rays [1,R,3]: mid-points [1,R,K,3] and compositing weights [1,R,K].

    ``solid`` is the density of points, as `PanoHead.solid_density` gives it.
    """

    def density(depths: Tensor) -> Tensor:
        return query_samples(lambda points: (solid(points), points), origins, directions, depths, options)[0]

    depths = stratified_depths(
        options.near,
        options.far,
        options.samples,
        None,
        (origins.shape[0], origins.shape[1]),
        disparity=options.disparity,
        device=origins.device,
    )
    sigma = density(depths)
    if options.importance:
        weights, _ = interval_weights(depths, sigma)
        fine = importance_depths(depths, weights, options.importance, None)
        depths, order = torch.cat([depths, fine], -1).sort(-1)
        sigma = torch.cat([sigma, density(fine)], -1).gather(-1, order)
    weights, middle = interval_weights(depths, sigma)
    weights, index = weights.topk(min(_KEPT, weights.shape[-1]), dim=-1)
    middle = middle.gather(-1, index)
    return origins[:, :, None] + middle[..., None] * directions[:, :, None], weights


@dataclass(frozen=True)
class Reading:
    """How M points read cells: a sparse matrix and its adjoint, made once for many uses.

    Attributes:
        shape: of the cells, (3,D,S,S) of a tri-grid or (1,S,S,S) of a volume.
        index: [M,K] flat indices of the cells that a point reads.
        weight: [M,K], trilinear weights that sum to 1 for each point: lookups fade towards the sides of the box, but
            shares do not.
    """

    shape: tuple[int, int, int, int]
    index: Tensor
    weight: Tensor

    @classmethod
    def of(cls, points: Tensor, shape: tuple[int, int, int, int], box: float) -> Reading:
        """For points [M,3] and cells of a tri-grid (mean over its planes, as the decoder takes it) or a volume."""
        planes = plane_coordinates(points[None], box)[0][: shape[0]]
        index, weight = corners(planes, shape[1:])
        offset = torch.arange(shape[0], device=points.device)[:, None, None] * math.prod(shape[1:])
        index, weight = ((index + offset).transpose(0, 1).flatten(1), weight.transpose(0, 1).flatten(1))
        return cls(shape, index, weight / weight.sum(1, keepdim=True).clamp_min(1e-6))

    def read(self, cells: Tensor) -> Tensor:
        """Cells of `shape` → their share [M] in what each point reads."""
        return (cells.reshape(-1)[self.index] * self.weight).sum(1)

    def fall(self, values: Tensor) -> Tensor:
        """The adjoint: values [M] → what falls on each cell."""
        flat = values.new_zeros(math.prod(self.shape))
        flat.index_add_(0, self.index.reshape(-1), (values[:, None] * self.weight).reshape(-1))
        return flat.reshape(self.shape)


def lift(
    samples: Samples, shape: tuple[int, int, int, int], box: float, blur: float, rounds: int, unseen: Unseen
) -> Tensor:
    """Labels of samples → weights of cells of ``shape``, in 0..1.

    The start is the splat ratio: what falls on a cell with its label over all that falls on it, both blurred. A cell
    of a tri-grid is shared by a whole line of points, so each round then lets fall by how much the labels are missed
    (SIRT, the algebraic reconstruction of tomography).

    Args:
        shape: (3,D,S,S), a tri-grid, blurred in-plane; or (1,S,S,S), a volume.
        blur: sigma in cells; it closes the gaps between rays.
        rounds: 0 = the ratio alone.
        unseen: cells that no sample reads take the weight of those nearby, or 0.
    """
    reading = Reading.of(samples.points, shape, box)
    share = reading.fall(samples.weights)
    # Slices are channels of 2D pictures; a volume is one channel in 3D.
    picture = shape if shape[0] == 3 else (1, *shape)
    inside, total = (
        gaussian(fallen.reshape(picture), blur).reshape(shape)
        for fallen in (reading.fall(samples.weights * samples.labels), share)
    )
    known = total > _TOUCHED

    def inherit(cells: Tensor) -> Tensor:
        if unseen == "zero":
            return cells * known
        return spread(cells.reshape(picture), known.reshape(picture)).reshape(shape)

    cells = inherit(torch.where(known, inside / total.clamp_min(_TOUCHED), torch.zeros_like(total)))
    for _ in range(rounds):
        missed = samples.weights * (samples.labels - reading.read(cells))
        cells = (cells + reading.fall(missed) / share.clamp_min(_TOUCHED)).clamp(0, 1)
    return inherit(cells) if rounds else cells


def read_cells(cells: Tensor, points: Tensor, box: float) -> Tensor:
    """The share [N,M] that cells [N,3,D,S,S] have in the features of points [N,M,3], as the decoder averages planes.

    Lookups fade towards the sides of the box; shares do not.
    """
    depth = cells.shape[2]
    whole = lookup(torch.ones_like(cells), points, depth, box).mean(1)[..., 0]
    return (lookup(cells, points, depth, box).mean(1)[..., 0] / whole.clamp_min(1e-6)).clamp(0, 1)


def spread(values: Tensor, known: Tensor) -> Tensor:
    """Fill the places of [N,C,H,W] or [N,C,Z,Y,X] that are not known from the known ones around (pull-push)."""
    if bool(known.all()):
        return values
    flat = values.ndim == 4
    pool = F.avg_pool2d if flat else F.avg_pool3d
    weight = pool(known.to(values), 2, ceil_mode=True)
    coarse = pool(values * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    if max(coarse.shape[2:]) > 1:
        coarse = spread(coarse, weight > 0)
    mode = "bilinear" if flat else "trilinear"
    return torch.where(known, values, F.interpolate(coarse, values.shape[2:], mode=mode, align_corners=False))
