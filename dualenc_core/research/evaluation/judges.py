"""Metrics that need weights: LPIPS and identity. What is not here is said to be absent, never replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...checkpoints import read_catalog, resolve, weights_folder
from ...encoders.loading import load_arcface
from ...errors import CheckpointError, NoFaceError, require
from ...images import resize_area, shrink_area
from ...metrics.lpips import LPIPS

SIZE = 256
# Eye centres, nose tip and mouth corners (x, y) of a face of 112 pixels (encoders.md §7).
TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
# The same places on the 468-point mesh; the mean of each group.
_MESH = ((33, 133), (362, 263), (1,), (61,), (291,))


@dataclass(frozen=True)
class Judges:
    """Metrics of pairs of pictures [N,3,S,S] in -1..1.

    Attributes:
        found: name → (image, truth) → [N]; NaN where a picture cannot be judged.
        absent: name → why, and where to get what is missing.
        about: name → what exactly is measured.
    """

    found: dict[str, Callable[[Tensor, Tensor], Tensor]]
    absent: dict[str, str]
    about: dict[str, str]

    def __call__(self, image: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {name: judge(image, truth) for name, judge in self.found.items()}


ABOUT = {
    "lpips": "LPIPS, AlexNet, v0.1, at 256 pixels",
    "id": "cosine of ArcFace IR-SE-50 on the fixed crop of an aligned portrait",
    "id_curricular": "cosine of CurricularFace IR-101 on a face aligned by five points of our own face mesh (the "
    "published figures use MTCNN's points)",
}


def find_judges(weights_dir: str | Path | None = None, device: str | torch.device = "cpu") -> Judges:
    """The metrics whose weights are in the weights folder.

    A file that is there but damaged is an error, not an absence.
    """
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    absent: dict[str, str] = {}
    kinds = {"lpips": "lpips-alexnet", "id": "arcface", "id_curricular": "curricularface"}
    builders = {"lpips": _lpips, "id": _arcface, "id_curricular": _curricular}
    for name, kind in kinds.items():
        try:
            path = resolve(kind, kind, weights_dir)
        except CheckpointError as error:
            if _there(kind, weights_dir):
                raise CheckpointError(
                    f"the {kind} weights in {weights_dir or weights_folder()} are no safetensors file: damaged; make "
                    f"them again ({error})"
                ) from error
            absent[name] = str(error)
            continue
        found[name] = builders[name](path, torch.device(device))
    return Judges(found, absent, {name: ABOUT[name] for name in found})


def _there(kind: str, weights_dir: str | Path | None) -> bool:
    entry = next(entry for entry in read_catalog() if entry.id == kind)
    return entry.converted is not None and (Path(weights_dir or weights_folder()) / entry.converted).exists()


def _lpips(path: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    network = LPIPS.from_files(path).to(device)

    def judge(image: Tensor, truth: Tensor) -> Tensor:
        pairs = zip(_small(image).split(1), _small(truth).split(1), strict=True)
        return torch.stack([network(a, b) for a, b in pairs])

    return judge


def _arcface(path: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    network = load_arcface(path, map_location=device)

    def judge(image: Tensor, truth: Tensor) -> Tensor:
        return (network.identity(_exact(image)) * network.identity(_exact(truth))).sum(1)

    return judge


def _curricular(path: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    network = load_arcface(path, "curricularface", map_location=device)

    def judge(image: Tensor, truth: Tensor) -> Tensor:
        values = []
        for pair in zip(image, truth, strict=True):
            faces = [face for picture in pair if (face := aligned_face(picture)) is not None]
            if len(faces) < 2:
                values.append(float("nan"))
            else:
                a, b = (network(face.to(device)) for face in faces)
                values.append(float((a * b).sum()))
        return torch.tensor(values)

    return judge


def aligned_face(picture: Tensor) -> Tensor | None:
    """[3,S,S] in -1..1 → [1,3,112,112] in -1..1 with the face on `TEMPLATE`; None when no face is found."""
    from ...portrait.faces import find_faces
    from ...portrait.photo import read_photo

    photo = read_photo(((picture.detach().float().cpu().clamp(-1, 1) + 1) / 2)[None])
    try:
        faces = find_faces(photo)
    except NoFaceError:
        faces = []
    if not faces:
        return None
    mesh = np.asarray(faces[0].mesh.points)[:, :2]
    points = np.stack([mesh[list(group)].mean(0) for group in _MESH])
    return photo.window(similarity(TEMPLATE, points), 112, border="border") * 2 - 1


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[2,3]: the rotation, uniform scale and shift that bring points [N,2] closest to others (least squares)."""
    return require("skimage.transform", "scikit-image").estimate_transform("similarity", source, target).params[:2]


def _small(image: Tensor) -> Tensor:
    return shrink_area(image.float().clamp(-1, 1), SIZE)


def _exact(image: Tensor) -> Tensor:
    return resize_area(image.float().clamp(-1, 1), SIZE)
