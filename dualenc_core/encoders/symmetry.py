"""Faces are nearly symmetric: the half of a head that its photo hardly shows, from the half that it shows, and how far
hair beside the face hangs forward, which a photo from the front does not show at all.

Symmetry prior as in SPI (Yin et al. 2023), without a network or a search: in a tri-grid of reliefs (`people.relief`)
every side is a picture with a depth, so a mirrored head is five flipped pictures, and where one takes the other's place
is a map for each. Shapes blend there, where a blend in space would show two of them at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..people.relief import CHANNELS, OPPOSITE, SIDES
from ..triplane import Triplane
from .sides import distance_feature, places_on, reads_distances, smooth, surfaces_of
from .view import View

# A place is seen as far as the cosine between ray and surface is large. The mirror image comes where that of the place
# opposite is larger by so much, over such a width; and where its own is below the second of these, from the first on
# in full: what the photo shows stays.
_MARGIN, _WIDTH, _OWN = 0.15, 0.06, (0.03, 0.15)
# Cells over which the two sides pass into one another, and around those whose shape stays.
_BLUR, _KEPT = 3, 2
# How far light follows stage one's, which tells it of both sides, not always well; and within which factors.
_LIGHT, _LEAST, _MOST = 0.8, 0.5, 2.0
# Where hair beside the face is, world units: outside of this |x| on the front, before this z on the sides, below this
# y; and by how much it hangs further forward, or out, than on the other side: from, in full.
_BESIDE, _BEFORE, _BELOW, _AHEAD = (0.10, 0.13), (0.06, 0.10), (0.14, 0.10), (0.004, 0.010)
# Front, right, left.
_SEE_CHEEKS = (0, 2, 3)
# Degrees to one side from which on a photo shows how far forward hair hangs there.
_SHOWN = (25.0, 40.0)


def even_hair(generator: PanoHead, triplane: Triplane, camera: Camera) -> Triplane:
    """Heads whose hair hangs as far back on both sides of the face as on the one where it hangs further back.

    Wigs of the people that the bundled weights know are worn to one side, and so is hair that these make of any photo:
    it covered one cheek. From the front a photo cannot tell; from a side it tells of that side, which stays.

    Args:
        triplane: N heads without overlays, as stage one made them. Gradients go through.
        camera: N cameras of the photos.

    Heads of generators whose density reads more than distances (official ones) stay as they are.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.encoders.symmetry import even_hair
        >>> generator = dc.load_generator("demo")
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=3)))
        >>> even = even_hair(generator, head, dc.Camera.look_at())
        >>> even.planes.shape == head.planes.shape
        True
    """
    if not reads_distances(generator):
        return triplane
    box_warp = generator.config.render.box_warp
    yaws = camera.expand(len(triplane)).angles[0].tolist()
    heads = [_even(triplane[i], yaw, box_warp) for i, yaw in enumerate(yaws)]
    return triplane.replace(planes=torch.cat(heads))


def _even(head: Triplane, yaw: float, box_warp: float) -> Tensor:
    """Planes of one head."""
    features = head.planes[0].unflatten(1, (-1, head.depth))
    with torch.no_grad():
        surfaces = surfaces_of(features, box_warp)
        other = _mirrored(surfaces)
        x, y, z = places_on(surfaces, box_warp).unbind(-1)
        lateral = x.sign()
        lateral[2], lateral[3] = 1, -1
        share = _ramp(y, _BELOW) * (1 - _ramp(lateral * yaw, _SHOWN))
    out = features.clone()
    for k in _SEE_CHEEKS:
        plane, sign = SIDES[k]
        # From the front, colours are the photo's; a side shows the cheek instead of the hair.
        first = CHANNELS - 1 if plane == 0 else 0
        own = slice(k * CHANNELS + first, (k + 1) * CHANNELS)
        opposite = -other[k] if plane == 2 else other[k]
        ahead = _ramp(sign * (surfaces[k] - opposite), _AHEAD)
        beside = _ramp(z[k], _BEFORE) if plane == 2 else _ramp(x[k].abs(), _BESIDE)
        weight = smooth((share[k] * beside * ahead)[None], _BLUR)[0]
        out[plane, own] = torch.lerp(features[plane, own], _mirror_image(features, k)[first:], weight)
    return out.flatten(1, 2)[None]


def _ramp(values: Tensor, between: tuple[float, float]) -> Tensor:
    """0 up to the first, 1 from the second on, which may be the smaller."""
    return ((values - between[0]) / (between[1] - between[0])).clamp(0, 1)


@torch.no_grad()
def complete_sides(
    generator: PanoHead,
    triplane: Triplane,
    coarse: Triplane,
    camera: Camera,
    quality: str = "exact",
    views: list[View] | None = None,
) -> Triplane:
    """Heads whose far side is the mirror image of the near one.

    Args:
        triplane: N heads without overlays, planes [N,3,C·D,S,S], as their photos show them.
        coarse: the same heads of stage one, of the same shape, for the light on both sides.
        camera: N cameras of the photos.
        quality: of the renders that tell what is seen (`PanoHead.render_rays`).
        views: what the cameras see of these shapes, where that is known already.

    Where both sides are seen, or neither is, heads stay as they are; so do those of generators whose density reads more
    than distances (official ones): for these there is `editing.complete_symmetric`.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.encoders.symmetry import complete_sides
        >>> generator, camera = dc.load_generator("demo"), dc.Camera.look_at(yaw=40)
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=3)))
        >>> completed = complete_sides(generator, head, head, camera)
        >>> completed.planes.equal(head.planes)
        False
    """
    if not reads_distances(generator):
        return triplane
    views = views or View.each(generator, triplane, camera, quality)
    box_warp = generator.config.render.box_warp
    heads = [_completed(triplane[i], coarse[i], view, box_warp) for i, view in enumerate(views)]
    return triplane.replace(planes=torch.cat(heads))


def _completed(head: Triplane, coarse: Triplane, view: View, box_warp: float) -> Tensor:
    """Planes of one head."""
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))  # a view
    before = features.clone()
    places = places_on(surfaces_of(features, box_warp), box_warp)
    unhidden = view.unhidden(places)
    seen = view.shown(places) * view.squarely(places)
    opposite = _mirrored(places.movedim(-1, 1)).movedim(1, -1) * places.new_tensor([-1.0, 1.0, 1.0])
    # Nothing may come to where the photo shows that there is nothing.
    gain = _mirrored(seen) - torch.maximum(seen, view.empty(opposite))
    share = torch.sigmoid((gain - _MARGIN) / _WIDTH) * ((_OWN[1] - seen) / (_OWN[1] - _OWN[0])).clamp(0, 1)
    share = smooth(share, _BLUR)
    # An outline is seen at no angle at all: shapes stay wherever they are not hidden.
    moved = share * (1 - F.max_pool2d(unhidden, 2 * _KEPT + 1, 1, _KEPT))
    light = _light(coarse)
    for k, (plane, _) in enumerate(SIDES):
        first, distance = k * CHANNELS, distance_feature(k)
        *colours, other = _mirror_image(before, k)
        features[plane, first:distance].lerp_(torch.stack(colours) * light[k], share[k])
        features[plane, distance].lerp_(other, moved[k])
    return planes


def _mirror_image(features: Tensor, side: int) -> Tensor:
    """Channels of a side [`CHANNELS`,D,S,S], as they are of the mirrored head, of features [3,F,D,S,S]."""
    plane, there = SIDES[side][0], OPPOSITE[side] * CHANNELS
    return features[plane, there : there + CHANNELS].flip(1 if plane == 2 else -1)


def _mirrored(maps: Tensor) -> Tensor:
    """Maps of the sides [5,...,S,S], as they are of the mirrored head."""
    across = torch.tensor([plane == 2 for plane, _ in SIDES], device=maps.device)
    other = maps[list(OPPOSITE)]
    # Sides that look along x have it on no axis of theirs.
    return torch.where(across.view(-1, *[1] * (maps.ndim - 1)), other, other.flip(-1))


def _light(coarse: Triplane) -> Tensor:
    """[5,S,S] by how much each side of one head is lighter than its mirror image should be made."""
    features = coarse.planes[0].unflatten(1, (-1, coarse.depth))
    greys = [features[plane, k * CHANNELS : distance_feature(k)].mean((0, 1)) for k, (plane, _) in enumerate(SIDES)]
    # The decoder averages the planes; where a side has no share there is hardly any light to compare.
    grey = smooth(torch.stack(greys).clamp(min=0) / len(features), 9) + 0.02
    return (grey / _mirrored(grey)).clamp(_LEAST, _MOST) ** _LIGHT
