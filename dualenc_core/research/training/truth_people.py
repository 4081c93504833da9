"""People of a folder of traced ones (`people.shards`) as the truth of a training."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import people
from ...camera import Camera
from ...errors import DualEncError, require
from ...files import atomic_path, read_text
from ...generator.config import GeneratorConfig
from ...people.person import latent_of, people_from_latent
from ...people.shards import BOX_WARP, DEPTH_SIZE, RELIEF_SIZE, Record, read_record
from ...people.standard import Standard
from ...rendering.rays import pixel_rays
from .truth import Numbers, Patches, Planes, Truth, on_faces, random_corners

# Pictures are read at this side for rays: large ones are averaged, which is their anti-aliasing.
_RAY_SIZE = 256
# Descriptions that the mapping network learns from; the spread is that of the first ones.
_DESCRIPTIONS, _MEASURED = 3 << 15, 1 << 14
_DESCRIPTION_SEED = 500_000
# Rays a head by which the decoder learns to read true tri-grids.
_DECODER_RAYS = 192
# How far behind its surface a head is known to be solid, in world units.
_SOLID = 0.012


class PeopleTruth:
    """People that are read from a folder; new files of a running `make_shards` are found on the way.

    Args:
        folder: of `people.shards.make_shards`.
        pack: for the light of descriptions; only needed until ``descriptions.npz`` is in the folder.
        kept: people that are kept in memory, 1 to 2 MB each.

    Raises DualEncError for a folder without people.
    """

    backdrop = people.BACKDROP

    def __init__(self, folder: str | Path, pack: people.Pack | None = None, kept: int = 4096) -> None:
        self.folder = Path(folder)
        self._paths: list[Path] = []
        self._refresh()
        about = json.loads(read_text(self.folder / "about.json"))
        if about["traits"] != list(people.trait_names()):
            raise DualEncError(
                f"{self.folder} was traced when people had other traits ({len(about['traits'])}, now "
                f"{len(people.trait_names())}); trace it anew into another folder"
            )
        self._sources = about["sources"]
        self._read = functools.lru_cache(maxsize=kept)(read_record)
        self._latents, self._descriptions = _descriptions(self.folder, pack)
        self.standardised = Standard.of(self._descriptions[:_MEASURED])
        self._drawn = 0

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"data": "people", "sources": self._sources, **self.standardised.to_provenance()}

    def numbers(self, count: int, rng: torch.Generator) -> Numbers:
        pick = torch.randint(len(self._latents), (count,), generator=rng, device=rng.device).cpu().numpy()
        z = torch.from_numpy(self._latents[pick])
        return Numbers(z.to(rng.device), self.standardised(self._descriptions[pick]).to(rng.device))

    def rays(self, heads: int, rays: int, points: int, rng: torch.Generator, rendered: bool) -> Truth:
        return self._truth(self.records(heads, rng), rays, points, rng)

    def _truth(self, records: list[Record], rays: int, points: int, rng: torch.Generator) -> Truth:
        parts = [self._view(r, rays, points, rng) for r in records]
        columns = [torch.cat(values).to(rng.device) for values in zip(*parts, strict=True)]
        return Truth(self.standardised(np.stack([r.numbers for r in records])).to(rng.device), *columns)

    def planes(self, heads: int, size: int, config: GeneratorConfig, rng: torch.Generator) -> tuple[Planes, Truth]:
        """Tri-grids of ``size`` that random people should have, `people.relief`, and some rays of the same people."""
        check_reliefs_fit(config, size)
        records = self.records(heads, rng)
        made = [r.relief.planes(config.features, config.plane_depth, RELIEF_SIZE // size) for r in records]
        planes, weight = (torch.stack(part).to(rng.device) for part in zip(*made, strict=True))
        if size == RELIEF_SIZE:
            finest = planes
        else:
            own = [r.relief.planes(config.features, config.plane_depth)[0] for r in records]
            finest = torch.stack(own).to(rng.device)
        numbers = self.standardised(np.stack([r.numbers for r in records])).to(rng.device)
        return Planes(numbers, planes, weight, finest), self._truth(records, _DECODER_RAYS, 8, rng)

    def patches(self, count: int, patch: int, margin: int, config: GeneratorConfig, rng: torch.Generator) -> Patches:
        check_reliefs_fit(config, config.plane_size)
        grid = config.neural_resolution
        records, labels, targets = self.records(count, rng), [], []
        corner = random_corners(count, patch, grid, margin, rng)
        for record, (left, top) in zip(records, corner[:, 0].tolist(), strict=True):
            view = int(torch.randint(record.large, (), generator=rng, device=rng.device))
            colour, _ = record.view(view)
            if len(colour) != 4 * grid:
                raise DualEncError(
                    f"{self.folder} has pictures of {len(colour)} pixels, the generator makes {4 * grid}"
                )
            part = colour[4 * top : 4 * (top + patch), 4 * left : 4 * (left + patch)]
            targets.append(torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1).float() / 127.5 - 1)
            labels.append(torch.from_numpy(record.labels[view]))
        numbers = self.standardised(np.stack([r.numbers for r in records]))
        planes = torch.stack([r.relief.planes(config.features, config.plane_depth)[0] for r in records])
        parts = numbers, torch.stack(labels), corner, torch.stack(targets), planes
        return Patches(*(part.to(rng.device) for part in parts))

    def preview(self, yaw: float, size: int) -> tuple[Tensor, Tensor]:
        cv2 = require("cv2", "opencv-python")
        # Of these people, the picture that is nearest to the asked side.
        records = [self._read(path) for path in self._paths[:4]]
        pictures = []
        for record in records:
            away = (Camera.from_label(torch.from_numpy(record.labels)).angles[0] - yaw + 180) % 360 - 180
            colour, _ = record.view(int(away.abs().argmin()))
            small = cv2.resize(colour, (size, size), interpolation=cv2.INTER_AREA)
            pictures.append(torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1)
        return self.standardised(np.stack([r.numbers for r in records])), torch.stack(pictures)

    def records(self, count: int, rng: torch.Generator) -> list[Record]:
        """Random people of the folder."""
        self._drawn += count
        if self._drawn > 400:
            self._drawn = 0
            self._refresh()
        pick = torch.randint(len(self._paths), (count,), generator=rng, device=rng.device).tolist()
        return [self._read(self._paths[i]) for i in pick]

    def _refresh(self) -> None:
        self._paths = sorted(self.folder.glob("[0-9]*.npz"))
        if not self._paths:
            raise DualEncError(f"{self.folder} has no traced people; make some: python -m dualenc_core people trace")

    def _view(self, record: Record, rays: int, points: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Rays and points of one picture: origins, directions, rgb, alpha, points, distance, colour, each [1,…]."""
        cv2 = require("cv2", "opencv-python")
        view = int(torch.randint(len(record.labels), (), generator=rng, device=rng.device))
        camera = Camera.from_label(torch.from_numpy(record.labels[view][None]))
        pictures = [cv2.resize(p, (_RAY_SIZE, _RAY_SIZE), interpolation=cv2.INTER_AREA) for p in record.view(view)]
        colour = torch.from_numpy(pictures[0].reshape(-1, 3)).float() / 127.5 - 1
        alpha = torch.from_numpy(pictures[1].reshape(-1)).float() / 255
        pixel = self._pixels(torch.from_numpy(pictures[1]), camera, rays, _RAY_SIZE, rng)
        origins, directions = pixel_rays(camera, (_place(pixel, _RAY_SIZE) + 0.5)[None] / _RAY_SIZE)
        distance = torch.from_numpy(record.distance(view))
        cell = self._pixels(torch.from_numpy(pictures[1]), camera, points, DEPTH_SIZE, rng)
        at = _place(cell, DEPTH_SIZE)
        o, d = pixel_rays(camera, (at + 0.5)[None] / DEPTH_SIZE)
        depth = distance[cell]
        offset = _offsets(depth, rng)
        where = o + (depth - offset)[None, :, None] * d
        ratio = _RAY_SIZE // DEPTH_SIZE
        near = colour[(at[:, 1] * ratio) * _RAY_SIZE + at[:, 0] * ratio]
        return (
            origins,
            directions,
            colour[pixel][None],
            alpha[pixel][None],
            where,
            offset[None],
            near[None],
        )

    @staticmethod
    def _pixels(alpha: Tensor, camera: Camera, count: int, size: int, rng: torch.Generator) -> Tensor:
        """Random pixels [count] of a picture of ``size``: a third on the face, most of the others on the head."""
        device = rng.device
        uv = torch.rand(1, 3 * count, 2, generator=rng, device=device).cpu()
        uv = on_faces(uv, camera, 9, torch.Generator().manual_seed(int(torch.randint(1 << 30, (), generator=rng))))
        place = (uv[0] * size).long().clamp(0, size - 1)
        pixel = place[:, 1] * size + place[:, 0]
        ratio = len(alpha) // size
        covered = alpha[place[:, 1] * ratio, place[:, 0] * ratio].float() / 255
        faces = 3 * count // 9
        # Empty space is easy: one in five of the rest.
        keen = torch.rand(3 * count - faces, generator=rng, device=device).cpu()
        chance = torch.where(covered[faces:] > 0, keen + 0.8, keen)
        rest = chance.topk(count - faces, sorted=False).indices + faces
        return torch.cat([pixel[:faces], pixel[rest]])


