"""Reading ``torch.save`` files of encoders: PyTorch's weights-only loader, behind checks of our own."""

from __future__ import annotations

import argparse
import contextlib
import zipfile
from pathlib import Path

import numpy as np
import torch

from ..errors import CheckpointError
from .sniff import KINDS, file_kind

_FIRST_SAFE_TORCH = (2, 6)  # weights_only of older versions could be tricked into running code (CVE-2025-32434)


def read_torch_file(path: str | Path) -> dict:
    """The top-level dict of a ``torch.save`` file, tensors on the CPU. Only conversion uses this.

    Args:
        path: zip or older format.

    Raises:
        CheckpointError: missing, another format, damaged, with compressed entries, asking for other globals than
            tensors and plain data, or not a dict; or this PyTorch is too old to read it safely.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind not in ("torch-zip", "torch-legacy"):
        raise CheckpointError(f"{path} is {KINDS[kind]}; a torch.save checkpoint (.pt, .pth) is expected here")
    if _version() < _FIRST_SAFE_TORCH:
        raise CheckpointError(
            f"PyTorch {torch.__version__} cannot read {path.name} safely; convert it with PyTorch 2.6 or later "
            "(the converted safetensors file works with this version)"
        )
    if kind == "torch-zip":
        _check_archive(path)
    try:
        with _plain_data_globals():
            # Mapping the file leaves optimiser states and discriminators on the disk.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "torch-zip")
    except Exception as error:  # the loader raises many types on damaged files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read with weights-only rules; nothing was executed. It is damaged, or holds more than "
            f"tensors and plain data ({reason[:300]})"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; a dict with weights is expected")
    return dict(content)


def _version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is a damaged or cut-off zip archive ({error}); download it again") from None
    size = path.stat().st_size
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path} has compressed entries, which torch.save never writes; refused")
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"{path} declares more data than its {size} bytes; refused")


def _plain_data_globals() -> contextlib.AbstractContextManager:
    """Options are often saved as an argparse Namespace, and best losses as numpy numbers: both are plain data."""
    core = getattr(np, "_core", None) or np.core
    float64 = type(np.dtype("float64"))
    scalar = core.multiarray.scalar
    allowed = [
        argparse.Namespace,
        np.dtype,
        float64,
        type(np.dtype("float32")),
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
    ]
    return torch.serialization.safe_globals(allowed)
