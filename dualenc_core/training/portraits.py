"""Procedural portraits for the demo encoders: single views with details that the generator does not know."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import procedural
from ..camera import Camera
from ..errors import CheckpointError
from ..files import atomic_path

# Training takes head seeds from here up, evaluation from 1_000_000 up: they never meet.
SEED = 100_000
# Portraits of one seed, and time between savings of the file.
BLOCK, SAVE_SECONDS = 64, 180.0


@dataclass(frozen=True)
class Portraits:
    """M single views, in memory as bytes.

    Attributes:
        images: [M,3,S,S] uint8 on the backdrop.
        mattes: [M,1,S,S] uint8.
        labels: [M,25] cameras.
        latents: [M,16] of the heads, before their details were added.
    """

    images: Tensor
    mattes: Tensor
    labels: Tensor
    latents: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Portraits:
        """The same, in another memory."""
        return Portraits(*(tensor.to(device) for tensor in _all(self)))

    def batch(self, indices: Tensor, mirror: bool = False) -> tuple[Tensor, Tensor, Camera, Tensor]:
        """Images [-1,1], mattes [0,1], cameras and latents of some portraits; ``mirror`` flips images and cameras."""
        images = self.images[indices].float() / 127.5 - 1
        mattes = self.mattes[indices].float() / 255
        camera = Camera.from_label(self.labels[indices])
        if mirror:
            images, mattes, camera = images.flip(-1), mattes.flip(-1), camera.mirrored
        return images, mattes, camera, self.latents[indices]


def misaligned(
    images: Tensor, mattes: Tensor, camera: Camera, rng: torch.Generator, strength: float = 1.0
) -> tuple[Tensor, Tensor, Camera]:
    """Every second portrait as an imperfect alignment would hand it over: framed otherwise, and its camera misjudged.

    An aligned photo is never exact: the crop is some percent too large or too small, the angles are some degrees off.
    An encoder that has only seen exact ones puts noses and ears beside those of its first stage.

    Args:
        images, mattes, camera: N portraits.
        strength: factor on scale (±10 %), shift (±4 % of the width), yaw (±3°) and pitch (±6°).
    """
    n = len(images)
    draw = (2 * torch.rand(n, 5, generator=rng, device=rng.device) - 1) * strength
    draw = draw * (torch.rand(n, 1, generator=rng, device=rng.device) < 0.5)
    theta = torch.zeros(n, 2, 3, device=rng.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.1 * draw[:, 0]
    theta[:, :, 2] = 0.08 * draw[:, 1:3]
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    options = {"padding_mode": "border", "align_corners": False}
    images = torch.nn.functional.grid_sample(images, grid, **options)
    mattes = torch.nn.functional.grid_sample(mattes, grid, **options)
    yaw, pitch = camera.angles
    wrong = Camera.look_at((yaw + 3 * draw[:, 3]).cpu(), (pitch + 6 * draw[:, 4]).cpu())
    return images, mattes, wrong.to(rng.device)


def load_portraits(path: str | Path, count: int, size: int, device: torch.device | str = "cpu") -> Portraits:
    """Read the portraits of ``path``, rendering those that are missing (about 14 a second and core at 128²).

    Interrupting loses little: the file is written every few minutes, and a shorter one is continued. ``device`` is
    where they are rendered and returned.

    Raises CheckpointError for a file that is no portraits file, or has portraits of another size.
    """
    path = Path(path)
    device = torch.device(device)
    parts = [_read(path)] if path.is_file() else []
    if parts and parts[0].images.shape[-1] != size:
        raise CheckpointError(
            f"{path} has portraits of {parts[0].images.shape[-1]} pixels, expected {size}; "
            "choose another file with --data"
        )
    have, saved = sum(map(len, parts)), time.monotonic()
    while have < count:
        parts.append(_render(have, min(BLOCK, count - have), size, device))
        have += len(parts[-1])
        if have == count or time.monotonic() - saved > SAVE_SECONDS:
            parts = [_joined(parts)]
            _write(path, parts[0])
            saved = time.monotonic()
            print(f"rendered {have} of {count} portraits", file=sys.stderr, flush=True)
    return Portraits(*(tensor[:count] for tensor in _all(_joined(parts)))).to(device)


def _joined(parts: list[Portraits]) -> Portraits:
    return Portraits(*(torch.cat(tensors) for tensors in zip(*map(_all, parts), strict=True)))


def _render(start: int, count: int, size: int, device: torch.device) -> Portraits:
    heads = procedural.sample_heads(count, seed=SEED + start).to(device)
    rng = torch.Generator().manual_seed(SEED + start)
    yaw, pitch = torch.rand(2, count, generator=rng)
    camera = Camera.look_at(yaw=120 * yaw - 60, pitch=30 * pitch - 15).to(device)
    # One at a time keeps a CPU's caches warm, many keep an accelerator busy.
    together = 1 if device.type == "cpu" else 16
    images, mattes = [], []
    for i in range(0, count, together):
        some = slice(i, i + together)
        out = procedural.render(heads[some], camera[some], size, antialias=1)
        images.append(((out.image + 1) * 127.5).round().clamp(0, 255).byte().cpu())
        mattes.append((out.alpha * 255).round().byte().cpu())
    return Portraits(torch.cat(images), torch.cat(mattes), camera.label.cpu(), heads.latent.cpu())


def _all(p: Portraits) -> tuple[Tensor, ...]:
    return p.images, p.mattes, p.labels, p.latents


def _read(path: Path) -> Portraits:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        return Portraits(tensors["images"], tensors["mattes"], tensors["labels"], tensors["latents"])
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a usable portraits file ({error}); delete it, it is made again"
        ) from error


def _write(path: Path, portraits: Portraits) -> None:
    from safetensors.torch import save_file

    names = ("images", "mattes", "labels", "latents")
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in zip(names, _all(portraits), strict=True)}, temporary)
