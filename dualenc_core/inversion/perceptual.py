"""How different two pictures look, for optimisation: LPIPS with VGG where its weights are, else a Laplacian pyramid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import read_catalog, resolve
from ..errors import CheckpointError, DualEncError
from ..images import shrink_area
from ..metrics.lpips import LPIPS

# The size at which pictures are compared (panohead.md §12).
SIZE = 256
# Brings the pyramid of a photo and the average head to where LPIPS is, about a half, so that the other weights of an
# objective keep their meaning.
_PYRAMID_GAIN = 10.0


@dataclass(frozen=True)
class Distance:
    """A distance of pictures [N,3,H,W] in -1..1 with a gradient, mean over the batch.

    Attributes:
        name: what results say about it.
        measure: (image, target) → scalar.
        note: why it is not the published one, and what to do; empty for the published one.
    """

    name: str
    measure: Callable[[Tensor, Tensor], Tensor]
    note: str = ""

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        if image.shape != target.shape or image.ndim != 4 or image.shape[1] != 3:
            raise DualEncError(
                f"pictures have shapes {tuple(image.shape)} and {tuple(target.shape)}, expected the same [N,3,H,W]"
            )
        return self.measure(shrink_area(image, SIZE), shrink_area(target, SIZE))


def find_distance(
    weights_dir: str | Path | None = None, device: str | torch.device = "cpu", path: str | Path | None = None
) -> Distance:
    """LPIPS (VGG) if its weights are in the weights folder, else the Laplacian pyramid with a note that says so.

    Args:
        path: a VGG-16 file to use; then a missing or wrong one is a CheckpointError instead of the pyramid.
    """
    try:
        network = LPIPS.from_files(resolve("lpips-vgg", path or "lpips-vgg", weights_dir), net="vgg")
    except CheckpointError:
        if path is not None or _present(weights_dir):
            raise
        return Distance("laplacian-pyramid", laplacian_pyramid, _absence())
    return Distance("lpips-vgg", network.to(device))


def pyramid() -> Distance:
    """The distance that needs no weights."""
    return Distance("laplacian-pyramid", laplacian_pyramid, "chosen by hand instead of LPIPS")


def laplacian_pyramid(image: Tensor, target: Tensor, levels: int = 5) -> Tensor:
    """Ten times the absolute difference of Laplacian pyramids, mean over levels, the coarsest level included.

    Smaller pictures have fewer levels. It asks for edges at every scale but knows nothing of textures or faces.
    """
    error = image - target
    parts = []
    for _ in range(levels - 1):
        if min(error.shape[-2:]) < 8:
            break
        coarse = F.avg_pool2d(error, 2)
        parts.append((error - F.interpolate(coarse, error.shape[-2:], mode="bilinear", align_corners=False)).abs())
        error = coarse
    parts.append(error.abs())
    return _PYRAMID_GAIN * torch.stack([part.mean() for part in parts]).mean()


def _absence() -> str:
    """Without any path of this machine: heads carry it along."""
    entry = next(entry for entry in read_catalog() if entry.id == "lpips-vgg")
    return (
        f"LPIPS is not used: {entry.files[0].name} (VGG-16) is missing; get it from {entry.url} and put it into the "
        "weights folder (`python -m dualenc_core weights` names it)"
    )


def _present(weights_dir: str | Path | None) -> bool:
    """Whether the file is there, so that a damaged one is not passed over in silence."""
    try:
        return resolve("lpips-vgg", "lpips-vgg", weights_dir).is_file()
    except CheckpointError:
        return False
