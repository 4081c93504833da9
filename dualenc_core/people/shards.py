"""People on disk, traced once for all trainings: a file a person, with pictures from all round.

Tracing a person anew for every step would take most of a training; a file is read in some milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..camera import Camera
from ..errors import DualEncError, require
from ..files import atomic_path, write_text
from ..rendering.rays import pixel_rays
from .pack import Pack
from .people import People, light_of
from .person import latent_of, people_from_latent
from .relief import Relief, relief_of
from .scene import FAR, Scene
from .traits import numbers, trait_names

FORMAT = "dualenc-people/2"
# Seeds below are for training, from there on for evaluation.
EVALUATION_SEED = 1_000_000
# Depth is kept as 16 bits over this range, at this side.
_NEAR, DEPTH_SIZE = 2.0, 128
# The relief is as fine as the planes of the generator of people, in its box.
RELIEF_SIZE, BOX_WARP = 128, 0.8


@dataclass(frozen=True)
class ViewPlan:
    """Which pictures a person gets, one ray a pixel, anywhere inside of it.

    Attributes:
        front, around: large views within ±65° of the front, and from anywhere.
        photos, small: small views within ±65° of the front, and from anywhere.
        large_size, small_size: their sides.
    """

    front: int = 1
    around: int = 1
    photos: int = 2
    small: int = 2
    large_size: int = 512
    small_size: int = 256


@dataclass(frozen=True)
class Record:
    """One person of a folder.

    Attributes:
        numbers: [D] description, `traits.numbers`.
        latent: [Z].
        labels: [V,25] cameras; large views first.
        colour, alpha: V encoded pictures; colour lies on mid grey (0.5).
        depth: uint16 [V,`DEPTH_SIZE`²], of the pixels' upper left rays; 65535 = nothing.
        large: how many of the views are large; they come first.
        relief: the person as planes.
        flipped: pictures and depth are read from right to left.
    """

    numbers: np.ndarray
    latent: np.ndarray
    labels: np.ndarray
    colour: list[bytes]
    alpha: list[bytes]
    depth: np.ndarray
    large: int
    relief: Relief
    flipped: bool = False

    @property
    def mirrored(self) -> Record:
        """The mirror image of the person; ``numbers`` and ``latent`` stay those of the original.

        The pack has few wigs, and each is worn to one side.
        """
        labels = Camera.from_label(torch.from_numpy(self.labels)).mirrored.label.numpy()
        return replace(self, labels=labels, relief=self.relief.mirrored, flipped=not self.flipped)

    def view(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Colour on grey uint8 [S,S,3] and alpha uint8 [S,S] of one view."""
        cv2 = require("cv2", "opencv-python")
        colour = cv2.imdecode(np.frombuffer(self.colour[index], np.uint8), cv2.IMREAD_COLOR)
        alpha = cv2.imdecode(np.frombuffer(self.alpha[index], np.uint8), cv2.IMREAD_GRAYSCALE)
        colour = colour[..., ::-1]
        return (colour[:, ::-1], alpha[:, ::-1]) if self.flipped else (colour, alpha)

    def distance(self, index: int) -> np.ndarray:
        """[`DEPTH_SIZE`²] along unit rays; 3.3 where there is nothing."""
        values = self.depth[index].astype(np.float32) / 65535
        if self.flipped:
            values = values.reshape(DEPTH_SIZE, DEPTH_SIZE)[:, ::-1].reshape(-1)
        return np.where(values < 1, _NEAR + values * (FAR - _NEAR), FAR)


