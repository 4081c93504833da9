"""How heads are drawn: one interface for the plain renderer and prepared heads, and one loop over heads and views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..camera import Camera
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.renderer import Draws, RayOutput, RenderOptions
from ..triplane import Triplane
from .background import replace_background
from .config import GeneratorConfig
from .decoder import OSGDecoder
from .superresolution import SuperResolution, resize


class Network(Protocol):
    """What painters ask of a generator (`PanoHead`)."""

    config: GeneratorConfig
    decoder: OSGDecoder
    superresolution: SuperResolution

    def query(self, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]: ...

    def render_rays(
        self,
        triplane: Triplane,
        origins: Tensor,
        directions: Tensor,
        options: RenderOptions | None = None,
        draws: Draws | None = None,
        chunk: int | None = None,
    ) -> RayOutput: ...

    def background_features(self, ws: Tensor) -> Tensor | None: ...

    def to_rgb(self, features: Tensor, ws: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Look:
    """What all frames of one call share.

    Attributes:
        resolution: rays along each side.
        super_resolve: False leaves the raw image as the image.
        colour: of the background, as `parse_background` gives it.
        draws: the reference's random numbers, or None.
        chunk: rays in memory at once.
    """

    resolution: int
    super_resolve: bool
    colour: Sequence[float] | None
    draws: Draws | None
    chunk: int


class Painter(Protocol):
    """Draws the heads that it was made for."""

    def background(self, ws: Tensor | None, resolution: int) -> Any:
        """What is behind the heads, for `paint`; ``ws`` [N,num_ws,w_dim] of another head, None = their own."""

    def paint(self, views: Camera, background: Any, options: RenderOptions, look: Look) -> Rendering:
        """The heads from these views."""


class Job(NamedTuple):
    """Views ``start`` to ``stop`` of one call, drawn with ``options``; ``head``: which one of many, None = all."""

    head: int | None
    start: int
    stop: int
    options: RenderOptions


def paint(
    painter_of: Callable[[Triplane], Painter],
    triplane: Triplane,
    ws: Tensor | None,
    camera: Camera,
    jobs: Sequence[Job],
    look: Look,
    progress: Callable[[int, int], None] | None = None,
) -> Rendering:
    """All jobs, one after the other.

    Args:
        painter_of: for heads.
        triplane: the heads.
        ws: of their backgrounds; None = their own.
        camera: all views.
        progress: called with (views done, views).
    """
    renderings, last = [], None
    for job in jobs:
        if last is None or job.head is not None:
            last = painter_of(_entry(triplane, job.head))
            background = last.background(None if ws is None else _entry(ws, job.head), look.resolution)
        renderings.append(last.paint(camera[job.start : job.stop], background, job.options, look))
        if progress is not None:
            progress(job.stop, len(camera))
    return Rendering.cat(renderings)


def _entry(batch: Any, index: int | None) -> Any:
    """One of a batch, as a batch of one; the batch itself where it has no more."""
    if index is None or len(batch) == 1:
        return batch
    return batch[index : index + 1] if isinstance(batch, Tensor) else batch[index]


def jobs_of(sampling: Sequence[RenderOptions], alone: bool, together: int) -> list[Job]:
    """Jobs for views with these options: neighbours with equal ones (up to rounding) go together, at most so many.

    Args:
        alone: all views are of one head with one background.
        together: views that may be drawn at once (but 1 always may).
    """
    return [Job(None if alone else start, start, stop, sampling[start]) for start, stop in _runs(sampling, together)]


def _runs(sampling: Sequence[RenderOptions], most: int) -> Iterator[tuple[int, int]]:
    start = 0
    for i in range(1, len(sampling) + 1):
        if i == len(sampling) or not _alike(sampling[i], sampling[start]) or i - start >= most:
            yield start, i
            start = i


def _alike(a: RenderOptions, b: RenderOptions) -> bool:
    close = abs(a.near - b.near) + abs(a.far - b.far) < 1e-5
    return close and dataclasses.replace(a, near=b.near, far=b.far) == b


def background_of(network: Network, ws: Tensor, resolution: int) -> Tensor | None:
    """Features [N,C,r,r] of what is behind the heads of ws; None where the generator has no background."""
    features = network.background_features(ws)
    return None if features is None else resize(features, resolution, network.config.sr.antialias)


@dataclass(frozen=True)
class PlainPainter:
    """The plain renderer, with gradients where they are asked for: all heads of a batch, a view for each.

    Its backgrounds are features [N,C,r,r], or None.
    """

    network: Network
    triplane: Triplane

    def background(self, ws: Tensor | None, resolution: int) -> Tensor | None:
        """As `Painter.background`."""
        return background_of(self.network, self.triplane.ws if ws is None else ws, resolution)

    def paint(self, views: Camera, background: Tensor | None, options: RenderOptions, look: Look) -> Rendering:
        """As `Painter.paint`."""
        size = look.resolution
        origins, directions = camera_rays(views, size)
        rays = self.network.render_rays(self.triplane, origins, directions, options, look.draws, look.chunk)
        shape = (len(self.triplane), -1, size, size)
        features = rays.features.transpose(1, 2).reshape(shape)
        depth, alpha = rays.depth.reshape(shape), rays.alpha.reshape(shape)
        if background is not None:
            features = features + (1 - alpha) * background
        raw, image = self._shade(features, look)
        if look.colour is not None:
            empty = torch.zeros_like(features) if background is None else background.expand_as(features)
            pairs = zip((raw, image), self._shade(empty, look), strict=True)
            raw, image = (replace_background(front, back, alpha, look.colour) for front, back in pairs)
        return Rendering(image, raw, depth, alpha)

    def _shade(self, features: Tensor, look: Look) -> tuple[Tensor, Tensor]:
        network, ws = self.network, self.triplane.ws
        raw = network.to_rgb(features, ws)
        if not look.super_resolve:
            return raw, raw
        # With the reference's random numbers goes the reference's border.
        enlarge = network.superresolution.picture if look.draws is None else network.superresolution
        return raw, enlarge(raw, features, ws)
