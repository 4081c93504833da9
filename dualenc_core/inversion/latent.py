"""W and W+ optimisation: the style vectors whose head shows the photo (panohead.md §12, stage 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from .fitting import (
    EarlyStop,
    Fitted,
    LatentStatistics,
    Objective,
    Progress,
    descend,
    free_copy,
    goal,
    latent_statistics,
    learning_rate,
    photo_camera,
    provenance,
    ray_options,
    steps_of,
)

SPACES = ("w+", "w")


@dataclass(frozen=True)
class LatentSettings:
    """The projector's stage 1. Defaults are those of the reference.

    Attributes:
        space: "w+" (one vector a row) or "w" (one for all rows).
        steps: of Adam.
        rate: largest learning rate; it rises over the first ``ramp_up`` of the steps and falls by a cosine over the
            last ``ramp_down``.
        noise: standard deviation of the noise added to w at the start, in units of w's own; it falls to zero as the
            square of the time, over the first ``noise_share`` of the steps.
        stay: weight of the mean squared distance from the average w.
        adapt_camera: add the generator's own camera offset; None = if it was trained.
        statistics: how many latents the average and spread of w are taken from.
        seed: of the noise.
        objective: what is compared.
        stop: when to end early; standing still counts only after the noise has ended.
    """

    space: str = "w+"
    steps: int = 500
    rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    noise: float = 0.05
    noise_share: float = 0.75
    stay: float = 1.0
    adapt_camera: bool | None = None
    statistics: int = 10_000
    seed: int = 0
    objective: Objective = field(default_factory=Objective)
    stop: EarlyStop = field(default_factory=EarlyStop)

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise DualEncError(f"space is {self.space!r}, expected one of {', '.join(SPACES)}")
        if self.steps < 1 or not self.rate > 0:
            raise DualEncError(f"steps is {self.steps} and rate {self.rate}, expected at least 1 and more than 0")

    def noise_at(self, step: int, std: float) -> float:
        """Standard deviation of the noise of a step."""
        if self.noise_share <= 0:
            return 0.0
        return self.noise * std * max(0.0, 1.0 - step / self.steps / self.noise_share) ** 2


def optimise_latent(
    generator: PanoHead,
    image: Tensor,
    camera: Camera,
    settings: LatentSettings | None = None,
    start: Tensor | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Find style vectors by optimisation. The same inputs and seed give the same result on the same device.

    The noise maps of the generator stay as they are ("const"), so there is nothing to regularise about them.

    Args:
        generator: frozen; its weights do not change.
        image: [1,3,S,S] in -1..1, an aligned portrait on the generator's background (`on_backdrop`).
        camera: of the photo.
        start: ws [1,num_ws,w_dim] to start from; None = the average.
        progress: called as progress(steps done, steps).

    Works inside ``torch.inference_mode`` too. Raises DualEncError for a batch, or values that do not fit.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.inversion import Distance, LatentSettings, Objective, optimise_latent
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> view = generator.render(head, dc.Camera.look_at())
        >>> distance = Distance("L1", lambda a, b: (a - b).abs().mean())
        >>> objective = Objective(distance=distance, resolution=8, samples=4)
        >>> settings = LatentSettings(steps=2, statistics=8, objective=objective)
        >>> fitted = optimise_latent(generator, view.image.clamp(-1, 1), dc.Camera.look_at(), settings)
        >>> len(fitted.history), fitted.triplane.ws.shape
        (2, torch.Size([1, 6, 512]))
    """
    settings = settings or LatentSettings()
    # A caller may be in inference mode, whose tensors can have no gradients: everything is copied outside of it.
    with torch.inference_mode(False), torch.enable_grad():
        network = free_copy(generator)
        target, camera = goal(network, image, camera)
        objective = settings.objective.ready(target.device)
        statistics = latent_statistics(network, settings.statistics)
        camera, offset = photo_camera(network, camera, statistics.mean_z, settings.adapt_camera)
        ws, history, stopped = _search(network, target, camera, settings, objective, statistics, start, progress)
        with torch.no_grad():
            triplane = network.synthesize(ws)
        plain = ("space", "rate", "ramp_up", "ramp_down", "noise", "noise_share", "stay", "statistics", "seed")
        numbers = {name: getattr(settings, name) for name in plain} | {"camera_offset": offset, "stopped": stopped}
        method = f"{settings.space} optimisation"
        meta = provenance(method, objective, len(history), history, **numbers)
        return Fitted(triplane.replace(meta=meta), generator, camera, tuple(history), stopped)


def _search(
    network: PanoHead,
    target: Tensor,
    camera: Camera,
    settings: LatentSettings,
    objective: Objective,
    statistics: LatentStatistics,
    start: Tensor | None,
    progress: Progress | None,
) -> tuple[Tensor, list[float], str]:
    rows, width = network.config.num_ws, network.config.w_dim
    if start is None:
        start = statistics.mean.expand(1, rows, -1)
    if start.shape != (1, rows, width):
        raise DualEncError(f"the start has shape {tuple(start.shape)}, expected [1,{rows},{width}]")
    start = start.to(target.device).detach().clone()
    w = (start if settings.space == "w+" else start.mean(1, keepdim=True)).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([w], lr=settings.rate, betas=(0.9, 0.999))
    # On the CPU: a seed means the same noise on every device.
    rng = torch.Generator().manual_seed(settings.seed)
    options = ray_options(network, objective, camera)
    quiet = int(settings.steps * settings.noise_share)

    def losses(step: int) -> tuple[Tensor, Tensor]:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings.steps, settings.rate, settings.ramp_down, settings.ramp_up)
        noise = torch.randn(w.shape, generator=rng).to(w) * settings.noise_at(step, statistics.std)
        made = network.synthesize((w + noise).expand(1, rows, width))
        view = network.render(made, camera, objective.resolution, options=options)
        loss = objective.loss(view.image, target)
        return loss, loss + settings.stay * (w - statistics.mean).square().mean()

    history, stopped = descend(optimiser, losses, steps_of(settings.steps, progress), settings.stop, quiet)
    return w.detach().expand(1, rows, width).clone(), history, stopped
