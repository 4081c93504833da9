"""The photo's own detail on a head whose shape is known: colours alone move until its render is the photo.

Along a ray of known surfaces the colour is nearly linear in those tri-grid features that the density does not read, so
a few steps of conjugate gradients find the smallest change of them that explains what a render lacks. An encoder that
learns from many photos is right on average, and soft; this is what gives one photo its sharpness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..colours.unread import unread_features
from ..generator import PanoHead
from ..images import resize_area, shrink_area
from ..least_squares import least_squares
from ..rendering.cells import CellReader
from ..rendering.marching import interval_weights
from ..rendering.trigrid import lookup, plane_coordinates
from ..triplane import Triplane
from ..volumes import corners
from .view import View

# Points of a ray about its surface, how far before and behind it they lie in world units, and how many count.
_POINTS, _AROUND, _KEPT = 9, 0.012, 3
# Cosines between ray and surface: below the first nothing is carried, where a pixel would become a streak; from the
# second on all of it.
_GRAZING, _FACING = 0.12, 0.4
# A pixel counts where photo and head both cover it so far, and so many of its neighbours: outlines have something of
# the background's colour, which would become a bright line across the hair, seen from the side.
_COVERED, _RIM = 0.9, 1
# How much of what super-resolution softens is asked for beforehand.
_SHARPEN = 0.7
# Weight of the squared change of features, in their root mean square, beside squared colours.
_STAY = 2e-3


@torch.no_grad()
def add_detail(
    generator: PanoHead,
    triplane: Triplane,
    image: Tensor,
    camera: Camera,
    matte: Tensor | None = None,
    steps: int = 12,
    quality: str = "exact",
    views: list[View] | None = None,
) -> Triplane:
    """Heads that look like their photos where these show them; density and what is hidden stay as they are.

    Args:
        triplane: N heads without overlays.
        image: [N,3,S,S] in -1..1.
        camera: N cameras.
        matte: [N,1,S',S'] in 0..1, coverage of the head; None = the head's own.
        steps: of conjugate gradients.
        quality: of the render that is compared with the photo (`PanoHead.render_rays`).
        views: what the cameras see of these heads, where that is known already.

    Heads of generators whose density reads every feature (official ones) come back unchanged: for them there is
    `inversion.refine_triplane`.
    """
    unread = unread_features(generator)
    if not len(unread):
        return triplane
    planes = []
    for i, view in enumerate(views or View.each(generator, triplane, camera, quality)):
        head, part = triplane[i], None if matte is None else matte[i : i + 1]
        photo = shrink_area(image[i : i + 1], generator.config.image_resolution)
        rays = _rays(generator, head, photo, view, part, unread)
        if rays is not None:
            colours = _Colours(generator, head, rays, unread)
            change = colours.change(rays.lack, steps)
            # The super-resolved picture tells how much more to ask for.
            made = generator.render(colours.changed(head, change), view.camera, quality=quality).image
            softened = resize_area(photo - resize_area(made, photo.shape[-1]), generator.config.neural_resolution)
            lack = rays.lack - colours.of(change) + _SHARPEN * softened.flatten(2)[0].T[rays.pixels]
            change = change + colours.change(lack, steps)
            head = colours.changed(head, change)
        planes.append(head.planes)
    return triplane.replace(planes=torch.cat(planes))


@dataclass(frozen=True)
class _Rays:
    """What explains R pixels: P points, `_KEPT` a ray.

    Attributes:
        pixels: [R] which of a render's.
        points: [P,3].
        slopes: [P,3,K] how a ray's colour moves with the features of its points.
        weight: [R,1], the square root of how much a pixel counts.
        lack: [R,3] photo minus render.
    """

    pixels: Tensor
    points: Tensor
    slopes: Tensor
    weight: Tensor
    lack: Tensor


class _Part(NamedTuple):
    """The features [F] (which of the K unread ones) that move in one plane, and how points read its D·S·S cells."""

    plane: int
    features: Tensor
    reader: CellReader


class _Colours:
    """What a change of one head's free features does to the colours of its rays: a linear map, and its inverse."""

    def __init__(self, generator: PanoHead, head: Triplane, rays: _Rays, unread: Tensor) -> None:
        self.rays, self.unread, self.shape = rays, unread, (head.depth, head.size, head.size)
        values = head.planes[0].unflatten(1, (-1, head.depth))[:, unread].flatten(2)
        # Each feature moves in the plane alone that has most of it, in units of its root mean square there.
        spread = values.square().mean(2).sqrt()
        owner = spread.argmax(0)
        places = plane_coordinates(rays.points[None], generator.config.render.box_warp)[0]
        index, share = corners(places, self.shape)
        # The decoder averages the planes.
        self.parts = [
            _Part(p, (owner == p).nonzero()[:, 0], CellReader.of(index[p], share[p] / 3))
            for p in owner.unique().tolist()
        ]
        self.units = [spread[part.plane, part.features] for part in self.parts]
        each = zip(self.parts, self.units, strict=True)
        self.slopes = [rays.slopes[..., part.features] * unit for part, unit in each]
        self.sizes = [len(part.reader.cells) * len(part.features) for part in self.parts]

    def of(self, change: Tensor) -> Tensor:
        """[R,3] of a change [ΣA·F], in units."""
        total = torch.zeros_like(self.rays.points)
        for part, slope, piece in zip(self.parts, self.slopes, change.split(self.sizes), strict=True):
            read = part.reader.read(piece.unflatten(0, (len(part.reader.cells), -1)))
            total += torch.einsum("pjf,pf->pj", slope, read)
        return total.unflatten(0, (-1, _KEPT)).sum(1)

    def adjoint(self, error: Tensor) -> Tensor:
        """[ΣA·F] of colours [R,3]."""
        error = error.repeat_interleave(_KEPT, 0)
        by_feature = [torch.einsum("pjf,pj->pf", slope, error) for slope in self.slopes]
        return torch.cat([p.reader.spread(values).flatten() for p, values in zip(self.parts, by_feature, strict=True)])

    def change(self, lack: Tensor, steps: int) -> Tensor:
        """The smallest change [ΣA·F] that gives rays the colours [R,3] that they lack."""
        weight = self.rays.weight
        return least_squares(
            lambda x: weight * self.of(x), lambda y: self.adjoint(weight * y), weight * lack, _STAY, steps
        )

    def changed(self, head: Triplane, change: Tensor) -> Triplane:
        """The head with the change."""
        planes = head.planes.clone().unflatten(2, (-1, self.shape[0]))
        cells = planes.flatten(3)  # a view
        for part, unit, piece in zip(self.parts, self.units, change.split(self.sizes), strict=True):
            moved = piece.unflatten(0, (len(part.reader.cells), -1)) * unit
            cells[0, part.plane, self.unread[part.features][:, None], part.reader.cells] += moved.T
        return head.replace(planes=planes.flatten(2, 3))


