"""Photos without their surroundings: what is around a head is not to be inverted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DualEncError
from ..generator import PanoHead
from ..mattes import check_mattes


@torch.no_grad()
def mean_background(generator: PanoHead) -> Tensor:
    """[3] in [-1,1]: the mean colour that the generator gives to the background of its average head."""
    ws = generator.w_avg.expand(1, generator.config.num_ws, -1)
    scene = generator.background_features(ws)
    # Without a background network the generator renders on features of zero, which it was trained to make white.
    picture = torch.ones(1, 3, 1, 1, device=ws.device) if scene is None else generator.to_rgb(scene, ws)
    return picture.clamp(-1, 1).mean((0, 2, 3))


@torch.no_grad()
def on_backdrop(generator: PanoHead, image: Tensor, matte: Tensor) -> Tensor:
    """The head on the mean colour that the generator gives to the background of its average head.

    A picture that is on it already, by the same matte, stays as it is: a soft edge must not be mixed twice.

    Args:
        image: [N,3,S,S] in [-1,1].
        matte: [N,1,S',S'] in 0..1, coverage of the head; resized to the image.

    Raises DualEncError for shapes that do not fit, and for a matte that holds nothing or is inverted: on the backdrop
    alone every head is an empty one.
    """
    if image.ndim != 4 or matte.ndim != 4 or matte.shape[:2] != (len(image), 1):
        raise DualEncError(
            f"image has shape {tuple(image.shape)} and matte {tuple(matte.shape)}, expected [N,3,S,S] and [N,1,S,S]"
        )
    check_mattes(matte)
    colour = mean_background(generator)[:, None, None].to(image)
    matte = matte.to(image)
    if matte.shape[-2:] != image.shape[-2:]:
        matte = F.interpolate(matte, image.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
    matte = matte.clamp(0, 1)
    around = (matte <= 0).expand_as(image)
    if bool((matte >= 1).all()) or (bool(around.any()) and torch.equal(image[around], colour.expand_as(image)[around])):
        return image
    return torch.lerp(colour.expand_as(image), image, matte)
