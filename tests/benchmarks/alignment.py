"""How well the alignment agrees with labelled crops, and how its calibration was fitted.

    python -m tests.benchmarks.alignment FOLDER [--perturbations 8] [--seed 0]

FOLDER holds pictures that are cropped as PanoHead expects, and ``dataset.json`` in its format. Each picture, as it is
and turned, scaled, shifted and mirrored by known amounts, is treated as a plain photo; the truth follows from its
label. "Leave-one-out" fits the calibration to the other pictures only.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.portrait.alignment import CALIBRATION, Calibration, camera_angles, camera_of, head_pose, rotation_z
from dualenc_core.portrait.faces import find_faces
from dualenc_core.portrait.geometry import CROP_SIDE_WORLD, similarity
from dualenc_core.portrait.photo import Photo, read_photo
from dualenc_core.portrait.weights import load_face_model

_MIRROR = np.diag([-1.0, 1.0, 1.0])
COLUMNS = ("yaw °", "pitch °", "roll °", "tilt °", "scale %", "centre %")


@dataclass(frozen=True)
class Sample:
    """A photo with the truth: ``rotation`` world → camera in the photo's frame, ``scale`` px per world unit,
    ``origin`` [2] px, ``tilt`` degrees of the true crop, and the ``points`` [468,3] that were detected."""

    name: str
    rotation: np.ndarray
    scale: float
    origin: np.ndarray
    tilt: float
    points: np.ndarray


def read_labels(folder: str | Path) -> list[tuple[Path, np.ndarray]]:
    """(picture, world → camera rotation [3,3]) of a dataset.json, sorted by name.

    Raises DualEncError when the file or a picture is missing or the labels are not 25 numbers.
    """
    path = Path(folder) / "dataset.json"
    try:
        labels = json.loads(path.read_text())["labels"]
        values = {name: np.array(label, dtype=np.float64) for name, label in labels}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DualEncError(f"{path} is not a label file in PanoHead's format ({error})") from error
    result = []
    for name, label in sorted(values.items()):
        if label.shape != (25,):
            raise DualEncError(f"the label of {name!r} in {path} has {label.size} numbers, expected 25")
        result.append((Path(folder) / name, label[:16].reshape(4, 4)[:3, :3].T))
    return result


def perturbed(
    photo: Photo, rotation: np.ndarray, name: str, mirror: bool, turn: float, zoom: float, shift: tuple[float, float]
) -> Sample:
    """Place a labelled square crop into a larger canvas by a known similarity and detect the face in it.

    Args: ``mirror`` first, then ``turn`` degrees clockwise, ``zoom`` of its size, ``shift`` in sides of the crop.
    """
    side = photo.width
    if mirror:
        photo, rotation = Photo(np.ascontiguousarray(photo.pixels[:, ::-1])), _MIRROR @ rotation @ _MIRROR
    if (turn, zoom, shift) == (0.0, 1.0, (0.0, 0.0)):
        origin = np.array([side / 2, side / 2])
    else:
        canvas = round(1.6 * side)
        origin = canvas / 2 + np.array(shift) * side
        inverse = rotation_z(-turn)[:2, :2] / zoom
        matrix = np.concatenate([inverse, (side / 2 - inverse @ origin)[:, None]], 1)
        photo = Photo(photo.window(matrix, canvas, border="border")[0].permute(1, 2, 0).numpy().copy())
        rotation = rotation_z(turn) @ rotation
    faces = find_faces(photo)
    if not faces:
        raise NoFaceError(f"no face was found in {name} (turn {turn:.1f}, zoom {zoom:.2f}, mirror {mirror})")
    return Sample(name, rotation, side * zoom / CROP_SIDE_WORLD, origin, turn, faces[0].mesh.points)


def calibrate(samples: Sequence[Sample], z: float = CALIBRATION.z) -> Calibration:
    """Fit ``unit``, ``pitch`` and ``y`` to unperturbed samples; ``z`` is given (frontal faces do not show it)."""
    model = load_face_model()
    units, pitches, heights = [], [], []
    for sample in samples:
        scale, rotation, translation = similarity(model.vertices, sample.points, model.basis)
        units.append(scale / sample.scale)
        pitches.append(camera_angles(camera_of(sample.rotation))[1] - camera_angles(camera_of(rotation))[1])
        down = (translation[1] - sample.origin[1]) / sample.scale
        heights.append((down - sample.rotation[1, 2] * z) / sample.rotation[1, 1])
    return Calibration(float(np.mean(units)), float(np.mean(pitches)), float(np.mean(heights)), z)


def errors(sample: Sample, calibration: Calibration = CALIBRATION) -> np.ndarray:
    """Signed errors in the order of ``COLUMNS``; the centre is a distance, in per cent of the crop's side."""
    pose = head_pose(sample.points, calibration)
    yaw, pitch, roll = camera_angles(camera_of(pose.rotation))
    true = camera_angles(camera_of(sample.rotation))
    side = CROP_SIDE_WORLD * sample.scale
    return np.array(
        [
            yaw - true[0],
            pitch - true[1],
            (roll - true[2] + 180) % 360 - 180,
            (pose.tilt - sample.tilt + 180) % 360 - 180,
            (pose.scale / sample.scale - 1) * 100,
            float(np.linalg.norm(pose.origin - sample.origin)) / side * 100,
        ]
    )


