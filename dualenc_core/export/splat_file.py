"""Splats as files: PLY as 3D Gaussian Splatting has it, and SPZ. Equal splats give equal bytes.

Both are in metres and in the axes of 3D Gaussian Splatting (y down, z away from who looks at the face); programs turn
them upright.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..camera import METRES_PER_UNIT
from ..errors import DualEncError
from ..files import atomic_path
from .splats import Splats

# The constant of spherical harmonics of degree 0: colour = 0.5 + SH0 · coefficient.
SH0 = 0.28209479177387814
_COMMENT_WIDTH = 120
# SPZ, version 2 (github.com/nianticlabs/spz): positions in 24-bit fixed point, here ±128 m in steps of 15 µm.
_SPZ_MAGIC, _SPZ_VERSION, _SPZ_FRACTION = 0x5053474E, 2, 16
_SPZ_COLOUR = 0.15


def save_splats(splats: Splats, path: str | Path) -> Path:
    """Write a .ply (all digits, 56 bytes a splat) or .spz file (about 12 bytes a splat), atomically.

    Raises DualEncError for another suffix, no splats, or NaN.
    """
    path = Path(path)
    writers = {".ply": _ply, ".spz": _spz}
    if path.suffix.lower() not in writers:
        raise DualEncError(f"the splat file {path} must end in .ply or .spz")
    if len(splats) == 0:
        raise DualEncError(f"there are no splats for {path}; nothing was written")
    for name in ("positions", "scales", "rotations", "opacities", "colours"):
        if not bool(torch.isfinite(getattr(splats, name)).all()):
            raise DualEncError(f"splat {name} have NaN or infinite values; nothing was written to {path}")
    content = writers[path.suffix.lower()](splats)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def in_file_axes(splats: Splats) -> Splats:
    """Half a turn about x, from +y up to +y down, and world units to metres."""
    w, x, y, z = splats.rotations.unbind(-1)
    return splats.replace(
        positions=splats.positions * torch.tensor([1.0, -1.0, -1.0]) * METRES_PER_UNIT,
        scales=splats.scales * METRES_PER_UNIT,
        rotations=torch.stack([-x, w, -z, y], dim=-1),
    )


def harmonics(colours: Tensor) -> Tensor:
    """sRGB → coefficients of degree 0, of the same shape."""
    return (colours - 0.5) / SH0


def _ply(splats: Splats) -> bytes:
    turned = in_file_axes(splats)
    opacity = turned.opacities.double().clamp(1e-6, 1 - 1e-6)
    columns = [
        (("x", "y", "z"), turned.positions),
        (("f_dc_0", "f_dc_1", "f_dc_2"), harmonics(turned.colours)),
        (("opacity",), torch.logit(opacity)[:, None]),
        (("scale_0", "scale_1", "scale_2"), turned.scales.double().log()),
        (("rot_0", "rot_1", "rot_2", "rot_3"), turned.rotations),
    ]
    text = json.dumps(_provenance(splats), sort_keys=True)
    # Readers keep lines in small buffers, so a long text takes several.
    lines = [f"comment dualenc: {text[i : i + _COMMENT_WIDTH]}" for i in range(0, len(text), _COMMENT_WIDTH)]
    lines = ["ply", "format binary_little_endian 1.0", *lines, f"element vertex {len(splats)}"]
    lines += [f"property float {name}" for names, _ in columns for name in names]
    table = np.concatenate([values.numpy().astype("<f4") for _, values in columns], axis=1)
    return "\n".join([*lines, "end_header", ""]).encode() + table.tobytes()


def _spz(splats: Splats) -> bytes:
    turned = in_file_axes(splats)
    fixed = np.round(turned.positions.double().numpy() * 2**_SPZ_FRACTION).clip(-(2**23), 2**23 - 1).astype("<i4")
    # The lower three bytes of each number, lowest first.
    positions = fixed.view(np.uint8).reshape(len(splats), 3, 4)[:, :, :3]
    rotation = turned.rotations * torch.where(turned.rotations[:, :1] < 0, -1.0, 1.0)
    parts = [
        positions,
        _bytes(turned.opacities * 255),
        _bytes((harmonics(turned.colours) * _SPZ_COLOUR + 0.5) * 255),
        _bytes((turned.scales.double().log() + 10) * 16),
        _bytes((rotation[:, 1:] + 1) * 127.5),
    ]
    header = struct.pack("<IIIBBBB", _SPZ_MAGIC, _SPZ_VERSION, len(splats), 0, _SPZ_FRACTION, 0, 0)
    return gzip.compress(header + b"".join(part.tobytes() for part in parts), mtime=0)


def _bytes(values: Tensor) -> np.ndarray:
    return values.double().round().clamp(0, 255).numpy().astype(np.uint8)


def _provenance(splats: Splats) -> dict:
    return {**splats.meta, "program": f"dualenc {__version__}", "metres_per_unit": METRES_PER_UNIT}
