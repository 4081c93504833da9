"""Picture files → arrays: upright, in sRGB, and whatever is wrong with a file as one clear line.

A decoder may throw anything. What it throws at the picture makes the file unreadable; what it throws at *metadata*
(EXIF, colour profile, text) costs these only, and a note says so.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, UnidentifiedImageError

from ..errors import DualEncError, require

ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# JPEG decodes at a half, a quarter or an eighth of its size; beyond this even an eighth takes gigabytes.
_MOST_PIXELS = 1_000_000_000
# In the order in which a damaged file is tried again: with the metadata that change the picture, then without any.
_KEPT_CHUNKS = (
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"},
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"},
)
# APP14 says how colours are stored; APP2 holds the colour profile, APP1 the orientation.
_KEPT_SEGMENTS = ({0xE0, 0xE1, 0xE2, 0xEE}, {0xEE})


def open_picture(path: str | Path, what: str = "photo") -> Image.Image:
    """The first picture of a file, decoded; notes for people are in ``info["dualenc_notes"]``.

    Args:
        path: any format that Pillow reads, and HEIC with pillow-heif.
        what: the word for it in errors.

    A JPEG beyond Pillow's limit (179 million pixels) is read at half its size or less. Raises DualEncError for
    everything that goes wrong, MissingDependencyError for HEIC without pillow-heif.
    """
    path = Path(path)
    with decoding(f"{what} {str(path)!r}"):
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
            raise DualEncError(f"{what} {str(path)!r} {kind}; give the path of a picture file")
        with open(path, "rb") as file:
            head = file.read(64)
        if not head:
            raise DualEncError(
                f"{what} {str(path)!r} cannot be read as a picture: the file is empty (0 bytes); copy it again"
            )
        _learn_heif(head, f"{what} {str(path)!r}")
        try:
            return _loaded(path)
        except Image.DecompressionBombError:
            if not head.startswith(_JPEG):
                raise
            return _reduced_jpeg(path)
        except Exception:
            # Metadata in the way of a whole picture.
            for data in _without_metadata(path, head):
                with contextlib.suppress(Exception):
                    image = _loaded(io.BytesIO(data))
                    return _noted(image, "damaged metadata of the file were left out")
            raise


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Whatever a decoder throws inside becomes a DualEncError about ``name``; its warnings are not for users."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DualEncError:
        raise
    except Image.DecompressionBombError as error:
        raise DualEncError(
            f"{name} is too large ({_line(error)}); make it smaller, for example half as wide and high"
        ) from error
    except MemoryError as error:
        raise DualEncError(f"{name} needs more memory than there is; make it smaller") from error
    except UnidentifiedImageError as error:
        raise DualEncError(
            f"{name} cannot be read as a picture (no known format, or damaged from the start); save it as PNG or JPEG"
        ) from error
    except Exception as error:
        raise DualEncError(
            f"{name} cannot be read as a picture ({_line(error)}); save it anew as PNG or JPEG, in an image editor"
        ) from error


def upright(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Turned by its EXIF orientation; EXIF that cannot be read turns nothing. Returns (picture, notes)."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return image, ("the photo's EXIF data cannot be read: it was not turned by them",)
    if turn is None:
        return image, ()
    return _like(image, image.transpose(turn)), ("the photo was turned upright by its EXIF tag",)


def in_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Converted from its embedded colour profile to sRGB; alpha is kept. Returns (picture, notes).

    A profile that cannot be read or does not fit the picture is left out, and the note says so. Pictures of 16 bits
    and more keep their numbers: Pillow converts 8 bits only.
    """
    data = image.info.get("icc_profile")
    if image.mode == "LAB" and not data:
        return _converted(image, ImageCms.createProfile("LAB")), ()
    if not data or image.mode.startswith("I") or image.mode in ("F", "1"):
        return image, ()
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = " ".join((ImageCms.getProfileDescription(profile) or "an embedded profile").split())
        if "srgb" in name.lower().replace(" ", ""):
            return image, ()
        has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
        alpha = rgba(image).getchannel("A") if has_alpha else None
        space = profile.profile.xcolor_space.strip()
        mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}[space]
        source = image if image.mode == mode else (rgba(image) if has_alpha else image).convert(mode)
        result = _converted(
            source,
            profile,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except Exception:
        return image, ("the photo's colour profile cannot be used: its colours were taken as sRGB",)
    if alpha is not None:
        result.putalpha(alpha)
    return result, (f"the photo's colours were converted to sRGB from {name[:80]!r}",)


def _converted(image: Image.Image, profile: Any, **options: Any) -> Image.Image:
    """A copy in sRGB."""
    made = ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGB", **options)
    assert made is not None  # it is None only for a change in place
    return made


def rgba(image: Image.Image) -> Image.Image:
    """Colours and alpha of any mode that has them."""
    # Pillow has no way from one to the other.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def pixels(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """A picture, upright and in sRGB, as [H,W] or [H,W,3|4] uint8, uint16 or float32, and notes.

    Raises DualEncError for integers beyond 16 bits, and whatever `decoding` catches.
    """
    with decoding("photo"):
        notes = tuple(image.info.get("dualenc_notes", ()))
        image, turned = upright(image)
        image, converted = in_srgb(image)
        notes += turned + converted
        if image.mode.startswith("I"):
            array = np.asarray(image)
            if array.min() < 0 or array.max() > 65535:
                raise DualEncError(f"photo holds values {array.min()}..{array.max()}, expected 16 bit (0..65535)")
            return array.astype(np.uint16), notes
        if image.mode == "F":
            return np.asarray(image), notes
        if image.mode in ALPHA_MODES or "transparency" in image.info:
            return np.asarray(rgba(image)), notes
        return np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB")), notes


def _loaded(source: Path | io.BytesIO) -> Image.Image:
    image = Image.open(source)
    image.load()
    return image


def _reduced_jpeg(path: Path) -> Image.Image:
    # Pillow checks the size in Image.open only, where nothing can ask for less yet.
    image = JpegImagePlugin.JpegImageFile(path)
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise Image.DecompressionBombError(f"{width}×{height} pixels, at most {_MOST_PIXELS // 10**6} million are read")
    limit = 2 * (Image.MAX_IMAGE_PIXELS or width * height)
    scale = next((s for s in (2, 4, 8) if width * height <= limit * s * s), 8)
    image.draft(image.mode, (width // scale, height // scale))
    image.load()
    note = f"the photo of {width}×{height} pixels was read at {image.width}×{image.height}, which is enough for a head"
    return _noted(image, note)


def _without_metadata(path: Path, head: bytes) -> Iterator[bytes]:
    """The file without metadata, from most to least of them kept; nothing for formats where they do no harm."""
    if head.startswith(_PNG):
        data = path.read_bytes()
        yield from (b"".join(_png_chunks(data, kept)) for kept in _KEPT_CHUNKS)
    elif head.startswith(_JPEG):
        data = path.read_bytes()
        yield from (b"".join(_jpeg_segments(data, kept)) for kept in _KEPT_SEGMENTS)
    elif head[4:8] == b"ftyp" and b"avi" in head:
        # Items of unknown types are passed over; the list of items comes before the picture.
        data = path.read_bytes()
        yield data[: 1 << 14].replace(b"Exif", b"none") + data[1 << 14 :]


def _png_chunks(data: bytes, kept: set[bytes]) -> Iterator[bytes]:
    yield _PNG
    place = len(_PNG)
    while place + 12 <= len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kind, end = data[place + 4 : place + 8], place + 12 + size
        whole = data[place:end]
        critical = not kind[:1].islower()
        sound = len(whole) == size + 12 and zlib.crc32(whole[4:-4]) == struct.unpack(">I", whole[-4:])[0]
        if kind in kept and (critical or sound):
            yield whole
        place = end


def _jpeg_segments(data: bytes, kept: set[int]) -> Iterator[bytes]:
    yield data[:2]
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == 0xDA:
            break
        end = place + 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker in kept:
            yield data[place:end]
        place = end
    yield data[place:]


def _learn_heif(head: bytes, name: str) -> None:
    """Let Pillow read HEIC. Raises MissingDependencyError without pillow-heif."""
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS or b"avif" in head:
        return
    try:
        require("pillow_heif", "'dualenc[heic]'").register_heif_opener()
    except DualEncError as error:
        raise type(error)(f"{name} is a HEIC picture: {error}, or save it as JPEG") from error


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _noted(image: Image.Image, note: str) -> Image.Image:
    image.info["dualenc_notes"] = (*image.info.get("dualenc_notes", ()), note)
    return image


def _like(before: Image.Image, after: Image.Image) -> Image.Image:
    after.info = {key: value for key, value in before.info.items() if key not in ("exif", "Raw profile type exif")}
    return after


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
