"""What volumes of numbers hold between their cells, on every device: one place that says how."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def read_volume(volume: Tensor, places: Tensor, beyond: str = "zeros") -> Tensor:
    """Trilinear values [N,M,C] of volumes [N,C,D,H,W] at places [N,M,3], which go along W, H and D from -1 to 1.

    Args:
        beyond: what lies outside of the cells' centres: "zeros" fades to nothing within a cell, "border" goes on as
            the outermost cells are.

    Equals 5-D ``grid_sample`` with ``align_corners=False``, which is used where the device has it. Differentiable.

    Example:
        >>> import torch
        >>> from dualenc_core.volumes import read_volume
        >>> halves = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 1, 2)
        >>> read_volume(halves, torch.tensor([[[-0.8, 0, 0], [0.0, 0, 0], [2.0, 0, 0]]]), "border")[0, :, 0]
        tensor([0.0000, 0.5000, 1.0000])
    """
    if volume.device.type == "mps":
        return _gathered(volume, places, beyond)
    read = F.grid_sample(volume, places[:, None, None], padding_mode=beyond, align_corners=False)
    return rearrange(read, "n c 1 1 m -> n m c")


def _gathered(volume: Tensor, places: Tensor, beyond: str) -> Tensor:
    # 5-D grid_sample has no MPS kernel; eight gathers from a channels-last table give the same sum.
    channels, *shape = volume.shape[1:]
    if beyond == "border":
        last = 1 - 1 / places.new_tensor(shape[::-1])
        places = places.clamp(-last, last)
    index, weight = corners(places, shape)
    table = rearrange(volume, "n c d h w -> n (d h w) c")
    texels = table.gather(1, index.reshape(len(table), -1, 1).expand(-1, -1, channels))
    return (texels.reshape(len(table), -1, 8, channels) * weight[..., None]).sum(2)


def corners(coordinates: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(W,H,D) coordinates [B,M,3] → flat cell index and trilinear weight [B,M,8]; weight 0 outside the volume."""
    depth, height, width = shape
    sizes = torch.tensor([width, height, depth], device=coordinates.device, dtype=coordinates.dtype)[:, None, None]
    # Points come last while computing, so that every step is one long loop; and axis by axis.
    position = ((coordinates.permute(2, 0, 1) + 1) * sizes - 1) / 2
    base = position.floor()
    fraction = position - base
    ends = torch.stack([base, base + 1])
    inside = torch.minimum(ends.clamp(min=0), sizes - 1)
    (x, y, z), (share_x, share_y, share_z) = (
        pairs.unbind(1) for pairs in (inside.long(), torch.stack([1 - fraction, fraction]) * (inside == ends))
    )
    index = ((z * height)[:, None] + y)[:, :, None] * width + x
    weight = (share_x * share_y[:, None]) * share_z[:, None, None]
    return index.flatten(0, 2).movedim(0, -1), weight.flatten(0, 2).movedim(0, -1)
