"""``dataset.json``: file names and camera labels, as PanoHead and EG3D store them (panohead.md §10.1)."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...camera import Camera
from ...errors import DualEncError
from ...files import read_text, write_text

FILE = "dataset.json"
NUMBERS = 25
TWICE = "is listed twice; the first one counts"


def read_labels(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Labels by name, and what is wrong with entries.

    Numbers may be floats (EG3D) or strings (PanoHead). Names use forward slashes; "./a.png" is "a.png". Of a name that
    is listed several times the first entry counts, and the remark about it is all that is wrong.

    Args:
        path: the file, or the folder that holds ``dataset.json``.

    Returns ({name: [25] float32}, {name: remark}); a name with a remark and no label was left out. Raises DualEncError
    when the file is missing, is not JSON, or has no list of labels.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise DualEncError(
            f"{path} does not exist; a folder of images needs {FILE} with their cameras. `python -m dualenc_core "
            "prepare` makes one from photos"
        )
    try:
        content = json.loads(read_text(path))
    except DualEncError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DualEncError(f"{path} cannot be read as JSON: {error}") from error
    entries = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(entries, (list, dict)):
        raise DualEncError(f'{path} has no list of labels; expected {{"labels": [["image.png", [25 numbers]], …]}}')
    labels: dict[str, Tensor] = {}
    problems: dict[str, str] = {}
    for number, entry in enumerate(entries.items() if isinstance(entries, dict) else entries):
        if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)):
            problems[f"entry {number}"] = "is not a pair of a file name and a label"
            continue
        name = _plain(entry[0])
        if name in labels:
            problems[name] = TWICE
            continue
        if name in problems:
            continue
        reason, label = _parse(entry[1])
        if name in ("", ".", "..") or "\0" in name or re.match(r"/|\.\./|[A-Za-z]:/", name):
            reason = "is not the path of an image relative to the folder"
        if reason:
            problems[name] = reason
        else:
            labels[name] = label
    return labels, problems


def _plain(name: str) -> str:
    """With forward slashes, and without ``.`` and ``..`` in between."""
    name = name.replace("\\", "/")
    return posixpath.normpath(name) if name else name


def write_labels(path: str | Path, labels: Mapping[str, Tensor | Camera]) -> Path:
    """Write ``dataset.json`` atomically, sorted by name, numbers as strings of 6 decimals like PanoHead's own tool.

    Raises DualEncError for a label that `read_labels` would leave out.
    """
    rows = []
    for name in sorted(labels):
        value = labels[name]
        label = value.label[0] if isinstance(value, Camera) else value
        reason, numbers = _parse(label.tolist())
        if reason:
            raise DualEncError(f"the label of {name} {reason}; nothing was written to {path}")
        rows.append([name, [f"{number:.6f}" for number in numbers.double().tolist()]])
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return write_text(path, f'{{"labels": [\n{lines}\n]}}\n')


def _parse(label: Any) -> tuple[str, Tensor]:
    nothing = torch.zeros(NUMBERS)
    if label is None:
        return "has no label", nothing
    try:
        # A text would be taken letter by letter, an object key by key.
        numbers = [float(number) for number in label] if isinstance(label, (list, tuple)) else None
    except OverflowError:
        return "has NaN or infinite numbers", nothing
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        return f"has a label that is not a list of numbers ({str(label)[:60]})", nothing
    if len(numbers) != NUMBERS:
        return f"has {len(numbers)} numbers, expected {NUMBERS} (16 cam2world, 9 intrinsics)", nothing
    value = torch.tensor(numbers, dtype=torch.float64)
    if not bool(torch.isfinite(value.float()).all()):
        return "has NaN or infinite numbers", nothing
    rotation = value[:16].reshape(4, 4)[:3, :3]
    if (rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or rotation.det() < 0:
        return "has a cam2world whose upper left 3×3 part is not a rotation", nothing
    if not (value[16] > 0 and value[20] > 0):
        return "has a focal length that is not positive (numbers 17 and 21)", nothing
    return "", value.float()
