"""How faces move: for every trait of a description that has a shape, the ways of points of a mean head.

The table (`weights/motions.safetensors`) is measured on meshes of people (`research/data/motions.py`). On a head
its points are laid by the head's own landmarks, so that its own mouth smiles.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...checkpoints import weights_folder
from ...errors import CheckpointError, NoFaceError
from ...files import atomic_path
from ...generator import PanoHead
from ...triplane import Triplane
from ..landmarks import surface_landmarks
from .openings import Openings, Paint
from .spline import Spline

log = logging.getLogger(__name__)

LANDMARKS = 468
# Traits whose motion goes as far as this head's eyes are open, not as far as the mean head's.
_LIDS = ("eyes_closed", "squint", "eyes_wide")
# Landmarks of the inner lips' middle; expressions close no mouth further than it is open.
_UPPER_LIP, _LOWER_LIP = 13, 14
_BARE_TEETH = ("smile_open", "vowel_e")
# How far splines may miss, in world units: landmarks that a table's points are laid by are only so exact, and points
# that want to go different ways must not fold space.
_LAYING, _SMOOTHING = 2e-3, 1e-3
_FORMAT = "dualenc-motions/1"


@dataclass(frozen=True)
class Motions:
    """Ways of M points of a mean head.

    Attributes:
        points: [M,3] in world units; the first 468 are the landmarks of the face mesh.
        knots: by trait, increasing values [K] at which the ways are known; between them they are linear, and beyond.
        moves: by trait, [K,M,3] from where the points are on the mean head; NaN where a trait says nothing of a point.
        source: what they were measured on.
    """

    points: Tensor
    knots: Mapping[str, tuple[float, ...]]
    moves: Mapping[str, Tensor]
    source: str = ""

    def between(self, trait: str, before: float, after: float) -> Tensor:
        """The ways [M,3] of the points when a trait goes from one value to another.

        Example:
            >>> import torch
            >>> from dualenc_core.editing.motion import Motions
            >>> ways = torch.tensor([0.0, 0.02]).view(2, 1, 1).expand(2, 1, 3)
            >>> Motions(torch.zeros(1, 3), {"smile": (0.0, 1.0)}, {"smile": ways}).between("smile", 0.25, 0.75)
            tensor([[0.0100, 0.0100, 0.0100]])
        """
        return self._at(trait, after) - self._at(trait, before)

    def _at(self, trait: str, value: float) -> Tensor:
        knots, moves = self.knots[trait], self.moves[trait]
        k = min(max(int(np.searchsorted(knots, value)), 1), len(knots) - 1)
        share = (value - knots[k - 1]) / (knots[k] - knots[k - 1])
        return torch.lerp(moves[k - 1], moves[k], share)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, half precision."""
        tensors = {"points": self.points, **{f"moves.{name}": moves.half() for name, moves in self.moves.items()}}
        metadata = {"format": _FORMAT, "knots": json.dumps(self.knots), "source": self.source}
        with atomic_path(Path(path)) as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, metadata)
        return Path(path)


def load_motions() -> Motions:
    """The table of the weights folder. Raises CheckpointError for a file that is missing or no table of motions."""
    return _load(weights_folder() / "motions.safetensors")


@functools.lru_cache(maxsize=2)
def _load(path: Path) -> Motions:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(f"{path} is no table of motions (format {metadata.get('format')!r})")
            knots = {name: tuple(values) for name, values in json.loads(metadata["knots"]).items()}
            points = file.get_tensor("points").float()
            moves = {name: file.get_tensor(f"moves.{name}").float() for name in knots}
            for name, values in knots.items():
                if len(values) < 2 or moves[name].shape != (len(values), *points.shape):
                    raise ValueError(f"{name} has {len(values)} knots and moves {tuple(moves[name].shape)}")
            return Motions(points, knots, moves, metadata.get("source", ""))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the motions of faces cannot be read from {path}: {error}; get the file again with the package"
        ) from error


