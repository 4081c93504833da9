"""What comes after an encoder's networks: shape and colours that one photo tells, and many do not teach."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..camera import Camera
from ..colours.unread import unread_features
from ..generator import PanoHead
from ..triplane import Triplane
from .config import HeadEncoderConfig
from .detail import add_detail
from .grazing import settle_grazing
from .monochrome import share_hue
from .outline import fit_outline
from .strands import add_strands
from .symmetry import complete_sides
from .view import View


class Photos(NamedTuple):
    """N of them.

    Attributes:
        image: [N,3,S,S] in -1..1.
        camera: N cameras.
        matte: [N,1,S',S'] in 0..1, coverage of the head; None = not known.
    """

    image: Tensor
    camera: Camera
    matte: Tensor | None


def finish(
    generator: PanoHead,
    heads: Triplane,
    coarse: Triplane,
    photos: Photos,
    config: HeadEncoderConfig,
    quality: str = "exact",
) -> Triplane:
    """Heads with what a configuration asks for: sides, outline, strands, detail, hue.

    Args:
        heads: N, as stage two made them.
        coarse: the same heads of stage one, of the same shape.
        quality: of the renders that are compared with the photos (`PanoHead.render_rays`).

    Heads of generators whose density reads every feature (official ones) come back unchanged.
    """
    if not len(unread_features(generator)):
        return heads
    image, camera, matte = photos
    views = None
    # Shapes stay, so what the camera sees of them holds for the next step.
    if config.both_sides:
        views = View.each(generator, heads, camera, quality)
        heads = settle_grazing(generator, heads, coarse, camera, quality, views)
    if config.outline and matte is not None:
        heads = fit_outline(generator, heads, image, camera, matte, quality, views)
    if config.strands and config.detail:
        shown = None if matte is None else (image, camera, matte)
        heads = add_strands(generator, heads, coarse, shown, quality=quality)
    views = None
    if config.detail:
        views = View.each(generator, heads, camera, quality)
        heads = add_detail(generator, heads, image, camera, matte, config.detail, quality, views)
    if config.both_sides:
        heads = complete_sides(generator, heads, coarse, camera, quality, views)
    return share_hue(generator, heads, image, matte) if config.tones else heads
