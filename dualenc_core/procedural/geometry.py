"""The solids of a head: ellipsoids as one table of quadrics, so that all of them together cost one matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .heads import Heads
from .palette import smoothstep

# |x| is rounded at the symmetry plane, else mirrored pairs meet in a crease there
SEAM = 0.006
BOTTOM = -0.398
# curls may push a ponytail out of the box that renderers see
BACK = -0.289
EYE_HEIGHT = 0.057
GROUPS = {
    "base": ("skull", "face", "chin", "cheek", "brow_ridge", "neck"),
    "cloth": ("torso", "shoulder", "collar"),
    "beard": ("beard", "goatee", "moustache"),
    "brow": ("brow_inner", "brow_outer"),
    "feature": ("upper_lip", "lower_lip", "bridge", "nose_tip", "nostril", "ear"),
    "hair": ("cap", "bun", "knot", "tail_top", "tail"),
    "curtain": ("curtain",),
    "eye": ("eye",),
    "concha": ("concha",),
    "mouth": ("mouth_opening",),
    "window": ("window",),
    "ear_opening": ("ear_opening",),
    "earring": ("earring",),
}
NAMES = tuple(name for group in GROUPS.values() for name in group)
SLICES: dict[str, slice] = {}
for _group, _members in GROUPS.items():
    _start = NAMES.index(_members[0])
    SLICES[_group] = slice(_start, _start + len(_members))
# these may lean to one side: they are written in x, not |x|
ONE_SIDED = ("cap", "curtain", "window")
HIDDEN = (0.0, 0.06, -0.03)
Number = Tensor | float


@dataclass(frozen=True)
class Geometry:
    """What the distance functions need of a batch of heads, computed once.

    Attributes:
        heads: the parameters.
        table: ``[N,2K,14]`` quadric coefficients; the first K rows give k0², the others k1² (see `distance`).
        eye: ``[N,8,1]`` centre x, y, z, radius, aperture half width, upper and lower height, tilt.
        hem: ``[N,1]`` height of the lower end of the hair.
        curl: ``[N,1]`` size of the curls in world units.
        worn: whether any head wears glasses.
    """

    heads: Heads
    table: Tensor
    eye: Tensor
    hem: Tensor
    curl: Tensor
    worn: bool


def build_geometry(heads: Heads) -> Geometry:
    """Solve the parameters for the solids' centres, radii and rotations."""
    solids = _solids(heads)
    count = len(heads)
    numbers = _columns([n for name in NAMES for triple in solids[name] for n in triple], count, heads.device)
    centre, radii, angles = numbers.view(count, len(NAMES), 3, 3).unbind(2)
    rotation = _rotation(angles)
    rows = [_quadric(centre, rotation, radii.pow(-power)) for power in (2, 4)]
    eye = _columns(list(_eye(heads)), count, heads.device)[..., None]
    hem = -0.38 * heads.hair_length
    curl = 0.0078 * heads.curl * smoothstep(0.45, 0.9, heads.hair)
    return Geometry(heads, torch.cat(rows, 1), eye, hem[:, None], curl[:, None], bool((heads.glasses > 0).any()))


def _eye(h: Heads) -> tuple[Number, ...]:
    radius = 0.047 + 0.005 * h.eye_size
    return (
        0.072 + 0.005 * h.eye_spacing,
        EYE_HEIGHT,
        0.168 - radius,
        radius,
        0.040 + 0.003 * h.eye_size,
        0.0198 + 0.004 * h.eye_open + 0.003 * h.eye_size,
        0.0178 + 0.002 * h.eye_open - 0.0025 * h.smile,
        0.12 * h.eye_tilt,
    )


