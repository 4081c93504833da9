"""What runs over a folder of photos share: which photos, a record of each, and going on where a run stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointError, DualEncError, GeneratorMismatchError, MissingDependencyError, NoFaceError
from ...files import is_temporary, portable_name, read_text, write_text

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
RECORDS, SETTINGS = "records", "settings.json"
# Of the longest suffix that results have, .safetensors, and a little.
_ROOM = 16


def find_photos(photos: Path, out: Path) -> list[str]:
    """Paths of the photos of a folder and its subfolders, relative to it, sorted; both paths are absolute.

    Links to nothing are among them: who put one there expects a result, or a reason.

    Raises DualEncError for no folder, no photo, or results that would lie among the photos.
    """
    if not photos.is_dir():
        raise DualEncError(f"{photos} is not a folder; give the folder that holds the photos")
    if out == photos or photos.is_relative_to(out):
        raise DualEncError(f"--out {out} holds the photos themselves; choose another folder")
    paths = [path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES and not os.path.isdir(path)]
    # An output folder inside the photos must not become its own input.
    paths = [path for path in paths if not path.is_relative_to(out)]
    names = sorted(path.relative_to(photos).as_posix() for path in paths if not is_temporary(path))
    if not names:
        raise DualEncError(f"there is no photo in {photos} (looked for {', '.join(SUFFIXES)}, subfolders too)")
    return names


def result_name(name: str) -> str:
    """What a photo's results are called, without their suffix: its name, unless that fits no further suffix, or no
    file system of others."""
    return portable_name(name, _ROOM)


def same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings in ``out``; raises DualEncError when other ones are there."""
    path = out / SETTINGS
    if not path.is_file():
        write_json(path, settings)
        return
    try:
        before = json.loads(read_text(path))
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, dict):
        raise DualEncError(f"{path} is damaged, so it is not known how {out} was made; use another --out")
    if before != settings:
        different = [f"{k} {before.get(k)!r} → {v!r}" for k, v in settings.items() if before.get(k) != v]
        raise DualEncError(
            f"{out} was made with other settings ({', '.join(different)}); use the same ones to go on, or another --out"
        )


def stamp(path: Path) -> list[int] | None:
    """Size and time: tells a changed photo from one that was done. None for one that cannot be asked."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def rejection(error: Exception) -> dict[str, str]:
    """The fields of a record for a photo that ``error`` ended; it never ends the run.

    Raises the error itself when it is about the run and not about the photo: weights that are missing, broken, or do
    not fit one another, a device without memory.
    """
    if isinstance(error, (CheckpointError, GeneratorMismatchError, torch.OutOfMemoryError)):
        raise error
    if isinstance(error, NoFaceError):
        code = "no-face"
    elif isinstance(error, MissingDependencyError):
        code = "needs-package"
    else:
        code = "unreadable" if isinstance(error, (DualEncError, OSError)) else "failed"
    reason = str(error) if isinstance(error, DualEncError) else f"{type(error).__name__}: {error}"
    return {"status": "rejected", "code": code, "reason": reason}


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """How one photo went. Written last: it says that everything else of the photo is there."""
    write_json(_path(out, record["photo"]), record)


def read_record(out: Path, name: str) -> dict[str, Any] | None:
    """None when there is none, or only a part of one."""
    return _read(_path(out, name))


def is_done(out: Path, name: str, photo: Path, made: Iterable[Path]) -> bool:
    """Whether the photo as it is now was rejected, or accepted and ``made`` is there.

    What was rejected for a reason that may be gone (a package, a failure of ours) is done again.
    """
    record = read_record(out, name)
    if record is None or record.get("stamp") != stamp(photo):
        return False
    if record["status"] == "rejected":
        return record["code"] not in ("needs-package", "failed") and record.get("stamp") is not None
    return all(path.is_file() for path in made)


def all_records(out: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of every photo; raises DualEncError when one is missing."""
    found = [read_record(out, name) for name in names]
    if missing := [name for name, record in zip(names, found, strict=True) if record is None]:
        raise DualEncError(
            f"{len(missing)} photos have no record in {out / RECORDS} (such as {missing[0]}); do all workers share "
            "this file system? Run the same command again"
        )
    return [record for record in found if record is not None]


def drop_stale(out: Path, accepted: Iterable[str], folders: Mapping[str, str]) -> None:
    """Remove results (folder → their suffix) of photos that were accepted once, and are rejected now or gone.

    Only what has a record is removed: other people's files in these folders are none of ours.
    """
    keep = {result_name(name) for name in accepted}
    for path in (out / RECORDS).rglob("*.json"):
        record = None if is_temporary(path.relative_to(out)) else _read(path)
        if record is None or (stem := result_name(record["photo"])) in keep:
            continue
        for folder, suffix in folders.items():
            (out / folder / f"{stem}{suffix}").unlink(missing_ok=True)


def rejections(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Photo → (short reason, sentence)."""
    return {r["photo"]: (r["code"], r["reason"]) for r in records if r["status"] == "rejected"}


def tables(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown of what was rejected and why, and of warnings."""
    lines = ["| rejected photo | reason |", "|---|---|"]
    lines += [f"| {_cell(name)} | {code}: {_cell(reason)} |" for name, (code, reason) in rejections(records).items()]
    warned = [r for r in records if r["status"] == "accepted" and r["warnings"]]
    if warned:
        lines += ["", "| accepted with a warning | |", "|---|---|"]
        lines += [f"| {_cell(r['photo'])} | {_cell('; '.join(r['warnings']))} |" for r in warned]
    return lines


def write_json(path: Path, content: Any) -> None:
    """Readable, atomically."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    needed = {"photo", "stamp", "status", "code", "reason"}
    return record if isinstance(record, dict) and needed <= record.keys() else None


def _path(out: Path, name: str) -> Path:
    return out / RECORDS / f"{result_name(name)}.json"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
