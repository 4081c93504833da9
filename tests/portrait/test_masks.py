"""A mask means the same however it is stored; one that leaves out the face is not obeyed in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.mattes import check_mattes, is_inverted, middle
from dualenc_core.portrait import align_portrait
from dualenc_core.portrait.mask import mask_window, read_mask, read_masks
from dualenc_core.portrait.photo import read_photo

SIZE = 128


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def plain(photo):
    return align_portrait(photo, size=SIZE)


def ellipse(size: tuple[int, int] = (512, 512), box=(130, 10, 320, 290)) -> Image.Image:
    """White on the astronaut's head, black elsewhere."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def codes(portrait) -> set[str]:
    return {w.code for w in portrait.report.warnings}


def labels(binary: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(binary.astype(np.uint8), "L").convert("P")
    picture.putpalette([0, 0, 0, *colour] + [0] * 762)
    return picture


def storages() -> dict[str, object]:
    """The same mask in every form that people bring."""
    mask = ellipse()
    grey = np.array(mask)
    binary = grey > 127
    scene = Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8))
    cut_out = scene.convert("RGBA")
    cut_out.putalpha(mask)
    stencil = Image.merge("RGBA", (mask, mask, mask, Image.new("L", mask.size, 255)))
    punched = stencil.copy()
    punched.putpixel((5, 5), (0, 0, 0, 0))
    red = np.zeros((512, 512, 3), np.uint8)
    red[..., 0] = grey // 2
    transparent = labels(binary, (7, 7, 7))
    transparent.info["transparency"] = 0
    return {
        "L": mask,
        "1 bit": mask.convert("1"),
        "0/1 in 8 bits": Image.fromarray(binary.astype(np.uint8)),
        "RGB": mask.convert("RGB"),
        "0/1 in RGB": Image.fromarray(np.repeat(binary[:, :, None], 3, 2).astype(np.uint8)),
        "LA, opaque": mask.convert("LA"),
        "LA, alpha": Image.merge("LA", (Image.new("L", mask.size, 255), mask)),
        "RGBA cut-out": cut_out,
        "RGBA, black under alpha": Image.merge("RGBA", (Image.new("L", mask.size),) * 3 + (mask,)),
        "RGBA, opaque": stencil,
        "RGBA, one clear pixel": punched,
        "RGBA, alpha 254": Image.merge("RGBA", (mask, mask, mask, Image.new("L", mask.size, 254))),
        "grey palette": mask.convert("P"),
        "labels": labels(binary, (128, 0, 0)),
        "dark labels": labels(binary, (0, 0, 1)),
        "grey labels": labels(binary, (7, 7, 7)),
        "labels, transparent ground": transparent,
        "red on black": Image.fromarray(red),
        "16 bits": Image.fromarray(grey.astype(np.uint16) * 257),
        "0/255 in 16 bits": Image.fromarray(grey.astype(np.uint16)),
        "0/1 in 32 bits": Image.fromarray(binary.astype(np.int32)),
        "float picture": Image.fromarray(grey.astype(np.float32) / 255),
        "float picture to 255": Image.fromarray(grey.astype(np.float32)),
        "CMYK": mask.convert("CMYK"),
        "array": grey,
        "bool": binary,
        "uint16 0/1": binary.astype(np.uint16),
        "int64 labels": torch.from_numpy(binary).long(),
        "float64": grey / 255.0,
        "float16": torch.from_numpy(grey).half() / 255,
        "float to 65535": grey.astype(np.float32) * 257,
        "overshoot": torch.from_numpy(np.where(binary, 1.2, -0.2)),
        "[1,H,W]": torch.from_numpy(grey)[None],
        "[1,1,H,W]": torch.from_numpy(grey / 255.0)[None, None],
        "[H,W,1]": grey[:, :, None],
        "[H,W,3]": np.repeat(grey[:, :, None], 3, 2),
        "[1,H,W,3]": torch.from_numpy(np.repeat(grey[:, :, None], 3, 2))[None] / 255,
        "[3,H,W]": torch.from_numpy(grey).expand(3, -1, -1),
        "[H,W,4]": np.asarray(cut_out),
        "half the size": mask.resize((256, 256)),
        "another shape": mask.resize((700, 300), Image.Resampling.BILINEAR),
    }


STORAGES = storages()


@pytest.mark.parametrize("name", STORAGES)
def test_a_mask_means_the_same_however_it_is_stored(name):
    photo = read_photo(np.zeros((512, 512, 3), np.uint8))
    window = [mask_window(read_mask(mask), photo, np.eye(2, 3) * 4, SIZE) for mask in (STORAGES["L"], STORAGES[name])]
    assert (window[0] - window[1]).abs().mean() < 0.004, name
    assert window[1].max() > 0.99 and window[1].min() < 0.01


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp", "gif", "jpg"])
def test_mask_files_of_every_kind(suffix, tmp_path):
    ellipse().save(tmp_path / f"mask.{suffix}")
    read = read_mask(tmp_path / f"mask.{suffix}")
    assert np.abs(read.pixels[:, :, 0].astype(int) - np.asarray(ellipse())).mean() < 2


