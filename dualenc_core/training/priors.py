"""What the demo's encoders should do where their photo says nothing: losses that need neither weights nor other views.

A single view leaves two freedoms that the reconstruction does not feel. What lies outside stage one's silhouette may be
put at any distance (from the side it then floats beside the head), and the cells of a tri-grid are shared, so that what
is painted on a face also appears, as a ghost, on the back of the head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..rendering.renderer import RayOutput

# How far off, in world units, the depth of new surface may be without a loss.
RIM_SLACK = 0.02
# Distance in picture widths over which the rim nearest to a ray is found.
_RIM_REACH = 0.015
# A step of a thousandth of a world unit weighs as much as a hundredth of colour (in -1..1).
_DEPTH_WEIGHT = 10.0


def rim_loss(uv: Tensor, coarse: RayOutput, refined: RayOutput) -> Tensor:
    """How far from the depth of stage one's silhouette lies what stage two adds outside of it, in world units.

    Args:
        uv: [N,R,2] of the rays, 0..1.
        coarse, refined: both stages on these rays; only the depth of ``refined`` gets a gradient.

    Returns the mean over all rays; 0 for a head that no ray hits.
    """
    with torch.no_grad():
        distance = torch.cdist(uv, uv)
        on_head = (coarse.alpha >= 0.5)[:, None]
        nearness = (-distance / _RIM_REACH).masked_fill(~on_head, -torch.inf)
        # A head without any ray would give NaN.
        weights = nearness.softmax(dim=-1).nan_to_num()
        rim = (weights @ coarse.depth[..., None])[..., 0]
        added = refined.alpha * (1 - coarse.alpha) * on_head.any(dim=-1)
    return (added * ((refined.depth - rim).abs() - RIM_SLACK).clamp(min=0)).mean()


def from_behind(origins: Tensor, directions: Tensor, near: float, far: float) -> tuple[Tensor, Tensor]:
    """The same rays [N,R,3] from their other end: what they meet first is hidden from the view that they came from.

    A distance t on a ray is ``near + far - t`` on the turned one.
    """
    return origins + (near + far) * directions, -directions


def ghost_loss(coarse: tuple[Tensor, RayOutput], refined: tuple[Tensor, RayOutput]) -> Tensor:
    """How unevenly stage two changes a hidden surface: its hue may follow the photo, a face must not appear on it.

    Args:
        coarse, refined: colours [N,2R,3] and output of rays from behind; ray R + i looks close beside ray i.

    Returns the mean difference of the changes (colour, and depth by its weight) between neighbours that both meet the
    head.
    """
    (before, out0), (after, out1) = coarse, refined
    change = torch.cat([after - before, _DEPTH_WEIGHT * (out1.depth - out0.depth)[..., None]], dim=-1)
    met = ((out0.alpha >= 0.5) & (out1.alpha.detach() >= 0.5)).to(change)
    one, two = change.chunk(2, dim=1)
    both = met[:, : one.shape[1]] * met[:, one.shape[1] :]
    return (both * (one - two).abs().mean(dim=-1)).mean()
