"""Heads prepared once and drawn often: the fast way through `PanoHead.render`."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..rendering.fast import FastField, Preset, render_rays_fast
from ..rendering.renderer import RayOutput, RenderOptions
from ..triplane import Triplane
from .folded import FoldedSuperResolution

if TYPE_CHECKING:
    from .panohead import PanoHead

# REFERENCE is the plain renderer. "exact" differs from it by rounding; "high" and "draft" give up some decibels
# (`python -m dualenc_core bench` measures how many).
REFERENCE = "reference"
PRESETS = {
    "exact": Preset(floor=1e-6),
    "high": Preset(floor=1e-3, half_super_resolution=True),
    "draft": Preset(floor=1e-2, half_tables=True, half_super_resolution=True),
}
QUALITIES = (REFERENCE, *PRESETS)
# A full-size head with one overlay takes about 0.4 GB.
_KEPT = 2


@dataclass(frozen=True)
class FastHead:
    """One head: its field, its super-resolution where that can be folded, and its own background's features."""

    field: FastField
    super_resolution: FoldedSuperResolution | None
    background: Tensor | None
    preset: Preset

    @classmethod
    def build(cls, generator: PanoHead, triplane: Triplane, preset: Preset) -> FastHead:
        """From a head of batch size 1."""
        config = generator.config
        half = half_type(triplane.planes.device)
        table = half if preset.half_tables else torch.float32
        field = FastField.build(triplane, generator.decoder.net, config.render.box_warp, table)
        folded = None
        if config.sr.noise != "random":
            dtype = half if preset.half_super_resolution else torch.float32
            folded = FoldedSuperResolution.of(generator.superresolution, triplane.ws[0, -1], dtype)
        return cls(field, folded, generator.background_features(triplane.ws), preset)

    def render_rays(self, origins: Tensor, directions: Tensor, options: RenderOptions, chunk: int) -> RayOutput:
        """As `PanoHead.render_rays`, for rays [1,R,3]."""
        return render_rays_fast(self.field, origins[0], directions[0], options, self.preset, chunk)


class FastHeads:
    """The last ``kept`` heads, found again by the memory that their planes are in."""

    def __init__(self, kept: int = _KEPT) -> None:
        self.kept = kept
        self.heads: OrderedDict[Any, tuple[Triplane, FastHead]] = OrderedDict()

    def get(self, generator: PanoHead, triplane: Triplane, quality: str) -> FastHead:
        """A prepared head of batch size 1, made at the first call."""
        key = quality, _key(triplane)
        if key not in self.heads:
            # The triplane is kept too, so that its memory cannot become another head's.
            self.heads[key] = triplane, FastHead.build(generator, triplane, PRESETS[quality])
            while len(self.heads) > self.kept:
                self.heads.popitem(last=False)
        self.heads.move_to_end(key)
        return self.heads[key][1]

    def clear(self) -> None:
        """Forget all."""
        self.heads.clear()

    def __deepcopy__(self, memo: dict) -> FastHeads:
        return FastHeads(self.kept)


def check_quality(quality: str) -> None:
    """Raise DualEncError for an unknown preset."""
    if quality not in QUALITIES:
        raise DualEncError(f"quality is {quality!r}, expected one of {', '.join(QUALITIES)}")


def half_type(device: torch.device) -> torch.dtype:
    """The 16-bit type that the device computes fast in; float32 where there is none."""
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def _key(triplane: Triplane) -> tuple:
    parts = [_identity(triplane.planes), _identity(triplane.ws)]
    for overlay in triplane.overlays:
        parts.append(_identity(overlay.planes))
        for field in dataclasses.fields(overlay.weight):
            value = getattr(overlay.weight, field.name)
            if isinstance(value, Camera):
                parts += [_identity(value.cam2world), _identity(value.intrinsics)]
            else:
                parts.append(_identity(value) if isinstance(value, Tensor) else value)
    return tuple(parts)


def _identity(tensor: Tensor) -> tuple:
    # Inference tensors do not count their versions; nobody changes a triplane in place (Triplane: never mutated).
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), version
