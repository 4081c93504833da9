"""Heads prepared once and drawn often: the painter that is fast."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..camera import Camera
from ..choices import QUALITIES, REFERENCE
from ..devices import half_type
from ..errors import DualEncError
from ..rendering.fast import FastField, Preset, render_rays_fast
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.renderer import RayOutput, RenderOptions, crop_limit, render_rays
from ..triplane import Triplane
from .background import replace_background
from .folded import BackgroundCache, FoldedSuperResolution
from .painter import Look, Network, background_of

# "exact" differs from the plain renderer by rounding (on CUDA by that of the 16 bits in which the
# original super-resolution computes there); "high" and "draft" give up some decibels
# (`python -m tests.benchmarks` measures how many).
PRESETS = {
    "exact": Preset(floor=1e-6),
    "high": Preset(floor=1e-3, most_fine=24, half_super_resolution=True),
    "draft": Preset(floor=1e-2, most_coarse=36, most_fine=24, half_tables=True, half_super_resolution=True),
}
# Where networks may compute in 16 bits.
HALF = tuple(name for name, preset in PRESETS.items() if preset.half_super_resolution)
# As "exact", for heads that are drawn once and small: little is prepared, and nothing kept.
SINGLE_USE = "single use"
# As "draft", for heads of which only a few pictures are wanted, as sliders make them: prepared in half the time, but
# every picture takes longer.
FEW_DRAFTS = "few drafts"
# As "exact", without the crop of pictures.
UNCROPPED = "uncropped"
_WAYS = {
    **PRESETS,
    SINGLE_USE: Preset(floor=1e-6, rough=True),
    FEW_DRAFTS: dataclasses.replace(PRESETS["draft"], rough=True),
    UNCROPPED: Preset(floor=1e-6, cropped=False),
}
# Lookups up to which the plain renderer is the faster one on CUDA, as it starts a third of the kernels: on an H100 it
# takes 2.3 ms for 64² rays of 96 samples and 5.5 for 128², the fast one 6.6 and 6.7.
_FEW_LOOKUPS = 2**21
# A full-size head with one overlay takes about 0.4 GB. Also of its backgrounds, one for each resolution.
_KEPT = 2


@dataclass(frozen=True)
class PreparedBackground:
    """What a head is drawn before.

    Attributes:
        features: [1,C,r,r] at the resolution of the rays; zeros without a background network.
        raw: [1,3,r,r], the raw image of them.
        network: super-resolution; None where it cannot be folded.
    """

    features: Tensor
    raw: Tensor
    network: FoldedSuperResolution | None

    @cached_property
    def cache(self) -> BackgroundCache | None:
        """Its super-resolved picture, for the parts of frames where the head is not; made at the first use."""
        return None if self.network is None else self.network.cache(self.raw, self.features)


@dataclass(frozen=True)
class PreparedHead:
    """One head: its field, its super-resolution where that can be folded, and its own background.

    Attributes:
        generator: that made it.
        triplane: of batch size 1.
        prepare: makes its field.
        fold: makes its super-resolution; None where that cannot be folded.
        backgrounds: its own by resolution, filled while drawing; only the last few are kept.
    """

    generator: Network
    triplane: Triplane
    prepare: Callable[[], FastField]
    fold: Callable[[], FoldedSuperResolution | None]
    preset: Preset
    backgrounds: dict[int, PreparedBackground] = field(default_factory=dict)

    @classmethod
    def build(cls, generator: Network, triplane: Triplane, preset: Preset) -> PreparedHead:
        """From a head of batch size 1."""
        config = generator.config
        half = half_type(triplane.planes.device)
        table = half if preset.half_tables else torch.float32
        limit = crop_limit(config.render) if preset.cropped else math.inf
        box = config.render.box_warp
        # Where the reference computes in 16 bits, exactness does not ask for more.
        in_half = preset.half_super_resolution or (config.sr.half and triplane.planes.is_cuda)
        dtype = half if in_half else torch.float32

        def fold() -> FoldedSuperResolution | None:
            if config.sr.noise == "random":
                return None
            return FoldedSuperResolution.of(generator.superresolution, triplane.ws[0, -1], dtype, config.sr.continues)

        return cls(
            generator,
            triplane,
            lambda: FastField.build(triplane, generator.decoder.net, box, table, preset.rough, limit),
            fold,
            preset,
        )

    @cached_property
    def field(self) -> FastField:
        """Made at the first use: small pictures on CUDA need none."""
        return self.prepare()

    @cached_property
    def super_resolution(self) -> FoldedSuperResolution | None:
        """Made at the first use: rays alone need none."""
        return self.fold()

    @property
    def ws(self) -> Tensor:
        """[1,num_ws,w_dim]."""
        return self.triplane.ws

    def background(self, ws: Tensor | None, resolution: int) -> PreparedBackground:
        """As `Painter.background`; the head's own is made once for every resolution."""
        if ws is not None:
            return self._background(ws, resolution)
        if resolution not in self.backgrounds:
            while len(self.backgrounds) >= _KEPT:
                self.backgrounds.pop(next(iter(self.backgrounds)))
            self.backgrounds[resolution] = self._background(self.ws, resolution)
        return self.backgrounds[resolution]

    def _background(self, ws: Tensor, resolution: int) -> PreparedBackground:
        features = background_of(self.generator, ws, resolution)
        if features is None:
            features = self.ws.new_zeros(()).expand(1, self.generator.config.features, resolution, resolution)
        return PreparedBackground(features, self.generator.to_rgb(features, self.ws), self.super_resolution)

    def paint(self, views: Camera, background: PreparedBackground, options: RenderOptions, look: Look) -> Rendering:
        """As `Painter.paint`: one head from all views."""
        shape = (len(views), -1, look.resolution, look.resolution)
        # The rays of all frames in one row: there is one head.
        origins, directions = (rays.flatten(0, 1)[None] for rays in camera_rays(views, look.resolution))
        rays = self.render_rays(origins, directions, options, look.chunk)
        depth, alpha = rays.depth.reshape(shape), rays.alpha.reshape(shape)
        features = rays.features.unflatten(1, (len(views), -1))[0].transpose(1, 2).reshape(shape)
        # At high resolutions nearly all of the memory is features: no more copies of them than needed.
        del rays, origins, directions
        features.addcmul_(1 - alpha, background.features)
        raw = image = self.generator.to_rgb(features, self.ws)
        if look.super_resolve:
            # Accelerators draw all of a picture.
            cache = background.cache if raw.device.type == "cpu" else None
            image = self._super_resolve(raw, features, cache)
        if look.colour is not None:
            behind = background.raw
            if look.super_resolve and background.cache is not None:
                behind = background.cache.image
            elif look.super_resolve:
                behind = self._super_resolve(background.raw, background.features, None)
            raw = replace_background(raw, background.raw, alpha, look.colour)
            image = replace_background(image, behind, alpha, look.colour)
        return Rendering(image, raw, depth, alpha)

    def render_rays(
        self,
        origins: Tensor,
        directions: Tensor,
        options: RenderOptions,
        chunk: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> RayOutput:
        """As `PanoHead.render_rays`, for rays [1,R,3]."""
        plain = self.preset.options(options)
        lookups = origins.shape[1] * (plain.samples + plain.importance) * (1 + len(self.triplane.overlays))
        if plain_is_faster(origins.device, lookups):
            return render_rays(self._query, origins, directions, plain, None, chunk, progress)
        return render_rays_fast(self.field, origins[0], directions[0], options, self.preset, chunk, progress)

    def _query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.generator.query(self.triplane, points)

    def _super_resolve(self, raw: Tensor, features: Tensor, cache: BackgroundCache | None) -> Tensor:
        if self.super_resolution is None:
            return self.generator.superresolution.picture(raw, features, self.ws.expand(len(raw), -1, -1))
        return self.super_resolution(raw, features, cache)


class PreparedHeads:
    """The last ``kept`` heads, found again by the memory that their planes are in."""

    def __init__(self, kept: int = _KEPT) -> None:
        self.kept = kept
        self.heads: OrderedDict[Any, tuple[Triplane, PreparedHead]] = OrderedDict()

    def get(self, generator: Network, triplane: Triplane, quality: str) -> PreparedHead:
        """A prepared head of batch size 1, made at the first call."""
        if quality == SINGLE_USE:
            # Nobody will ask for it again, and it must not push out one that is asked for often.
            return PreparedHead.build(generator, triplane, _WAYS[quality])
        key = quality, _key(triplane)
        if key not in self.heads:
            # The triplane is kept too, so that its memory cannot become another head's.
            self.heads[key] = triplane, PreparedHead.build(generator, triplane, _WAYS[quality])
            while len(self.heads) > self.kept:
                self.heads.popitem(last=False)
        self.heads.move_to_end(key)
        return self.heads[key][1]

    def clear(self) -> None:
        """Forget all."""
        self.heads.clear()

    def __reduce__(self) -> tuple:
        # Copies, and other processes, prepare their own.
        return PreparedHeads, (self.kept,)


def check_quality(quality: str) -> None:
    """Raise DualEncError for an unknown preset."""
    if quality not in (*QUALITIES, SINGLE_USE, FEW_DRAFTS):
        raise DualEncError(f"quality is {quality!r}, expected one of {', '.join(QUALITIES)}")


def exact_way(lookups: int, plane_size: int) -> str:
    """The fastest exact quality for a head that is asked for so many points in all.

    Measured on one core of a CPU, views of demo heads with 12² × 28 to 224² × 48 lookups: with planes of 128 cells
    "single use" beats the plain renderer from 4·10⁴ lookups on, "exact" beats "single use" from 1.5·10⁶ on (at
    96² × 28 they take 225, 66 and 114 ms, at 160² × 48 1360, 185 and 205 ms); with planes of 64 cells, which are
    searched with an eighth of the points, from 1.2·10⁴ and 2·10⁵ on.
    """
    few, many = (2**15, 3 * 2**19) if plane_size > 64 else (3 * 2**12, 3 * 2**16)
    if lookups < few:
        return REFERENCE
    return "exact" if lookups >= many else SINGLE_USE


def way_once(quality: str, lookups: int, plane_size: int) -> str:
    """The fastest way to a quality for a head that is drawn once, as frames of an animation are; see `exact_way`."""
    if quality == "exact":
        return exact_way(lookups, plane_size)
    return FEW_DRAFTS if quality == "draft" else quality


def plain_is_faster(device: torch.device, lookups: int) -> bool:
    """Whether the plain renderer looks up so many points of a head sooner than the fast one."""
    return device.type == "cuda" and lookups <= _FEW_LOOKUPS


def _key(triplane: Triplane) -> tuple:
    parts = [_identity(triplane.planes), _identity(triplane.ws)]
    for overlay in triplane.overlays:
        parts.append(_identity(overlay.planes))
        for part in dataclasses.fields(overlay.weight):
            value = getattr(overlay.weight, part.name)
            if isinstance(value, Camera):
                parts += [_identity(value.cam2world), _identity(value.intrinsics)]
            else:
                parts.append(_identity(value) if isinstance(value, Tensor) else value)
    return tuple(parts)


def _identity(tensor: Tensor) -> tuple:
    # Inference tensors do not count their versions; nobody changes a triplane in place (Triplane: never mutated).
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), version
