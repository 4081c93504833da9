"""Hidden parts in the colours of the visible ones (beyond the paper).

Both encoders begin with a head of the generator (stage one), whose hair is often of another hue than the photo's. Stage
two corrects what the photo shows; what it does not show keeps the hue of the beginning, and a border runs around the
head. So the change of colours that the photo brought about is learned where it is seen, as one linear map of tri-grid
features, and made everywhere: what began alike ends alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..colours.fit import Reading, fit, near
from ..colours.linear_map import ColourMap
from ..devices import in_full_float32
from ..errors import DualEncError
from ..generator import PanoHead
from ..point_weight import Visibility
from ..rendering.rays import camera_rays
from ..triplane import Triplane
from .stitching import check_heads, views_of

# Surface points that the view sees well, and the fewest that a map is learned from.
_POINTS, _FEWEST = 512, 64
_SEEN = 0.9


@in_full_float32
@torch.no_grad()
def match_hidden_colours(
    generator: PanoHead,
    visible: Triplane,
    occluded: Triplane,
    seen: Visibility,
    strength: float = 1.0,
    coarse: Triplane | None = None,
) -> Triplane:
    """Encoder 2's heads in the colours that the photo gave to what it shows; their density stays.

    Args:
        visible: N heads of Encoder 1, true to the photo where it shows them.
        occluded: N heads of Encoder 2.
        seen: what the photo shows; N views, or one for all.
        strength: 0 = Encoder 2's own colours, 1 = matched.
        coarse: what ``occluded`` was before stage two; None = the generator's heads of its styles.

    Returns ``occluded`` with changed planes. A head of which the view sees hardly anything stays as it is, and so do
    all of a generator whose decoder has an activation behind its colours (PanoHead's has none), and those of encoders
    whose planes have ends of their own (`LiftedConfig.own_ends`, the bundled ones): what a feature means at the front
    says nothing about the back, and Encoder 2 has learned the colours of hidden parts itself.

    Raises DualEncError for a strength outside 0..1, and as `stitch` for what cannot be joined;
    GeneratorMismatchError for heads of another generator.

    Example:
        >>> import dualenc_core as dc
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> heads = generator.synthesize(generator.mapping(generator.latents(seed=0, count=2)))
        >>> seen = dc.visibility(generator, heads[0], dc.Camera.look_at())
        >>> dc.match_hidden_colours(generator, heads[0], heads[1], seen, strength=0.5).planes.shape
        torch.Size([1, 3, 12, 16, 16])
    """
    check_strength(strength)
    check_heads(visible, occluded)
    seen = views_of(seen, visible)
    generator.check(occluded)
    if strength == 0 or generator.config.decoder_activation != "none" or occluded.meta.get("own_ends"):
        return occluded
    coarse = generator.synthesize(occluded.ws) if coarse is None else coarse
    maps = [_learn(generator, visible[i], occluded[i], coarse[i], seen.entry(i)) for i in range(len(occluded))]
    matched = ColourMap.stack(maps).apply(occluded, strength)
    return matched.replace(meta={**occluded.meta, "hidden_colours": strength})


def check_strength(strength: float) -> None:
    """Raise DualEncError for a strength outside 0..1."""
    if not 0 <= strength <= 1:
        raise DualEncError(f"hidden_colours is {strength}, expected 0 (Encoder 2's own colours) to 1 (matched)")


def _learn(generator: PanoHead, visible: Triplane, occluded: Triplane, coarse: Triplane, seen: Visibility) -> ColourMap:
    """The map of one head: what the photo did to the colours, less what Encoder 2 did by itself where it is hidden."""
    points = _surface(seen)
    if len(points) < _FEWEST:
        return ColourMap.identity(1, coarse)
    around = near(points)
    # A head is nearly symmetric: turned round, they are near hidden surfaces.
    turned = torch.cat([around * around.new_tensor([1, 1, -1]), around * around.new_tensor([-1, 1, 1])])
    hidden = turned[(seen(turned[None])[0, :, 0] < 1 - _SEEN) & (generator.query(coarse, turned[None])[0][0, :, 0] > 0)]
    hidden = hidden[:: max(1, -(-len(hidden) // _POINTS))]
    keep = Reading.of(generator, occluded.replace(overlays=()), torch.cat([around, turned]))
    rows = torch.eye(generator.config.features).to(points)

    def change(wanted: Triplane, where: Tensor) -> ColourMap:
        if len(where) < _FEWEST:
            return ColourMap.identity(1, coarse)
        colours = generator.query(wanted, where[None])[1][0]
        return fit(generator, rows, Reading.of(generator, coarse.replace(overlays=()), where), colours, keep)

    photo, own = change(visible, points), change(occluded, hidden)
    return ColourMap(photo.matrix - own.matrix, photo.offset - own.offset)


def _surface(seen: Visibility) -> Tensor:
    """Points [M,3] of the surface of one view, evenly spread over the picture."""
    origins, directions = camera_rays(seen.camera, seen.depth.shape[-1])
    hit = (seen.alpha.flatten() >= _SEEN).nonzero()[:, 0]
    hit = hit[:: max(1, -(-len(hit) // _POINTS))]
    return origins[0, hit] + seen.depth.flatten()[hit, None] * directions[0, hit]