def measure(folder: str | Path, perturbations: int = 8, seed: int = 0) -> str:
    """The accuracy tables as Markdown. Raises DualEncError (see ``read_labels``), NoFaceError."""
    rng = np.random.default_rng(seed)
    plain: dict[str, list[Sample]] = {}
    moved: dict[str, list[Sample]] = {}
    for path, rotation in read_labels(folder):
        photo = read_photo(path)
        still = (0.0, 1.0, (0.0, 0.0))
        plain[path.name] = [perturbed(photo, rotation, path.name, mirror, *still) for mirror in (False, True)]
        moved[path.name] = []
        for index in range(perturbations):
            turn, zoom = rng.uniform(-30, 30), math.exp(rng.uniform(math.log(0.35), math.log(1.1)))
            shift = tuple(rng.uniform(-0.2, 0.2, 2))
            moved[path.name].append(perturbed(photo, rotation, path.name, bool(index % 2), turn, zoom, shift))
    lines = [f"calibration of the package: {CALIBRATION}", f"fitted to all pictures:     {calibrate(_flat(plain))}", ""]
    lines += ["| picture | calibration | photo | " + " | ".join(COLUMNS) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    totals: dict[tuple[str, str], list[np.ndarray]] = {}
    for name in plain:
        others = [s for other, samples in plain.items() if other != name for s in samples]
        choices = {"package": CALIBRATION} | ({"leave-one-out": calibrate(others)} if others else {})
        for choice, calibration in choices.items():
            for kind, samples in (("as it is", plain[name][:1]), ("mirrored", plain[name][1:]), ("moved", moved[name])):
                if samples:
                    values = np.stack([errors(s, calibration) for s in samples])
                    totals.setdefault((choice, kind), []).append(values)
                    lines.append(_row(name, choice, kind, values))
    for (choice, kind), values in totals.items():
        stacked = np.concatenate(values)
        lines.append(_row("**mean abs**", choice, kind, np.abs(stacked)))
        lines.append(_row("**max abs**", choice, kind, np.abs(stacked).max(0, keepdims=True)))
    lines += ["", '"moved" rows of one picture: mean of the signed errors ± their standard deviation.']
    return "\n".join(lines)


def _flat(samples: dict[str, list[Sample]]) -> list[Sample]:
    return [s for group in samples.values() for s in group]


def _row(name: str, choice: str, kind: str, values: np.ndarray) -> str:
    spread = len(values) > 1 and not name.startswith("**")
    cells = [f"{m:.2f} ± {s:.2f}" if spread else f"{m:.2f}" for m, s in zip(values.mean(0), values.std(0), strict=True)]
    return f"| {name} | {choice} | {kind} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="pictures and dataset.json")
    parser.add_argument("--perturbations", type=int, default=8, help="moved copies of each picture (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        print(measure(arguments.folder, arguments.perturbations, arguments.seed))
    except DualEncError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
