"""Regions of a head: from masks on its pictures, or from a weight in space, to tri-grid cells or a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..inversion.occlusion import surface_resolution
from ..point_weight import LabelVolume, PointWeight
from ..triplane import Triplane, TriplaneMask
from .checks import check_head, check_unit, fit_region
from .lifting import Label, Progress, Samples, Unseen, collect_samples, lift

_RAYS_PER_CELL = 0.5
_LEAST_RESOLUTION = 64
_VOLUME = 96
_ROUNDS = 8
# Less than this share of what is seen is no part of a head.
_EMPTY = 1e-3


def ring(views: int = 4, pitch: float = 0.0, start: float = 0.0) -> Camera:
    """``views`` cameras around the head, from yaw ``start`` on; degrees.

    Example:
        >>> from dualenc_core.editing import ring
        >>> ring(4).angles[0].round().int().tolist()
        [0, 90, 180, -90]
    """
    return Camera.orbit(views, start, start + 360, pitch=pitch)


def region_mask(
    generator: PanoHead,
    triplane: Triplane,
    masks: Tensor,
    cameras: Camera,
    *,
    blur: float | None = None,
    rounds: int = _ROUNDS,
    unseen: Unseen = "nearby",
    resolution: int | None = None,
    samples: int | tuple[int, int] | None = None,
    chunk: int = 4096,
    progress: Progress | None = None,
) -> TriplaneMask:
    """A part of a head, painted on pictures of it, as weights of tri-grid cells (editing.md §3.1).

    The weights of the renderer carry each pixel's label to the cells that its ray reads; a cell gets the labelled share
    of what falls on it, in every plane and slice for itself. Four views around a head are enough for hair; from fewer
    see `complete_views`.

    Args:
        triplane: N heads.
        masks: [V,h,w] or [V,1,h,w] for all heads, or [N,V,h,w]; 0..1, 1 = the part.
        cameras: the V views.
        blur: sigma of the splat in cells; None = half the distance of neighbouring rays.
        rounds: of refinement, after which the cells say at the surface what the pictures say, as far as cells can; 0 =
            the bare share.
        unseen: cells that no ray reads take the weight of those "nearby", or "zero".
        resolution: rays along each side; None = one ray to two cells, at least 64.
        samples: coarse and importance samples a ray; None = the generator's.
        chunk: rays in memory at once.
        progress: called as progress(views done, views of all heads).

    Returns a TriplaneMask [N,3,D,S,S]. Deterministic on the CPU.

    Raises DualEncError for masks that do not fit, are outside 0..1, or mark nothing of a head; GeneratorMismatchError
    for a triplane of another generator.

    Example:
        >>> import torch, dualenc_core as dc
        >>> from dualenc_core.editing import region_mask, ring
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> painted = torch.zeros(4, 16, 16)  # of four views around the head
        >>> painted[:, :8] = 1  # the upper half
        >>> region = region_mask(generator, head, painted, ring(4), resolution=16)
        >>> region.mask.shape
        torch.Size([1, 3, 3, 16, 16])
    """
    lifting = _Lifting(generator, triplane, cameras, resolution, samples, chunk, progress)
    cells = lifting.lift(lifting.painted(masks), lifting.cells, blur, rounds, unseen)
    return TriplaneMask(cells, lifting.meta(rounds))


def region_volume(
    generator: PanoHead,
    triplane: Triplane,
    masks: Tensor,
    cameras: Camera,
    *,
    size: int = _VOLUME,
    blur: float | None = None,
    rounds: int = _ROUNDS,
    unseen: Unseen = "nearby",
    resolution: int | None = None,
    samples: int | tuple[int, int] | None = None,
    chunk: int = 4096,
    progress: Progress | None = None,
) -> LabelVolume:
    """The same as a weight in space, which no two places of a head share: the precise form (editing.md §3.2).

    Args as `region_mask`, but ``size`` counts the volume's cells along each side, and as many rays are the default.

    Returns a LabelVolume [N,1,size,size,size] over the generator's box.
    """
    if size < 4:
        raise DualEncError(f"size of the volume is {size}, expected at least 4 cells along each side (96 is usual)")
    lifting = _Lifting(generator, triplane, cameras, resolution or size, samples, chunk, progress)
    return LabelVolume(lifting.lift(lifting.painted(masks), (1, size, size, size), blur, rounds, unseen), lifting.box)


def mask_from_weight(
    generator: PanoHead,
    triplane: Triplane,
    weight: PointWeight,
    cameras: Camera | None = None,
    *,
    blur: float | None = None,
    rounds: int = _ROUNDS,
    unseen: Unseen = "nearby",
    resolution: int | None = None,
    samples: int | tuple[int, int] | None = None,
    chunk: int = 4096,
    progress: Progress | None = None,
) -> TriplaneMask:
    """A weight in space (a geometric region, a label volume, a visibility) as cells that fit the head's surface.

    Args:
        weight: for N heads or for one.
        cameras: views that look for the surface; None = `ring(4)`. The others as `region_mask`.

    Raises as `region_mask`; the weight must not be 0 on the whole surface.
    """
    lifting = _Lifting(
        generator, triplane, ring() if cameras is None else cameras, resolution, samples, chunk, progress
    )
    fitted = fit_region(weight, triplane, "weight")
    if isinstance(fitted, TriplaneMask):
        raise DualEncError("weight is a TriplaneMask already, expected a PointWeight")

    def label(head: int) -> Label:
        one = fitted.entry(head)
        return lambda view, points, pixels: one(points[None])[0, :, 0]

    return TriplaneMask(lifting.lift(label, lifting.cells, blur, rounds, unseen), lifting.meta(rounds))


class _Lifting:
    """What every way of lifting needs: N heads, V views of them, and how to march."""

    def __init__(
        self,
        generator: PanoHead,
        triplane: Triplane,
        cameras: Camera,
        resolution: int | None,
        samples: int | tuple[int, int] | None,
        chunk: int,
        progress: Progress | None,
    ) -> None:
        generator.check(triplane)
        check_head(triplane)
        self.generator, self.triplane = generator, triplane
        self.cameras = cameras.to(triplane.planes.device)
        self.box = generator.config.render.box_warp
        self.cells = (3, triplane.depth, triplane.size, triplane.size)
        self.resolution = resolution or max(
            surface_resolution(cameras, triplane.size, self.box, _RAYS_PER_CELL), _LEAST_RESOLUTION
        )
        self.samples, self.chunk, self.progress = samples, chunk, progress

    def painted(self, masks: Tensor) -> Callable[[int], Label]:
        """Labels of a head's points by the pixel that they are seen through."""
        masks = view_masks(masks, len(self.triplane), len(self.cameras)).to(self.triplane.planes)
        masks = resize_masks(masks, self.resolution).flatten(2)
        return lambda head: lambda view, points, pixels: masks[head, view][pixels]

    def heads(self, label: Callable[[int], Label]) -> Iterator[Samples]:
        """Samples of one head after the other.

        Raises DualEncError where a head has none with a label.
        """
        views, total = len(self.cameras), len(self.triplane) * len(self.cameras)
        for head in range(len(self.triplane)):

            def step(done: int, _: int, before: int = head * views) -> None:
                if self.progress is not None:
                    self.progress(before + done, total)

            found = collect_samples(
                self.generator,
                self.triplane[head],
                self.cameras,
                label(head),
                self.resolution,
                self.samples,
                self.chunk,
                step,
            )
            if not float((found.labels * found.weights).sum()) > _EMPTY * max(float(found.weights.sum()), 1e-6):
                raise DualEncError(
                    f"the region is empty: nothing of head {head} lies in it in {views} view(s); mark a part of the "
                    "head itself, and check that masks and cameras belong together"
                )
            yield found

    def lift(
        self,
        label: Callable[[int], Label],
        shape: tuple[int, int, int, int],
        blur: float | None,
        rounds: int,
        unseen: Unseen,
    ) -> Tensor:
        """[N,*shape] in 0..1."""
        if rounds < 0 or unseen not in ("nearby", "zero"):
            raise DualEncError(f"rounds is {rounds} and unseen {unseen!r}, expected 0 or more, and 'nearby' or 'zero'")
        sigma = max(0.5 * self._ray_distance * shape[-1], 0.5) if blur is None else blur
        return torch.stack([lift(found, shape, self.box, sigma, rounds, unseen) for found in self.heads(label)])

    def meta(self, rounds: int) -> dict:
        return {
            "kind": "region",
            "views": self.cameras.label.tolist(),
            "rounds": rounds,
            "generator": self.triplane.generator,
        }

    @property
    def _ray_distance(self) -> float:
        """Between neighbouring rays at the head, in sides of the box."""
        k = self.cameras.intrinsics
        side = self.cameras.position.norm(dim=-1) / torch.minimum(k[:, 0, 0], k[:, 1, 1])
        return float(side.max()) / self.resolution / self.box


def view_masks(masks: Tensor, heads: int, views: int) -> Tensor:
    """[V,h,w], [V,1,h,w] or [N,V,h,w] → [N,V,h,w]; raises DualEncError for another shape, or values outside 0..1."""
    shape = tuple(masks.shape)
    if masks.ndim == 3 and shape[0] == views:
        masks = masks[None]
    elif masks.ndim == 4 and shape[:2] == (views, 1):
        masks = masks.transpose(0, 1)
    elif masks.ndim != 4 or shape[:2] not in ((heads, views), (1, views)):
        raise DualEncError(
            f"masks have shape {shape}, expected [{views},h,w] (one for each camera), or [{heads},{views},h,w] (one "
            "for each head and camera)"
        )
    check_unit("masks", masks)
    return masks.float().expand(heads, -1, -1, -1)


def resize_masks(masks: Tensor, resolution: int) -> Tensor:
    """[N,V,h,w] → [N,V,r,r]."""
    size = (resolution, resolution)
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
