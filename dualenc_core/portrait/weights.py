"""Where the portrait weights lie, and the loaded networks (one copy per device)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from ..checkpoints import weights_folder
from ..errors import CheckpointError
from .graph import Graph


def portrait_weights_dir() -> Path:
    """``weights/portrait`` of the repository, or ``$DUALENC_WEIGHTS/portrait`` when that variable is set."""
    return weights_folder() / "portrait"


def load_graph(name: str, device: str) -> Graph:
    """A network of ``weights/portrait`` on ``device``. Raises CheckpointError when the file is missing or broken."""
    return _graph(portrait_weights_dir() / f"{name}.safetensors", str(device))


@functools.lru_cache(maxsize=8)
def _graph(path: Path, device: str) -> Graph:
    return Graph.load(path).to(device)


@dataclass(frozen=True)
class FaceModel:
    """MediaPipe's canonical face.

    Attributes:
        vertices: [468,3] float64, cm; x to the subject's left (+x of the world), y up, z out of the face.
        triangles: [M,3] landmark indices.
        basis: [468] weights for fitting a head pose: large where expressions move little.
        regions: name → landmark index pairs (edges): face_oval, left_eye, right_eye, left_brow, right_brow, lips,
            nose; left and right are the subject's.
        mirror: [468] index of each landmark's mirror image.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    basis: np.ndarray
    regions: dict[str, list[list[int]]]
    mirror: np.ndarray


def load_face_model() -> FaceModel:
    """The canonical face of ``weights/portrait/face_model.safetensors``. Raises CheckpointError."""
    return _face_model(portrait_weights_dir() / "face_model.safetensors")


@functools.lru_cache(maxsize=2)
def _face_model(path: Path) -> FaceModel:
    try:
        with safe_open(path, "np") as file:
            vertices = file.get_tensor("vertices").astype(np.float64)
            triangles, basis = file.get_tensor("triangles"), file.get_tensor("basis").astype(np.float64)
            regions = json.loads(file.metadata()["portrait"])["regions"]
    except Exception as error:
        raise CheckpointError(
            f"portrait weights {path} cannot be read ({error}); the file is part of the repository: restore it, or "
            "point DUALENC_WEIGHTS to the folder that contains portrait/"
        ) from error
    flipped = vertices * [-1, 1, 1]
    mirror = np.linalg.norm(flipped[:, None] - vertices[None], axis=-1).argmin(1)
    return FaceModel(vertices, triangles, basis, regions, mirror)
