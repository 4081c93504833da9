"""What all optimisations share: the goal, schedules, when to stop, and what comes out (panohead.md §12)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..camera import DEFAULT_RADIUS, Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..images import shrink_area
from ..rendering.renderer import RenderOptions
from ..triplane import Triplane
from .perceptual import Distance, find_distance

Progress = Callable[[int, int], None]

# Of the reference's projector; nothing of a head is nearer to a camera at the usual distance.
_NEAR = 2.35
_STATISTICS_SEED = 123


@dataclass(frozen=True)
class Objective:
    """pixels · MSE + perceptual · distance, between pictures in -1..1.

    The mean squared error is taken on -1..1, the range of all pictures here.

    Attributes:
        pixels, perceptual: weights.
        distance: the perceptual distance, at most 256 pixels wide; None = `find_distance`.
        samples: coarse and importance samples a ray while optimising; None = the generator's.
        resolution: rays along each side while optimising; None = the generator's.
    """

    pixels: float = 0.1
    perceptual: float = 1.0
    distance: Distance | None = None
    samples: int | tuple[int, int] | None = None
    resolution: int | None = None

    def ready(self, device: torch.device) -> Objective:
        """The same with a distance."""
        return self if self.distance is not None else dataclasses.replace(self, distance=find_distance(device=device))

    def loss(self, image: Tensor, target: Tensor) -> Tensor:
        """Scalar; both [1,3,S,S]. The objective must be `ready`."""
        assert self.distance is not None
        mse = (image - target).square().mean()
        return self.pixels * mse + self.perceptual * self.distance(image, target)


@dataclass(frozen=True)
class EarlyStop:
    """When to stop before the last step.

    Attributes:
        patience: steps without progress; None = never.
        least: smaller relative progress than this does not count.
        below: a loss at which the result is good enough; None = never.
    """

    patience: int | None = None
    least: float = 1e-3
    below: float | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise DualEncError(f"patience is {self.patience}, expected at least 1 step, or None to go on to the end")

    def reason(self, history: Sequence[float], since: int = 0) -> str:
        """Why to stop after these losses, "" to go on; steps before ``since`` do not count as standing still."""
        if not history:
            return ""
        if self.below is not None and history[-1] < self.below:
            return f"loss below {self.below:g}"
        counted = history[since:]
        if self.patience is None or len(counted) <= self.patience:
            return ""
        before, after = min(counted[: -self.patience]), min(counted[-self.patience :])
        return f"no progress in {self.patience} steps" if after > before * (1 - self.least) else ""


@dataclass(frozen=True)
class Fitted:
    """A head that was optimised for one photo.

    Attributes:
        triplane: the head, detached; ``meta["optimised"]`` says how it was made.
        generator: what reads it: the one that was given, or a tuned copy of it (PTI).
        camera: the camera of the photo as used: with the generator's own camera offset where it has one.
        history: reconstruction loss of every step.
        stopped: why it ended early; empty if it did not.
    """

    triplane: Triplane
    generator: PanoHead
    camera: Camera
    history: tuple[float, ...] = field(default=())
    stopped: str = ""


@dataclass(frozen=True)
class LatentStatistics:
    """Of w at the front: ``mean`` [w_dim], ``std`` (root mean squared distance from it), and the mean z [1,z_dim]."""

    mean: Tensor
    std: float
    mean_z: Tensor


@torch.no_grad()
def latent_statistics(generator: PanoHead, samples: int = 10_000) -> LatentStatistics:
    """From NumPy's ``RandomState(123)`` and the reference's front label (its 3.14 is not π)."""
    if samples < 1:
        raise DualEncError(f"samples is {samples}, expected at least 1")
    drawn = np.random.RandomState(_STATISTICS_SEED).randn(samples, generator.config.z_dim)
    z = torch.from_numpy(drawn).to(generator.w_avg)
    front = Camera.from_panohead_angles(3.14 / 2, 3.14 / 2)
    w = torch.cat([generator.mapping(part, front)[:, 0] for part in z.split(1000)])
    mean = w.mean(0)
    return LatentStatistics(mean, float(((w - mean).square().sum() / samples).sqrt()), z.mean(0, keepdim=True))


@torch.no_grad()
def photo_camera(generator: PanoHead, camera: Camera, mean_z: Tensor, adapt: bool | None) -> tuple[Camera, list[float]]:
    """The camera with the generator's own offset for it, and that offset.

    Args:
        adapt: None = if the camera self-adaptation was trained, which its running mean tells.
    """
    if adapt is None:
        adapt = bool(generator.t_mapping.w_avg.abs().max() > 0)
    if not adapt:
        return camera, [0.0, 0.0, 0.0]
    offset = generator.camera_offset(mean_z, camera)
    return camera.translated(offset), offset[0].tolist()


def ray_options(generator: PanoHead, objective: Objective, camera: Camera) -> RenderOptions:
    """Ray sampling of the optimisation: the generator's, starting where the reference's projector starts."""
    options = generator.render_options(objective.samples, camera)
    near = _NEAR + float(camera.position.norm(dim=-1).min()) - DEFAULT_RADIUS
    return dataclasses.replace(options, near=near) if options.near < near < options.far else options


def goal(generator: PanoHead, image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
    """Photo and camera, checked, on the generator's device, at the size of its pictures.

    Raises DualEncError for a batch, another shape, or values outside -1..1.
    """
    if image.ndim != 4 or image.shape[:2] != (1, 3) or image.shape[2] != image.shape[3]:
        raise DualEncError(f"the photo has shape {tuple(image.shape)}, expected one aligned portrait [1,3,S,S]")
    if len(camera) != 1:
        raise DualEncError(f"there are {len(camera)} cameras for one photo, expected 1")
    low, high = (float(v) for v in image.aminmax())
    if not (low >= -1.01 and high <= 1.01):
        raise DualEncError(f"the photo has values from {low:g} to {high:g}, expected -1..1 without NaN")
    size = generator.config.image_resolution
    image = image.to(generator.w_avg).detach().clone()
    if image.shape[-1] < size:
        image = torch.nn.functional.interpolate(image, (size, size), mode="bicubic", align_corners=False).clamp(-1, 1)
    camera = Camera(camera.cam2world.detach().clone(), camera.intrinsics.detach().clone())
    return shrink_area(image, size), camera.to(image.device)


def learning_rate(step: int, steps: int, rate: float, ramp_down: float, ramp_up: float) -> float:
    """The projector's schedule: up linearly over the first share of the steps, down by a cosine over the last."""
    t = step / steps
    ramp = min(1.0, (1.0 - t) / ramp_down) if ramp_down > 0 else 1.0
    ramp = 0.5 - 0.5 * math.cos(ramp * math.pi)
    return rate * ramp * (min(1.0, t / ramp_up) if ramp_up > 0 else 1.0)