@dataclass(frozen=True)
class FaceField:
    """Displacements of a face, with what opens and closes in it (`warper.Field`).

    Attributes:
        origin: from where points of the face are afterwards to where they were.
        openings: its lips and lids.
    """

    origin: Spline
    openings: Openings

    @property
    def at(self) -> Tensor:
        return self.origin.at

    def __call__(self, points: Tensor) -> Tensor:
        return self.openings.corrected(points, self.origin(points))

    def paint(self, points: Tensor) -> Paint | None:
        return self.openings.paint(points)

    def to(self, device: torch.device) -> FaceField:
        """On another device."""
        spline = Spline(*(getattr(self.origin, name).to(device) for name in ("at", "weights", "rest")))
        before, after = (points.to(device) for points in (self.openings.before, self.openings.after))
        return FaceField(spline, Openings(before, after, self.openings.bared))


class FaceMotions:
    """A table of motions laid on one head.

    Args:
        motions: the table.
        landmarks: [468,3] on the head's surface, in world units.
        found: [468], above 0 for those that lie on it.

    Attributes:
        points: [M,3] of the table, on this head.
    """

    def __init__(self, motions: Motions, landmarks: Tensor, found: Tensor) -> None:
        self.motions = motions
        mean, seen = motions.points, found > 0
        own, own_mean = landmarks[seen], mean[:LANDMARKS][seen]
        scale, turn, shift = similarity_of(own_mean.double().numpy(), own.double().numpy())
        self._scale = float(scale)
        self._turn, self._shift = torch.from_numpy(scale * turn).float(), torch.from_numpy(shift).float()
        laid = own_mean @ self._turn + self._shift
        self._rest = Spline.through(laid, own - laid, _LAYING)
        self.points = self._on_head(mean)
        self.points[:LANDMARKS][seen] = own

    @classmethod
    def of(cls, generator: PanoHead, head: Triplane, motions: Motions | None = None) -> FaceMotions:
        """On one head, by the landmarks of its face; where no face is found, as on the mean head.

        Args:
            motions: None = `load_motions`.
        """
        motions = motions or load_motions()
        try:
            landmarks, found = surface_landmarks(generator, head)
        except NoFaceError as error:
            log.warning("%s; it moves as the mean face does", error)
            landmarks, found = motions.points[:LANDMARKS], torch.ones(LANDMARKS)
        return cls(motions, landmarks, found)

    def field(self, changes: Mapping[str, tuple[float, float]]) -> FaceField:
        """The displacements when traits go from some values to others, by name."""
        total = torch.full_like(self.points, torch.nan)
        for trait, (before, after) in changes.items():
            ways = self._ways(trait, before, after)
            total = torch.where(total.isnan(), ways, total + ways.nan_to_num())
        known = ~total.isnan().any(1)
        moved = self.points + total.nan_to_num()
        origin = Spline.through(moved[known], -total[known], _SMOOTHING)
        bared = sum(changes[trait][1] - changes[trait][0] for trait in _BARE_TEETH if trait in changes)
        return FaceField(origin, Openings(self.points[:LANDMARKS], moved[:LANDMARKS], min(max(bared, 0.0), 1.0)))

    def _ways(self, trait: str, before: float, after: float) -> Tensor:
        """The ways [M,3] of the points of this head."""
        mean, ways = self.motions.points, self.motions.between(trait, before, after)
        if trait in _LIDS:
            return self._on_head(mean + ways) - self._on_head(mean)
        closing = float(ways[_LOWER_LIP, 1] - ways[_UPPER_LIP, 1])
        if closing > 0:
            gap = float(self.points[_UPPER_LIP, 1] - self.points[_LOWER_LIP, 1]) / self._scale
            ways = ways * min(1.0, max(gap, 0.0) / closing)
        return ways @ self._turn

    def _on_head(self, points: Tensor) -> Tensor:
        laid = points @ self._turn + self._shift
        return laid + self._rest(laid)


def similarity_of(points: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, turn [3,3] and shift [3] that take points [n,3] best to targets: scale · points @ turn + shift."""
    a, b = points - points.mean(0), targets - targets.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    scale, turn = s.sum() / (a**2).sum(), u @ v
    return float(scale), turn, targets.mean(0) - scale * points.mean(0) @ turn
