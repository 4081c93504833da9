"""A folder of results that appears as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import DualEncError


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; on success its files move into ``path``, on error or interrupt it is removed.

    Files of the same name in ``path`` are replaced, others are kept.

    Raises DualEncError when ``path`` or a parent is a file.
    """
    home = path.absolute()
    anchor = next(folder for folder in (home, *home.parents) if folder.exists())
    if not anchor.is_dir():
        raise DualEncError(f"the output folder {path} cannot be made: {anchor} is a file; choose another --out")
    # Inside the nearest folder that exists, so that moving never crosses file systems.
    staging = Path(tempfile.mkdtemp(prefix=".dualenc-", dir=anchor))
    try:
        yield staging
        home.mkdir(parents=True, exist_ok=True)
        for file in sorted(staging.iterdir()):
            os.replace(file, home / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
