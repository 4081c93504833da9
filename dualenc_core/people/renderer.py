"""Pictures of people from any camera: the interface of `procedural.render`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from .people import People
from .scene import FAR, Hits, Scene

BACKDROP = (0.5, 0.5, 0.5)


def trace(people: People, origins: Tensor, directions: Tensor) -> list[Hits]:
    """First hits of arbitrary rays [N,R,3] (unit directions), one `Hits` of R rays a person.

    Raises DualEncError for shapes that do not fit the people.
    """
    if origins.ndim != 3 or origins.shape != directions.shape or len(origins) != len(people):
        raise DualEncError(
            f"origins {tuple(origins.shape)} and directions {tuple(directions.shape)} must both be [{len(people)},R,3]"
        )
    return [people.scene(i).trace(origins[i].numpy(), directions[i].numpy()) for i in range(len(people))]


def render(
    people: People,
    camera: Camera,
    resolution: int = 256,
    antialias: int = 2,
    background: tuple[float, float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rendering:
    """Pictures of people: the truth for every view.

    Args:
        people: N people, or 1 for all cameras.
        camera: N cameras, or 1 for all people.
        resolution: width and height in pixels.
        antialias: A×A rays a pixel.
        background: sRGB in 0..1; `BACKDROP` by default.
        progress: called as ``progress(pictures done, pictures in all)``.

    Returns:
        Rendering: ``image`` = ``raw`` in [-1,1]; ``alpha`` the covered share of a pixel; ``depth`` the mean over the
        covered rays of a pixel, 3.3 where it is empty.

    Raises:
        DualEncError: numbers of people and cameras that do not fit, resolution or antialias below 1.
    """
    if resolution < 1 or antialias < 1:
        raise DualEncError(f"resolution {resolution}, antialias {antialias}: each must be at least 1")
    n, m = len(people), len(camera)
    if n != m and 1 not in (n, m):
        raise DualEncError(f"{n} people and {m} cameras: give equal numbers, or one of either")
    count = max(n, m)
    behind = torch.tensor(BACKDROP if background is None else background)
    pictures = []
    for i in range(count):
        view = picture(people.scene(i % n), camera[i % m], resolution, antialias)
        pictures.append(view)
        if progress is not None:
            progress(i + 1, count)
    colour, alpha, depth = (torch.stack(values) for values in zip(*pictures, strict=True))
    image = (colour + (1 - alpha) * behind.view(1, 3, 1, 1)) * 2 - 1
    return Rendering(image=image, raw=image, depth=depth, alpha=alpha)


def picture(scene: Scene, camera: Camera, resolution: int, antialias: int) -> tuple[Tensor, Tensor, Tensor]:
    """One view: colour times alpha [3,r,r] in 0..1, alpha [1,r,r] and depth [1,r,r]."""
    fine = resolution * antialias
    origins, directions = camera_rays(camera, fine)
    hits = scene.trace(origins[0].numpy(), directions[0].numpy())

    def pixels(values: np.ndarray) -> Tensor:
        shaped = torch.from_numpy(np.ascontiguousarray(values, np.float32)).reshape(1, fine, fine, -1)
        return torch.nn.functional.avg_pool2d(shaped.permute(0, 3, 1, 2), antialias)[0]

    cover = pixels(hits.alpha)
    met = hits.depth < FAR
    share = pixels(met)
    depth = torch.where(share > 0, pixels(hits.depth * met) / share.clamp(min=1e-6), torch.full_like(share, FAR))
    return pixels(hits.colour * hits.alpha[:, None]), cover, depth


def labels(scene: Scene, camera: Camera, resolution: int) -> Tensor:
    """Parts [r,r] uint8 (`part.LABELS`) of one view, one ray a pixel."""
    origins, directions = camera_rays(camera, resolution)
    hits = scene.trace(origins[0].numpy(), directions[0].numpy())
    return torch.from_numpy(hits.label.reshape(resolution, resolution).copy())


def normals(scene: Scene, camera: Camera, resolution: int) -> Tensor:
    """World normals [3,r,r] of one view, 0 where nothing is met."""
    origins, directions = camera_rays(camera, resolution)
    hits = scene.trace(origins[0].numpy(), directions[0].numpy())
    return torch.from_numpy(hits.normal.reshape(resolution, resolution, 3).transpose(2, 0, 1).copy())
