"""Mapping networks: latent and camera label → style vectors, or a camera offset (panohead.md §2.3-2.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import DualEncError
from .layers import FullyConnectedLayer

# Momentum of the running mean of w, a constant of the reference.
W_AVG_BETA = 0.998


class MappingNetwork(nn.Module):
    """z [N,z_dim] and label [N,c_dim] → [N,num_ws,w_dim]; hidden layers have ``width`` units, None = w_dim.

    ``num_ws=None`` gives [N,w_dim], and a linear last layer (t_mapping is built like that, with lr_multiplier 1).
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        layers: int = 2,
        lr_multiplier: float = 0.01,
        last_activation: str = "lrelu",
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_ws, self.layers = z_dim, c_dim, num_ws, layers
        self.embed = FullyConnectedLayer(c_dim, w_dim)
        for i in range(layers):
            given = z_dim + w_dim if i == 0 else width or w_dim
            made = w_dim if i == layers - 1 else width or w_dim
            activation = last_activation if i == layers - 1 else "lrelu"
            setattr(self, f"fc{i}", FullyConnectedLayer(given, made, activation, lr_multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        label: Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_average: bool = False,
    ) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise DualEncError(f"z has shape {tuple(z.shape)}, expected [N,{self.z_dim}]")
        if label.shape != (len(z), self.c_dim):
            raise DualEncError(f"camera labels have shape {tuple(label.shape)}, expected [{len(z)},{self.c_dim}]")
        x = torch.cat([unit_rms(z.float()), unit_rms(self.embed(label.float()))], dim=1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        if update_average:
            with torch.no_grad():
                self.w_avg.copy_(x.mean(0).lerp(self.w_avg, W_AVG_BETA))
        ws = x[:, None].expand(-1, self.num_ws, -1)
        return truncate(ws, self.w_avg, truncation_psi, truncation_cutoff)


def unit_rms(x: Tensor) -> Tensor:
    """x / √(mean x² + 1e-8) over the last dimension."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-8).rsqrt()


def truncate(ws: Tensor, average: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Move the first ``cutoff`` rows (None = all) of [N,num_ws,w_dim] towards ``average``: 1 = stay, 0 = average."""
    if psi == 1:
        return ws
    moved = average.lerp(ws, psi)
    return moved if cutoff is None else torch.cat([moved[:, :cutoff], ws[:, cutoff:]], dim=1)
