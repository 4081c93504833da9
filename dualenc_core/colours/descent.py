"""A `ColourMap` fitted by gradient descent, for objectives of any kind; density stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..generator import PanoHead
from ..rendering.trigrid import lookup
from ..triplane import Triplane
from .linear_map import ColourMap

# World units around a surface point where density must stay too.
_NEAR = 0.03
_RATE = 0.02
_KEEP_DENSITY = 2.0
_KEEP_FEATURES = 1e-3


def colours_at(generator: PanoHead, features: Tensor, ws: Tensor) -> Tensor:
    """Decoded features [M,C] of one head → the raw picture's colours [M,3] under ws [1,num_ws,w_dim]."""
    return generator.to_rgb(features.T[None, :, :, None], ws)[0, :, :, 0].T


# World points [M,3], and how wrong the decoded features [M,C] at them are: 0 = right.
Objective = tuple[Tensor, Callable[[Tensor], Tensor]]


def fit_colour_map(generator: PanoHead, head: Triplane, objectives: Sequence[Objective], steps: int = 150) -> ColourMap:
    """The map of one head that lowers the sum of what is wrong and keeps density.

    Args:
        objectives: one or more.
        steps: of Adam.
    """
    # A caller may be in inference mode, whose tensors can have no gradients: everything is copied outside of it.
    with torch.inference_mode(False), torch.enable_grad():
        head = head.map(lambda tensor: tensor.detach().clone())
        points = torch.cat([points.clone() for points, _ in objectives])
        counts = [len(points) for points, _ in objectives]
        noise = torch.rand(points.shape, generator=torch.Generator().manual_seed(0)).to(points) * 2 - 1
        decode = _Decoder(generator, head, torch.cat([points, points + _NEAR * noise])[None])
        matrix = torch.zeros(head.features, head.features, device=points.device, requires_grad=True)
        offset = torch.zeros(head.features, device=points.device, requires_grad=True)
        with torch.no_grad():
            before, own = decode(matrix, offset)
            unit, scale = before.std().clamp_min(1e-3), own.std().clamp_min(1e-3)
        optimiser = torch.optim.Adam([matrix, offset], lr=_RATE)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * (1 - step / steps)
            sigma, features = decode(matrix, offset)
            loss = _KEEP_DENSITY * ((sigma - before) / unit).square().mean()
            loss = loss + _KEEP_FEATURES * ((features - own) / scale).square().mean()
            for part, (_, wrong) in zip(features[: len(points)].split(counts), objectives, strict=True):
                loss = loss + wrong(part)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return ColourMap(matrix.detach()[None], offset.detach()[None])


class _Decoder:
    """`PanoHead.query` of one head at fixed points, for changing maps."""

    def __init__(self, generator: PanoHead, head: Triplane, points: Tensor) -> None:
        box = generator.config.render.box_warp
        self.decoder = generator.decoder
        with torch.no_grad():
            every = (head.planes, *(overlay.planes for overlay in head.overlays))
            self.grids = [lookup(planes, points, head.depth, box) for planes in every]
            self.shares = [overlay.weight(points) for overlay in head.overlays]
            # Features fade with the lookup towards the sides of the box, and so must the offset.
            self.whole = lookup(torch.ones_like(head.planes[:, :, : head.depth]), points, head.depth, box)

    def __call__(self, matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density [M] and features [M,C]."""

        def decode(grid: Tensor) -> tuple[Tensor, Tensor]:
            return self.decoder(grid + grid @ matrix.T + self.whole * offset)

        sigma, features = decode(self.grids[0])
        for grid, share in zip(self.grids[1:], self.shares, strict=True):
            other_sigma, other_features = decode(grid)
            sigma, features = torch.lerp(sigma, other_sigma, share), torch.lerp(features, other_features, share)
        return sigma[0, :, 0], features[0]
