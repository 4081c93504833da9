"""What an encoder's training shows and compares with: photos of heads, and the same heads from other sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...camera import Camera
from ...generator.config import GeneratorConfig
from ...rendering.rays import pixel_rays


@dataclass(frozen=True)
class Placement:
    """Where N heads stand for the cameras that their photos are believed to have: p → scale · turn · p + shift.

    A crop that is off shows the same head a little larger, moved and turned. Attributes: scale [N], turn [N,3,3],
    shift [N,3].
    """

    scale: Tensor
    turn: Tensor
    shift: Tensor

    def rays(self, origins: Tensor, directions: Tensor, radius: float = 2.7) -> tuple[Tensor, Tensor]:
        """Rays [N,R,3] of true cameras → the same rays among the placed heads.

        They begin where the point nearest to the world origin is ``radius`` away, as those of ordinary cameras do.
        """
        turned = torch.einsum("nij,nrj->nri", self.turn, directions)
        moved = self.scale[:, None, None] * torch.einsum("nij,nrj->nri", self.turn, origins) + self.shift[:, None]
        nearest = -(moved * turned).sum(-1, keepdim=True)
        return moved + (nearest - radius) * turned, turned

    @classmethod
    def none(cls, count: int) -> Placement:
        """Heads where they are."""
        return cls(torch.ones(count), torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3))

    def to(self, device: torch.device) -> Placement:
        """The same, in another memory."""
        return Placement(self.scale.to(device), self.turn.to(device), self.shift.to(device))


@dataclass(frozen=True)
class View:
    """N pictures, one of each head, to compare with.

    Attributes:
        camera: N true cameras.
        colour: [N,3,S,S] in [-1,1] on the backdrop, in the tone of the photo.
        alpha: [N,1,S,S] in 0..1.
        hidden: [N,1,s,s] 1 where the photo does not show what is seen here.
    """

    camera: Camera
    colour: Tensor
    alpha: Tensor
    hidden: Tensor

    def to(self, device: torch.device) -> View:
        """The same, in another memory."""
        return View(self.camera.to(device), self.colour.to(device), self.alpha.to(device), self.hidden.to(device))


@dataclass(frozen=True)
class ViewBatch:
    """N heads of one step.

    Attributes:
        images: [N,3,S,S] photos in [-1,1], cut out by their mattes, on the backdrop.
        mattes: [N,1,S,S] in 0..1.
        camera: what their cameras are believed to be.
        placement: where the heads stand for these cameras.
        numbers: [N,D] standardised descriptions; rows of NaN where nobody knows.
        views: pictures to compare with; the first is the photo's own, clean.
    """

    images: Tensor
    mattes: Tensor
    camera: Camera
    placement: Placement
    numbers: Tensor
    views: tuple[View, ...]

    def to(self, device: torch.device) -> ViewBatch:
        """The same, in another memory."""
        pictures = self.images.to(device), self.mattes.to(device), self.camera.to(device)
        views = tuple(v.to(device) for v in self.views)
        return ViewBatch(*pictures, self.placement.to(device), self.numbers.to(device), views)


@dataclass(frozen=True)
class KnownBatch:
    """N heads of one step whose tri-grids are known.

    Attributes:
        images, mattes, camera: as those of `ViewBatch`, but the cameras are true.
        planes: [N,3,C·D,S,S] in the tone of the photos.
        weight: of the same shape.
    """

    images: Tensor
    mattes: Tensor
    camera: Camera
    planes: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> KnownBatch:
        """The same, in another memory."""
        pictures = self.images.to(device), self.mattes.to(device), self.camera.to(device)
        return KnownBatch(*pictures, self.planes.to(device), self.weight.to(device))


class ViewSource(Protocol):
    """Photos of heads whose other sides are known."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What a file of weights says about its data."""

    def photos(self, count: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Photos [N,3,S,S] on the backdrop and standardised descriptions [N,D]."""

    def descriptions(self, count: int, rng: torch.Generator) -> Tensor:
        """Standardised descriptions [N,D] of heads, without pictures."""

    def batch(self, count: int, size: int, others: int, near: bool, rng: torch.Generator) -> ViewBatch:
        """Photos with ``others`` further views each, ``near`` the photo's own (within 50°), or all around."""


@runtime_checkable
class KnownViewSource(Protocol):
    """Photos of heads of which the tri-grids that they should have are known too."""

    def known(
        self, count: int, size: int, shown: float, hidden: float, config: GeneratorConfig, rng: torch.Generator
    ) -> KnownBatch:
        """Photos; ``shown`` and ``hidden`` are the weights of what they show, and do not."""


def placed(true: Camera, believed: Camera, zoom: Tensor, shift: Tensor) -> Placement:
    """Where heads stand for believed cameras, when their pictures are warped.

    Args:
        true, believed: N cameras that look at the origin, at the same distance.
        zoom: [N] the warped picture is so many times as large, about its middle.
        shift: [N,2] and then moved right and down, in picture widths.
    """
    c2w, b2w = true.cam2world[:, :3, :3], believed.cam2world[:, :3, :3]
    distance = true.position.norm(dim=-1, keepdim=True)
    focal = true.intrinsics[:, 0, 0][:, None]
    sideways = torch.cat([shift * distance / focal, torch.zeros_like(distance)], dim=1)
    return Placement(zoom, b2w @ c2w.transpose(1, 2), torch.einsum("nij,nj->ni", b2w, sideways))


def view_rays(camera: Camera, placement: Placement, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Rays [N,R,3] among placed heads at picture positions [N,R,2] of true cameras."""
    return placement.rays(*pixel_rays(camera, uv))
