"""Surface colours with baked, view-independent light."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from .distance import Layers
from .geometry import SEAM, Geometry
from .heads import Heads

# Width (world units) over which a part's colour fades at its border, in the order of `Part`: beards grow thin there.
EDGE = (0.0022, 0.0012, 0.0030, 0.0038, 0.0070, 0.0016, 0.0012, 0.0010)


class Part(IntEnum):
    """Labels of the visible parts; the first eight are in the order of `Layers`."""

    SKIN = 0
    EYES = 1
    HAIR = 2
    BROWS = 3
    BEARD = 4
    CLOTH = 5
    EARRINGS = 6
    GLASSES = 7
    LIPS = 8


def label_parts(layers: Layers) -> Tensor:
    """`Part` of the nearest part, ``[N,M]`` int64."""
    label = stack_parts(layers).argmin(1)
    lips = (label == Part.SKIN) & (layers.lips < 0.002)
    return torch.where(lips, torch.full_like(label, Part.LIPS), label)


def stack_parts(layers: Layers) -> Tensor:
    """Distances ``[N,8,M]`` in the order of `Part`."""
    a = layers
    return torch.stack([a.skin, a.eye, a.hair, a.brow, a.beard, a.cloth, a.earring, a.glasses], 1)


def shade(geometry: Geometry, layers: Layers, points: Tensor, normals: Tensor, occlusion: Tensor) -> Tensor:
    """Lit colours in [0,1], ``[N,3,M]``.

    Args:
        layers: distances at the points.
        points: ``[N,3,M]`` on or near the surface.
        normals: ``[N,3,M]``, unit.
        occlusion: ``[N,M]``, 1 = open, 0 = closed in.
    """
    h = geometry.heads
    x, y, z = points.unbind(1)
    mirrored = (x * x + SEAM * SEAM).sqrt()
    edge = torch.tensor(EDGE, device=x.device)[:, None]
    weights = torch.softmax(-stack_parts(layers).clamp_min(0) / edge, 1)
    fibre = 0.92 * h.hair_colour + 0.08 * h.skin_colour
    albedos = (
        _skin(geometry, layers, x, mirrored, y, z),
        _eye(geometry, layers, mirrored, y),
        _hair(h, x, y, z),
        _flat(0.8 * fibre),
        _flat(fibre),
        _blend(_flat(h.shirt_colour), _flat(h.collar_colour), torch.sigmoid((0.0015 - layers.collar) / 0.0012)),
        _flat(h.earring_colour),
        _flat(h.glasses_colour),
    )
    albedo = torch.zeros_like(normals)
    for i, part in enumerate(albedos):
        albedo = albedo + weights[:, i : i + 1] * part
    return _light(albedo, weights, normals, occlusion)


def _light(albedo: Tensor, weights: Tensor, normals: Tensor, occlusion: Tensor) -> Tensor:
    """A soft key from the front above, sky and floor, a weak light behind: symmetric, so that mirrored heads match."""
    nx, ny, nz = normals.unbind(1)
    key = ((0.46 * ny + 0.89 * nz + 0.35) / 1.35).clamp_min(0)
    back = ((0.55 * ny - 0.83 * nz + 0.25) / 1.25).clamp_min(0)
    light = (0.60 + 0.11 * ny + 0.42 * key + 0.24 * back + 0.09 * nx * nx) * (0.52 + 0.48 * occlusion)
    eye, hair, metal = (
        weights[:, Part.EYES],
        weights[:, Part.HAIR],
        weights[:, Part.EARRINGS] + weights[:, Part.GLASSES],
    )
    light = light + eye * (0.95 - light) * 0.65
    # shadows of skin are warm, as light scatters under it
    tint = torch.tensor([0.86, 1.06, 1.12], device=albedo.device)[None, :, None]
    lit = albedo * light[:, None].clamp_min(1e-3).pow(tint)
    gloss = 0.10 * hair * torch.exp(-((ny - 0.62) / 0.17).square())
    gloss = gloss + (0.05 * weights[:, Part.SKIN] + 0.25 * metal) * torch.exp(
        -((0.46 * ny + 0.89 * nz - 1) / 0.10).square()
    )
    sheen = torch.lerp(torch.ones_like(albedo), albedo / albedo.amax(1, keepdim=True).clamp_min(0.05), 0.6)
    return (lit + gloss[:, None] * sheen).clamp(0, 1)


def _skin(geometry: Geometry, layers: Layers, x: Tensor, mirrored: Tensor, y: Tensor, z: Tensor) -> Tensor:
    h = geometry.heads
    colour = _flat(h.skin_colour)
    front = torch.sigmoid((z - 0.06) / 0.015)
    ex, ey, _, _, width, upper, _, tilt = geometry.eye.unbind(1)
    warm = _flat(h.skin_colour * torch.tensor([1.0, 0.70, 0.66], device=x.device))
    cheeks = _spot(mirrored - 0.082, y + 0.028, 0.034) * front
    nose = _spot(x, y + 0.030, 0.022) * torch.sigmoid((z - 0.20) / 0.01)
    ears = torch.sigmoid((mirrored - 0.155) / 0.005) * _spot(z + 0.02, y - 0.02, 0.045)
    colour = _blend(colour, warm, (h.blush[:, None] * cheeks + 0.35 * nose + 0.40 * ears).clamp(0, 1))
    colour = _details(h, colour, x, mirrored, y, z, cheeks, front)

    lips = torch.sigmoid((0.0018 - layers.lips) / 0.0014)
    colour = _blend(colour, _flat(h.lip_colour), lips * front)
    mouth_width = 0.044 + 0.009 * h.mouth_width[:, None]
    mouth = y + 0.105 + 0.006 * h.face_length[:, None] - (0.17 + 0.28 * h.smile[:, None]) * mirrored
    line = torch.exp(-(mouth / 0.0032).square()) * torch.sigmoid((1.12 * mouth_width - mirrored) / 0.003) * front
    colour = colour * (1 - 0.62 * line)[:, None]

    # lashes follow the upper edge of the opening; the lids are a little darker than the face
    dx = mirrored - ex
    rim = y - ey - tilt * dx - upper * (1 - (dx / width).square())
    near = torch.sigmoid((1.10 * width - dx.abs()) / 0.002) * front
    lash = torch.exp(-((rim - 0.0012) / 0.0026).square()) * near
    shadow = torch.exp(-((rim - 0.007) / 0.007).square()) * near
    return colour * (1 - 0.20 * shadow)[:, None] * (1 - 0.78 * lash)[:, None]


def _details(
    h: Heads, colour: Tensor, x: Tensor, mirrored: Tensor, y: Tensor, z: Tensor, cheeks: Tensor, front: Tensor
) -> Tensor:
    bent_x, bent_y = x + 0.006 * torch.sin(y * 131 + 1.0), y + 0.006 * torch.sin(x * 117 + 0.5)
    dots = torch.cos(bent_x * 390 + 1.0) * torch.cos(bent_y * 370) * (0.7 + 0.3 * torch.cos(x * 157 - y * 211))
    zone = (_spot(mirrored - 0.06, y + 0.012, 0.045) + 0.5 * cheeks).clamp_max(1) * front
    colour = colour * (1 - 0.5 * h.freckles[:, None] * zone * torch.sigmoid((dots - 0.42) / 0.07))[:, None]
    band = torch.sigmoid((0.011 - (y - h.paint_height[:, None]).abs()) / 0.0015) * torch.sigmoid((z - 0.04) / 0.004)
    colour = _blend(colour, _flat(h.paint_colour), 0.85 * h.paint[:, None] * band)
    patch = torch.sigmoid((0.024 - ((mirrored - 0.085).square() + (y + 0.035).square()).sqrt()) / 0.0015) * front
    colour = _blend(colour, _flat(h.patch_colour), 0.8 * h.patch[:, None] * patch)
    px, py, _ = h.mole_position[..., None].unbind(1)
    mole = torch.sigmoid((0.0075 - ((x - px).square() + (y - py).square()).sqrt()) / 0.001) * front
    return colour * (1 - 0.75 * h.mole[:, None] * mole)[:, None]


def _eye(geometry: Geometry, layers: Layers, mirrored: Tensor, y: Tensor) -> Tensor:
    h = geometry.heads
    ex, ey, _, _, _, upper, lower, _ = geometry.eye.unbind(1)
    iris = 0.0208 + 0.0012 * h.eye_size[:, None]
    dx, dy = mirrored - ex + 0.0015, y - ey - 0.3 * (upper - lower)
    r = (dx.square() + dy.square()).sqrt() / iris
    colour = torch.tensor([0.94, 0.93, 0.92], device=y.device)[None, :, None].expand(len(h), -1, y.shape[1])
    glow = (1.0 - 0.55 * dy / iris).clamp(0.45, 1.6)
    colour = _blend(colour, _flat(h.eye_colour) * glow[:, None], torch.sigmoid((1 - r) / 0.05))
    ring = torch.exp(-((r - 0.97) / 0.12).square())
    colour = colour * (1 - 0.6 * ring)[:, None]
    colour = _blend(colour, torch.full_like(colour, 0.03), torch.sigmoid((0.50 - r) / 0.05))
    glint = torch.sigmoid((0.0058 - (dx.square() + (dy - 0.0098).square()).sqrt()) / 0.0008)
    shade = torch.exp(layers.lid.clamp_max(0) / 0.006)
    colour = colour * (1 - 0.28 * shade)[:, None]
    return _blend(colour, torch.ones_like(colour), 0.95 * glint)


def _hair(h: Heads, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Root to tip gradient and a faint wide wave; strong strands exist only as a detail."""
    angle = torch.atan2(x, z + 0.03)
    tip = ((0.10 - y) / 0.45).clamp(0, 1)
    tone = 0.92 + 0.14 * tip + 0.05 * torch.cos(9 * angle) + 0.22 * h.stripes[:, None] * torch.cos(26 * angle)
    colour = _flat(h.hair_colour) * tone[:, None]
    turn = angle - h.strand_angle[:, None]
    turn = torch.atan2(turn.sin(), turn.cos()).abs()
    return _blend(colour, _flat(h.strand_colour), 0.9 * h.strand[:, None] * torch.sigmoid((0.16 - turn) / 0.012))


def _spot(a: Tensor, b: Tensor, width: float) -> Tensor:
    return torch.exp(-(a.square() + b.square()) / (2 * width * width))


def _flat(colour: Tensor) -> Tensor:
    return colour[..., None]


def _blend(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return a + (b - a) * t[:, None]
