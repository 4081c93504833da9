"""Points of a head's surface that lie in a region."""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..triplane import Triplane
from .checks import Region, select_region
from .compose import read_region
from .lifting import Samples, collect_samples
from .regions import ring

_INSIDE = 0.5
_POINTS = 2048


@torch.no_grad()
def surface_in(
    generator: PanoHead,
    triplane: Triplane,
    region: Region,
    cameras: Camera | None = None,
    *,
    resolution: int = 64,
    samples: int | tuple[int, int] | None = None,
) -> list[Samples]:
    """Points of each head's surface that lie in the region, at most 2048, as seen from ``cameras`` (None = `ring(4)`).

    Raises DualEncError where there are hardly any.
    """
    cameras = ring() if cameras is None else cameras
    box = generator.config.render.box_warp
    found = []
    for i in range(len(triplane)):
        one = select_region(region, i)

        def label(view: int, points: Tensor, pixels: Tensor, one: Region = one) -> Tensor:
            return read_region(one, points[None], box)[0]

        every = collect_samples(generator, triplane[i], cameras, label, resolution, samples)
        inside = every.labels > _INSIDE
        if int(inside.sum()) < 8:
            raise DualEncError(
                f"the region is empty: hardly anything of head {i}'s surface lies in it; mark a part of the head itself"
            )
        kept = Samples(*(tensor[inside] for tensor in every))
        step = max(1, -(-len(kept.points) // _POINTS))
        found.append(Samples(*(tensor[::step] for tensor in kept)))
    return found
