"""How different two pictures look, for optimisation: LPIPS with VGG where its weights are, else a Laplacian pyramid."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints import read_catalog, resolve
from ..checkpoints.torch_file import read_torch_file
from ..errors import CheckpointError, DualEncError

SIZE = 256
# Brings the pyramid of a photo and the average head to where LPIPS is, about a half, so that the other weights of an
# objective keep their meaning.
_PYRAMID_GAIN = 10.0
# Positions of the convolutions in VGG-16's ``features``; LPIPS reads the last ReLU of each group.
_GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


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
        return self.measure(area(image), area(target))


def find_distance(
    weights_dir: str | Path | None = None, device: str | torch.device = "cpu", path: str | Path | None = None
) -> Distance:
    """LPIPS (VGG) if its weights are in the weights folder, else the Laplacian pyramid with a note that says so.

    Args:
        path: a VGG-16 file to use; then a missing or wrong one is a CheckpointError instead of the pyramid.
    """
    try:
        network = VGGDistance.from_file(resolve("lpips-vgg", path or "lpips-vgg", weights_dir))
    except CheckpointError:
        if path is not None or _present(weights_dir):
            raise
        return Distance("laplacian-pyramid", laplacian_pyramid, _absence())
    return Distance("lpips-vgg", network.to(device))


def pyramid() -> Distance:
    """The distance that needs no weights."""
    return Distance("laplacian-pyramid", laplacian_pyramid, "chosen by hand instead of LPIPS")


def area(image: Tensor, size: int = SIZE) -> Tensor:
    """Area-averaged to ``size`` when it is larger (panohead.md §12)."""
    return F.interpolate(image, (size, size), mode="area") if image.shape[-1] > size else image


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


class VGGDistance(nn.Module):
    """LPIPS v0.1 with VGG-16, as the package ``lpips`` (net "vgg") computes it, without torchvision.

    Args:
        backbone: VGG-16 state dict with keys ``features.{0,2,5,…,28}.{weight,bias}``.
        linear: ``lin{k}.model.1.weight`` [1,C,1,1], k = 0..4.

    Raises CheckpointError for other keys or shapes.
    """

    def __init__(self, backbone: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        super().__init__()
        try:
            for number in (n for group in _GROUPS for n in group):
                weight = backbone[f"features.{number}.weight"].float()
                conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
                conv.load_state_dict({"weight": weight, "bias": backbone[f"features.{number}.bias"].float()})
                self.add_module(f"conv{number}", conv)
            for k in range(len(_GROUPS)):
                self.register_buffer(f"lin{k}", linear[f"lin{k}.model.1.weight"].float())
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"these are not LPIPS-VGG weights ({error}); expected VGG-16 features.0 to features.28 and lin0..lin4"
            ) from error
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @classmethod
    def from_file(cls, path: str | Path) -> VGGDistance:
        """From torchvision's VGG-16 file; the linear layers come with the package ``lpips``."""
        spec = importlib.util.find_spec("lpips")
        if spec is None or not spec.submodule_search_locations:
            raise CheckpointError("LPIPS needs its linear layers, which come with the package lpips: pip install lpips")
        linear = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / "vgg.pth"
        return cls(_read(Path(path)), _read(linear))

    def features(self, image: Tensor) -> list[Tensor]:
        """Five maps, each divided by its channel norm."""
        x = (image - self.shift) / self.scale
        maps = []
        for k, group in enumerate(_GROUPS):
            x = F.max_pool2d(x, 2) if k else x
            for number in group:
                x = getattr(self, f"conv{number}")(x).relu()
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        total = image.new_zeros(())
        for k, (a, b) in enumerate(zip(self.features(image), self.features(target), strict=True)):
            total = total + F.conv2d((a - b).square(), getattr(self, f"lin{k}")).mean()
        return total


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return read_torch_file(path)


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