def test_soft_masks_keep_their_values_in_every_depth():
    ramp = np.tile(np.linspace(0, 1, 256), (8, 1))
    for form in (ramp, (ramp * 255).round().astype(np.uint8), (ramp * 65535).round().astype(np.uint16)):
        read = read_mask(Image.fromarray(form) if form.dtype.kind == "u" else form)
        full = {"u": np.iinfo(read.pixels.dtype).max if read.pixels.dtype.kind == "u" else 1}.get(form.dtype.kind, 1)
        assert np.abs(read.pixels[:, :, 0] / full - ramp).max() < 0.01


def test_load_images_zeros_are_no_mask(photo, plain):
    for none in (torch.zeros(64, 64), torch.zeros(1, 64, 64), torch.zeros(1, 1, 64, 64), np.zeros((64, 64), np.uint8)):
        assert read_mask(none) is None and read_masks(none) is None
    assert torch.equal(align_portrait(photo, torch.zeros(1, 64, 64), size=SIZE).matte, plain.matte)
    painted = torch.zeros(1, 64, 64)
    painted[:, 10:40, 10:40] = 1
    assert read_mask(painted) is not None


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.zeros((9, 9)), "holds nothing"),
        (Image.new("L", (64, 64)), "holds nothing"),
        (Image.new("1", (9, 9)), "holds nothing"),
        (Image.new("RGBA", (9, 9)), "transparent everywhere"),
        (np.full((9, 9), 2, np.uint8), "largest value is 2"),
        (np.full((9, 9), np.nan), "NaN"),
        (np.full((9, 9), -3.0), "-3..-3"),
        (np.full((9, 9), 1e6), r"1e\+06"),
        (torch.ones(2, 9, 9), "2 masks, expected one"),
        (np.ones((9, 9, 2)), r"\(9, 9, 2\)"),
        (np.ones((0, 9)), r"\(0, 9\)"),
        (np.full((9, 9), "a"), "U1"),
        (7, "int"),
        ("absent.png", "mask 'absent.png' does not exist"),
    ],
)
def test_bad_masks_are_named(mask, message):
    with pytest.raises(DualEncError, match=message):
        read_mask(mask)


def test_batches_of_nodes_have_one_form():
    mask = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0))
    for form in (mask, mask[:, None], mask[..., None], mask.double()):
        assert torch.allclose(read_masks(form), mask[:, None], atol=1e-6)
    assert read_masks(mask[0]).shape == (1, 1, 8, 9)
    assert torch.equal(read_masks(mask > 0.5), read_masks((mask > 0.5).byte() * 255))
    # Of several views one may show nothing of a part.
    assert read_masks(torch.zeros(2, 8, 8)).max() == 0
    for bad, message in ((torch.zeros(0, 8, 8), "is empty"), (torch.zeros(2, 3, 8, 8), r"\(2, 3, 8, 8\)")):
        with pytest.raises(DualEncError, match=message):
            read_masks(bad)


# -------------------------------------------------------------------------------------------------- masks and the face


def test_an_inverted_mask_is_an_error_that_names_invert_mask(photo):
    for box in ((130, 10, 320, 290), (100, 0, 350, 512), (179, 60, 272, 190)):
        inverted = 255 - np.asarray(ellipse(box=box))
        with pytest.raises(DualEncError, match="inverted.*Invert Mask"):
            align_portrait(photo, inverted, size=SIZE)


def test_a_mask_of_little_of_the_face_is_a_warning_and_of_nothing_an_error(photo):
    portrait = align_portrait(photo, ellipse(box=(200, 90, 240, 130)), size=SIZE)
    assert "little-matte" in codes(portrait) and 0 < portrait.matte.mean() < 0.1
    faint = align_portrait(photo, np.full((512, 512), 6553, np.uint16), size=SIZE)
    assert "little-matte" in codes(faint) and abs(float(faint.matte.mean()) - 0.1) < 0.01
    with pytest.raises(DualEncError, match="nothing of the face"):
        align_portrait(photo, ellipse(box=(400, 400, 440, 440)), size=SIZE)
    whole = align_portrait(photo, ellipse(), size=SIZE)
    assert not whole.report.warnings


def test_with_several_faces_the_one_that_the_mask_holds_is_chosen(photo):
    small = np.array(Image.fromarray(photo).resize((300, 300), Image.LANCZOS))
    both = np.full((512, 812, 3), 128, np.uint8)
    both[:, :512], both[100:400, 512:] = photo, small
    left, right = np.zeros((2, 512, 812), np.uint8)
    left[:, :512], right[:, 512:] = 255, 255
    assert align_portrait(both, left, size=SIZE).report.crop[0] < 512
    portrait = align_portrait(both, right, size=SIZE)
    assert portrait.report.crop[0] > 512 and portrait.report.chosen == 1 and portrait.matte.mean() > 0.9
    assert any("the one that the mask holds" in w.message for w in portrait.report.warnings)
    with pytest.raises(DualEncError, match="it is on face 1"):
        align_portrait(both, right, face=0, size=SIZE)


