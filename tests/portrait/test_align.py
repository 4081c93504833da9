"""align_portrait on scikit-image's astronaut (public domain) in every form a photo can take, and on bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.portrait import align_portrait
from dualenc_core.portrait.detector import anchors, search, weighted_nms
from dualenc_core.portrait.matting import guided_filter
from dualenc_core.portrait.photo import Photo, read_photo

SIZE = 128


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def astronaut(photo):
    return align_portrait(photo, size=SIZE)


def angles(portrait) -> tuple[float, float, float]:
    return portrait.report.yaw, portrait.report.pitch, portrait.report.roll


def codes(portrait) -> set[str]:
    return {w.code for w in portrait.report.warnings}


def test_shapes_ranges_and_camera(astronaut):
    assert astronaut.image.shape == (1, 3, SIZE, SIZE) and astronaut.matte.shape == (1, 1, SIZE, SIZE)
    assert astronaut.overlay.shape == (1, 3, 512, 512)
    assert -1 <= astronaut.image.min() < -0.5 and 0.5 < astronaut.image.max() <= 1
    for values in (astronaut.matte, astronaut.overlay):
        assert values.min() >= 0 and values.max() <= 1
    camera = astronaut.camera
    assert len(camera) == 1 and abs(camera.position.norm() - 2.7) < 1e-5
    assert torch.allclose(camera.position / 2.7, -camera.cam2world[:, :3, 2], atol=1e-5)
    assert float(camera.intrinsics[0, 0, 0]) == pytest.approx(4.2647)


def test_the_astronaut_is_found_as_she_stands(astronaut):
    report = astronaut.report
    x, y, side = report.crop
    assert abs(x - 226) < 6 and abs(y - 105) < 6 and abs(side - 174) < 8
    assert abs(report.yaw) < 5 and 3 < report.pitch < 15 and abs(report.tilt - 2.4) < 2
    assert report.confidence > 0.7 and report.chosen == 0 and not report.warnings
    assert "yaw" in report.text and "confidence" in report.text
    face = astronaut.matte[0, 0, SIZE // 4 : SIZE * 3 // 4, SIZE * 3 // 8 : SIZE * 5 // 8]
    assert face.min() > 0.9 and astronaut.matte[0, 0, :20, :20].max() < 0.1


def test_same_input_same_bytes(photo, astronaut):
    again = align_portrait(photo, size=SIZE)
    for name in ("image", "matte", "overlay"):
        assert torch.equal(getattr(again, name), getattr(astronaut, name))
    assert torch.equal(again.camera.cam2world, astronaut.camera.cam2world) and again.report == astronaut.report


def test_every_kind_of_input_gives_the_same_crop(photo, astronaut, tmp_path):
    chw = torch.from_numpy(photo).permute(2, 0, 1)
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    opaque = np.concatenate([photo, np.full_like(photo[:, :, :1], 255)], 2)
    forms = [path, str(path), Image.fromarray(photo), chw, chw[None].float() / 255, photo / 255.0]
    forms += [photo.astype(np.uint16) * 257, opaque, chw.half() / 255]
    for form in forms:
        read = read_photo(form)
        assert read.alpha is None and (read.width, read.height) == (512, 512)
        window = read.window(np.array([[1.3, 0.1, 130], [-0.1, 1.3, 20]]), SIZE)
        assert torch.allclose(
            window, read_photo(photo).window(np.array([[1.3, 0.1, 130], [-0.1, 1.3, 20]]), SIZE), atol=2e-3
        )
    assert torch.allclose(align_portrait(path, size=SIZE).image, astronaut.image, atol=1e-6)


def test_mirrored_photo_gives_the_mirrored_portrait(photo, astronaut):
    mirrored = align_portrait(np.ascontiguousarray(photo[:, ::-1]), size=SIZE)
    (yaw, pitch, roll), expected = angles(mirrored), angles(astronaut)
    assert abs(yaw + expected[0]) < 1 and abs(pitch - expected[1]) < 1.5 and abs(roll + expected[2]) < 1
    assert (mirrored.image.flip(-1) - astronaut.image).abs().mean() < 0.06
    assert torch.allclose(mirrored.camera.cam2world, astronaut.camera.mirrored.cam2world, atol=0.04)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_photos_are_turned_back(photo, astronaut, quarter):
    turned = align_portrait(np.ascontiguousarray(np.rot90(photo, quarter)), size=SIZE)
    assert "turned" in codes(turned)
    assert abs((turned.report.tilt + 90 * quarter - astronaut.report.tilt + 180) % 360 - 180) < 2
    assert angles(turned) == pytest.approx(angles(astronaut), abs=2)
    assert (turned.image - astronaut.image).abs().mean() < 0.06


def test_exif_orientation_is_obeyed(photo, tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo[:400]).rotate(90, expand=True).save(path, exif=exif, quality=95)
    read = read_photo(path)
    assert (read.width, read.height) == (512, 400) and "EXIF" in read.notes[0]
    assert np.abs(read.pixels.astype(int) - photo[:400]).mean() < 4


def test_grey_and_sixteen_bit_files(photo, astronaut, tmp_path):
    grey = photo.mean(2)
    Image.fromarray((grey * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    portrait = align_portrait(tmp_path / "deep.png", size=SIZE)
    assert torch.equal(portrait.image[:, 0], portrait.image[:, 2])
    assert angles(portrait) == pytest.approx(angles(astronaut), abs=3)
    assert read_photo(grey.astype(np.uint8)).pixels.shape == (512, 512, 3)


def test_two_faces_are_listed_and_chosen(photo):
    small = np.array(Image.fromarray(photo).resize((300, 300), Image.LANCZOS))
    both = np.full((512, 812, 3), 128, np.uint8)
    both[:, :512], both[100:400, 512:] = photo, small
    portrait = align_portrait(both, size=SIZE)
    assert len(portrait.report.faces) == 2 and "several-faces" in codes(portrait)
    assert portrait.report.crop[0] < 512
    other = align_portrait(both, face=1, size=SIZE)
    assert other.report.crop[0] > 512 and "several-faces" not in codes(other) and other.report.chosen == 1
    with pytest.raises(DualEncError, match="face is 2, but 2"):
        align_portrait(both, face=2)


def test_tiny_face_in_a_large_photo(photo):
    scene = np.full((1200, 1600, 3), 110, np.uint8)
    scene[700:920, 300:520] = np.array(Image.fromarray(photo).resize((220, 220), Image.LANCZOS))
    portrait = align_portrait(scene, size=SIZE)
    assert "small-face" in codes(portrait)
    x, y, side = portrait.report.crop
    assert abs(x - 397) < 4 and abs(y - 745) < 4 and abs(side - 75) < 4


def test_large_photos_are_antialiased():
    """A checkerboard finer than the window's pixels becomes flat grey, in 8 bit and in float."""
    board = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)
    for pixels in (board, board / 255.0):
        window = read_photo(pixels).window(np.array([[7.3, 0, 100], [0, 7.3, 80]]), 128)
        assert (window - 0.5).abs().max() < 0.02


