"""The catalog of known weights files: what each is for, where it comes from, whether it is here."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ..errors import CheckpointError
from ..files import read_text, sha256, write_text
from .sniff import file_kind

WEIGHTS_VARIABLE = "DUALENC_WEIGHTS"
_PACKAGE = "package:"


@dataclass(frozen=True)
class KnownFile:
    """One file of an entry; size in bytes and SHA-256 are None where nobody has published or measured them."""

    name: str | None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """One line of ``weights/catalog.json``.

    Attributes:
        id: short name.
        kind: what can load it: ``generator``, ``encoder``, ``arcface``, ``curricularface``, ``lpips``, ``portrait``.
        role: what it is for.
        files: the published or bundled files.
        folder: where to put them, relative to the weights folder; ``package:NAME/…`` = inside an installed package.
        url: the authors' page, or None.
        licence: as far as known.
        how_to_convert: a command, or None if the file is used as it is.
        alias: name that ``resolve`` accepts for the bundled or converted file, or None.
        bundled: part of this repository.
        converted: name of the file that ``how_to_convert`` writes, or None.
        note: remark, or None.
    """

    id: str
    kind: str
    role: str
    files: tuple[KnownFile, ...]
    folder: str
    url: str | None
    licence: str
    how_to_convert: str | None
    alias: str | None = None
    bundled: bool = False
    converted: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Status:
    """Where one file of an entry is.

    Attributes:
        entry, file: what was looked for.
        state: ``present``, ``converted``, ``not converted``, ``wrong size``, ``wrong hash``, ``missing`` or
            ``unknown name``.
        path: where it was found, or where to put it.
    """

    entry: Entry
    file: KnownFile
    state: str
    path: Path | None


def weights_folder() -> Path:
    """The weights folder: the environment variable ``DUALENC_WEIGHTS``, else ``weights/`` of the repository."""
    override = os.environ.get(WEIGHTS_VARIABLE)
    return Path(override).expanduser() if override else Path(__file__).resolve().parents[2] / "weights"


def catalog_path() -> Path:
    """``catalog.json`` in the weights folder if it has one, else the repository's."""
    own = weights_folder() / "catalog.json"
    return own if own.is_file() else Path(__file__).resolve().parents[2] / "weights" / "catalog.json"


def read_catalog(path: str | Path | None = None) -> tuple[Entry, ...]:
    """All entries.

    Raises:
        CheckpointError: the catalog is missing or not valid.
    """
    path = Path(path) if path else catalog_path()
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"the weights catalog {path} cannot be read ({error}); restore it from the repository"
        ) from error


@cache
def _parse(path: Path, _modified: int) -> tuple[Entry, ...]:
    content = json.loads(read_text(path))
    return tuple(
        Entry(**{**entry, "files": tuple(KnownFile(**file) for file in entry["files"])}) for entry in content["entries"]
    )


def status(
    weights_dir: str | Path | None = None, search_dirs: Iterable[str | Path] = (), verify: bool = False
) -> list[Status]:
    """Look for every known file.

    Args:
        weights_dir: default: ``weights_folder()``.
        search_dirs: further folders, searched flat.
        verify: also compare SHA-256 where it is known (reads the files).
    """
    root = Path(weights_dir) if weights_dir else weights_folder()
    folders = [Path(folder) for folder in search_dirs]
    return [_locate(entry, file, root, folders, verify) for entry in read_catalog() for file in entry.files]


def _locate(entry: Entry, file: KnownFile, root: Path, folders: Sequence[Path], verify: bool) -> Status:
    if entry.converted:
        for folder in (root, *folders):
            if (folder / entry.converted).is_file():
                return Status(entry, file, "converted", folder / entry.converted)
    if file.name is None:
        return Status(entry, file, "unknown name", None)
    home = _home(entry, root)
    found = next((folder / file.name for folder in (home, root, *folders) if (folder / file.name).is_file()), None)
    if found is None:
        return Status(entry, file, "missing", home / file.name)
    if file.size is not None and found.stat().st_size != file.size:
        return Status(entry, file, "wrong size", found)
    if verify and file.sha256 is not None and sha256(found) != file.sha256:
        return Status(entry, file, "wrong hash", found)
    return Status(entry, file, "not converted" if entry.converted else "present", found)


def _home(entry: Entry, root: Path) -> Path:
    if not entry.folder.startswith(_PACKAGE):
        return root / entry.folder
    package, *inner = entry.folder.removeprefix(_PACKAGE).split("/")
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations or [""]) if found else [f"({package} is not installed)"]
    return Path(places[0], *inner)


def format_status(
    weights_dir: str | Path | None = None, search_dirs: Iterable[str | Path] = (), verify: bool = False
) -> str:
    """The text of ``python -m dualenc_core weights``: one line per file, and what to do for those that are not here."""
    root = Path(weights_dir) if weights_dir else weights_folder()
    lines = [f"weights folder: {root} (change it with {WEIGHTS_VARIABLE})", ""]
    for row in status(root, search_dirs, verify):
        name = row.file.name or "(file name not published)"
        lines.append(f"[{row.state}] {row.entry.id}: {name} ({_size(row.file.size)}) — {row.entry.role}")
        if row.state in ("present", "converted"):
            lines.append(f"    at       {row.path}")
            continue
        if row.state.startswith("wrong"):
            expected = row.file.sha256 if row.state == "wrong hash" else f"{row.file.size} bytes"
            lines.append(f"    problem  {row.path} differs from the known file ({expected}); download it again")
        lines += [f"    {line}" for line in _instructions(row.entry, root, row.state)]
    return "\n".join(lines)


