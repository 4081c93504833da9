"""Whatever a decoder throws is one clear line; broken metadata cost the metadata, not the picture."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, features

from dualenc_core.errors import DualEncError, MissingDependencyError
from dualenc_core.portrait import decode
from dualenc_core.portrait.photo import read_photo


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """96×64, with a gradient and a corner that tells how it is turned."""
    y, x = np.mgrid[0:64, 0:96]
    pixels = np.stack([x * 2.6, y * 3.9, (x + y) * 1.5], -1).astype(np.uint8)
    pixels[:16, :16] = (250, 10, 10)
    return Image.fromarray(pixels)


def saved(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def read(tmp_path: Path, data: bytes, suffix: str):
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(data)
    return read_photo(path)


def difference(photo, picture: Image.Image) -> float:
    return float(np.abs(photo.pixels.astype(int) - np.asarray(picture.convert("RGB"))).mean())


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def with_chunk(data: bytes, extra: bytes, at_end: bool = False) -> bytes:
    """A PNG with one more chunk, after IHDR or before IEND."""
    place = len(data) - 12 if at_end else 33
    return data[:place] + extra + data[place:]


# ------------------------------------------------------------------------------------------------------------ metadata


def broken_metadata(picture: Image.Image) -> dict[str, tuple[bytes, str]]:
    """Whole pictures whose EXIF, text or other metadata cannot be read, and their suffixes."""
    png, jpeg = saved(picture, "PNG"), saved(picture, "JPEG", quality=95, subsampling=0)
    text, raw = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    text.add_text("exif", str(b"Exif\x00\x00II*\x00"))
    raw.add_text("Raw profile type exif", "\nexif\n 12\nnot hexadecimal\n")
    bomb = zlib.compress(b"x" * 70_000_000)
    app = b"\xff\xe1" + struct.pack(">H", 2 + 30) + b"Exif\x00\x00" + b"garbage!" * 3
    photoshop = b"\xff\xed" + struct.pack(">H", 2 + 26) + b"Photoshop 3.0\x008BIM\x03\xed\x7f\xff\xff\xff\x00\x00"
    wrong_ifd = b"MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01\x12\x00\x03\xff\xff\xff\xff" * 4
    cases = {
        "text that says EXIF": (saved(picture, "PNG", pnginfo=text), "png"),
        "raw profile": (saved(picture, "PNG", pnginfo=raw), "png"),
        "eXIf chunk": (with_chunk(png, chunk(b"eXIf", b"\x00\x00\x11\x00\x00\x01\x04\x00")), "png"),
        "eXIf with a wrong directory": (with_chunk(png, chunk(b"eXIf", wrong_ifd)), "png"),
        "text with a wrong checksum": (with_chunk(png, chunk(b"tEXt", b"Comment\x00hello", 1)), "png"),
        "text with a wrong checksum at the end": (with_chunk(png, chunk(b"tEXt", b"a\x00b", 1), True), "png"),
        "text that is too long": (with_chunk(png, chunk(b"zTXt", b"Comment\x00\x00" + bomb)), "png"),
        "compressed text that is none": (with_chunk(png, chunk(b"zTXt", b"Comment\x00\x00garbage")), "png"),
        "international text that is none": (with_chunk(png, chunk(b"iTXt", b"Comment\x00\x01")), "png"),
        "profile that is none": (with_chunk(png, chunk(b"iCCP", b"x\x00\x00garbage")), "png"),
        "resolution that is too short": (with_chunk(png, chunk(b"pHYs", b"\x00")), "png"),
        "JPEG with EXIF that is none": (jpeg[:2] + app + jpeg[2:], "jpg"),
        "JPEG with a broken Photoshop block": (jpeg[:2] + photoshop + jpeg[2:], "jpg"),
        "WebP with EXIF that is none": (saved(picture, "WEBP", lossless=True, exif=b"garbage"), "webp"),
    }
    if features.check("avif"):
        exif = Image.Exif()
        exif[0x010F] = "maker"
        avif = saved(picture, "AVIF", quality=95, exif=exif)
        assert exif.tobytes()[6:14] in avif
        cases["AVIF with EXIF that is none"] = (avif.replace(exif.tobytes()[6:14], b"garbage!"), "avif")
    return cases


def test_a_picture_whose_metadata_are_broken_is_still_a_picture(picture, tmp_path):
    cases = broken_metadata(picture)
    assert len(cases) >= 14
    for name, (data, suffix) in cases.items():
        photo = read(tmp_path, data, suffix)
        assert (photo.width, photo.height) == (96, 64), name
        assert difference(photo, picture) < (6 if suffix in ("jpg", "avif") else 0.1), name


def test_exif_that_cannot_be_read_is_noted(picture, tmp_path):
    data, suffix = broken_metadata(picture)["text that says EXIF"]
    assert any("EXIF" in note for note in read(tmp_path, data, suffix).notes)
    assert read(tmp_path, saved(picture, "PNG"), "png").notes == ()


@pytest.mark.parametrize("orientation", range(0, 10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_in_every_format(picture, tmp_path, form, orientation):
    """The red corner is at the top left of what people see."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read(tmp_path, saved(stored, form, exif=exif), form.lower())
    assert (photo.width, photo.height) == (96, 64)
    assert photo.pixels[8, 8, 0] > 200 and photo.pixels[8, 8, 2] < 60


