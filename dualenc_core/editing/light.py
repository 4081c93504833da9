"""The light on a head, found from the head itself: what shines from where in the photo, on tri-grids that are reliefs.

An encoder's style vectors say little of the light of one photo, and what they do not say stays baked into the head when
its light is turned. The front of a relief is a picture of the face; the light of the style vectors is moved until the
generator's own front is shaded alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..generator import PanoHead
from ..people.relief import FEATURES, SIDES, face_cells
from ..point_weight import Visibility
from ..triplane import Triplane
from .directed import PeopleDirections

# Traits that move together: where light comes from, without its colour. How bright it is in all cannot be told from how
# light skin is, and finer changes than these take a face's own colours for light.
_SHADING = (*(tuple(f"light.{band}{c}" for c in "rgb") for band in (1, 2, 3)), *((f"light.key.{a}",) for a in "xyz"))
_TRAITS = tuple(name for group in _SHADING for name in group)
# Gauss-Newton steps.
_STEPS = 2
# How much an unusual light costs, as a share of the mean squared change of shading that a deviation of a trait makes.
_USUAL = 0.15
# Heads that are made at once.
_TOGETHER = 7


@torch.no_grad()
def with_light(generator: PanoHead, head: Triplane, known: PeopleDirections) -> Tensor:
    """Style vectors [N,num_ws,w_dim] of heads, with the light that their faces show; nothing else of them changes.

    Heads of generators that know no light, or whose planes are no reliefs, keep theirs.
    """
    if generator.config.features < FEATURES or not known.spread(_TRAITS):
        return head.ws
    # Of two encoders' heads that were joined, the one that the photo's view weighs is the photo's.
    seen = (o.planes for o in head.overlays if isinstance(o.weight, Visibility) and not o.weight.inverted)
    planes = next(seen, head.planes)
    return torch.cat([_one(generator, planes[i : i + 1], head.ws[i : i + 1], known) for i in range(len(head))])


def _one(generator: PanoHead, planes: Tensor, ws: Tensor, known: PeopleDirections) -> Tensor:
    spread = known.spread(_TRAITS)
    wanted = _front(generator, planes)
    for _ in range(_STEPS):
        now = known.traits(ws, ["light"])
        moved = [known.moved(ws, {}, {name: now[name] + spread[name] for name in group}) for group in _SHADING]
        shown = [
            _front(generator, generator.synthesize(part).planes) for part in torch.cat([ws, *moved]).split(_TOGETHER)
        ]
        before, *after = torch.cat(shown)
        slopes = (torch.stack(after) - before).double()
        products = slopes @ slopes.T
        stay = _USUAL * products.diagonal().mean().clamp(min=1e-12) * torch.eye(len(products)).to(products)
        change = torch.linalg.solve(products + stay, slopes @ (wanted[0] - before).double())
        amounts = zip(_SHADING, change.tolist(), strict=True)
        ws = known.moved(ws, {}, {n: now[n] + amount * spread[n] for group, amount in amounts for n in group})
    return ws


def _front(generator: PanoHead, planes: Tensor) -> Tensor:
    """[N,M] brightness of the face from the front, without its mean: that is the skin's."""
    plane, _ = SIDES[0]
    rows, columns = face_cells(planes.shape[-1], generator.config.render.box_warp)
    bright = planes[:, plane].unflatten(1, (-1, generator.config.plane_depth))[:, :3].mean((1, 2))[..., rows, columns]
    return (bright - bright.mean((1, 2), keepdim=True)).flatten(1)