def _solids(h: Heads) -> dict[str, tuple[tuple[Number, ...], ...]]:
    """Centre, radii and rotation angles (about x, y, z) of every solid; numbers or ``[N]``."""
    ex = _eye(h)[0]
    wide = 1 + 0.06 * h.face_width
    shell = -0.03 + 0.058 * h.hair + 0.02 * h.curl * h.hair
    hang = h.hair_length.clamp(0, 1).sqrt()
    bun, tail = h.bun, h.ponytail
    chin_y = -0.160 - 0.016 * h.face_length
    tip_y, tip_z = -0.030 - 0.010 * h.nose_length + 0.006 * h.nose_upturn, 0.202 + 0.014 * h.nose_length
    mouth_y, mouth_w = -0.105 - 0.006 * h.face_length, 0.044 + 0.009 * h.mouth_width
    curve = 0.24 + 0.32 * h.smile
    lip = 0.0138 + 0.004 * h.lip_fullness
    brow_y, brow_r = 0.122 + 0.010 * h.brow_height, 0.0100 + 0.0035 * h.brow_weight
    slant = 0.14 * h.brow_tilt
    covered = smoothstep(0.08, 0.40, h.hair_length)
    ear = 1 + 0.22 * h.ear_size
    ear_x = 0.157 * wide + 0.006 + 0.006 * h.ear_spread - 0.03 * covered
    ear_yaw = 0.45 + 0.20 * h.ear_spread
    bare = 1 - covered
    full = h.beard
    none = (0.0, 0.0, 0.0)
    return {
        "skull": ((0.0, 0.075, -0.03), (0.158 * wide, 0.160, 0.190), none),
        "face": (
            (0.0, -0.055, 0.032),
            (0.134 * wide + 0.010 * h.jaw_width, 0.148 + 0.014 * h.face_length, 0.138),
            none,
        ),
        "chin": (
            (0.0, chin_y, 0.100),
            (0.052 + 0.014 * h.jaw_width, 0.044 + 0.005 * h.chin, 0.052 + 0.009 * h.chin),
            none,
        ),
        "cheek": (
            (0.074, -0.027 + 0.008 * h.smile, 0.103),
            (0.055 + 0.006 * h.cheeks, 0.058, 0.052 + 0.008 * h.cheeks),
            none,
        ),
        "brow_ridge": ((0.048, 0.112, 0.100), (0.060, 0.032, 0.046), none),
        "neck": ((0.0, -0.22, -0.045), (0.072 + 0.010 * h.neck_width, 0.175, 0.074 + 0.010 * h.neck_width), none),
        "bridge": (
            (0.0, 0.5 * (tip_y + 0.050), 0.178 + 0.4 * (tip_z - 0.202)),
            (0.018, 0.064, 0.025),
            (-0.36, 0.0, 0.0),
        ),
        "nose_tip": (
            (0.0, tip_y, tip_z),
            (0.025 + 0.006 * h.nose_width, 0.021 + 0.003 * h.nose_width, 0.030),
            (-0.35 * h.nose_upturn - 0.1, 0.0, 0.0),
        ),
        "nostril": (
            (0.023 + 0.006 * h.nose_width, tip_y - 0.008, tip_z - 0.022),
            (0.016 + 0.003 * h.nose_width, 0.015, 0.022),
            none,
        ),
        "upper_lip": (
            (0.50 * mouth_w, mouth_y + 0.0085 + 0.25 * mouth_w * curve, 0.1610),
            (0.62 * mouth_w, lip, 0.018),
            (0.0, 0.40, curve - 0.22),
        ),
        "lower_lip": (
            (0.40 * mouth_w, mouth_y - 0.0085 + 0.20 * mouth_w * curve, 0.1605),
            (0.60 * mouth_w, lip * 1.15, 0.019),
            (0.0, 0.40, curve + 0.20),
        ),
        "ear": ((ear_x, 0.026, -0.030), (0.017, 0.044 * ear, 0.031 * ear), (0.12, ear_yaw, -0.12)),
        "concha": ((ear_x + 0.013, 0.028, -0.020), (0.010, 0.023 * ear, 0.014 * ear), (0.12, ear_yaw, -0.12)),
        "eye": (_eye(h)[:3], (_eye(h)[3],) * 3, none),
        "torso": ((0.0, -0.440, -0.035), (0.230, 0.172, 0.150), none),
        "shoulder": ((0.125 + 0.012 * h.shoulder_width, -0.405, -0.040), (0.140, 0.112, 0.125), (0.0, 0.0, -0.15)),
        "collar": (
            (0.0, -0.292, -0.043),
            (0.094 + 0.010 * h.neck_width, 0.032, 0.094 + 0.010 * h.neck_width),
            (0.14, 0.0, 0.0),
        ),
        "cap": ((0.0, 0.080, -0.037), (0.158 * wide + shell, 0.158 + shell * 1.05, 0.189 + shell), none),
        "curtain": (
            (0.0, -0.10, -0.065),
            (0.110 * wide + hang * (0.066 + 0.9 * shell), 0.30, 0.110 + hang * (0.045 + 0.9 * shell)),
            none,
        ),
        "bun": (
            _between((0.0, 0.14, -0.08), (0.0, 0.222, -0.150), bun),
            (0.020 + 0.052 * bun, 0.020 + 0.048 * bun, 0.020 + 0.052 * bun),
            none,
        ),
        "knot": (_between((0.0, 0.12, -0.10), (0.0, 0.150, -0.212), tail), (0.020 + 0.026 * tail,) * 3, none),
        "tail_top": (
            _between((0.0, 0.06, -0.09), (0.0, 0.085, -0.225), tail),
            (0.020 + 0.026 * tail, 0.03 + 0.075 * tail, 0.020 + 0.022 * tail),
            (0.12, 0.0, 0.0),
        ),
        "tail": (
            _between((0.0, 0.02, -0.09), (0.0, -0.060, -0.221), tail),
            (0.020 + 0.038 * tail, 0.03 + 0.125 * tail, 0.020 + 0.026 * tail),
            (-0.12, 0.0, 0.0),
        ),
        "window": (
            (0.020 * h.parting, -0.136 - 0.050 * h.fringe * (1 - 0.7 * h.curl), 0.0),
            (0.150 * wide + 0.004, 0.315, 9.0),
            (0.0, 0.0, 0.13 * h.parting),
        ),
        "ear_opening": (
            (0.06 + (ear_x - 0.03) * bare, 0.012, -0.018),
            (0.012 + 0.042 * bare, 0.012 + 0.052 * bare * ear, 0.012 + 0.040 * bare * ear),
            none,
        ),
        "brow_inner": (
            (ex - 0.022, brow_y - 0.022 * slant, 0.1455),
            (0.027, brow_r, 0.0095),
            (0.0, 0.14, 0.16 - slant),
        ),
        "brow_outer": (
            (ex + 0.013, brow_y + 0.003 + 0.013 * slant, 0.1300),
            (0.028, brow_r * 0.85, 0.0090),
            (0.0, 0.85, -0.30 - slant),
        ),
        "beard": (
            (0.0, -0.085, 0.056),
            (0.090 + full * (0.047 * wide + 0.008 * h.jaw_width), 0.085 + 0.062 * full, 0.080 + 0.044 * full),
            none,
        ),
        "goatee": (
            (0.0, chin_y - 0.006, 0.106),
            (0.030 + 0.042 * full, 0.025 + 0.036 * full, 0.030 + 0.036 * full),
            none,
        ),
        "moustache": (
            (0.021, mouth_y + 0.0285, 0.136 + 0.031 * full),
            (0.008 + 0.030 * full, 0.004 + 0.0090 * full, 0.004 + 0.017 * full),
            (0.0, 0.40, -0.22 + 0.4 * curve),
        ),
        "mouth_opening": (
            (0.0, mouth_y - 0.001 + 0.12 * mouth_w * curve, 0.19),
            (1.04 * mouth_w, 0.0175 + 0.004 * h.lip_fullness, 0.09),
            none,
        ),
        "earring": (
            _between(HIDDEN, (ear_x + 0.006, 0.026 - 0.050 * ear, -0.022), (h.earrings > 0).float()),
            (0.0105 + 0.0035 * h.earrings,) * 3,
            none,
        ),
    }