# ------------------------------------------------------------------------------------------------------ broken pictures


def damaged(data: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    array = np.frombuffer(data, np.uint8).copy()
    array[rng.integers(0, len(array), 12)] = rng.integers(0, 256, 12)
    return array.tobytes()[: len(data) if seed % 2 else int(len(data) * rng.uniform(0.1, 1))]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "DDS", "GIF", "TIFF", "BMP", "JPEG2000", "TGA", "ICO"])
def test_whatever_a_decoder_throws_is_one_clear_line(picture, tmp_path, form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    data = saved(picture, form)
    refused = 0
    for seed in range(60):
        path = tmp_path / f"{seed}.{form.lower()}"
        path.write_bytes(damaged(data, seed))
        try:
            assert read_photo(path).pixels.shape[2] == 3
        except DualEncError as error:
            refused += 1
            assert "\n" not in str(error) and repr(str(path)) in str(error)
    assert refused > 5


@pytest.mark.parametrize(
    "error",
    [RuntimeError("plane"), NotImplementedError(), KeyError(3), struct.error("short"), MemoryError(), EOFError()],
)
def test_any_exception_of_a_decoder_is_caught_and_interrupts_are_not(picture, tmp_path, monkeypatch, error):
    path = tmp_path / "a.bmp"
    path.write_bytes(saved(picture, "BMP"))
    given = Image.open(path)
    monkeypatch.setattr(Image.Image, "load", lambda self: (_ for _ in ()).throw(error))
    for form in (path, given):
        with pytest.raises(DualEncError):
            read_photo(form)
    monkeypatch.setattr(Image.Image, "load", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read_photo(path)


def test_what_is_no_picture_file_is_named(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    for name, words in (("empty.png", "0 bytes"), ("text.jpg", "no known format"), ("dangling.png", "does not exist")):
        with pytest.raises(DualEncError, match=words):
            read_photo(tmp_path / name)
    for path, words in ((tmp_path, "is a folder"), (Path("a" * 300 + ".png"), "cannot be read|does not exist")):
        with pytest.raises(DualEncError, match=words):
            read_photo(path)


# -------------------------------------------------------------------------------------------------------------- colours


def matrix_profile(columns: list[tuple[float, float, float]], gamma: float, name: str) -> bytes:
    """An ICC profile of an RGB space: XYZ (D50) of its primaries, one gamma (ICC.1:2001-04, 6.3.1.2)."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values) -> bytes:
        return b"XYZ \x00\x00\x00\x00" + b"".join(map(fixed, values))

    title = name.encode() + b"\x00"
    description = b"desc\x00\x00\x00\x00" + struct.pack(">I", len(title)) + title + bytes(78)
    curve = b"curv\x00\x00\x00\x00" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"desc": description, b"cprt": b"text\x00\x00\x00\x00none\x00", b"wtpt": xyz((0.9642, 1, 0.8249))}
    tags |= {key: xyz(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for key, content in tags.items():
        content += bytes(-len(content) % 4)
        table += key + struct.pack(">II", place + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += fixed(0.9642) + fixed(1) + fixed(0.8249)
    return header.ljust(128, b"\x00") + table + body


WIDE = matrix_profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)], 2.2, "Wide RGB")
WIDER = matrix_profile([(0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)], 1.8, "Wider RGB")


def into(picture: Image.Image, profile: bytes) -> Image.Image:
    """The same colours as numbers of another space."""
    srgb, other = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, srgb, other)


@pytest.mark.parametrize("profile", [WIDE, WIDER])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_of_a_profile_become_srgb(tmp_path, profile, form):
    y, x = np.mgrid[0:64, 0:64]
    picture = Image.fromarray(np.stack([80 + x, 90 + y, 200 - x], -1).astype(np.uint8))
    stored = into(picture, profile)
    assert np.abs(np.asarray(stored).astype(int) - np.asarray(picture)).mean() > 3
    options = {"lossless": True} if form == "WEBP" else {"quality": 97, "subsampling": 0} if form == "JPEG" else {}
    photo = read(tmp_path, saved(stored, form, icc_profile=profile, **options), form.lower())
    assert difference(photo, picture) < 2
    assert any("sRGB from 'Wide" in note for note in photo.notes)


def test_alpha_and_orientation_survive_the_profile(picture, tmp_path):
    stored = into(picture, WIDE).transpose(Image.Transpose.ROTATE_90)
    alpha = Image.new("L", stored.size, 255)
    alpha.paste(0, (0, 0, 10, 96))
    stored.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read(tmp_path, saved(stored, "PNG", icc_profile=WIDE, exif=exif), "png")
    assert (photo.width, photo.height) == (96, 64) and photo.alpha is not None
    assert photo.alpha.pixels[:10].max() == 0 and photo.alpha.pixels[12:].min() == 255
    assert np.abs(photo.pixels[12:].astype(int) - np.asarray(picture)[12:]).mean() < 2


def test_srgb_grey_broken_and_foreign_profiles(picture, tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read(tmp_path, saved(picture, "PNG", icc_profile=srgb), "png")
    assert plain.notes == () and difference(plain, picture) == 0
    for profile in (b"garbage", WIDE[:200], WIDE[:128] + b"\xff" * 300):
        photo = read(tmp_path, saved(picture, "PNG", icc_profile=profile), "png")
        assert difference(photo, picture) == 0 and "cannot be used" in photo.notes[0]
    grey = read(tmp_path, saved(picture.convert("L"), "PNG", icc_profile=WIDE), "png")
    assert grey.pixels.shape == (64, 96, 3)
    palette = read(tmp_path, saved(into(picture, WIDE).quantize(64), "PNG", icc_profile=WIDE), "png")
    assert difference(palette, picture) < 12 and "sRGB" in palette.notes[0]
    cmyk = read(tmp_path, saved(picture.convert("CMYK"), "JPEG", quality=97), "jpg")
    assert difference(cmyk, picture) < 6
    lab = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert difference(read_photo(lab), picture) < 2


# ---------------------------------------------------------------------------------------------------------- HEIC, large


def test_heic(picture, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(picture).save(str(tmp_path / "phone.heic"), quality=95)
    photo = read_photo(tmp_path / "phone.heic")
    assert (photo.width, photo.height) == (96, 64) and difference(photo, picture) < 6


def test_heic_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    def missing(module, extra):
        raise MissingDependencyError(f"{module} is not there: pip install {extra}")

    monkeypatch.setattr(decode, "require", missing)
    (tmp_path / "phone.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(40))
    with pytest.raises(DualEncError, match=r"phone.jpg' is a HEIC picture.*dualenc\[heic\].*save it as JPEG"):
        read_photo(tmp_path / "phone.jpg")


def test_jpegs_beyond_the_limit_are_read_smaller_and_others_refused_with_advice(
    picture, tmp_path, monkeypatch, recwarn
):
    large = picture.resize((960, 640), Image.Resampling.NEAREST)
    for form in ("JPEG", "PNG"):
        (tmp_path / f"large.{form.lower()}").write_bytes(saved(large, form))
    # Pillow warns above the limit and refuses above twice of it.
    for limit, size in ((400_000, (960, 640)), (200_000, (480, 320)), (50_000, (240, 160)), (9_000, (120, 80))):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        photo = read_photo(tmp_path / "large.jpeg")
        assert (photo.width, photo.height) == size
        assert photo.pixels[5 * size[1] // 64, 5 * size[0] // 96, 0] > 200
        assert bool(photo.notes) == (size != (960, 640))
    with pytest.raises(DualEncError, match="too large.*make it smaller"):
        read_photo(tmp_path / "large.png")
    monkeypatch.setattr(decode, "_MOST_PIXELS", 500_000)
    with pytest.raises(DualEncError, match="too large.*960×640"):
        read_photo(tmp_path / "large.jpeg")
    assert not [w for w in recwarn if issubclass(w.category, Image.DecompressionBombWarning)]


# -------------------------------------------------------------------------------------------------------------- numbers


def test_overshoot_is_clamped_and_other_ranges_are_refused():
    photo = np.full((4, 4, 3), 0.5)
    photo[0, 0], photo[1, 1] = 1.2, -0.2
    read_it = read_photo(photo)
    assert read_it.pixels.max() == 1 and read_it.pixels.min() == 0 and read_it.notes == ()
    photo[0, 0] = 1.4
    assert "clamped" in read_photo(photo).notes[0]
    photo[0, 0] = 1.6
    with pytest.raises(DualEncError, match="expected 0..1"):
        read_photo(photo)
