"""Coverage of a head in an aligned portrait: what makes a matte useless."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import DualEncError

# Below this a matte holds nothing that could be seen.
NOTHING = 0.05
# Masks are on the head and off its surroundings; the other way round by this much they are inverted.
_INVERTED = 0.3


def held(matte: Tensor, region: Tensor) -> float:
    """Share of a region [1,1,S,S] that a matte [1,1,S,S] holds, both in 0..1; NaN when the region is empty."""
    return float((matte * region).sum() / region.sum())


def middle(size: int, device: torch.device | str = "cpu", zoom: float = 1.0) -> Tensor:
    """[1,1,size,size]: 1 on the disc that every aligned head covers, from whichever side it is seen.

    Args: ``zoom`` as in `is_inverted`.
    """
    return (_from_centre(size, device) < 0.2 / zoom).float()


def is_inverted(matte: Tensor, region: Tensor, covered: Tensor | None = None, zoom: float = 1.0) -> bool:
    """Whether the inverse of a matte fits a head: it holds less of the region than of what surrounds the head.

    Args:
        matte, region: [1,1,S,S] in 0..1.
        covered: [1,1,S,S], where the picture is; beyond it a mask says nothing.
        zoom: sides of the window in sides of the head's crop, which is in its middle.
    """
    size = matte.shape[-1]
    # Beside and above the head; below it is the body.
    around = _from_centre(size, matte.device) > 0.42 / zoom
    around[..., round((0.5 + 0.1 / zoom) * size) :, :] = False
    around = around & (region < 0.5)
    if covered is not None:
        around = around & (covered > 0.5)
    if float(around.float().mean()) < 0.02 / zoom**2:
        return False
    share = held(matte, region)
    return share < 0.5 and held(matte, around.float()) - share > _INVERTED


def check_mattes(matte: Tensor) -> None:
    """Raise DualEncError for mattes [N,1,S,S] of aligned heads that hold nothing, or everything but the head."""
    for number, one in enumerate(matte.split(1)):
        name = "the matte" if len(matte) == 1 else f"matte {number + 1} of {len(matte)}"
        if float(one.max()) < NOTHING:
            raise DualEncError(
                f"{name} is empty: it holds nothing, so there would be no head; give a mask that is white on the head, "
                "or keep the background"
            )
        small = torch.nn.functional.adaptive_avg_pool2d(one.float(), 64)
        if is_inverted(small, middle(64, one.device)):
            raise DualEncError(f"{name} {INVERTED}")


INVERTED = (
    "is 0 on the head and 1 around it: it looks inverted; turn it round (in ComfyUI: Invert Mask; Load Image's MASK is "
    "1 - alpha)"
)


def _from_centre(size: int, device: torch.device | str) -> Tensor:
    """[1,1,size,size] distances from the centre, in sides."""
    place = (torch.arange(size, device=device) + 0.5) / size - 0.5
    return (place[:, None].square() + place[None].square()).sqrt()[None, None]
