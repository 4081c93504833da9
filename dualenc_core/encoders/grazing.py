"""Colours where a photo sees a head at a grazing angle, or not at all: stage one's, in the tones that it sees beside.

There a few pixels are drawn out over temples, ears and jaws: an outline that is elsewhere by a hair's breadth becomes
a streak, and the red of an ear a stain on the cheek. Stage one's colours are smooth and in the right places; what they
lack is the photo's tone, which changes slowly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..people.relief import CHANNELS, SIDES
from ..triplane import Triplane
from .sides import distance_feature, places_on, reads_distances, smooth, surfaces_of
from .view import View

# Cosines between ray and surface, below the first of which nothing of a side's colours stays, from the second on all.
_GRAZING, _SQUARE = 0.08, 0.25
# Cells over which tones are compared, and how little those further away count beside those nearby.
_NEARBY = ((9, 1.0), (25, 1e-2))
# What is compared is nothing where it is darker than about this; and by how much tones change at most.
_DARK, _MOST = 3e-4, 1.6


@torch.no_grad()
def settle_grazing(
    generator: PanoHead,
    triplane: Triplane,
    coarse: Triplane,
    camera: Camera,
    quality: str = "exact",
    views: list[View] | None = None,
) -> Triplane:
    """Heads whose sides, but for the front, are coloured by stage one where their photos do not see them well.

    Args:
        triplane: N heads without overlays, as stage two made them.
        coarse: the same heads of stage one, of the same shape.
        camera: N cameras of the photos.
        quality: of the renders that tell what is seen (`PanoHead.render_rays`).
        views: what the cameras see of these shapes, where that is known already.

    Shapes stay; so do heads of generators whose density reads more than distances (official ones).

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.encoders.grazing import settle_grazing
        >>> generator, camera = dc.load_generator("demo"), dc.Camera.look_at()
        >>> coarse = generator.synthesize(generator.mapping(generator.latents(seed=3)))
        >>> stained = coarse.replace(planes=coarse.planes * 1.2)
        >>> settled = settle_grazing(generator, stained, coarse, camera)
        >>> bool((settled.planes - coarse.planes).norm() < (stained.planes - coarse.planes).norm())
        True
    """
    if not reads_distances(generator):
        return triplane
    views = views or View.each(generator, triplane, camera, quality)
    box_warp = generator.config.render.box_warp
    heads = [_settled(triplane[i], coarse[i], view, box_warp) for i, view in enumerate(views)]
    return triplane.replace(planes=torch.cat(heads))


def _settled(head: Triplane, coarse: Triplane, view: View, box_warp: float) -> Tensor:
    """Planes of one head."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))  # a view
    known = coarse.planes[0].unflatten(1, (-1, head.depth))
    places = places_on(surfaces_of(features, box_warp), box_warp)
    squarely = ((view.squarely(places) - _GRAZING) / (_SQUARE - _GRAZING)).clamp(0, 1)
    stays = view.shown(places) * squarely
    for k, (plane, _) in list(enumerate(SIDES))[1:]:
        colours = slice(k * CHANNELS, distance_feature(k))
        own, given = features[plane, colours], known[plane, colours]
        # The decoder averages the planes.
        seen = (values.mean(1).clamp(min=0) * stays[k] / len(features) for values in (own, given))
        wanted, had = (torch.stack([share * smooth(part, cells) for cells, share in _NEARBY]).sum(0) for part in seen)
        tone = ((wanted + _DARK) / (had + _DARK)).clamp(1 / _MOST, _MOST)
        own.copy_(torch.lerp(given * tone[:, None], own, stays[k]))
    return planes
