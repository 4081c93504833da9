"""What the fast ways cost in decibels, over many heads and all around: the benchmark looks at one picture."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dualenc_core.camera import Camera
from dualenc_core.choices import REFERENCE
from dualenc_core.generator import PanoHead
from dualenc_core.generator.prepared import PRESETS
from dualenc_core.metrics.pictures import psnr
from dualenc_core.triplane import Triplane


@torch.no_grad()
def fidelity(
    generator: PanoHead,
    head: Callable[[int], Triplane],
    heads: int,
    yaws: int = 8,
    resolution: int | None = None,
    progress: Callable[[int, int], None] = lambda done, heads: None,
) -> dict[str, dict[str, float]]:
    """PSNR of final pictures in dB: "exact" against the plain renderer, the presets below it against "exact".

    Args:
        head: number → one head.
        heads: how many.
        yaws: views of each, evenly around from a quarter of a step on; pitches alternate between -10° and 10°.
        resolution: rays along each side; None = the generator's.

    Returns quality → "least" and "mean" over all pictures.
    """
    found: dict[str, list[float]] = {quality: [] for quality in PRESETS}
    turns = [360 * (k + 0.25) / yaws for k in range(yaws)]
    camera = Camera.look_at(turns, [10.0 - 20 * (k % 2) for k in range(yaws)])
    for number in range(heads):
        one = head(number)
        pictures = {
            quality: generator.render(one, camera.to(one.planes.device), resolution, quality=quality).image
            for quality in (REFERENCE, *PRESETS)
        }
        for quality, values in found.items():
            other = REFERENCE if quality == "exact" else "exact"
            values += psnr(pictures[quality], pictures[other]).tolist()
        progress(number + 1, heads)
    return {quality: {"least": min(values), "mean": sum(values) / len(values)} for quality, values in found.items()}
