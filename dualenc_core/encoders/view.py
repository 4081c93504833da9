"""What a photo's camera sees of a head in a tri-grid: which places, and how squarely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..point_weight import Visibility
from ..rendering.rays import camera_rays
from ..rendering.renderer import RayOutput
from ..triplane import Triplane

# World units behind the surface that still count as seen, width of that transition, and how far before the surface
# space is seen to be empty.
_BEHIND, _SOFT, _BEFORE = 0.02, 0.01, 0.03


@dataclass(frozen=True)
class View:
    """One head before one camera; answers for world places [...,3] are [...] in 0..1.

    Attributes:
        camera: N = 1.
        size: S, rays along each side of the picture.
        origins, directions: [1,S·S,3].
        seen: what the rays meet.
    """

    camera: Camera
    size: int
    origins: Tensor
    directions: Tensor
    seen: RayOutput

    @classmethod
    def of(cls, generator: PanoHead, head: Triplane, camera: Camera, quality: str = "exact") -> View:
        """Quality as in `PanoHead.render_rays`."""
        size = generator.config.neural_resolution
        origins, directions = camera_rays(camera, size)
        options = generator.render_options(None, camera)
        seen = generator.render_rays(head, origins, directions, options, quality=quality)
        return cls(camera, size, origins, directions, seen)

    @classmethod
    def each(cls, generator: PanoHead, heads: Triplane, cameras: Camera, quality: str = "exact") -> list[View]:
        """Of N heads before N cameras."""
        return [cls.of(generator, heads[i], cameras[i], quality) for i in range(len(heads))]

    @property
    def depth(self) -> Tensor:
        """[S,S] along the ray, infinite where nothing is met."""
        return self.seen.depth.reshape(self.size, self.size)

    @property
    def alpha(self) -> Tensor:
        """[S,S]."""
        return self.seen.alpha.reshape(self.size, self.size)

    @cached_property
    def cosine(self) -> Tensor:
        """[S,S] between ray and surface: 0 along it, 1 straight."""
        depth = self.depth.nan_to_num(posinf=0.0)
        surface = self.origins[0].unflatten(0, depth.shape) + depth[..., None] * self._rays
        across = F.pad(surface[:, 2:] - surface[:, :-2], (0, 0, 1, 1))
        down = F.pad(surface[2:] - surface[:-2], (0, 0, 0, 0, 1, 1))
        normal = F.normalize(torch.linalg.cross(across, down), dim=-1)
        return (normal * self._rays).sum(-1).abs()

    def unhidden(self, places: Tensor) -> Tensor:
        """1 = on the surface that the camera sees, before it, or where there is none."""
        return self._visible(places, _BEHIND)

    def empty(self, places: Tensor) -> Tensor:
        """1 = before that surface, or where there is none."""
        return self._visible(places, -_BEFORE)

    def shown(self, places: Tensor) -> Tensor:
        """1 = on that surface."""
        return self.unhidden(places) * (1 - self.empty(places))

    def squarely(self, places: Tensor) -> Tensor:
        """Cosine between the ray to a place and the surface that it meets."""
        uv, _ = self.camera.project(places.reshape(1, -1, 3))
        cosine = F.avg_pool2d((self.cosine * (self.alpha > 0.5))[None, None], 3, 1, 1)
        return F.grid_sample(cosine, uv[:, None] * 2 - 1, align_corners=False).reshape(places.shape[:-1])

    @property
    def _rays(self) -> Tensor:
        return self.directions[0].unflatten(0, (self.size, self.size))

    def _visible(self, places: Tensor, tolerance: float) -> Tensor:
        depth = self.depth.nan_to_num(posinf=0.0)
        visibility = Visibility(self.camera, depth[None, None], self.alpha[None, None], tolerance, _SOFT)
        return visibility(places.reshape(1, -1, 3)).reshape(places.shape[:-1])