def _instructions(entry: Entry, root: Path, state: str) -> list[str]:
    if entry.bundled:
        return [f"restore  from the repository into {_home(entry, root)}"]
    lines = []
    if state != "not converted":
        lines += [f"from     {entry.url or 'not published'}", f"put into {_home(entry, root)}"]
    if entry.how_to_convert:
        lines.append(f"convert  {convert_command(entry, root)}")
    lines.append(f"licence  {entry.licence}")
    if entry.note:
        lines.append(f"note     {entry.note}")
    return lines


def resolve(kind: str, name_or_path: str | Path, weights_dir: str | Path | None = None) -> Path:
    """The file that a user means.

    Args:
        kind: ``generator``, ``encoder``, … (for the message; an alias of another kind is refused).
        name_or_path: an alias ("demo", "demo-e1", "demo-e2", the id of a catalog entry), a path, or the name of a file
            in the weights folder. A path that exists wins over an alias only if it has a suffix.
        weights_dir: default: ``weights_folder()``.

    Raises:
        CheckpointError: unknown name, other kind, or missing file; the message says what to get, where, and how.
    """
    root = Path(weights_dir) if weights_dir else weights_folder()
    text = str(name_or_path)
    entries = read_catalog()
    entry = next((entry for entry in entries if text in (entry.alias, entry.id)), None)
    if entry is None:
        candidates = (Path(text).expanduser(), root / text)
        found = next((path for path in candidates if path.is_file()), None)
        if found is not None:
            return found
        entry = next((e for e in entries if Path(text).name in {e.converted, *(file.name for file in e.files)}), None)
        if entry is None:
            known = ", ".join(e.alias or e.id for e in entries if e.kind == kind)
            raise CheckpointError(
                f"{kind} weights {text!r} are neither an existing file nor in {root} nor a known name ({known}); "
                "`python -m dualenc_core weights` lists all files"
            )
    if entry.kind != kind:
        raise CheckpointError(f"{text!r} are {entry.kind} weights ({entry.role}); {kind} weights are expected here")
    file = entry.files[0]
    home = _home(entry, root)
    for path in (root / entry.converted if entry.converted else None, home / file.name if file.name else None):
        # A downloaded generator pickle can be loaded as it is; other published formats must be converted first.
        if path is not None and path.is_file() and (file_kind(path) == "safetensors" or _loadable(entry, path)):
            return path
    raise CheckpointError(_missing_message(entry, root))


def _loadable(entry: Entry, path: Path) -> bool:
    return entry.bundled or not entry.converted or (entry.kind == "generator" and path.suffix == ".pkl")


def _missing_message(entry: Entry, root: Path) -> str:
    file = entry.files[0]
    parts = [f"{entry.role}: {file.name or 'the file'} is missing"]
    if file.name and (_home(entry, root) / file.name).is_file():
        parts = [f"{entry.role}: {file.name} is in {_home(entry, root)} but not converted yet"]
    elif entry.bundled:
        parts.append(f"it belongs to the repository; restore it into {_home(entry, root)}")
    else:
        parts.append(
            f"get it from {entry.url or '(not published)'} ({_size(file.size)}) and put it into {_home(entry, root)}"
        )
        parts.append(f"licence: {entry.licence}")
    if entry.how_to_convert:
        parts.append(f"then: {convert_command(entry, root)}")
    return "; ".join(parts)


def convert_command(entry: Entry, root: Path) -> str:
    """``how_to_convert`` with the places of this machine, so that it works as it stands."""
    source = _home(entry, root) / (entry.files[0].name or "FILE")
    paths = (f'"{path}"' if " " in str(path) else str(path) for path in (source, root / str(entry.converted)))
    return " ".join(["python -m dualenc_core convert", *paths])


def _size(size: int | None) -> str:
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"


def update(weights_dir: str | Path | None = None, path: str | Path | None = None) -> list[str]:
    """Fill in size and SHA-256 of the bundled files that are present, and write the catalog.

    Returns:
        Names of the files whose line changed.
    """
    root = Path(weights_dir) if weights_dir else weights_folder()
    path = Path(path) if path else catalog_path()
    content = json.loads(read_text(path))
    changed = []
    for entry in (entry for entry in content["entries"] if entry.get("bundled")):
        for line in entry["files"]:
            location = root / entry["folder"] / line["name"]
            if not location.is_file():
                continue
            measured = replace(KnownFile(**line), size=location.stat().st_size, sha256=sha256(location))
            if measured != KnownFile(**line):
                line.update(size=measured.size, sha256=measured.sha256)
                changed.append(line["name"])
    if changed:
        write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return changed
