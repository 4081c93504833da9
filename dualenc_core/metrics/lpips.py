"""LPIPS v0.1 (Zhang et al. 2018): how different two pictures look to a network.

The package ``lpips`` brings the linear layers, and the tests compare with it. It is not called itself, because it
imports torchvision, whose compiled part must fit the build of PyTorch, and because it fetches the backbone by URL.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.torch_file import read_torch_file
from ..errors import CheckpointError
from .pictures import check_shapes


@dataclass(frozen=True)
class Backbone:
    """Convolutions of torchvision's ``features`` in groups; LPIPS reads the last ReLU of each.

    Attributes:
        name: what torchvision calls it.
        groups: positions of the convolutions.
        pools: max pooling (side, stride) before each group; None for none.
        strides: (stride, padding) by position; (1, 1) for others.
    """

    name: str
    groups: tuple[tuple[int, ...], ...]
    pools: tuple[tuple[int, int] | None, ...]
    strides: Mapping[int, tuple[int, int]]

    @property
    def convolutions(self) -> tuple[int, ...]:
        return tuple(number for group in self.groups for number in group)


BACKBONES = {
    "alex": Backbone(
        "AlexNet", ((0,), (3,), (6,), (8,), (10,)), (None, (3, 2), (3, 2), None, None), {0: (4, 2), 3: (1, 2)}
    ),
    "vgg": Backbone(
        "VGG-16", ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)), (None, *[(2, 2)] * 4), {}
    ),
}  # fmt: skip


class LPIPS(nn.Module):
    """``forward(image, target)`` of pictures [N,3,H,W] in -1..1 → scalar, mean over the batch; 0 for equal pictures.

    The references use 256×256 pictures.

    Args:
        backbone: state dict of torchvision's network with keys ``features.{n}.{weight,bias}``.
        linear: ``lin{k}.model.1.weight`` [1,C,1,1], k = 0..4.
        net: "alex" (metric, loss of encoders) or "vgg" (optimisation).

    Raises CheckpointError for other keys or shapes.

    Example:
        >>> import torch
        >>> from dualenc_core.metrics.lpips import LPIPS
        >>> shapes = {0: (8, 3, 11, 11), 3: (8, 8, 5, 5), 6: (8, 8, 3, 3), 8: (8, 8, 3, 3), 10: (8, 8, 3, 3)}
        >>> backbone = {f"features.{n}.weight": torch.full(s, 0.01) for n, s in shapes.items()}
        >>> backbone |= {f"features.{n}.bias": torch.zeros(8) for n in shapes}
        >>> network = LPIPS(backbone, {f"lin{k}.model.1.weight": torch.ones(1, 8, 1, 1) for k in range(5)})
        >>> picture = torch.zeros(1, 3, 64, 64)
        >>> float(network(picture, picture)), float(network(picture, picture + 1)) > 0
        (0.0, True)
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Mapping[str, Tensor], linear: Mapping[str, Tensor], net: str = "alex") -> None:
        super().__init__()
        self.backbone = BACKBONES[net]
        try:
            for number in self.backbone.convolutions:
                weight = backbone[f"features.{number}.weight"].float()
                stride, padding = self.backbone.strides.get(number, (1, 1))
                conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride, padding)
                conv.load_state_dict({"weight": weight, "bias": backbone[f"features.{number}.bias"].float()})
                self.add_module(f"conv{number}", conv)
            for k in range(len(self.backbone.groups)):
                self.register_buffer(f"lin{k}", linear[f"lin{k}.model.1.weight"].float())
        except (KeyError, RuntimeError) as error:
            numbers = ", ".join(map(str, self.backbone.convolutions))
            raise CheckpointError(
                f"these are not the weights of LPIPS with {self.backbone.name} ({error}); expected "
                f"features.{{{numbers}}} and lin0..lin4"
            ) from error
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @classmethod
    def from_files(cls, backbone: str | Path, linear: str | Path | None = None, net: str = "alex") -> LPIPS:
        """From torchvision's file; the linear layers come with the package ``lpips`` unless given.

        Raises CheckpointError when a file or the package is missing.
        """
        if linear is None:
            spec = importlib.util.find_spec("lpips")
            if spec is None or not spec.submodule_search_locations:
                raise CheckpointError(
                    "LPIPS needs its linear layers, which come with the package lpips: pip install lpips"
                )
            linear = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / f"{net}.pth"
        return cls(_read(backbone, f"{BACKBONES[net].name} backbone"), _read(linear, "LPIPS linear layers"), net)

    def features(self, image: Tensor) -> list[Tensor]:
        """Five ReLU maps, each divided by its channel norm."""
        x = (image - self.shift) / self.scale
        maps = []
        for pool, group in zip(self.backbone.pools, self.backbone.groups, strict=True):
            x = F.max_pool2d(x, *pool) if pool else x
            for number in group:
                x = self.get_submodule(f"conv{number}")(x).relu()
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        check_shapes(image, target)
        total = image.new_zeros(())
        for k, (a, b) in enumerate(zip(self.features(image), self.features(target), strict=True)):
            total = total + F.conv2d((a - b).square(), self.get_buffer(f"lin{k}")).mean()
        return total


def _read(path: str | Path, what: str) -> dict[str, Tensor]:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{what} not found at {path}; LPIPS needs it. see `python -m dualenc_core weights`, or use "
            "a preset whose losses need no weights"
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return read_torch_file(path)
