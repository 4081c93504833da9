"""Files: written so that nothing half-written is ever left behind, read in the encodings that people's editors write,
named so that every file system takes them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from .errors import DualEncError

# Also of folders; what begins so is nobody's result, and no loader lists it.
TEMPORARY = ".dualenc-"
# Bytes that the usual file systems allow in a name.
LONGEST_NAME = 255
_SUFFIX = 12
_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS")}


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on error it is removed.

    The temporary name is short and has no suffix, so that it fits where ``path`` does and no loader takes it for a
    result: tell writers that choose the format by the suffix (PIL, PyAV, matplotlib) which one is meant.

    Raises OSError, with ``path`` in its message, for a disk that is full, read-only or over quota; errors that
    safetensors and PyAV report in their own types come as OSError too. DualEncError when the folder cannot be made.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from dualenc_core.files import atomic_path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(f"{folder}/new/notes.txt") as temporary:
        ...         _ = temporary.write_text("all or nothing")
        ...     (Path(folder) / "new" / "notes.txt").read_text()
        'all or nothing'
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = _new_temporary(path)
    mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        # safetensors puts a file of its own in the place of ours, which only its owner may read.
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            with contextlib.suppress(OSError):
                temporary.chmod(mode)
        _settle(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if (known := _write_error(error, path, temporary)) is not None:
            raise known from error
        raise


@contextlib.contextmanager
def reserved(names: Iterable[Path]) -> Iterator[Path]:
    """Yield the first of ``names`` that nobody has taken, as an empty file to be written over (`atomic_path`).

    Taking it is atomic, so that two processes never get the same name. On error the empty file is removed.
    """
    path = reserve(names)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()
        raise


def reserve(names: Iterable[Path]) -> Path:
    """The first of ``names`` that nobody has taken, now an empty file of ours. The folder must exist."""
    for path in names:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
    raise DualEncError("every name is taken; choose another folder or name")


def make_folder(path: str | Path) -> Path:
    """Make a folder and its parents; fine if it is there.

    Raises DualEncError for a file or a link to nothing in the way, OSError for all else.
    """
    path = Path(path)
    nearest_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def nearest_folder(path: str | Path) -> Path:
    """The folder itself, or the nearest parent that exists.

    Raises DualEncError when a file or a link to nothing is in the way, OSError for a name that is too long.
    """
    path = Path(path)
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            place.lstat()
            if place.is_symlink() and not os.path.exists(place):
                raise DualEncError(
                    f"the folder {path} cannot be made: {place} is a link to {os.readlink(place)}, which does not "
                    "exist (a drive that is not mounted?)"
                )
            if not place.is_dir():
                raise DualEncError(f"the folder {path} cannot be made: {place} is a file; choose another")
            return place
    return Path()


def check_target(path: str | Path) -> Path:
    """Make sure that a file can be written at ``path``, before the work whose result it shall hold; leaves nothing.

    Raises DualEncError when ``path`` is a folder or its own folder cannot be made, OSError when it cannot be written
    (permissions, a name that is too long).
    """
    path = Path(path)
    if path.is_dir():
        raise DualEncError(f"{path} is a folder; give the name of a file in it")
    _new_temporary(nearest_folder(path.parent) / path.name).unlink()
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text, atomically. What is not text (file names in no known encoding) is written as its escape, which
    JSON reads back as it was."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return Path(path)


def read_text(path: str | Path) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark, as Notepad and PowerShell write it.

    Raises DualEncError for another encoding, OSError for a file that cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode(json.detect_encoding(content)).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DualEncError(f"{path} is not text in UTF-8 or UTF-16 ({error}); save it as UTF-8") from error


def portable_name(name: str, room: int = 0) -> str:
    """A relative path that can be a file on every usual file system, and in JSON, with ``room`` more bytes at its end.

    Nearly every name stays as it is. Bytes that are not UTF-8, control characters and backslashes are written as %XX,
    parts that are too long are cut, and parts that lead elsewhere (``..``) are made plain names; whatever is changed
    gets a mark of its own (~ and eight digits), so that different names stay different.

    Example:
        >>> from dualenc_core.files import portable_name
        >>> portable_name("heads/Ada 1.safetensors")
        'heads/Ada 1.safetensors'
    """
    *folders, last = name.split("/")
    return "/".join([*(_portable_part(part, 0) for part in folders), _portable_part(last, room)])


def is_temporary(path: Path) -> bool:
    """Whether a path is, or lies in, something unfinished of ours."""
    return any(part.startswith(TEMPORARY) for part in path.parts)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 lower-case hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _new_temporary(path: Path) -> Path:
    while True:
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(4)}"
        try:
            # Not tempfile, whose files only their owner may read.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        return temporary


def _settle(path: Path) -> None:
    """Have the system write the file now: quotas and full network drives are reported no earlier."""
    with open(path, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            # Some file systems cannot be asked.
            if error.errno in _FULL:
                raise


def _write_error(error: BaseException, path: Path, temporary: Path) -> OSError | None:
    """The error as an OSError about ``path``; None when it is no such error."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError):
        foreign = error.filename is not None and str(temporary) not in map(str, (error.filename, error.filename2))
        if foreign or number is None:
            return None
    elif match := re.search(r"\(os error (\d+)\)", str(error)):
        # SafetensorError, which Rust makes.
        number = int(match[1])
    else:
        return None
    return OSError(number, os.strerror(number), str(path))


def _portable_part(part: str, room: int) -> str:
    text = "".join(_escaped(letter) for letter in part)
    if text.strip(".") == "":
        text = text.replace(".", "%2E") or "%"
    most = LONGEST_NAME - room
    if text == part and len(text.encode()) <= most:
        return part
    mark = "~" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, suffix = text.rpartition(".")
    if not stem or len(suffix.encode()) > _SUFFIX:
        stem, dot, suffix = text, "", ""
    end = f"{mark}{dot}{suffix}"
    return stem.encode()[: most - len(end.encode())].decode("utf-8", "ignore") + end


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        # How Python shows a byte that is not UTF-8.
        return f"%{code - 0xDC00:02X}"
    if code < 0x20 or code == 0x7F or letter == "\\":
        return f"%{code:02X}"
    return f"%u{code:04X}" if 0xD800 <= code <= 0xDFFF else letter


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
