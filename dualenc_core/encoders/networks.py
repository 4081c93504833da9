"""Networks of a worker: their names travel to it, it loads them once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints import resolve
from ..errors import DualEncError
from ..files import sha256
from ..generator import PanoHead
from ..generator.loading import load_generator
from . import HeadEncoder, load_encoder


@dataclass(frozen=True)
class NetworkFiles:
    """Where networks are, and which.

    Attributes:
        paths: role (generator, encoder1, encoder2, control) and absolute path of each.
        hashes: their SHA-256, in the same order: a file that was replaced is another network.
        device: where they are to compute.
    """

    paths: tuple[tuple[str, str], ...]
    hashes: tuple[str, ...]
    device: str

    @classmethod
    def find(cls, device: str, generator: str, **encoders: str | None) -> NetworkFiles:
        """By names or paths, as the loaders take them; encoders (encoder1, encoder2, control) may be None.

        Raises CheckpointError for a missing file.
        """
        names = {"generator": generator} | {role: name for role, name in encoders.items() if name is not None}
        paths = {
            role: Path(resolve("generator" if role == "generator" else "encoder", name)).absolute()
            for role, name in names.items()
        }
        return cls(tuple((role, str(path)) for role, path in paths.items()), tuple(map(sha256, paths.values())), device)

    def describe(self) -> dict[str, dict[str, str]]:
        """Role → file and sha256, for reports."""
        pairs = zip(self.paths, self.hashes, strict=True)
        return {role: {"file": Path(path).name, "sha256": digest} for (role, path), digest in pairs}


@dataclass(frozen=True)
class Networks:
    """Frozen networks on their device."""

    generator: PanoHead
    encoder1: HeadEncoder | None = None
    encoder2: HeadEncoder | None = None
    control: HeadEncoder | None = None

    @property
    def pair(self) -> tuple[HeadEncoder, HeadEncoder]:
        """Encoders 1 and 2. Raises DualEncError where one was not asked for."""
        if self.encoder1 is None or self.encoder2 is None:
            raise DualEncError("the dual encoder needs two encoders, and one is None; name both")
        return self.encoder1, self.encoder2


@functools.lru_cache(maxsize=1)
def load_networks(files: NetworkFiles) -> Networks:
    """The networks; the last ones are kept. Raises CheckpointError for files that do not hold them."""
    paths = dict(files.paths)
    generator = load_generator(paths.pop("generator"), files.device)
    return Networks(generator, **{role: load_encoder(path, files.device) for role, path in paths.items()})