def make_shards(
    folder: str | Path,
    pack: Pack,
    count: int,
    seed: int = 0,
    first: int = 0,
    step: int = 1,
    plan: ViewPlan | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write people ``first``, ``first + step``, … below ``count`` that the folder lacks; how many were made.

    Several processes share the work with different ``first`` and the same ``step``. The same seed makes the same bytes.
    """
    folder, plan = Path(folder), plan or ViewPlan()
    folder.mkdir(parents=True, exist_ok=True)
    if first == 0:
        about = {"format": FORMAT, "seed": seed, "traits": trait_names(), "sources": pack.provenance}
        write_text(folder / "about.json", json.dumps(about, indent=1))
    made = 0
    wanted = [i for i in range(first, count, step) if not (folder / f"{i:06d}.npz").exists()]
    for i in wanted:
        _write(folder / f"{i:06d}.npz", make_record(pack, seed, i, plan))
        made += 1
        if progress is not None:
            progress(made, len(wanted))
    return made


def make_record(pack: Pack, seed: int, index: int, plan: ViewPlan) -> Record:
    """Draw and trace one person."""
    latent = latent_of(seed, index)
    person = people_from_latent(latent[None])[0]
    people = People(pack, (person,))
    scene = people.scene(0)
    rng = np.random.default_rng((seed, index, 1))
    counts = ((plan.front, plan.around), (plan.photos, plan.small))
    yaw = np.concatenate(
        [a for front, around in counts for a in (_uniform(rng, 65, front), _uniform(rng, 180, around))]
    )
    pitch = np.concatenate(
        [a for front, around in counts for a in (_uniform(rng, 22, front), 5 + _uniform(rng, 30, around))]
    )
    camera = Camera.look_at(yaw.tolist(), pitch.tolist())
    large, small = (sum(c) for c in counts)
    sizes = [plan.large_size] * large + [plan.small_size] * small
    colour, alpha, depth = zip(*(_view(scene, camera[i], s, rng) for i, s in enumerate(sizes)), strict=True)
    description = numbers(person, light_of(pack, person).numbers)
    labels = camera.label.numpy().astype(np.float32)
    relief = relief_of(scene, RELIEF_SIZE, BOX_WARP)
    return Record(
        description, latent.astype(np.float32), labels, list(colour), list(alpha), np.stack(depth), large, relief
    )


def _uniform(rng: np.random.Generator, most: float, count: int) -> np.ndarray:
    return rng.uniform(-most, most, count)


def _view(scene: Scene, camera: Camera, size: int, rng: np.random.Generator) -> tuple[bytes, bytes, np.ndarray]:
    cv2 = require("cv2", "opencv-python")
    rows, columns = np.mgrid[:size, :size]
    place = np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float32)
    # Depth is looked up by pixel centres of a coarser grid, whose upper left rays pass through their centres.
    block = size // DEPTH_SIZE
    exact = ((columns % block == 0) & (rows % block == 0)).reshape(-1)
    inside = rng.random((size * size, 2), dtype=np.float32)
    inside[exact] = block / 2
    uv = torch.from_numpy((place + inside) / size)[None]
    origins, directions = pixel_rays(camera, uv)
    hits = scene.trace(origins[0].numpy(), directions[0].numpy())
    on_grey = hits.colour * hits.alpha[:, None] + 0.5 * (1 - hits.alpha[:, None])
    colour = (on_grey * 255 + 0.5).astype(np.uint8).reshape(size, size, 3)
    alpha = (hits.alpha * 255 + 0.5).astype(np.uint8).reshape(size, size)
    if block > 1:
        # The rays that depth took are not inside of their own pixels: their neighbours stand in for the picture.
        mask = exact.reshape(size, size)
        shift = np.roll(colour, -1, 1), np.roll(alpha, -1, 1)
        colour[mask], alpha[mask] = shift[0][mask], shift[1][mask]
    depth = np.where(hits.depth < FAR, (hits.depth - _NEAR) / (FAR - _NEAR) * 65535, 65535)
    depth = depth[exact].clip(0, 65535).astype(np.uint16)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 94, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    jpeg = cv2.imencode(".jpg", colour[..., ::-1], quality)[1].tobytes()
    png = cv2.imencode(".png", alpha, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()
    return jpeg, png, depth


def _write(path: Path, record: Record) -> None:
    def packed(parts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        return np.frombuffer(b"".join(parts), np.uint8), np.array([len(p) for p in parts], np.int64)

    colour, colour_sizes = packed(record.colour)
    alpha, alpha_sizes = packed(record.alpha)
    # By a file object: to a name without its suffix numpy would add one.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            numbers=record.numbers,
            latent=record.latent,
            labels=record.labels,
            colour=colour,
            colour_sizes=colour_sizes,
            alpha=alpha,
            alpha_sizes=alpha_sizes,
            depth=record.depth,
            large=record.large,
            relief_colour=record.relief.colour,
            relief_surface=record.relief.surface,
            relief_covered=record.relief.covered,
        )


def read_record(path: str | Path) -> Record:
    """A person of a folder. Raises DualEncError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {key: file[key] for key in file.files}

        def unpacked(name: str) -> list[bytes]:
            ends = np.cumsum(values[f"{name}_sizes"])
            data = values[name].tobytes()
            return [data[end - size : end] for end, size in zip(ends, values[f"{name}_sizes"], strict=True)]

        return Record(
            values["numbers"],
            values["latent"],
            values["labels"],
            unpacked("colour"),
            unpacked("alpha"),
            values["depth"],
            int(values["large"]),
            Relief(values["relief_colour"], values["relief_surface"], values["relief_covered"], BOX_WARP),
        )
    except Exception as error:  # zipfile and zlib have exceptions of their own
        raise DualEncError(
            f"{path} is not a traced person ({type(error).__name__}: {error}); delete it, it is made again"
        ) from error
