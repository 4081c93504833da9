"""A folder of results that appears as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import DualEncError
from ..files import TEMPORARY, make_folder, nearest_folder


@contextlib.contextmanager
def output_folder(path: Path, replaces: Iterable[str] = (), keep_finished: bool = False) -> Iterator[Path]:
    """Yield an empty folder; on success its files move into ``path``, on error or interrupt it is removed.

    Files of the same name in ``path`` are replaced, others are kept.

    Args:
        replaces: patterns (``view-*.png``) of what an earlier run may have left in ``path`` and this one may not write:
            it goes, or it would pass for a result of this run.
        keep_finished: when writing fails (a disk that is full), keep the files that are finished. For results that are
            each of use alone, like pictures.

    Raises DualEncError when ``path`` or a parent is a file or a link to nothing, before any work; and when the results
    cannot be moved, saying where they are.
    """
    home = path.absolute()
    # Inside the nearest folder that exists, so that moving never crosses file systems.
    staging = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=nearest_folder(home)))
    try:
        yield staging
    except OSError as error:
        finished = [file for file in staging.rglob("*") if file.is_file()] if keep_finished else []
        if not finished:
            shutil.rmtree(staging, ignore_errors=True)
            if str(error.filename).startswith(str(staging)):
                # The name by which the user knows it.
                error.filename = str(home / Path(error.filename).relative_to(staging))
            raise
        _deliver(staging, home, ())
        raise DualEncError(
            f"{error.strerror or error}; what was finished is in {path} ({len(finished)} files): check the free space "
            "and the permissions"
        ) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _deliver(staging, home, replaces)


def _deliver(staging: Path, home: Path, replaces: Iterable[str]) -> None:
    """Move everything; what cannot be moved stays where it is, and the error says where."""
    try:
        make_folder(home)
        for stale in (file for pattern in replaces for file in home.glob(pattern)):
            if not (staging / stale.relative_to(home)).exists():
                stale.unlink()
        for file in sorted(staging.rglob("*")):
            if not file.is_dir():
                target = home / file.relative_to(staging)
                make_folder(target.parent)
                os.replace(file, target)
    except (OSError, DualEncError) as error:
        raise DualEncError(f"the results cannot be moved into {home}, they are in {staging} ({error})") from error
    shutil.rmtree(staging, ignore_errors=True)
