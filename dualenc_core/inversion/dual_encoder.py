"""The whole inversion: two encoders, what the photo shows, one stitched head (paper Fig. 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..camera import Camera
from ..choices import STITCHES
from ..devices import synchronize
from ..errors import DualEncError
from ..generator import PanoHead
from ..mattes import NOTHING
from ..point_weight import Visibility
from ..triplane import Triplane, TriplaneMask
from .backdrop import on_backdrop
from .hidden_colours import check_strength, match_hidden_colours
from .occlusion import occlusion_mask, visibility
from .stitching import stitch

T = TypeVar("T")

STAGES = ("encoder 1", "encoder 2", "mask", "stitch")


class Encoder(Protocol):
    """Anything that turns aligned portraits into heads, such as ``dualenc_core.encoders.HeadEncoder``.

    Only what a HeadEncoder has more, ``encode_stages`` and ``same_styles``, saves going through a first stage again.
    """

    def encode(self, generator: PanoHead, image: Tensor, camera: Camera, matte: Tensor | None = None) -> Triplane: ...


@dataclass(frozen=True)
class Inversion:
    """Everything that an inversion made.

    Attributes:
        triplane: N stitched heads, the result.
        visible: N heads of Encoder 1, true to the photo.
        occluded: N heads of Encoder 2, plausible where the photo shows nothing, in its own colours.
        mask: TriplaneMask (cells; 1 = occluded) or Visibility (points; 1 = visible).
        timings: seconds of each stage.
    """

    triplane: Triplane
    visible: Triplane
    occluded: Triplane
    mask: TriplaneMask | Visibility
    timings: Mapping[str, float] = field(default_factory=dict)


class DualEncoder:
    """Encoder 1 for what the photo shows, Encoder 2 for the rest.

    Args:
        generator: the frozen generator of both encoders.
        encoder1: trained for fidelity (Eq. 5).
        encoder2: trained for realism of occluded cells (Eq. 6).
        mode: "points" blends decoded points by visibility; "cells" is the paper's mask over tri-grid cells.
        hidden_colours: by points, how far hidden parts take on the colours of visible ones (`match_hidden_colours`):
            0 = Encoder 2's own, 1 = matched. By cells they keep their own, as in the paper; by points too with the
            bundled encoders, which have learned them.

    Example:
        >>> import torch, dualenc_core as dc
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> class Guess:  # a HeadEncoder, or anything with this method
        ...     def encode(self, generator, image, camera, matte=None):
        ...         return generator.synthesize(generator.mapping(generator.latents(0, len(image))))
        >>> result = dc.DualEncoder(generator, Guess(), Guess()).invert(torch.zeros(1, 3, 64, 64), dc.Camera.look_at())
        >>> len(result.triplane), len(result.triplane.overlays), list(result.timings)
        (1, 1, ['encoder 1', 'encoder 2', 'mask', 'stitch'])
    """

    def __init__(
        self,
        generator: PanoHead,
        encoder1: Encoder,
        encoder2: Encoder,
        mode: str = "points",
        hidden_colours: float = 1.0,
    ) -> None:
        if mode not in STITCHES:
            raise DualEncError(f"mode is {mode!r}, expected one of {', '.join(STITCHES)}")
        check_strength(hidden_colours)
        self.generator, self.encoder1, self.encoder2, self.mode = generator, encoder1, encoder2, mode
        self.hidden_colours = hidden_colours

    @torch.no_grad()
    def invert(
        self,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        progress: Callable[[int, int], None] | None = None,
        quality: str = "exact",
        keep_background: bool = False,
    ) -> Inversion:
        """Invert aligned portraits.

        Args:
            image: [N,3,S,S] in [-1,1].
            camera: N views, or one for all.
            matte: [N,1,S',S'] or one for all, in 0..1, coverage of the head: what is around it is replaced by the
                generator's background (`on_backdrop`) and not inverted; encoders that use it get it too.
            progress: called as progress(stages done, 4).
            quality: "exact", "reference", "high" or "draft", as in `HeadEncoder.encode`.
            keep_background: take the picture as it is, for one that is on its backdrop already.

        Errors of `on_backdrop`, the encoders, `occlusion_mask` and `stitch` pass through.
        """
        timings: dict[str, float] = {}
        # Other encoders need not know of qualities.
        how: dict[str, Any] = {} if quality == "exact" else {"quality": quality}

        def stage(run: Callable[[], T]) -> T:
            start = time.perf_counter()
            result = run()
            synchronize(self.generator.w_avg.device)
            timings[STAGES[len(timings)]] = time.perf_counter() - start
            if progress is not None:
                progress(len(timings), len(STAGES))
            return result

        if matte is not None and matte.ndim == 4 and len(matte) == 1:
            matte = matte.expand(len(image), -1, -1, -1)
        if matte is not None and not keep_background:
            image = on_backdrop(self.generator, image, matte)
        elif matte is not None and float(matte.amax((1, 2, 3)).min()) < NOTHING:
            # With the background kept, a matte that holds nothing says nothing.
            matte = None
        subject = self.generator, image, camera, matte
        visible = stage(lambda: self.encoder1.encode(*subject, **how))
        if hasattr(self.encoder2, "same_styles") and self.encoder2.same_styles(self.encoder1):
            how["ws"] = visible.ws
        coarse, occluded = stage(lambda: _both_stages(self.encoder2, subject, how))
        find = visibility if self.mode == "points" else occlusion_mask
        mask = stage(lambda: find(self.generator, visible, camera, quality=quality))

        def join() -> Triplane:
            hidden = occluded
            if isinstance(mask, Visibility):
                hidden = match_hidden_colours(self.generator, visible, occluded, mask, self.hidden_colours, coarse)
            return stitch(visible, hidden, mask)

        return Inversion(stage(join), visible, occluded, mask, timings)


def _both_stages(encoder: Encoder, subject: tuple, how: dict[str, Any]) -> tuple[Triplane | None, Triplane]:
    """Stage one's heads, if the encoder tells them, and its result."""
    if hasattr(encoder, "encode_stages"):
        output = encoder.encode_stages(*subject, **how)
        return output.coarse, output.refined
    return None, encoder.encode(*subject, **how)
