"""What a generator's training compares with: heads whose description, pictures and surface are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...camera import Camera
from ...generator.config import GeneratorConfig


class Truth(NamedTuple):
    """What some heads really look like, for the phases field and rays.

    Attributes:
        numbers: [N,D] descriptions, standardised.
        origins, directions: [N,R,3] rays.
        rgb: [N,R,3] in [-1,1], on the backdrop.
        alpha: [N,R].
        points: [N,P,3], many of them near the surface that rays have met, where it matters.
        distance, colour: [N,P] to the surface, positive outside, and [N,P,3] of the nearest surface.
    """

    numbers: Tensor
    origins: Tensor
    directions: Tensor
    rgb: Tensor
    alpha: Tensor
    points: Tensor
    distance: Tensor
    colour: Tensor


class Patches(NamedTuple):
    """Square parts of pictures, for super-resolution.

    Attributes:
        numbers: [N,D] descriptions, standardised.
        label: [N,25] cameras.
        corner: [N,1,2] first column and row of the patch, in raw pixels.
        target: [N,3,4p,4p] the true fine picture in [-1,1].
        planes: [N,3,C·D,H,H] the tri-grids that the heads should have; [N,0] where they are not known.
    """

    numbers: Tensor
    label: Tensor
    corner: Tensor
    target: Tensor
    planes: Tensor


class Planes(NamedTuple):
    """Tri-grids that heads should have, and what counts of them.

    Attributes:
        numbers: [N,D] descriptions, standardised.
        planes, weight: [N,3,C·D,S,S].
        finest: [N,3,C·D,H,H], the same at the generator's own plane size.
    """

    numbers: Tensor
    planes: Tensor
    weight: Tensor
    finest: Tensor


class Numbers(NamedTuple):
    """Latents z [N,z_dim] and the standardised descriptions [N,D] that they mean."""

    z: Tensor
    numbers: Tensor


class TruthSource(Protocol):
    """Heads with the truth for every view."""

    @property
    def backdrop(self) -> tuple[float, float, float]:
        """sRGB in 0..1 behind every head."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What a file of weights says about its data."""

    def numbers(self, count: int, rng: torch.Generator) -> Numbers:
        """Random latents and their descriptions."""

    def rays(self, heads: int, rays: int, points: int, rng: torch.Generator, rendered: bool) -> Truth:
        """Random rays of random cameras around random heads, and points in space.

        Without ``rendered`` only the points count.
        """

    def patches(self, count: int, patch: int, margin: int, config: GeneratorConfig, rng: torch.Generator) -> Patches:
        """Patches of ``patch`` raw pixels of the pictures that a generator makes, some of which reach the border."""

    def preview(self, yaw: float, size: int) -> tuple[Tensor, Tensor]:
        """Descriptions [4,D] of four heads that are always the same, and their pictures [4,3,S,S]."""


@runtime_checkable
class PlaneSource(Protocol):
    """Heads of which the tri-grids that they should have are known too."""

    def planes(self, heads: int, size: int, config: GeneratorConfig, rng: torch.Generator) -> tuple[Planes, Truth]:
        """Tri-grids of random heads at ``size`` cells a side, and rays through them."""


def random_cameras(count: int, rng: torch.Generator) -> Camera:
    """Cameras from anywhere around, pitch up to ±25°."""
    yaw, pitch = torch.rand(2, count, generator=rng, device=rng.device).cpu()
    return Camera.look_at(yaw=360 * yaw, pitch=50 * pitch - 25).to(rng.device)


def random_corners(count: int, patch: int, grid: int, margin: int, rng: torch.Generator) -> Tensor:
    """[N,1,2] upper left raw pixels of patches; a margin more of them than fit lie at the picture's border."""
    last = grid - patch
    corner = torch.randint(-margin, last + margin + 1, (count, 1, 2), generator=rng, device=rng.device)
    return corner.clamp(0, last)


def square(size: int, device: torch.device) -> Tensor:
    """Column and row numbers [1,size²,2] of a square, row-major."""
    numbers = torch.arange(size, device=device)
    rows, columns = torch.meshgrid(numbers, numbers, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(1, -1, 2)


def on_faces(uv: Tensor, camera: Camera, share: int, rng: torch.Generator) -> Tensor:
    """Move one in ``share`` of the image positions [N,M,2] onto the face where the camera sees it.

    Eyes and lips cover two percent of a picture, and much more of what people look at.
    """
    n, m, _ = uv.shape
    count = m // share
    spread = torch.rand(n, count, 3, generator=rng, device=rng.device) - 0.5
    points = spread * spread.new_tensor([0.24, 0.26, 0.0]) + spread.new_tensor([0.0, 0.0, 0.2])
    target, _ = camera.project(points)
    seen = (camera.position[:, 2] > 0.5)[:, None, None]
    return torch.cat([torch.where(seen, target, uv[:, :count]), uv[:, count:]], dim=1)