def _between(a: tuple[float, ...], b: tuple[Number, ...], t: Tensor) -> tuple[Number, ...]:
    return tuple(p + (q - p) * t for p, q in zip(a, b, strict=True))


def _columns(values: list[Number], count: int, device: torch.device) -> Tensor:
    """``[N,len(values)]`` from numbers and ``[N]`` tensors."""
    constant = torch.tensor([0.0 if isinstance(v, Tensor) else v for v in values], device=device)
    index = torch.tensor([i for i, v in enumerate(values) if isinstance(v, Tensor)], device=device)
    return constant.repeat(count, 1).index_copy_(1, index, torch.stack([v for v in values if isinstance(v, Tensor)], 1))


def _rotation(angles: Tensor) -> Tensor:
    """Rz · Ry · Rx ``[...,3,3]`` of angles ``[...,3]``."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    entries = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, -1) for row in entries], -2)


def _quadric(centre: Tensor, rotation: Tensor, weights: Tensor) -> Tensor:
    """Coefficients ``[N,K,14]`` of (p − c)ᵀ R diag(w) Rᵀ (p − c) over the monomials of `monomials`."""
    a = (rotation * weights[..., None, :]) @ rotation.transpose(-1, -2)
    ac = (a @ centre[..., None])[..., 0]
    one_sided = torch.tensor([name in ONE_SIDED for name in NAMES], device=centre.device)
    cross = 2 * torch.stack([a[..., 0, 1], a[..., 0, 2], -ac[..., 0]], -1)
    squares = torch.stack([a[..., 0, 0], a[..., 1, 1], a[..., 2, 2]], -1)
    rest = torch.stack([2 * a[..., 1, 2], -2 * ac[..., 1], -2 * ac[..., 2], (ac * centre).sum(-1)], -1)
    zero = torch.zeros_like(cross)
    mirrored = torch.where(one_sided[:, None], zero, cross)
    signed = torch.where(one_sided[:, None], cross, zero)
    return torch.cat([squares, rest, mirrored, signed, zero[..., :1]], -1)


def monomials(x: Tensor, mirrored: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """``[N,14,M]``: x², y², z², yz, y, z, 1, |x|y, |x|z, |x|, xy, xz, x, 0 of coordinates ``[N,M]``."""
    one = torch.ones_like(x)
    terms = (
        mirrored * mirrored,
        y * y,
        z * z,
        y * z,
        y,
        z,
        one,
        mirrored * y,
        mirrored * z,
        mirrored,
        x * y,
        x * z,
        x,
        one,
    )
    return torch.stack(terms, 1)
