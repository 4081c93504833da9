"""What fills the seam of a transfer: a head that the networks make of the joined one (editing.md §2.4, §3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..inversion.dual_encoder import Encoder
from ..rendering.output import Rendering
from ..rendering.rays import camera_rays
from ..rendering.renderer import RenderOptions
from ..triplane import Triplane
from .lifting import Progress

_CONFIDENT = 0.5


@torch.no_grad()
def implicit_fusion(generator: PanoHead, joined: Triplane, encoder: Encoder, camera: Camera | None = None) -> Triplane:
    """Picture of the joined head → encoder → a plain head that has no seam.

    Args:
        joined: N heads.
        encoder: of the same generator, such as ``load_encoder("demo-e1")``.
        camera: one view; None = the canonical front.
    """
    camera = (Camera.look_at() if camera is None else camera).to(joined.planes.device)
    view = generator.render(joined, camera.expand(len(joined)))
    made = encoder.encode(generator, _wide_enough(encoder, view).clamp(-1, 1), camera.expand(len(joined)), view.alpha)
    if made.overlays:
        raise DualEncError("the encoder made a head with overlays, expected a plain tri-grid")
    return made


def refined_fusion(
    generator: PanoHead,
    joined: Triplane,
    seam: Callable[[Tensor], Tensor],
    cameras: Camera,
    *,
    steps: int = 40,
    rate: float = 0.02,
    stay: float = 0.01,
    resolution: int = 32,
    samples: int | tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Triplane:
    """The head of the generator's own family that looks like the joined one everywhere but at its seam.

    W+ starts from the joined head's ws and is fitted, one view a step, to its rendered features and alpha; pixels of
    the seam do not count, so that the generator fills them with what belongs there.

    Args:
        joined: N heads.
        seam: world points [N,M,3] → how much they belong to the seam [N,M], 0..1.
        cameras: views, used in turn.
        steps: of Adam.
        rate: learning rate.
        stay: weight of the squared distance of W+ from its start.
        resolution: rays along each side.
        samples: coarse and importance samples a ray; None = the generator's.
        progress: called as progress(steps done, steps).

    Returns N plain heads, detached.
    """
    if steps < 1:
        raise DualEncError(f"steps is {steps}, expected at least 1")
    # A caller may be in inference mode, whose tensors can have no gradients: everything is copied outside of it.
    with torch.inference_mode(False), torch.enable_grad():
        joined = joined.map(lambda tensor: tensor.detach().clone())
        cameras = Camera(cameras.cam2world.clone(), cameras.intrinsics.clone()).to(joined.planes.device)
        options = generator.render_options(samples)
        targets = [
            _TargetView.of(generator, joined, cameras[v], seam, resolution, options) for v in range(len(cameras))
        ]
        start = joined.ws
        ws = start.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([ws], lr=rate)
        unit = start.square().mean().clamp_min(1e-6)
        for step in range(steps):
            target = targets[step % len(targets)]
            made = generator.synthesize(ws)
            loss = target.loss(generator, made, options) + stay * (ws - start).square().mean() / unit
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if progress is not None:
                progress(step + 1, steps)
        with torch.no_grad():
            return generator.synthesize(ws.detach())


class _TargetView:
    """What one view of the joined head shows, and where it counts."""

    def __init__(self, origins: Tensor, directions: Tensor, features: Tensor, alpha: Tensor, count: Tensor) -> None:
        self.origins, self.directions = origins, directions
        self.features, self.alpha, self.count = features, alpha, count
        self.unit = (features * count[..., None]).square().sum() / count.sum().clamp_min(1e-6)

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        generator: PanoHead,
        joined: Triplane,
        camera: Camera,
        seam: Callable[[Tensor], Tensor],
        resolution: int,
        options: RenderOptions,
    ) -> _TargetView:
        origins, directions = camera_rays(camera.expand(len(joined)), resolution)
        rays = generator.render_rays(joined, origins, directions, options)
        points = origins + rays.depth[..., None] * directions
        hidden = torch.where(rays.alpha > _CONFIDENT, seam(points), torch.zeros_like(rays.alpha))
        return cls(origins, directions, rays.features, rays.alpha, 1 - hidden.clamp(0, 1))

    def loss(self, generator: PanoHead, made: Triplane, options: RenderOptions) -> Tensor:
        rays = generator.render_rays(made, self.origins, self.directions, options)
        wrong = (rays.features - self.features).square().sum(-1) / self.unit.clamp_min(1e-6)
        return ((wrong + (rays.alpha - self.alpha).square()) * self.count).mean()


def _wide_enough(encoder: Encoder, view: Rendering) -> Tensor:
    """The picture, enlarged if the encoder asks for more pixels."""
    style = getattr(getattr(encoder, "config", None), "style", None)
    needed = 1 if style is None else style.trunk.input_size
    if view.image.shape[-1] >= needed:
        return view.image
    size = (needed, needed)
    return torch.nn.functional.interpolate(view.image, size, mode="bilinear", align_corners=False)
