"""Masks of every type, shape, range and storage, through the reader, the alignment and training folders."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.export import save_png
from dualenc_core.portrait import align_portrait, read_mask, read_masks
from dualenc_core.portrait.photo import Photo
from dualenc_core.research.data import ImageFolder, write_labels

from .trial import Trial

COUNT = 5_000
# One mask in so many goes through the whole alignment.
_ALIGNED = 10

DTYPES = ("bool", "uint8", "uint16", "int16", "int32", "int64", "uint32", "float16", "float32", "float64", "complex64")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "F", "La", "RGBa")
FILES = ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG")
SIZES = ((256, 256), (64, 64), (1, 1), (1, 300), (37, 91), (512, 128), (0, 5))


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """``count`` trials, in turn over how masks are handed over."""
    makers: dict[str, Callable] = {"array": _array, "tensor": _tensor, "picture": _picture, "file": _file}
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        form = list(makers)[number % len(makers)]
        mask, kind = makers[form](rng, folder)
        aligned = number % _ALIGNED == 0
        yield Trial(f"{form}: {kind}", partial(_try, mask, aligned, folder), partial(_evidence, mask), "npy")


def _try(mask: Any, aligned: bool, folder: Path) -> None:
    if isinstance(mask, (np.ndarray, torch.Tensor)):
        _try_batch(mask)
    if aligned:
        portrait = align_portrait(_portrait(), mask, size=64)
        assert portrait.matte.shape == (1, 1, 64, 64) and portrait.matte.isfinite().all()
        assert 0 <= portrait.matte.min() and 0.01 < portrait.matte.max() <= 1
    if isinstance(mask, Path):
        _try_folder(mask, folder)
    read = read_mask(mask)
    assert read is None or (isinstance(read, Photo) and read.pixels.shape[2] == 1)
    if read is not None:
        window = read.window(np.array([[read.width / 8, 0, 0], [0, read.height / 8, 0]]), 8, border="border")
        assert window.isfinite().all() and window.min() >= 0 and window.max() <= 1


def _try_batch(mask: np.ndarray | torch.Tensor) -> None:
    from dualenc_core.errors import DualEncError

    try:
        batch = read_masks(mask)
    except DualEncError:
        return
    assert batch is None or (batch.ndim == 4 and batch.shape[1] == 1 and 0 <= batch.min() and batch.max() <= 1)


def _try_folder(mask: Path, folder: Path) -> None:
    """A training folder with this one mask: its image is given or listed with the reason."""
    root = folder / "data"
    (root / "masks").mkdir(parents=True, exist_ok=True)
    name = "a.png"
    if not (root / "images" / name).is_file():
        save_png(torch.zeros(3, 16, 16), root / "images" / name)
        write_labels(root / "images" / "dataset.json", {name: Camera.look_at()})
    (root / "masks" / name).write_bytes(mask.read_bytes())
    images = ImageFolder.open(root, 16)
    example = images.read(0)
    assert (example is None) == (name in images.problems)
    assert example is None or (example.matte.isfinite().all() and example.matte.max() > 0)


def _values(rng: random.Random, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Float numbers of some kind of mask."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    kind = rng.choice(("blob", "inverted", "soft", "noise", "zeros", "ones", "constant", "dot", "wild", "labels"))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / np.array(shape[:2]).clip(1).reshape(2, 1, 1)
    blob = (np.hypot(x - rng.random(), y - rng.random()) < rng.random()).astype(float)
    values = {
        "blob": blob,
        "inverted": 1 - blob,
        "soft": np.clip(1 - 2 * np.hypot(x - 0.5, y - 0.5), 0, 1),
        "noise": numbers.random(shape[:2]),
        "zeros": 0 * blob,
        "ones": 0 * blob + 1,
        "constant": 0 * blob + rng.random(),
        "dot": (np.hypot(x - 0.5, y - 0.4) < 0.02).astype(float),
        "wild": numbers.normal(0, 10.0 ** rng.randrange(-2, 8), shape[:2]),
        "labels": numbers.integers(0, rng.choice((2, 5, 200)), shape[:2]).astype(float),
    }[kind]
    values = values * (1 if kind in ("wild", "labels") else rng.choice((1, 1, 2, 255, 65535, 1.2)))
    if rng.random() < 0.05:
        values = np.where(numbers.random(shape[:2]) < 0.1, rng.choice((np.nan, np.inf, -np.inf, -1.0)), values)
    return values, kind


def _array(rng: random.Random, folder: Path) -> tuple[Any, str]:
    values, kind = _values(rng, rng.choice(SIZES))
    with np.errstate(all="ignore"):
        array = values.astype(rng.choice(DTYPES))
    layout = rng.randrange(9)
    extra = [
        array,
        array[None],
        array[None, None],
        array[..., None],
        np.stack([array] * 3, -1),
        np.stack([array] * 4, -1),
    ]
    extra += [np.stack([array] * 3), np.stack([array, array]), array.ravel()]
    return extra[layout], kind


def _tensor(rng: random.Random, folder: Path) -> tuple[Any, str]:
    array, kind = _array(rng, folder)
    try:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    except TypeError:
        return array, kind
    return (tensor.bfloat16() if tensor.is_floating_point() and rng.random() < 0.2 else tensor), kind


def _picture(rng: random.Random, folder: Path) -> tuple[Any, str]:
    values, _ = _values(rng, rng.choice(SIZES[:-1]))
    mode = rng.choice(MODES)
    with np.errstate(all="ignore"):
        grey = Image.fromarray(np.nan_to_num(values).astype(np.uint8))
        if mode in ("I", "I;16", "F"):
            kinds = {"I": np.int32, "I;16": np.uint16, "F": np.float32}
            return Image.fromarray(values.astype(kinds[mode])), mode
    if mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = grey.convert("RGBA") if rng.random() < 0.5 else Image.new("RGBA", grey.size, "pink")
        picture.putalpha(rng.choice((grey, Image.new("L", grey.size, rng.choice((0, 128, 254, 255))))))
        steps = {"RGBA": (), "LA": ("LA",), "PA": ("PA",), "La": ("LA", "La"), "RGBa": ("RGBa",)}[mode]
    else:
        picture, steps = grey.convert("RGB"), () if mode == "RGB" else (mode,)
    for step in steps:
        picture = picture.convert(step)
    if mode == "P":
        picture.putpalette(np.random.default_rng(rng.randrange(2**32)).integers(0, 256, 768).tolist())
    return picture, mode


def _file(rng: random.Random, folder: Path) -> tuple[Any, str]:
    from .photos import mutate

    picture, mode = _picture(rng, folder)
    form = rng.choice(FILES)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, form)
    except (OSError, ValueError):
        # Not every format holds every mode.
        form, buffer = "PNG", io.BytesIO()
        picture.convert("LA" if mode in ("La", "LA") else "RGBA" if "A" in mode.upper() else "L").save(buffer, form)
    path = folder / f"mask.{form.lower()}"
    data = buffer.getvalue()
    path.write_bytes(mutate(data, rng) if rng.random() < 0.3 else data)
    return path, form


def _evidence(mask: Any) -> bytes:
    if isinstance(mask, Path):
        return mask.read_bytes()
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(mask.float() if isinstance(mask, torch.Tensor) else mask))
    return buffer.getvalue()


@cache
def _portrait() -> np.ndarray:
    """[256,256,3] of a procedural head in which a face is found."""
    view = procedural.render(procedural.sample_heads(1, 1_000_003), Camera.look_at(10.0), 256)
    return ((view.image[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
