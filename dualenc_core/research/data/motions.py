"""How faces move, measured on the meshes of people: the ways of landmarks and of points all over the head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...camera import Camera
from ...editing.motion import Motions
from ...editing.motion.motions import similarity_of
from ...errors import DualEncError, require
from ...people import Pack, People, Person, makehuman, render, sample_people
from ...people.donors import EXPRESSIONS, FEATURES
from ...people.traits import set_traits
from ...portrait.faces import find_faces
from ...portrait.photo import read_photo
from ...rendering.rays import pixel_rays

# Values at which traits are looked at; the ways begin from those of `_STILL`, or from the person's own.
KNOTS: Mapping[str, tuple[float, ...]] = {
    **{name: (0.0, 1.0) for name in EXPRESSIONS},
    "gaze.left": (-20.0, 0.0, 20.0),
    "gaze.up": (-20.0, 0.0, 20.0),
    **{f"features.{name}": (-1.0, 0.0, 1.0) for name in FEATURES},
    "age": (6.0, 19.0, 30.0, 78.0),
    "weight": (-1.0, 0.0, 1.0),
    "sex": (-1.0, 1.0),
}
_STILL = dict.fromkeys((*EXPRESSIONS, "gaze.left", "gaze.up"), 0.0)
# A face whose landmarks can be told apart: lips parted, eyes open.
_PARTED = {"mouth_open": 0.6, "eyes_wide": 0.5}
# Points beside the landmarks: at most so many of the rest of the head, at least so far from each other, no lower than;
# and of each eye's front. World units.
_OTHERS, _APART, _LOWEST, _EYE = 260, 0.02, -0.33, 16
# Traits whose ways differ between people by more than this share of what they have in common, in squares, are none.
_DIFFERENT = 0.5
# Landmarks that meet hair or glasses before the skin, world units.
_OFF = 0.012
_RESOLUTION = 320
# Fits of what the whole head does, each to the half that it explains best; and how well it must be explained.
_TRIMMED, _EXACT = 6, 4e-4


def measure_motions(
    pack: Pack, count: int = 24, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Motions:
    """The mean ways over some people of MakeHuman, whose faces are bare and still; of what they have in common.

    Args:
        count: people.
        seed: of the people.
        progress: called as progress(people done, people).

    Raises DualEncError where no face was found on any of them.
    """
    places: list[np.ndarray] = []
    ways: dict[str, list[np.ndarray]] = {name: [] for name in KNOTS}
    others: np.ndarray | None = None
    for person in _people(seed):
        landmarks = _landmarks(pack, set_traits(person, _PARTED))
        if landmarks is not None:
            others = _others(pack, person, landmarks) if others is None else others
            there = _points(pack, person, landmarks, others)
            places.append(there)
            for name, knots in KNOTS.items():
                rows = np.stack([_points(pack, set_traits(person, {name: v}), landmarks, others) for v in knots])
                ways[name].append(rows - (rows[knots.index(0.0)] if 0.0 in knots else rows[0]))
            if progress is not None:
                progress(len(places), count)
        if len(places) == count:
            break
    if not places:
        raise DualEncError(f"no face was found on {count} people of seed {seed}; try another seed")
    mean = np.nanmean(places, 0)
    moves = {name: _local(mean, np.nanmean(rows, 0)) for name, rows in ways.items() if _in_common(rows)}
    eyes = len(mean) - 2 * _EYE
    for name, move in moves.items():
        # Elsewhere lids and brows say where eyes are.
        if not name.startswith("gaze"):
            move[:, eyes:] = torch.nan
    source = f"MakeHuman's targets on {len(places)} people, seed {seed}"
    return Motions(torch.from_numpy(mean).float(), {name: KNOTS[name] for name in moves}, moves, source)


def _in_common(ways: list[np.ndarray]) -> bool:
    """Whether ways [K,M,3] of several people are mostly the same: what age or weight does depends on who it is."""
    mean = np.nanmean(ways, 0)
    return bool(np.nanmean((ways - mean) ** 2) < _DIFFERENT * np.nanmean(mean**2))


def _local(points: np.ndarray, ways: np.ndarray) -> Tensor:
    """Ways [K,M,3] without what moves the whole head: faces are placed by their landmarks, so that a longer nose moves
    all else a little. Where there is no such thing, as they are."""
    found = []
    for way in ways:
        known = ~np.isnan(way).any(1) & ~np.isnan(points).any(1)
        still, there = points[known], points[known] + way[known]
        kept = np.ones(len(still), bool)
        for _ in range(_TRIMMED):
            scale, turn, shift = similarity_of(still[kept], there[kept])
            rest = there - (scale * still @ turn + shift)
            size = np.linalg.norm(rest, axis=1)
            kept = size <= np.median(size)
        local = way.copy()
        if np.median(size) < _EXACT:
            local[known] = rest
        found.append(local)
    return torch.from_numpy(np.stack(found)).float()


def _people(seed: int) -> list[Person]:
    """Grown people of MakeHuman, their faces still and bare."""
    bare: dict[str, Any] = {"glasses": -1, "hat": -1, "style": -1, "wig": -1, "beard": np.zeros(3), "neckline": 1.0}
    found = (p for p in sample_people(1000, seed) if p.family == 1 and 18 < p.age < 60)
    return [set_traits(replace(p, **bare), _STILL) for p in found]


def _landmarks(pack: Pack, person: Person) -> tuple[np.ndarray, np.ndarray] | None:
    """For each landmark three vertices [468,3] of the person's skin, and their shares; None where no face is found."""
    camera, people = Camera.look_at(), People(pack, (person,))
    photo = read_photo((render(people, camera, _RESOLUTION).image[0] / 2 + 0.5).clamp(0, 1))
    faces = find_faces(photo, "cpu")
    if not faces:
        return None
    uv = torch.from_numpy(faces[0].mesh.points[:, :2]).float() / torch.tensor([photo.width, photo.height])
    origins, directions = (rays[0].numpy() for rays in pixel_rays(camera, uv[None]))
    hits = people.scene(0).trace(origins, directions)
    distance, index = (
        require("scipy.spatial", "scipy")
        .cKDTree(_vertices(pack, person)[0])
        .query(origins + hits.depth[:, None] * directions, 3)
    )
    share = 1 / np.maximum(distance, 1e-4)
    share = share / share.sum(1, keepdims=True)
    share[distance[:, 0] > _OFF] = np.nan
    return index, share


