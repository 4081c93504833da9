"""What a file is, by its first bytes: the usual cause of a failed load is another kind of file, not a broken one."""

from __future__ import annotations

import struct
from pathlib import Path

LEGACY_TORCH_PREFIX = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First pickle of a ``torch.save`` file before PyTorch 1.6: the magic integer 0x1950a86a20f9469cfc6c."""

KINDS = {
    "missing": "no file at all",
    "unreadable": "a file that cannot be read (check its permissions and its drive)",
    "empty": "an empty file",
    "torch-zip": "a zip archive (torch.save of PyTorch 1.6 or later writes one)",
    "torch-legacy": "a torch.save file of PyTorch before 1.6",
    "safetensors": "a safetensors file",
    "pickle": "a Python pickle",
    "html": "an HTML page (a download page saved in place of the file)",
    "git-lfs": "a Git LFS pointer (the file itself was not downloaded)",
    "gzip": "a gzip archive",
    "unknown": "not a format known here",
}


def file_kind(path: str | Path) -> str:
    """One of the keys of ``KINDS``. Reads at most 64 bytes and runs nothing.

    Args:
        path: any path; a directory counts as ``"missing"``.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return "unreadable"
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if head.startswith(LEGACY_TORCH_PREFIX):
        return "torch-legacy"
    if head.startswith(b"version https://git-lfs"):
        return "git-lfs"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.lstrip()[:1] == b"<":
        return "html"
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8:
        return "safetensors"
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return "pickle"
    return "unknown"