def _rays(
    generator: PanoHead, head: Triplane, image: Tensor, view: View, matte: Tensor | None, unread: Tensor
) -> _Rays | None:
    """The rays that have something to say, if there are any."""
    size, origins, directions, seen = view.size, view.origins, view.directions, view.seen
    found = torch.isfinite(seen.depth[0])
    depth = seen.depth[0].where(found, 0)
    cover = seen.alpha[0] if matte is None else torch.minimum(resize_area(matte, size).flatten(), seen.alpha[0])
    facing = ((view.cosine.flatten() - _GRAZING) / (_FACING - _GRAZING)).clamp(0, 1)
    inside = -F.max_pool2d(-cover.reshape(1, 1, size, size), 2 * _RIM + 1, 1, _RIM).flatten()
    weight = facing * ((inside - _COVERED) / (1 - _COVERED)).clamp(0, 1) * found
    used = weight.nonzero()[:, 0]
    if not len(used):
        return None
    depths = depth[used, None] + torch.linspace(-_AROUND, _AROUND, _POINTS).to(depth)
    points = origins[0, used, None] + depths[..., None] * directions[0, used, None]
    sigma, _ = generator.query(head, points.reshape(1, -1, 3))
    between = interval_weights(depths[None], sigma.reshape(1, *depths.shape))[0][0]
    # Of an interval each end has half.
    share, kept = ((F.pad(between, (0, 1)) + F.pad(between, (1, 0))) / 2).topk(_KEPT, 1)
    share = share * (between.sum(1) / share.sum(1).clamp(min=1e-6))[:, None]
    points = points.gather(1, kept[..., None].expand(-1, -1, 3)).reshape(-1, 3)
    slopes = _slopes(generator, head, points)[..., unread] * share.reshape(-1, 1, 1)
    drawn = generator.to_rgb(seen.features[:, used].transpose(1, 2)[..., None], head.ws)[0, :, :, 0].T
    photo = resize_area(image, size)
    lack = photo.flatten(2)[0].T[used] - drawn
    return _Rays(used, points, slopes, weight[used, None].sqrt(), lack)


def _slopes(generator: PanoHead, head: Triplane, points: Tensor) -> Tensor:
    """[P,3,C] how colours of points move with the mean features of the planes.

    By hand: ComfyUI runs its nodes in inference mode, where there are no gradients.
    """
    decoder = generator.decoder
    first, last = decoder.layers
    features = lookup(head.planes, points[None], head.depth, generator.config.render.box_warp).mean(1)[0]
    before = first(features)
    raw = last(F.softplus(before))[:, 1:]
    basis = torch.eye(raw.shape[1], device=raw.device)[None, :, :, None]
    # To-RGB is linear, up to what it adds.
    to_rgb = (generator.to_rgb(basis, head.ws) - generator.to_rgb(torch.zeros_like(basis), head.ws))[0, :, :, 0]
    by_raw = to_rgb * decoder.activated_slope(raw)[:, None]
    by_hidden = (by_raw @ (last.weight[1:] * last.weight_gain)) * torch.sigmoid(before)[:, None]
    return by_hidden @ (first.weight * first.weight_gain)
