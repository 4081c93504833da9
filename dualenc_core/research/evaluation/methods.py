"""Ways to make a head of a photo, behind one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...camera import Camera
from ...choices import FEED_FORWARD, METHODS
from ...errors import DualEncError
from ...generator import PanoHead
from ...inversion import (
    DualEncoder,
    Fitted,
    LatentSettings,
    PivotalSettings,
    optimise_latent,
    pivotal_tuning,
)
from ...inversion.dual_encoder import Encoder

# (photo [1,3,S,S], camera, matte or None) → head, and what reads it.
Invert = Callable[[Tensor, Camera, Tensor | None], Fitted]


@dataclass(frozen=True)
class Baselines:
    """Settings of the optimisations: by default the published ones."""

    latent: LatentSettings = LatentSettings()
    pivotal: PivotalSettings = PivotalSettings()


def methods(
    generator: PanoHead,
    encoder1: Encoder | None,
    encoder2: Encoder | None,
    names: tuple[str, ...] = FEED_FORWARD,
    baselines: Baselines | None = None,
) -> dict[str, Invert]:
    """The named methods. The generator, and so every Fitted but PTI's, is the given one.

    Raises DualEncError for an unknown name, or one that needs an encoder that is not given.
    """
    baselines = baselines or Baselines()
    if unknown := [name for name in names if name not in METHODS]:
        raise DualEncError(f"methods are {', '.join(unknown)}, expected some of {', '.join(METHODS)}")
    needs = {"e1": (encoder1,), "e2": (encoder2,), "cells": (encoder1, encoder2), "points": (encoder1, encoder2)}
    if lacking := [name for name in names if None in needs.get(name, ())]:
        raise DualEncError(f"{', '.join(lacking)} need encoder weights that are not given; try wplus or pti")

    def encode(encoder: Encoder | None) -> Invert:
        assert encoder is not None  # or it would be lacking

        def run(image: Tensor, camera: Camera, matte: Tensor | None) -> Fitted:
            return Fitted(encoder.encode(generator, image, camera, matte), generator, camera)

        return run

    def join(mode: str) -> Invert:
        assert encoder1 is not None and encoder2 is not None
        dual = DualEncoder(generator, encoder1, encoder2, mode)

        def run(image: Tensor, camera: Camera, matte: Tensor | None) -> Fitted:
            return Fitted(dual.invert(image, camera, matte, keep_background=True).triplane, generator, camera)

        return run

    def search(image: Tensor, camera: Camera, matte: Tensor | None) -> Fitted:
        return optimise_latent(generator, image, camera, baselines.latent)

    def tune(image: Tensor, camera: Camera, matte: Tensor | None) -> Fitted:
        return pivotal_tuning(generator, image, camera, baselines.pivotal)

    builders = {
        "wplus": lambda: search,
        "pti": lambda: tune,
        "e1": lambda: encode(encoder1),
        "e2": lambda: encode(encoder2),
        "cells": lambda: join("cells"),
        "points": lambda: join("points"),
    }
    return {name: builders[name]() for name in names}
