"""A rasteriser of splats that draws them as the original one does (Kerbl et al., SIGGRAPH 2023), in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from .splats import Splats, rotation_matrices

# Of the original: pixels² added to every footprint, the faintest alpha that is drawn, and the highest.
LOW_PASS = 0.3
FAINTEST_ALPHA = 1 / 255
OPAQUEST = 0.99
# Splats closer than this to the camera, in world units, are not drawn.
_NEAR = 0.05
# Pairs of splat and pixel in memory at once, about 100 bytes each.
_PAIRS = 1 << 21


class Footprint(NamedTuple):
    """Splats as one camera sees them, from near to far: indices [M] of the splats; centres [M,2] and the inverse
    covariance (a, b, c) [M,3] in pixels; half sizes [M,2] of the box outside of which a splat is not drawn."""

    splat: Tensor
    centre: Tensor
    conic: Tensor
    reach: Tensor


class Shares(NamedTuple):
    """What splats give to pixels, a sparse matrix: pixel [P] (row-major), splat [P], weight [P] = alpha times what the
    splats before it let through."""

    pixel: Tensor
    splat: Tensor
    weight: Tensor


def footprints(splats: Splats, camera: Camera, resolution: int) -> Footprint:
    """Project splats to a picture (Zwicker et al. 2001, eq. 31; Kerbl et al. 2023, section 4).

    Args:
        camera: one view.
        resolution: side of the picture.
    """
    if len(camera) != 1 or resolution < 1:
        raise DualEncError(f"there are {len(camera)} cameras and the side is {resolution}, expected one and at least 1")
    camera = camera.to(splats.positions.device)
    rotation, k = camera.cam2world[0, :3, :3], camera.intrinsics[0] * resolution
    local = (splats.positions - camera.position) @ rotation
    z = local[:, 2].clamp(min=_NEAR)
    x, y = local[:, 0] / z, local[:, 1] / z
    jacobian = torch.zeros(len(splats), 2, 3).to(local)
    jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 1] = k[0, 0] / z, k[0, 1] / z, k[1, 1] / z
    jacobian[:, 0, 2], jacobian[:, 1, 2] = -(k[0, 0] * x + k[0, 1] * y) / z, -k[1, 1] * y / z
    spread = jacobian @ rotation.T @ (rotation_matrices(splats.rotations) * splats.scales[:, None])
    a, b, c = ((spread[:, i] * spread[:, j]).sum(-1) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, c = a + LOW_PASS, c + LOW_PASS
    determinant = a * c - b * b
    centre = torch.stack([k[0, 0] * x + k[0, 1] * y + k[0, 2], k[1, 1] * y + k[1, 2]], -1)
    radius = (2 * (splats.opacities / FAINTEST_ALPHA).clamp(min=1).log()).sqrt()
    reach = radius[:, None] * torch.stack([a, c], -1).sqrt()
    drawn = (local[:, 2] > _NEAR) & (splats.opacities > FAINTEST_ALPHA)
    drawn &= ((centre + reach > 0) & (centre - reach < resolution)).all(-1)
    index = drawn.nonzero()[:, 0]
    index = index[local[index, 2].argsort()]
    conic = torch.stack([c, -b, a], -1) / determinant[:, None]
    return Footprint(index, centre[index], conic[index], reach[index])


def shares(splats: Splats, camera: Camera, resolution: int, pairs: int = _PAIRS) -> Iterator[Shares]:
    """The picture of one camera as sums over splats, band of rows by band.

    ``(shares.weight[:, None] * colours[shares.splat])`` summed by pixel is the picture over black.

    Args:
        pairs: of splats and pixels in memory at once.
    """
    seen = footprints(splats, camera, resolution)
    low = (seen.centre - seen.reach - 0.5).ceil().clamp(0, resolution)
    high = (seen.centre + seen.reach - 0.5).floor().clamp(-1, resolution - 1) + 1
    low, high = low.long(), high.long()
    width = (high[:, 0] - low[:, 0]).clamp(min=0)
    for top, bottom in _bands(low[:, 1], high[:, 1], width, resolution, pairs):
        first, last = low[:, 1].clamp(min=top), high[:, 1].clamp(max=bottom)
        count = width * (last - first).clamp(min=0)
        row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
        across = width[row]
        px, py = low[row, 0] + place % across, first[row] + torch.div(place, across, rounding_mode="floor")
        dx, dy = px + 0.5 - seen.centre[row, 0], py + 0.5 - seen.centre[row, 1]
        conic, opacity = seen.conic[row], splats.opacities[seen.splat[row]]
        power = -0.5 * (conic[:, 0] * dx * dx + conic[:, 2] * dy * dy) - conic[:, 1] * dx * dy
        alpha = (opacity * power.clamp(max=0).exp()).clamp(max=OPAQUEST)
        kept = alpha >= FAINTEST_ALPHA
        pixel, row, alpha = (py * resolution + px)[kept], row[kept], alpha[kept]
        # Stable: within a pixel the splats stay ordered from near to far.
        pixel, order = pixel.sort(stable=True)
        alpha, row = alpha[order], row[order]
        yield Shares(pixel, seen.splat[row], alpha * _let_through(pixel, alpha))


def _bands(low: Tensor, high: Tensor, width: Tensor, resolution: int, pairs: int) -> Iterator[tuple[int, int]]:
    """Rows [top, bottom) of about so many pairs each, at least one row."""
    change = torch.zeros(resolution + 1, dtype=torch.int64, device=low.device)
    wide = torch.where(high > low, width, torch.zeros_like(width))
    change.index_add_(0, low, wide)
    change.index_add_(0, high.clamp(min=0), -wide)
    rows = change.cumsum(0)[:resolution].tolist()
    top, total = 0, 0
    for i, row in enumerate(rows):
        if i > top and total + row > pairs:
            yield top, i
            top, total = i, 0
        total += row
    yield top, resolution


def _let_through(pixel: Tensor, alpha: Tensor) -> Tensor:
    """Product of 1 - alpha of the entries before each one in its pixel; pixels are sorted."""
    # A running sum over a whole band would lose the digits of float32.
    light = torch.log1p(-alpha.double())
    before = light.cumsum(0) - light
    start = torch.searchsorted(pixel, pixel)
    return (before - before[start]).exp().to(alpha.dtype) if len(pixel) else alpha


def render_splats(
    splats: Splats,
    camera: Camera,
    resolution: int = 512,
    background: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures of splats.

    Args:
        camera: N views.
        resolution: side of the pictures.
        background: grey level in 0..1.
        progress: called as progress(views done, views in all).

    Returns sRGB [N,3,R,R], nominally 0..1, and alpha [N,1,R,R].
    """
    pictures = torch.zeros(len(camera), 4, resolution**2).to(splats.colours)
    for i in range(len(camera)):
        for part in shares(splats, camera[i], resolution):
            for channel in range(3):
                value = part.weight * splats.colours[part.splat, channel]
                pictures[i, channel].index_add_(0, part.pixel, value)
            pictures[i, 3].index_add_(0, part.pixel, part.weight)
        if progress is not None:
            progress(i + 1, len(camera))
    pictures = pictures.view(len(camera), 4, resolution, resolution)
    alpha = pictures[:, 3:]
    return pictures[:, :3] + (1 - alpha) * background, alpha