def test_window_keeps_coordinates_at_every_scale():
    ramp = np.tile(np.linspace(0, 1, 1000, dtype=np.float32), (1000, 1))
    for pixels, tolerance in ((ramp, 1e-3), ((ramp * 255).round().astype(np.uint8), 5e-3)):
        for step in (1.0, 2.5, 7.0):
            window = read_photo(pixels).window(np.array([[step, 0, 30], [0, step, 40]]), 100)
            expected = (30 + step * (torch.arange(100) + 0.5) - 0.5) / 999
            assert (window[0, 0, 50] - expected).abs().max() < tolerance


def test_close_up_is_completed_by_mirroring(photo, astronaut):
    portrait = align_portrait(photo[40:190, 160:290], size=SIZE)
    assert "outside" in codes(portrait) and portrait.report.outside > 0.2
    assert portrait.image.isfinite().all()
    assert abs(portrait.report.crop[2] - astronaut.report.crop[2]) < 6
    assert portrait.matte[0, 0, :8].max() == 0


def test_everything_can_be_overridden(photo, astronaut):
    portrait = align_portrait(photo, size=SIZE, yaw=25, roll=-5)
    assert angles(portrait) == pytest.approx((25, astronaut.report.pitch, -5))
    assert torch.allclose(portrait.camera.label, Camera.look_at(25, astronaut.report.pitch, -5).label, atol=1e-5)
    assert torch.equal(portrait.image, astronaut.image)
    moved = align_portrait(photo, size=64, scale=1.5, shift=(0.25, 0.0))
    assert moved.image.shape[-1] == 64
    side = astronaut.report.crop[2]
    assert moved.report.crop[2] == pytest.approx(1.5 * side)
    distance = np.subtract(moved.report.crop[:2], astronaut.report.crop[:2])
    assert np.linalg.norm(distance) == pytest.approx(0.25 * 1.5 * side) and distance[0] > 0


