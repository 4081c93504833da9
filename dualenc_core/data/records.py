"""What runs over a folder of photos share: which photos, a record of each, and going on where a run stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DualEncError
from ..files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
RECORDS, SETTINGS = "records", "settings.json"


def find_photos(photos: Path, out: Path) -> list[str]:
    """Paths of the photos of a folder and its subfolders, relative to it, sorted; both paths are absolute.

    Raises DualEncError for no folder, no photo, or results that would lie among the photos.
    """
    if not photos.is_dir():
        raise DualEncError(f"{photos} is not a folder; give the folder that holds the photos")
    if out == photos or photos.is_relative_to(out):
        raise DualEncError(f"--out {out} holds the photos themselves; choose another folder")
    paths = [path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    # An output folder inside the photos must not become its own input.
    paths = [path for path in paths if not path.is_relative_to(out)]
    if not paths:
        raise DualEncError(f"there is no photo in {photos} (looked for {', '.join(SUFFIXES)}, subfolders too)")
    return sorted(path.relative_to(photos).as_posix() for path in paths)


def same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings in ``out``; raises DualEncError when other ones are there."""
    path = out / SETTINGS
    if not path.is_file():
        write_json(path, settings)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before != settings:
        different = [f"{k} {before.get(k)!r} → {v!r}" for k, v in settings.items() if before.get(k) != v]
        raise DualEncError(
            f"{out} was made with other settings ({', '.join(different)}); use the same ones to go on, or another --out"
        )


def stamp(path: Path) -> list[int]:
    """Size and time: tells a changed photo from one that was done."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """How one photo went. Written last: it says that everything else of the photo is there."""
    write_json(_path(out, record["photo"]), record)


def read_record(out: Path, name: str) -> dict[str, Any] | None:
    """None when there is none, or only a part of one."""
    try:
        return json.loads(_path(out, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_done(out: Path, name: str, photo: Path, made: Iterable[Path]) -> bool:
    """Whether the photo as it is now was rejected, or accepted and ``made`` is there."""
    record = read_record(out, name)
    if record is None or record.get("stamp") != stamp(photo):
        return False
    return record.get("status") == "rejected" or all(path.is_file() for path in made)


def all_records(out: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of every photo; raises DualEncError when one is missing."""
    found = {name: read_record(out, name) for name in names}
    if missing := [name for name, record in found.items() if record is None]:
        raise DualEncError(
            f"{len(missing)} photos have no record in {out / RECORDS} (such as {missing[0]}); do all workers share "
            "this file system? Run the same command again"
        )
    return list(found.values())


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
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _path(out: Path, name: str) -> Path:
    return out / RECORDS / f"{name}.json"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
