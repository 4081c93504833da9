"""dataset.json in every state in which people and programs leave it, through labels, training folders and inversion."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from dualenc_core.camera import Camera
from dualenc_core.encoders.networks import NetworkFiles
from dualenc_core.export import save_png
from dualenc_core.research.data import ImageFolder, InvertSettings, invert_folder, read_labels
from dualenc_core.research.data.labels import TWICE
from dualenc_core.research.data.records import read_record, write_record
from tests.small import write_networks

from .trial import Trial

COUNT = 2_000
# One file in so many goes through a whole inversion.
_INVERTED = 50
NAMES = ("a.png", "sub/b.png", "日本 ü.png", "c.png")
NUMBERS = (0, -1, 1e39, -1e300, 10**400, "1", "x", "", " 2 ", True, None, float("nan"), float("inf"), [], {}, [1], "１")
ODD_NAMES = (
    "", ".", "..", "/", "./a.png", ".\\a.png", "../a.png", "/etc/passwd", "C:\\a.png", "a.png/", "sub//b.png", "A.PNG",
    "a\u0000.png", "\ud800.png", "\udce9.png", "a\nb.png", "é.png", "e\u0301.png", "x" * 300 + ".png", "*.png",
    " a.png", "dataset.json", "sub", "con.png", "日" * 90, "a.png\n", "masks/a.png", "%2e%2e/a.png", "|", "nul\x7f",
)  # fmt: skip
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp932", "utf-7")


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """``count`` trials, in turn over what is broken."""
    root = folder / "images"
    for i, name in enumerate(NAMES):
        save_png(torch.full((3, 16, 16), i / 4), root / name)
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        kind = list(BREAKERS)[number % len(BREAKERS)]
        content = BREAKERS[kind](rng)
        run = partial(_try, content, root, folder, number % _INVERTED == 0)
        yield Trial(kind, run, partial(bytes, content), "json")


def _try(content: bytes, root: Path, folder: Path, inverted: bool) -> None:
    (root / "dataset.json").write_bytes(content)
    labels, remarks = read_labels(root)
    for name, label in labels.items():
        assert label.shape == (25,) and label.dtype == torch.float32 and bool(label.isfinite().all())
        assert not name.startswith(("/", "../")) and remarks.get(name) in (None, TWICE)
    found = ImageFolder.open(root, 8)
    assert found.names == sorted(labels.keys() & set(NAMES)) and len(found) == len(found.names)
    for index in range(len(found.names)):
        for side in (index, -1 - index):
            example = found.read(side)
            assert example is not None and example.image.shape == (1, 3, 8, 8)
            assert bool(example.camera.label.isfinite().all())
    _, batch = next(found.batches(3))
    assert len(batch.names) == 3
    out = folder / "out"
    for name, reason in found.left_out.items():
        write_record(out, {"photo": name, "stamp": None, "status": "rejected", "code": "unreadable", "reason": reason})
        assert read_record(out, name)["photo"] == name
    assert {path.name for path in folder.iterdir()} <= {"images", "out", "weights"}, "something was written elsewhere"
    if inverted:
        result = invert_folder(root, out / "heads", _networks(folder), InvertSettings(previews=False), workers=1)
        assert result.accepted == len(found.names)
    shutil.rmtree(out, ignore_errors=True)


@cache
def _networks(folder: Path) -> NetworkFiles:
    (folder / "weights").mkdir()
    paths = write_networks(folder / "weights")
    return NetworkFiles.find("cpu", **{name: str(path) for name, path in paths.items()})


# ------------------------------------------------------------------------------------------------------------ breaking


def _good(rng: random.Random) -> dict[str, Any]:
    cameras = Camera.look_at([rng.uniform(-60, 60) for _ in NAMES], rng.uniform(-20, 20))
    return {"labels": [[name, label] for name, label in zip(NAMES, cameras.label.tolist(), strict=True)]}


def _encoded(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _entry(change: Callable[[random.Random, list[Any]], Any]) -> Callable[[random.Random], bytes]:
    """Breaks one or more entries."""

    def broken(rng: random.Random) -> bytes:
        content = _good(rng)
        rows = content["labels"]
        for i in rng.sample(range(len(rows)), rng.randint(1, len(rows))):
            rows[i] = change(rng, copy.deepcopy(rows[i]))
        return _encoded(content)

    return broken


def _with(label: list[Any], index: int, value: Any) -> list[Any]:
    return [*label[:index], value, *label[index + 1 :]]


def _nested(depth: int) -> bytes:
    return b'{"labels": ' + b"[" * depth + b"]" * depth + b"}"


def _cut(rng: random.Random) -> bytes:
    content = _encoded(_good(rng))
    return content[: rng.randrange(len(content))]


def _flipped(rng: random.Random) -> bytes:
    content = bytearray(_encoded(_good(rng)))
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _spliced(rng: random.Random) -> bytes:
    content = _encoded(_good(rng))
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice((content[:start] + content[end:], content[:end] + content[start:], content * 2))


def _repeated(rng: random.Random) -> bytes:
    content = _good(rng)
    rows = content["labels"]
    rows += [[rng.choice((row[0], f"./{row[0]}")), rng.choice((row[1], None, row[1][:16]))] for row in rows * 2]
    rng.shuffle(rows)
    return _encoded(content)


def _other_root(rng: random.Random) -> bytes:
    rows = _good(rng)["labels"]
    forms = (rows, dict(rows), {"labels": dict(rows)}, {"labels": None}, {"label": rows}, [], "labels", 3, None, {},
             {"labels": 7}, {"labels": "a.png"}, {"labels": [rows]}, {"labels": {}}, {"labels": []})  # fmt: skip
    return _encoded(rng.choice(forms))


def _in_encoding(rng: random.Random) -> bytes:
    text = json.dumps(_good(rng), ensure_ascii=rng.random() < 0.3)
    return text.replace("\n", "\r\n").encode(rng.choice(ENCODINGS), "replace")


def _pixels(rng: random.Random, label: list[float]) -> list[float]:
    """Other conventions: intrinsics in pixels, 16 numbers, rows swapped, a scaled or mirrored rotation."""
    scaled = [rng.choice((2, -1, 0)) * n if i < 12 else n for i, n in enumerate(label)]
    return rng.choice((label[:16], label[16:], label[::-1], [*label[:16], *[512 * n for n in label[16:]]], scaled))


BREAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "whole": lambda rng: _encoded(_good(rng)),
    "strings": _entry(lambda rng, row: [row[0], [f"{n:.{rng.randint(0, 9)}f}" for n in row[1]]]),
    "a number": _entry(lambda rng, row: [row[0], _with(row[1], rng.randrange(25), rng.choice(NUMBERS))]),
    "all numbers": _entry(lambda rng, row: [row[0], [rng.choice(NUMBERS) for _ in range(25)]]),
    "how many": _entry(lambda rng, row: [row[0], (row[1] * 3)[: rng.randrange(60)]]),
    "convention": _entry(lambda rng, row: [row[0], _pixels(rng, row[1])]),
    "name": _entry(lambda rng, row: [rng.choice(ODD_NAMES), row[1]]),
    "name type": _entry(lambda rng, row: [rng.choice((None, 3, [], {}, True, ["a.png"])), row[1]]),
    "label type": _entry(lambda rng, row: [row[0], rng.choice((None, 3, "", "1" * 25, {}, [[]], [row[1]], True))]),
    "entry": _entry(lambda rng, row: rng.choice((None, [], row[:1], row * 2, "ab", {"a": 1}, row[1], [row, row], 5))),
    "twice": _repeated,
    "root": _other_root,
    "encoding": _in_encoding,
    "cut": _cut,
    "bytes": _flipped,
    "spliced": _spliced,
    "nested": lambda rng: _nested(rng.choice((1, 10, 900, 5_000, 200_000))),
    "nothing": lambda rng: rng.choice((b"", b" ", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"null", b"NaN", b"{}", b"\n")),
    "large numbers": lambda rng: _encoded(_good(rng)).replace(b"0.0", b"9" * rng.choice((5, 400, 5_000)), 1),
    "noise": lambda rng: rng.randbytes(rng.randrange(1, 400)),
}
