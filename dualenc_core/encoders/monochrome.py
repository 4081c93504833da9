"""Photos of one hue, black and white or sepia: heads whose hidden sides have it too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..generator import PanoHead
from ..images import resize_area
from ..people.relief import CHANNELS, SIDES
from ..triplane import Triplane
from .sides import distance_feature, reads_distances

# Pixels across in which colours are looked at.
_SIZE = 64
# How far pixels of a photo of one hue are from it, root mean square of colours in 0..1: up to the first it is one, from
# the second on it is not.
_ONE, _MANY = 0.006, 0.012


@torch.no_grad()
def share_hue(generator: PanoHead, triplane: Triplane, image: Tensor, matte: Tensor | None = None) -> Triplane:
    """Heads in the one hue of their photos, where these have no other; all others stay as they are.

    Args:
        triplane: N heads without overlays.
        image: [N,3,S,S] in -1..1.
        matte: [N,1,S',S'] in 0..1, what counts of the photos; None = all.

    Stage one knows people in colour: without this, a face in grey has a brown neck. Heads of generators whose density
    reads more than distances (official ones) stay as they are, too.

    Example:
        >>> import torch, dualenc_core as dc
        >>> from dualenc_core.encoders.monochrome import share_hue
        >>> generator, camera = dc.load_generator("demo"), dc.Camera.look_at()
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=3)))
        >>> photo = generator.render(head, camera).image.clamp(-1, 1)
        >>> bool(share_hue(generator, head, photo).planes.equal(head.planes))
        True
        >>> grey = share_hue(generator, head, photo.mean(1, keepdim=True).expand(-1, 3, -1, -1))
        >>> back = generator.render(grey, dc.Camera.look_at(yaw=180), super_resolve=False).image
        >>> bool((back.amax(1) - back.amin(1)).max() < 0.1)
        True
    """
    if not reads_distances(generator):
        return triplane
    volume = triplane.planes.unflatten(2, (-1, triplane.depth)).clone()
    for i, photo in enumerate(resize_area(image, _SIZE).clamp(-1, 1)):
        covered = None if matte is None else F.interpolate(matte[i : i + 1].float(), size=(_SIZE, _SIZE), mode="area")
        found = _hue_of((photo + 1) / 2, torch.ones_like(photo[0]) if covered is None else covered[0, 0])
        if found is None:
            continue
        hue, share = found
        for k, (plane, _) in enumerate(SIDES):
            colours = volume[i, plane, k * CHANNELS : distance_feature(k)]  # a view
            grey = colours.mean(0, keepdim=True)
            colours.lerp_(grey * hue[:, None, None, None], share)
    return triplane.replace(planes=volume.flatten(2, 3))


def _hue_of(photo: Tensor, weight: Tensor) -> tuple[Tensor, float] | None:
    """The hue [3], of mean 1, of a photo [3,S,S] in 0..1 where it counts [S,S], and how far it has no other."""
    grey = photo.mean(0)
    counts = weight * grey.square()
    if float(counts.sum()) < 1e-3:
        return None
    hue = (weight * grey * photo).sum((1, 2)) / counts.sum()
    away = ((photo - hue[:, None, None] * grey).square().mean(0) * weight).sum() / weight.sum()
    share = float(((_MANY - away.sqrt()) / (_MANY - _ONE)).clamp(0, 1))
    return (hue, share) if share > 0 else None
