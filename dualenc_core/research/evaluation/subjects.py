"""Whom an evaluation looks at: heads that no training saw, with the truth for every view."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ... import procedural
from ...camera import Camera
from ...errors import DualEncError
from ...generator import PanoHead
from ...people import Pack, People
from ...people import render as render_people
from ...people.renderer import BACKDROP as PEOPLE_BACKDROP
from ...people.standard import Standard, styles_of
from ...point_weight import PointWeight
from ...rendering.output import Rendering
from ...triplane import TriplaneMask
from .agreement import Agreement, surface_points, visibility_agreement

# By cells (1 = occluded) or by points (1 = visible).
Mask = TriplaneMask | PointWeight


class Subjects(Protocol):
    """N heads.

    Attributes:
        backdrop: sRGB in 0..1 behind them.
    """

    backdrop: tuple[float, float, float]

    def check(self, generator: PanoHead) -> None:
        """Raise DualEncError when the generator cannot make them from their description."""

    def name(self, number: int, plain: bool = False) -> str:
        """What tells a head's pictures apart."""

    def picture(self, number: int, cameras: Camera, size: int, plain: bool = False) -> Rendering:
        """One head from several cameras; ``plain``: one like it, all of which the description says."""

    def styles(self, generator: PanoHead, number: int, plain: bool = False) -> Tensor:
        """ws [1,num_ws,w_dim] of a head's description."""

    def agreement(self, number: int, camera: Camera, mask: Mask, box_warp: float) -> Agreement | None:
        """How well a mask knows what a view shows; None where the truth is not known."""


class ProceduralSubjects:
    """Procedural heads; plain ones have no details outside of the latent family."""

    backdrop = procedural.BACKDROP

    def __init__(self, count: int, seed: int, device: torch.device) -> None:
        self.heads = [procedural.sample_heads(count, seed, details=details).to(device) for details in (True, False)]
        self._points: tuple[int, tuple[Tensor, Tensor]] | None = None

    def check(self, generator: PanoHead) -> None:
        if generator.config.z_dim != procedural.LATENT_DIM:
            raise DualEncError(
                f"the generator's z_dim is {generator.config.z_dim}, and variants g_true_z and g_unseen need the "
                f"procedural latent of {procedural.LATENT_DIM}; leave them out of variants, or evaluate a generator of "
                "people with --protocol people"
            )

    def name(self, number: int, plain: bool = False) -> str:
        latent = self.heads[plain][number].latent
        return f"{'plain' if plain else 'head'} {latent.numpy(force=True).tobytes().hex()}"

    def picture(self, number: int, cameras: Camera, size: int, plain: bool = False) -> Rendering:
        return procedural.render(self.heads[plain][number], cameras, size)

    def styles(self, generator: PanoHead, number: int, plain: bool = False) -> Tensor:
        return generator.mapping(self.heads[plain][number].latent)

    def agreement(self, number: int, camera: Camera, mask: Mask, box_warp: float) -> Agreement | None:
        head = self.heads[0][number]
        if self._points is None or self._points[0] != number:
            self._points = number, surface_points(head)
        return visibility_agreement(head, camera, mask, box_warp, self._points[1])


class PeopleSubjects:
    """People of donors that training never sees; plain ones are of the others, in new mixtures.

    Args:
        pack: of the people.
        standard: how the generator's w tells a description; None where no variant needs it.
    """

    backdrop = PEOPLE_BACKDROP

    def __init__(self, pack: Pack, count: int, seed: int, standard: Standard | None) -> None:
        self.people = [People.sample(pack, count, seed, held_out) for held_out in (True, False)]
        self.standard, self.seed = standard, seed

    def check(self, generator: PanoHead) -> None:
        if self.standard is None:
            raise DualEncError(
                "the generator's file does not say which people it knows, and variants g_true_z and g_unseen need "
                "that; leave them out of variants"
            )

    def name(self, number: int, plain: bool = False) -> str:
        return f"person {self.seed} {number} {plain}"

    def picture(self, number: int, cameras: Camera, size: int, plain: bool = False) -> Rendering:
        return render_people(self.people[plain][[number]], cameras.to("cpu"), size)

    def styles(self, generator: PanoHead, number: int, plain: bool = False) -> Tensor:
        assert self.standard is not None  # `check` asks for it
        numbers = self.standard(self.people[plain][[number]].numbers)
        w = styles_of(numbers.to(generator.w_avg), generator.config.w_dim)
        return w[:, None].expand(-1, generator.config.num_ws, -1)

    def agreement(self, number: int, camera: Camera, mask: Mask, box_warp: float) -> Agreement | None:
        return None