def test_no_face_says_what_to_do_and_can_be_placed_by_hand():
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    with pytest.raises(NoFaceError, match="300×200.*yaw=0, pitch=0"):
        align_portrait(noise)
    portrait = align_portrait(noise, yaw=10, size=SIZE)
    assert portrait.report.crop == (150, 100, 200) and codes(portrait) == {"by-hand"}
    assert angles(portrait) == (10, 0, 0) and portrait.report.confidence == 0


@pytest.mark.parametrize(
    "image, message",
    [
        ("absent.jpg", "does not exist"),
        (7, "int"),
        (np.zeros((5, 5, 2)), r"\(5, 5, 2\)"),
        (np.zeros((5, 5, 3), np.int64), "int64"),
        (np.full((5, 5, 3), np.nan), "NaN"),
        (np.full((5, 5, 3), 200.0), "uint8"),
        (np.full((5, 5, 3), -1.0), r"\(x \+ 1\) / 2"),
        (torch.zeros(2, 3, 8, 8), "one photo per call"),
        (torch.zeros(8, 8, 3), "channels first"),
        (np.zeros((0, 5, 3)), r"\(0, 5, 3\)"),
    ],
)
def test_bad_photos_are_named(image, message):
    with pytest.raises(DualEncError, match=message):
        align_portrait(image)


def test_bad_files_masks_and_options_are_named(photo, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"this is no picture")
    with pytest.raises(DualEncError, match="cannot be read as a picture"):
        align_portrait(path)
    for options, message in (
        ({"size": 0}, "size is 0"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"shift": (9, 0)}, "shift is"),
        ({"yaw": float("nan")}, "yaw is nan"),
    ):
        with pytest.raises(DualEncError, match=message):
            align_portrait(photo, **options)


def test_anchors_and_weighted_nms():
    centres = anchors()
    assert (
        centres.shape == (896, 2)
        and centres[0].tolist() == [1 / 32, 1 / 32]
        and centres[-1].tolist() == [15 / 16, 15 / 16]
    )
    box = np.array([[0.0, 0], [1, 1], [0.5, 0.5]])
    faces = weighted_nms(np.stack([box, box + 0.2, box + 5]), np.array([0.9, 0.3, 0.5]))
    assert [score for _, score in faces] == [0.9, 0.5]
    np.testing.assert_allclose(faces[0][0], box + 0.05)
    np.testing.assert_allclose(faces[1][0], box + 5)
    assert weighted_nms(np.zeros((0, 8, 2)), np.zeros(0)) == []


def test_keypoints_lie_where_they_belong(photo):
    face = max(next(search(Photo(photo))), key=lambda f: f.score)
    right_eye, left_eye, nose, mouth, right_ear, left_ear = face.keypoints
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert right_eye[1] < nose[1] < mouth[1]


def test_guided_filter_keeps_constants_and_follows_edges():
    guide = torch.zeros(1, 3, 32, 32)
    guide[..., 16:] = 1
    flat = torch.full((1, 1, 32, 32), 0.3)
    assert torch.allclose(guided_filter(guide, flat, 3, 1e-4), flat, atol=1e-4)
    soft = torch.nn.functional.avg_pool2d(guide[:, :1], 7, 1, 3, count_include_pad=False)
    sharp = guided_filter(guide, soft, 4, 1e-4)
    step = [float((m[..., 16] - m[..., 15]).mean()) for m in (soft, sharp)]
    assert step[1] > 3 * step[0]


def test_report_is_immutable(astronaut):
    with pytest.raises(dataclasses.FrozenInstanceError):
        astronaut.report.yaw = 0