def check_reliefs_fit(config: GeneratorConfig, size: int) -> None:
    """Raise DualEncError unless the reliefs of traced people can be planes of ``size`` of a generator."""
    if config.render.box_warp != BOX_WARP or size > RELIEF_SIZE or RELIEF_SIZE % size:
        raise DualEncError(
            f"traced people have tri-grids of {RELIEF_SIZE} cells in a box of {BOX_WARP}; planes of {size} cells in a "
            f"box of {config.render.box_warp} cannot be made of them"
        )


def _place(pixel: Tensor, size: int) -> Tensor:
    """Column and row [K,2] of row-major pixels [K]."""
    return torch.stack([pixel % size, pixel // size], dim=1)


def _offsets(depth: Tensor, rng: torch.Generator) -> Tensor:
    """Distances [K] of points before (+) or just behind (-) what rays meet; anywhere on rays that meet nothing."""
    u, v, side = torch.rand(3, len(depth), generator=rng, device=rng.device).cpu()
    anywhere = (depth - 2.28) * u
    near = torch.where(v < 0.45, -_SOLID * u, 0.05 * u * u)
    empty = depth >= people.FAR
    return torch.where(empty | (side < 0.3), anywhere + empty * 0.1, near)


def open_people(folder: str | Path | None, pack: str | Path | None) -> PeopleTruth:
    """The people of ``folder`` (None = runs/people); the pack is opened only where descriptions must be made."""
    folder = Path(folder or "runs/people")
    described = (folder / "descriptions.npz").is_file()
    return PeopleTruth(folder, None if described else people.Pack.open(pack))


def _descriptions(folder: Path, pack: people.Pack | None) -> tuple[np.ndarray, np.ndarray]:
    """Latents [M,Z] and descriptions [M,D], made once a folder: the light of one takes milliseconds."""
    path = folder / "descriptions.npz"
    if not path.is_file():
        if pack is None:
            raise DualEncError(f"{path} is missing, and it takes the pack to make it: pass --people")
        latents = np.stack([latent_of(_DESCRIPTION_SEED, i) for i in range(_DESCRIPTIONS)]).astype(np.float32)
        found = people.People(pack, tuple(people_from_latent(latents)))
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, latents=latents, numbers=found.numbers)
    with np.load(path) as file:
        return file["latents"], file["numbers"]