def _others(pack: Pack, person: Person, landmarks: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Vertices all over the head, each as far as can be from landmarks and from those before it."""
    skin = _vertices(pack, person)[0]
    candidates = np.where((np.abs(skin).max(1) < 0.4) & (skin[:, 1] > _LOWEST))[0]
    own = skin[landmarks[0][~np.isnan(landmarks[1]).any(1)]].reshape(-1, 3)
    distance = require("scipy.spatial", "scipy").cKDTree(own).query(skin[candidates])[0]
    chosen: list[int] = []
    while len(chosen) < _OTHERS and distance.max() >= _APART:
        chosen.append(int(candidates[int(distance.argmax())]))
        distance = np.minimum(distance, np.linalg.norm(skin[candidates] - skin[chosen[-1]], axis=1))
    return np.array(chosen)


def _points(pack: Pack, person: Person, landmarks: tuple[np.ndarray, np.ndarray], others: np.ndarray) -> np.ndarray:
    """Where the points [M,3] are: landmarks, others, and the fronts of both eyes."""
    skin, eyes = _vertices(pack, person)
    index, share = landmarks
    return np.concatenate([(skin[index] * share[..., None]).sum(1), skin[others], eyes])


def _vertices(pack: Pack, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the skin [n,3], and of the fronts of both eyes [2·_EYE,3], which turn with the gaze."""
    skin, eyes, *_ = makehuman.build(pack, person)[0]
    mesh = pack.arrays("makehuman/mesh.npz")
    # In the mesh eyes look straight ahead.
    fronts = [ball[np.argsort(-mesh["base"][ball, 2])[:_EYE]] for ball in (mesh["eye_l"], mesh["eye_r"])]
    return skin.vertices, np.concatenate([eyes.vertices[front] for front in fronts])
