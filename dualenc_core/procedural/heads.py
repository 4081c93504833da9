"""Heads: the batched parameters of analytic heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..errors import DualEncError

LATENT_DIM = 16


@dataclass(frozen=True)
class Heads:
    """N analytic heads. Every field is ``[N]`` or, for colours and positions, ``[N,3]``; ``latent`` is ``[N,16]``.

    *Controls* lie in [-1,1] with 0 the average head, *amounts* in [0,1], colours are sRGB in [0,1]. A head is
    left-right symmetric when ``parting`` and the one-sided details (``mole``, ``strand``, ``freckles``) are 0.
    """

    latent: Tensor
    # controls of the face
    face_width: Tensor
    face_length: Tensor
    jaw_width: Tensor
    chin: Tensor
    cheeks: Tensor
    nose_length: Tensor
    nose_width: Tensor
    nose_upturn: Tensor
    ear_size: Tensor
    ear_spread: Tensor
    eye_size: Tensor
    eye_spacing: Tensor
    eye_tilt: Tensor
    eye_open: Tensor
    brow_height: Tensor
    brow_weight: Tensor
    brow_tilt: Tensor
    mouth_width: Tensor
    lip_fullness: Tensor
    smile: Tensor
    neck_width: Tensor
    shoulder_width: Tensor
    # hair: amounts, and the control `parting`
    hair: Tensor
    hair_length: Tensor
    curl: Tensor
    fringe: Tensor
    parting: Tensor
    bun: Tensor
    ponytail: Tensor
    beard: Tensor
    blush: Tensor
    # colours
    skin_colour: Tensor
    hair_colour: Tensor
    eye_colour: Tensor
    lip_colour: Tensor
    shirt_colour: Tensor
    collar_colour: Tensor
    # details outside the latent family: all amounts are 0 there
    glasses: Tensor
    glasses_size: Tensor
    glasses_colour: Tensor
    freckles: Tensor
    paint: Tensor
    paint_height: Tensor
    paint_colour: Tensor
    patch: Tensor
    patch_colour: Tensor
    strand: Tensor
    strand_angle: Tensor
    strand_colour: Tensor
    stripes: Tensor
    earrings: Tensor
    earring_colour: Tensor
    mole: Tensor
    mole_position: Tensor

    def __post_init__(self) -> None:
        count = self.latent.shape[0]
        for name, value in self.items():
            want = _shape(name, count)
            if tuple(value.shape) != want:
                raise DualEncError(
                    f"Heads.{name} has shape {tuple(value.shape)}, expected {want} (latent has {count} rows)"
                )

    def __len__(self) -> int:
        return self.latent.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Heads:
        """A batch of the chosen heads; an int gives a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"head {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return Heads(**{name: value[index] for name, value in self.items()})

    def items(self) -> Iterable[tuple[str, Tensor]]:
        """Pairs of field name and tensor."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    @property
    def device(self) -> torch.device:
        return self.latent.device

    def to(self, device: torch.device | str) -> Heads:
        """The same heads on another device."""
        return Heads(**{name: value.to(device) for name, value in self.items()})

    def replace(self, **changes: Tensor | float) -> Heads:
        """A copy with some fields changed; a number or a 3-vector is given to every head."""
        expanded = {}
        for name, value in changes.items():
            if name not in FIELD_NAMES:
                raise DualEncError(f"Heads has no field {name!r}; it has {', '.join(FIELD_NAMES)}")
            value = torch.as_tensor(value, dtype=torch.float32, device=self.device)
            expanded[name] = value.expand(_shape(name, len(self))).clone()
        return replace(self, **expanded)

    @staticmethod
    def cat(heads: Iterable[Heads]) -> Heads:
        """One batch from several."""
        heads = list(heads)
        if not heads:
            raise DualEncError("Heads.cat got no heads; give at least one batch")
        return Heads(**{name: torch.cat([getattr(part, name) for part in heads]) for name in FIELD_NAMES})


FIELD_NAMES = tuple(field.name for field in fields(Heads))
COLOURS = tuple(name for name in FIELD_NAMES if name.endswith("_colour"))
DETAILS = ("glasses", "freckles", "paint", "patch", "strand", "stripes", "earrings", "mole")


def _shape(name: str, count: int) -> tuple[int, ...]:
    if name == "latent":
        return (count, LATENT_DIM)
    return (count, 3) if name.endswith(("_colour", "_position")) else (count,)
