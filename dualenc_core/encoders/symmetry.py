"""The half of a head that its photo hardly shows, from the half that it shows: faces are nearly symmetric.

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
from ..people.relief import CHANNELS, SIDES
from ..point_weight import Visibility
from ..rendering.rays import camera_rays
from ..triplane import Triplane
from .detail import cosines
from .sides import distance_feature, places_on, reads_distances, surfaces_of

# Every side's mirror image.
_OTHER = (0, 1, 3, 2, 4)
# A place is seen as far as the cosine between ray and surface is large. The mirror image comes where that of the place
# opposite is larger by so much, over such a width; and where its own is below the second of these, from the first on
# in full: what the photo shows stays.
_MARGIN, _WIDTH, _OWN = 0.15, 0.06, (0.03, 0.15)
# World units behind the surface that still count as seen, width of that transition, and how far before the surface
# space is seen to be empty.
_BEHIND, _SOFT, _BEFORE = 0.02, 0.01, 0.03
# Cells over which the two sides pass into one another, and around those whose shape stays.
_BLUR, _KEPT = 3, 2
# How far light follows stage one's, which tells it of both sides, not always well; and within which factors.
_LIGHT, _LEAST, _MOST = 0.8, 0.5, 2.0


@torch.no_grad()
def complete_sides(
    generator: PanoHead, triplane: Triplane, coarse: Triplane, camera: Camera, quality: str = "exact"
) -> Triplane:
    """Heads whose far side is the mirror image of the near one.

    Args:
        triplane: N heads without overlays, planes [N,3,C·D,S,S], as their photos show them.
        coarse: the same heads of stage one, of the same shape, for the light on both sides.
        camera: N cameras of the photos.
        quality: of the renders that tell what is seen (`PanoHead.render_rays`).

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
    heads = [_completed(generator, triplane[i], coarse[i], camera[i], quality) for i in range(len(triplane))]
    return triplane.replace(planes=torch.cat(heads))


def _completed(generator: PanoHead, head: Triplane, coarse: Triplane, camera: Camera, quality: str) -> Tensor:
    """Planes of one head."""
    box = generator.config.render.box_warp
    planes = head.planes.clone()
    features = planes[0].unflatten(1, (-1, head.depth))  # a view
    before = features.clone()
    places = places_on(surfaces_of(features, box), box)
    view = _View(generator, head, camera, quality)
    unhidden = view.unhidden(places)
    seen = unhidden * (1 - view.empty(places)) * view.squarely(places)
    opposite = _mirrored(places.movedim(-1, 1)).movedim(1, -1) * places.new_tensor([-1.0, 1.0, 1.0])
    # Nothing may come to where the photo shows that there is nothing.
    gain = _mirrored(seen) - torch.maximum(seen, view.empty(opposite))
    share = torch.sigmoid((gain - _MARGIN) / _WIDTH) * ((_OWN[1] - seen) / (_OWN[1] - _OWN[0])).clamp(0, 1)
    share = _smooth(share, _BLUR)
    # An outline is seen at no angle at all: shapes stay wherever they are not hidden.
    moved = share * (1 - F.max_pool2d(unhidden, 2 * _KEPT + 1, 1, _KEPT))
    light = _light(coarse)
    for k, (plane, _) in enumerate(SIDES):
        first, distance = k * CHANNELS, distance_feature(k)
        there = slice(_OTHER[k] * CHANNELS, (_OTHER[k] + 1) * CHANNELS)
        *colours, other = before[plane, there].flip(1 if plane == 2 else -1)
        features[plane, first:distance].lerp_(torch.stack(colours) * light[k], share[k])
        features[plane, distance].lerp_(other, moved[k])
    return planes


def _mirrored(maps: Tensor) -> Tensor:
    """Maps of the sides [5,...,S,S], as they are of the mirrored head."""
    across = torch.tensor([plane == 2 for plane, _ in SIDES], device=maps.device)
    other = maps[list(_OTHER)]
    # Sides that look along x have it on no axis of theirs.
    return torch.where(across.view(-1, *[1] * (maps.ndim - 1)), other, other.flip(-1))


def _light(coarse: Triplane) -> Tensor:
    """[5,S,S] by how much each side of one head is lighter than its mirror image should be made."""
    features = coarse.planes[0].unflatten(1, (-1, coarse.depth))
    greys = [features[plane, k * CHANNELS : distance_feature(k)].mean((0, 1)) for k, (plane, _) in enumerate(SIDES)]
    # The decoder averages the planes; where a side has no share there is hardly any light to compare.
    grey = _smooth(torch.stack(greys).clamp(min=0) / len(features), 9) + 0.02
    return (grey / _mirrored(grey)).clamp(_LEAST, _MOST) ** _LIGHT


def _smooth(maps: Tensor, cells: int) -> Tensor:
    """[5,S,S], by two box means."""
    for _ in range(2):
        maps = F.avg_pool2d(maps[:, None], 2 * (cells // 2) + 1, 1, cells // 2, count_include_pad=False)[:, 0]
    return maps


class _View:
    """What a photo's camera sees of one head; answers for places [...,3] are [...]."""

    def __init__(self, generator: PanoHead, head: Triplane, camera: Camera, quality: str) -> None:
        size = generator.config.neural_resolution
        origins, directions = camera_rays(camera, size)
        seen = generator.render_rays(head, origins, directions, generator.render_options(None, camera), quality=quality)
        self.camera = camera
        depth = seen.depth.nan_to_num(posinf=0.0)
        self.depth, self.alpha = (values.reshape(1, 1, size, size) for values in (depth, seen.alpha))
        surface = (origins + depth[..., None] * directions)[0]
        cosine = cosines(surface.reshape(size, size, 3), directions[0]).reshape(1, 1, size, size)
        self._cosine = F.avg_pool2d(cosine * (self.alpha > 0.5), 3, 1, 1)

    def unhidden(self, places: Tensor) -> Tensor:
        """1 = on the surface that the camera sees, before it, or where there is none."""
        return self._visible(places, _BEHIND)

    def empty(self, places: Tensor) -> Tensor:
        """1 = before that surface, or where there is none."""
        return self._visible(places, -_BEFORE)

    def squarely(self, places: Tensor) -> Tensor:
        """Cosine between the ray to a place and the surface that it meets."""
        uv, _ = self.camera.project(places.reshape(1, -1, 3))
        return F.grid_sample(self._cosine, uv[:, None] * 2 - 1, align_corners=False).reshape(places.shape[:-1])

    def _visible(self, places: Tensor, tolerance: float) -> Tensor:
        visibility = Visibility(self.camera, self.depth, self.alpha, tolerance, _SOFT)
        return visibility(places.reshape(1, -1, 3)).reshape(places.shape[:-1])
