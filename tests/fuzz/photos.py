"""Mutated photos of every format and mode that Pillow writes, read as photos; some of them all the way to a crop."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, features

from dualenc_core.portrait.photo import Photo, read_photo
from dualenc_core.research.data.prepare import prepare_one

from .trial import Trial

COUNT = 20_000
# One photo in so many goes through the whole of `prepare`: a search for faces takes a hundred times as long.
_WHOLE = 250


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """``count`` trials, in turn over the kinds; number 0 of each kind is not mutated."""
    kinds = sources()
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        data, suffix = kinds[kind]
        rng = random.Random(seed * 1_000_003 + number)
        mutated = data if number < len(kinds) else mutate(data, rng)
        path = folder / f"photo.{suffix}"
        run = partial(_prepare if number % _WHOLE == _WHOLE - 1 else _read, path, mutated)
        yield Trial(kind, run, lambda data=mutated: data, suffix)


def sources() -> dict[str, tuple[bytes, str]]:
    """A sound picture of each kind, and its suffix."""
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([x * 4, y * 5, x + y], -1).astype(np.uint8)
    rgb = Image.fromarray(pixels)
    alpha = Image.fromarray((np.hypot(x - 32, y - 24) < 20).astype(np.uint8) * 255)
    rgba, grey, palette = rgb.copy(), rgb.convert("L"), rgb.quantize(32)
    rgba.putalpha(alpha)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    real = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"wide")
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "steps 20, sampler Euler", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>", zip=True)
    frames = [rgb.rotate(angle) for angle in (0, 90, 180)]
    animated = {"save_all": True}
    wanted = {
        "PNG": (rgb, "PNG", {}),
        "PNG, alpha": (rgba, "PNG", {}),
        "PNG, grey": (grey, "PNG", {}),
        "PNG, grey and alpha": (rgba.convert("LA"), "PNG", {}),
        "PNG, palette": (palette, "PNG", {}),
        "PNG, clear colour": (palette, "PNG", {"transparency": 3}),
        "PNG, 1 bit": (grey.convert("1"), "PNG", {}),
        "PNG, 16 bits": (deep, "PNG", {}),
        "PNG, EXIF": (rgb, "PNG", {"exif": exif}),
        "PNG, profile": (rgb, "PNG", {"icc_profile": profile}),
        "PNG, text": (rgb, "PNG", {"pnginfo": text}),
        "PNG, animated": (frames[0], "PNG", animated),
        "JPEG": (rgb, "JPEG", {}),
        "JPEG, progressive": (rgb, "JPEG", {"progressive": True}),
        "JPEG, grey": (grey, "JPEG", {}),
        "JPEG, CMYK": (rgb.convert("CMYK"), "JPEG", {}),
        "JPEG, EXIF": (rgb, "JPEG", {"exif": exif}),
        "JPEG, profile": (rgb, "JPEG", {"icc_profile": profile}),
        "MPO": (frames[0], "MPO", animated),
        "WebP": (rgb, "WEBP", {}),
        "WebP, lossless, alpha": (rgba, "WEBP", {"lossless": True}),
        "WebP, EXIF, profile": (rgb, "WEBP", {"exif": exif, "icc_profile": profile}),
        "WebP, animated": (frames[0], "WEBP", animated),
        "GIF": (palette, "GIF", {}),
        "GIF, animated": (frames[0], "GIF", animated),
        "BMP": (rgb, "BMP", {}),
        "TIFF": (rgb, "TIFF", {}),
        "TIFF, LZW": (rgba, "TIFF", {"compression": "tiff_lzw"}),
        "TIFF, deflate, EXIF": (rgb, "TIFF", {"compression": "tiff_adobe_deflate", "exif": exif}),
        "TIFF, float": (real, "TIFF", {}),
        "TIFF, 16 bits": (deep, "TIFF", {}),
        "TIFF, several pages": (frames[0], "TIFF", animated),
        "TGA": (rgba, "TGA", {"compression": "tga_rle"}),
        "ICO": (rgba, "ICO", {}),
        "PCX": (rgb, "PCX", {}),
        "PPM": (rgb, "PPM", {}),
        "SGI": (rgb, "SGI", {}),
        "DDS": (rgba, "DDS", {}),
    }
    if features.check("jpg_2000"):
        wanted["JPEG 2000"] = (rgb, "JPEG2000", {})
    if features.check("avif"):
        wanted["AVIF"] = (rgb, "AVIF", {})
        wanted["AVIF, EXIF, alpha"] = (rgba, "AVIF", {"exif": exif})
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        wanted["HEIC"] = (rgb, "HEIF", {})
    except ImportError:
        pass
    found = {}
    for kind, (picture, form, options) in wanted.items():
        buffer = io.BytesIO()
        # Saving leaves marks on a picture that other formats stumble over.
        if "save_all" in options:
            options = options | {"append_images": [frame.copy() for frame in frames[1:]]}
        picture.copy().save(buffer, form, **options)
        found[kind] = buffer.getvalue(), "heic" if form == "HEIF" else form.lower()
    return found


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to three of: bytes flipped, set, cut out, doubled, zeroed, exchanged; the end cut off."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        # Headers are where decoders go wrong in more ways.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        start = rng.randrange(reach) if reach else 0
        length = min(rng.choice((1, 2, 4, 16, 100)), len(data) - start)
        action = rng.randrange(7)
        if action == 0:
            data[start : start + length] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[start : start + length])
        elif action == 1:
            data[start : start + length] = rng.randbytes(length)
        elif action == 2:
            del data[start : start + length]
        elif action == 3:
            data[start:start] = data[start : start + length]
        elif action == 4:
            data[start : start + length] = bytes([rng.choice((0, 255))]) * length
        elif action == 5:
            other = rng.randrange(reach) if reach else 0
            data[other : other + length], data[start : start + length] = (
                data[start : start + length],
                data[other : other + length],
            )
        else:
            del data[start:]
    return bytes(data)


def _read(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    photo = read_photo(path)
    assert isinstance(photo, Photo) and photo.pixels.shape[2] == 3 and photo.pixels.size
    assert photo.pixels.dtype in (np.uint8, np.uint16, np.float32)
    assert photo.alpha is None or photo.alpha.pixels.shape == (photo.height, photo.width, 1)
    photo.window(np.array([[photo.width / 16, 0, 0], [0, photo.height / 16, 0]]), 16)


def _prepare(path: Path, data: bytes) -> None:
    """As `prepare` does it: every photo ends in a record."""
    path.write_bytes(data)
    out = path.parent / "out"
    settings = {"size": 64, "least_confidence": 0.5, "least_side": 8.0, "most_outside": 1.0, "most_yaw": 90.0}
    item = {"photos": str(path.parent), "out": str(out), "name": path.name, "most_pitch": 90.0, **settings}
    assert prepare_one(item)["status"] in ("accepted", "rejected")