def test_a_masked_face_is_searched_for_after_a_certain_one_was_found(photo):
    scene = np.full((1400, 1800, 3), 110, np.uint8)
    scene[100:612, 100:612] = photo
    scene[1100:1320, 1500:1720] = np.array(Image.fromarray(photo).resize((220, 220), Image.LANCZOS))
    mask = np.zeros((1400, 1800), bool)
    mask[1000:, 1400:] = True
    x, y, _ = align_portrait(scene, mask, size=SIZE).report.crop
    assert abs(x - 1597) < 6 and abs(y - 1145) < 6


def test_a_stretched_mask_is_said(photo):
    assert "mask-size" in codes(align_portrait(photo, ellipse().resize((700, 300)), size=SIZE))
    assert "mask-size" not in codes(align_portrait(photo, ellipse().resize((301, 300)), size=SIZE))


def test_mattes_of_aligned_heads_are_checked_without_a_face():
    head = (middle(64) > 0).float()
    check_mattes(torch.cat([head, torch.ones_like(head), 0.3 * torch.ones_like(head)]))
    assert is_inverted(1 - head, middle(64)) and not is_inverted(head, middle(64))
    for bad, message in ((torch.zeros(1, 1, 32, 32), "holds nothing"), (1 - head, "Invert Mask")):
        with pytest.raises(DualEncError, match=message):
            check_mattes(bad)
    with pytest.raises(DualEncError, match="matte 2 of 2"):
        check_mattes(torch.cat([head, 0 * head]))


# --------------------------------------------------------------------------------------------------------------- alpha


def with_alpha(photo: np.ndarray, alpha: Image.Image | np.ndarray | int) -> np.ndarray:
    values = np.broadcast_to(np.asarray(alpha, dtype=np.uint8), photo.shape[:2])
    return np.dstack([photo, values])


def rounded(size: int, radius: int) -> Image.Image:
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size - 1, size - 1), radius, fill=255)
    return mask


def test_alpha_that_is_no_cut_out_does_not_switch_background_removal_off(photo, plain):
    pixel = np.full((512, 512), 255, np.uint8)
    pixel[3, 4] = 0
    for alpha in (rounded(512, 60), rounded(512, 250), pixel, ellipse(box=(-60, -60, 560, 560))):
        portrait = align_portrait(with_alpha(photo, alpha), size=SIZE)
        assert (portrait.matte - plain.matte).abs().mean() < 0.02
        message = next(w.message for w in portrait.report.warnings if w.code == "alpha")
        assert "no cut-out" in message and "multiplied" in message


def test_alpha_that_is_the_same_everywhere_says_nothing_about_the_person(photo, plain):
    for value in (255, 254, 128):
        portrait = align_portrait(with_alpha(photo, value), size=SIZE)
        assert torch.equal(portrait.matte, plain.matte) and torch.equal(portrait.image, plain.image)
        assert codes(portrait) == (set() if value == 255 else {"note"})


def test_a_cut_out_brings_its_own_matte(photo, plain):
    full = align_portrait(photo, size=512)
    x, y, side = full.report.crop
    # The found matte, put back into the photo, with a hat that segmentation does not know.
    person = np.zeros((512, 512), np.uint8)
    person[160:] = 255
    head = (full.matte[0, 0].numpy() * 255).astype(np.uint8)
    corner = (round(x - side / 2), round(y - side / 2))
    person_picture = Image.fromarray(person)
    person_picture.paste(Image.fromarray(head).resize((round(side),) * 2).rotate(-full.report.tilt), corner)
    hat = (corner[0] + 10, corner[1] + 5, corner[0] + 40, corner[1] + 30)
    ImageDraw.Draw(person_picture).rectangle(hat, fill=255)
    cut_out = with_alpha(photo, person_picture.filter(ImageFilter.GaussianBlur(0.6)))
    portrait = align_portrait(cut_out, size=SIZE)
    assert "the photo's alpha is the matte" in [w.message for w in portrait.report.warnings]
    assert portrait.matte[0, 0, 10:16, 14:22].min() > 0.9 and plain.matte[0, 0, 10:16, 14:22].max() < 0.1
    assert (read_photo(cut_out).pixels[5, 5] == 255).all()
    masked = align_portrait(cut_out, ellipse(), size=SIZE)
    assert (masked.matte - align_portrait(photo, ellipse(), size=SIZE).matte).abs().mean() < 0.02


def test_transparency_that_hides_the_face_is_named(photo):
    with pytest.raises(DualEncError, match="transparent everywhere"):
        align_portrait(with_alpha(photo, 0))
    with pytest.raises(DualEncError, match="face transparent, as if it were inverted"):
        align_portrait(with_alpha(photo, 255 - np.asarray(ellipse())))
    nobody = np.full((200, 200, 3), 90, np.uint8)
    half = np.zeros((200, 200), np.uint8)
    half[:, :100] = 255
    with pytest.raises(NoFaceError, match="50% of it is transparent"):
        align_portrait(with_alpha(nobody, half))
