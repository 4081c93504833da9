"""Pivotal tuning (PTI): the generator itself is tuned until the head at a fixed w shows the photo (panohead.md §12)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from .fitting import EarlyStop, Fitted, Objective, Progress, descend, goal, provenance, ray_options, steps_of, twin
from .latent import LatentSettings, optimise_latent


@dataclass(frozen=True)
class PivotalSettings:
    """Both stages of the projector. Defaults are those of the reference.

    Attributes:
        latent: stage 1, which finds the pivot.
        steps: of Adam in stage 2.
        rate: learning rate of stage 2, constant.
        objective: of stage 2; None = that of stage 1.
        stop: when stage 2 ends early.
    """

    latent: LatentSettings = field(default_factory=LatentSettings)
    steps: int = 500
    rate: float = 3e-4
    objective: Objective | None = None
    stop: EarlyStop = field(default_factory=EarlyStop)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise DualEncError(f"steps is {self.steps} and rate {self.rate}, expected at least 1 and more than 0")


def pivotal_tuning(
    generator: PanoHead,
    image: Tensor,
    camera: Camera,
    settings: PivotalSettings | None = None,
    pivot: Fitted | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Optimise w, then all weights of a copy of the generator.

    The result's head belongs to the tuned copy, ``result.generator``: the given generator stays as it is and refuses
    to render that head.

    Args:
        image, camera: as for `optimise_latent`.
        pivot: a result of `optimise_latent` for the same photo; None = find one.
        progress: called as progress(steps done, steps of both stages).

    Works inside ``torch.inference_mode`` too. Errors as `optimise_latent`.
    """
    settings = settings or PivotalSettings()
    first = 0 if pivot is not None else settings.latent.steps
    total = first + settings.steps
    if pivot is None:
        report = None if progress is None else lambda done, _: progress(done, total)
        pivot = optimise_latent(generator, image, camera, settings.latent, progress=report)
    with torch.inference_mode(False), torch.enable_grad():
        network = twin(generator)
        target, _ = goal(network, image, camera)
        # The offset was found with the generator as it was; the tuned one keeps the camera of the pivot.
        camera = Camera(pivot.camera.cam2world.clone(), pivot.camera.intrinsics.clone()).to(target.device)
        objective = (settings.objective or settings.latent.objective).ready(target.device)
        ws = pivot.triplane.ws.detach().clone().to(target.device)
        options = ray_options(network, objective, camera)
        weights = [p.requires_grad_(True) for p in network.parameters()]
        network.train()
        optimiser = torch.optim.Adam(weights, lr=settings.rate)

        def losses(_: int) -> tuple[Tensor, Tensor]:
            view = network.render(network.synthesize(ws), camera, objective.resolution, options=options)
            loss = objective.loss(view.image, target)
            return loss, loss

        steps = steps_of(settings.steps, progress, first, total)
        history, stopped = descend(optimiser, losses, steps, settings.stop)
        # A fresh copy: its fingerprint is that of the tuned weights.
        network = twin(network)
        with torch.no_grad():
            triplane = network.synthesize(ws)
        meta = provenance(
            "PTI",
            objective,
            len(history),
            history,
            rate=settings.rate,
            stopped=stopped,
            pivot=dict(pivot.triplane.meta),
        )
        return Fitted(triplane.replace(meta=meta), network, camera, pivot.history + tuple(history), stopped)
