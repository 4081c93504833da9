"""Refining a head, stitched or not, on its photo: cells that the photo shows move a little."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..triplane import Triplane
from .fitting import (
    EarlyStop,
    Fitted,
    Objective,
    Progress,
    descend,
    free_copy,
    goal,
    learning_rate,
    provenance,
    ray_options,
    steps_of,
)
from .occlusion import occlusion_mask


@dataclass(frozen=True)
class RefineSettings:
    """How far a head may move.

    Attributes:
        steps: of Adam.
        rate: largest learning rate of the cells, in units of the planes' own standard deviation.
        styles: the same for the style vectors, which drive colours and super-resolution; 0 = they stay.
        stay: weight of the mean squared movement of the cells, in the same unit.
        visible_only: cells that the photo does not show stay as they are. Without it Adam, which makes steps of one
            size from gradients of any size, would move them too.
        objective: what is compared.
        stop: when to end early.
    """

    steps: int = 100
    rate: float = 0.02
    styles: float = 0.0
    stay: float = 0.01
    visible_only: bool = True
    objective: Objective = field(default_factory=lambda: Objective(pixels=1.0))
    stop: EarlyStop = field(default_factory=EarlyStop)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or self.styles < 0:
            raise DualEncError(
                f"steps is {self.steps}, rate {self.rate} and styles {self.styles}, expected at least 1, more than 0, "
                "and at least 0"
            )


def refine_triplane(
    generator: PanoHead,
    triplane: Triplane,
    image: Tensor,
    camera: Camera,
    settings: RefineSettings | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """A short optimisation of the tri-grid itself on the photo; the generator stays as it is.

    Overlays of a head that was stitched by points are kept: they show where the photo shows nothing.

    Args:
        triplane: one head of this generator.
        image, camera: as for `optimise_latent`, without any camera offset.
        progress: called as progress(steps done, steps).

    Works inside ``torch.inference_mode`` too. Raises GeneratorMismatchError for a head of another generator,
    DualEncError for a batch or values that do not fit.
    """
    settings = settings or RefineSettings()
    generator.check(triplane)
    if len(triplane) != 1:
        raise DualEncError(f"the triplane holds {len(triplane)} heads, expected 1; refine them one by one")
    with torch.inference_mode(False), torch.enable_grad():
        network = free_copy(generator)
        target, camera = goal(network, image, camera)
        objective = settings.objective.ready(target.device)
        head = triplane.map(lambda tensor: tensor.detach().to(target.device).clone())
        unit = float(head.planes.std().clamp_min(1e-6))
        free = torch.ones_like(head.planes[:, :, :1])
        if settings.visible_only:
            free = 1 - occlusion_mask(network, head, camera).channels(head.features).to(head.planes)
        move = torch.zeros_like(head.planes, requires_grad=True)
        turn = torch.zeros_like(head.ws, requires_grad=True)
        groups = [{"params": [move], "rate": settings.rate}, {"params": [turn], "rate": settings.styles}]
        optimiser = torch.optim.Adam(groups, lr=settings.rate)
        options = ray_options(network, objective, camera)

        def moved() -> Triplane:
            return head.replace(planes=head.planes + unit * free * move, ws=head.ws + unit * turn)

        def losses(step: int) -> tuple[Tensor, Tensor]:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, settings.steps, group["rate"], 0.5, 0.0)
            view = network.render(moved(), camera, objective.resolution, options=options)
            loss = objective.loss(view.image, target)
            return loss, loss + settings.stay * (free * move).square().mean()

        history, stopped = descend(optimiser, losses, steps_of(settings.steps, progress), settings.stop)
        meta = dict(triplane.meta) | provenance(
            "refinement",
            objective,
            len(history),
            history,
            rate=settings.rate,
            styles=settings.styles,
            stay=settings.stay,
            visible_only=settings.visible_only,
            stopped=stopped,
        )
        return Fitted(moved().detach().replace(meta=meta), generator, camera, tuple(history), stopped)