def steps_of(count: int, progress: Progress | None, start: int = 0, total: int | None = None) -> Iterator[int]:
    """0..count-1; reports after each, which is also where a caller may interrupt by raising."""
    for step in range(count):
        yield step
        if progress is not None:
            progress(start + step + 1, count if total is None else total)


def descend(
    optimiser: torch.optim.Optimizer,
    losses: Callable[[int], tuple[Tensor, Tensor]],
    steps: Iterator[int],
    stop: EarlyStop,
    quiet: int = 0,
) -> tuple[list[float], str]:
    """Optimise; returns the reconstruction loss of every step, and why it ended early ("" if it did not).

    Args:
        losses: step → (reconstruction loss, what is minimised); may set learning rates.
        steps: of `steps_of`.
        stop: when to end early; the first ``quiet`` steps do not count as standing still.

    Raises DualEncError when the loss is no longer a number.
    """
    history: list[float] = []
    for step in steps:
        loss, total = losses(step)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()
        history.append(float(loss.detach()))
        if not math.isfinite(history[-1]):
            rate = optimiser.defaults["lr"]
            raise DualEncError(f"the loss became {history[-1]} at step {step}; lower the rate ({rate:g})")
        if reason := stop.reason(history, quiet):
            return history, reason
    return history, ""


def free_copy(generator: PanoHead) -> PanoHead:
    """The generator itself, or a copy when its weights were made in inference mode and can have no gradients."""
    if not any(tensor.is_inference() for tensor in generator.state_dict().values()):
        return generator
    return twin(generator)


def twin(generator: PanoHead) -> PanoHead:
    """A copy with weights of its own, frozen, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        copy = type(generator)(generator.config)
    # A subclass may have a field of its own.
    for name, value in vars(generator).items():
        if name not in vars(copy):
            setattr(copy, name, value)
    copy.load_weights({name: tensor.detach().clone() for name, tensor in generator.state_dict().items()})
    return copy.eval().requires_grad_(False)


def provenance(method: str, objective: Objective, steps: int, history: Sequence[float], **more: Any) -> dict[str, Any]:
    """What ``meta["optimised"]`` says."""
    assert objective.distance is not None
    return {
        "optimised": {
            "method": method,
            "perceptual": objective.distance.name,
            "note": objective.distance.note,
            "steps": steps,
            "first_loss": history[0] if history else None,
            "last_loss": history[-1] if history else None,
            **more,
        }
    }
