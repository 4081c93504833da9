"""The asset pack of people: where it lies, what it holds, and under which licences (docs: the README of the pack)."""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DualEncError

ENVIRONMENT = "DUALENC_PEOPLE"
# Weights trained on the pack are published, so nothing else may come in.
LICENCES = ("MIT", "CC0")
# Textures are read at half their size: a face keeps 500 pixels, more than a picture of 512 shows.
REDUCTION = 2


@dataclass(frozen=True)
class Pack:
    """A folder of people (VALID avatars, Rocketbox, MakeHuman, eyes, light, accessories), read lazily and kept.

    Args:
        root: the folder, with ``licences/SOURCES.tsv``.
        shared: the folder that files missing in ``root`` come from; None = none.
    """

    root: Path
    shared: Path | None = None
    _arrays: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)
    _images: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, root: str | Path | None = None, shared: str | Path | None = None) -> Pack:
        """The pack in ``root``, or in the folder that the environment variable DUALENC_PEOPLE names.

        Raises DualEncError when there is none, or when its table of licences is missing or names one that is not free.
        """
        given = root if root is not None else os.environ.get(ENVIRONMENT)
        if not given:
            raise DualEncError(f"no folder of people is given: pass --people FOLDER, or set {ENVIRONMENT}")
        pack = cls(Path(given).expanduser(), None if shared is None else Path(shared).expanduser())
        if not pack.root.is_dir():
            raise DualEncError(f"people: {pack.root} is not a folder; pass --people FOLDER, or set {ENVIRONMENT}")
        _ = pack.sources
        return pack

    @functools.cached_property
    def sources(self) -> list[dict[str, str]]:
        """The licence table, a row per group of files: files, source, licence, copyright line, …"""
        folder = self.root if self.shared is None else self.shared
        path = folder / "licences" / "SOURCES.tsv"
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
        except (OSError, UnicodeDecodeError) as error:
            raise DualEncError(
                f"people: {path} cannot be read ({error}); the pack is used with its licences only"
            ) from error
        if not rows or "licence" not in rows[0]:
            raise DualEncError(f"people: {path} has no column 'licence'; expected the pack's table of sources")
        for row in rows:
            licence = row["licence"] or ""
            if not licence.startswith((*LICENCES, "as the family")):
                raise DualEncError(
                    f"people: {path} gives {row.get('files')!r} the licence {licence!r}, expected MIT or CC0"
                )
        return rows

    @property
    def provenance(self) -> list[dict[str, str]]:
        """What a file of weights that was trained on the pack says about it."""
        names = ("files", "source", "commit or version", "licence", "copyright line")
        return [{name: row.get(name) or "" for name in names} for row in self.sources]

    def path(self, name: str) -> Path:
        """Where a file of the pack lies. Raises DualEncError when it is missing."""
        for root in (self.root, self.shared):
            if root is not None and (root / name).is_file():
                return root / name
        raise DualEncError(f"people: {self.root / name} is missing; the pack in {self.root} is incomplete")

    def arrays(self, name: str) -> Mapping[str, np.ndarray]:
        """An ``.npz`` file as arrays by name. Raises DualEncError for a missing or broken one."""
        if name not in self._arrays:
            path = self.path(name)
            try:
                with np.load(path, allow_pickle=False) as file:
                    self._arrays[name] = {key: file[key] for key in file.files}
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise _broken(path, error) from error
            except Exception as error:  # zipfile and zlib have exceptions of their own
                raise _broken(path, error) from error
        return self._arrays[name]

    def image(self, name: str, reduction: int = REDUCTION) -> np.ndarray:
        """A picture as uint8 [H,W] or [H,W,C], smaller by ``reduction``. Raises DualEncError as `arrays`."""
        from PIL import Image

        key = name, reduction
        if key not in self._images:
            path = self.path(name)
            try:
                with Image.open(path) as file:
                    file.load()
                    picture = file.reduce(reduction) if reduction > 1 else file
                    self._images[key] = np.asarray(picture)
            except Exception as error:  # whatever a decoder throws
                raise _broken(path, error) from error
        return self._images[key]

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names, without suffix, of the files in a folder of the pack, sorted."""
        roots = [root for root in (self.root, self.shared) if root is not None]
        return sorted({p.stem for root in roots for p in (root / folder).glob(f"*{suffix}")})


def _broken(path: Path, error: Exception) -> DualEncError:
    return DualEncError(f"people: {path} cannot be read ({type(error).__name__}: {error}); copy the pack again")
