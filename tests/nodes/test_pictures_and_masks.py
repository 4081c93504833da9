"""What people connect: pictures a little out of range, masks of every kind, empty batches, frames without a face."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

EMPTY = torch.full((1, 256, 256, 3), 0.5)


@pytest.fixture(scope="module")
def overshot(photo):
    """What ComfyUI's bicubic upscaling makes: values beyond 0..1."""
    noisy = photo.clone()
    noisy[:, :12] = torch.tensor([0.0, 1.0]).repeat(6)[None, :, None, None]
    image = F.interpolate(noisy.movedim(-1, 1), size=(300, 300), mode="bicubic").movedim(1, -1)
    assert image.min() < -0.01 or image.max() > 1.01
    return image


@pytest.fixture(scope="module")
def aligned(node, photo):
    return node("DualEncAlignPortrait", image=photo, size=256)


def test_values_a_little_out_of_range_are_clamped(node, generator, encoder, overshot, aligned):
    clamped = overshot.clamp(0, 1)
    given = {"generator": generator, "camera": aligned[1]}
    calls = {
        "DualEncAlignPortrait": {},
        "DualEncEncode": given | {"encoder": encoder},
        "DualEncCompare": {"reference": overshot},
    }
    for name, more in calls.items():
        first, second = (node(name, image=image, **more)[0] for image in (overshot, clamped))
        same = [getattr(value, "planes", value) for value in (first, second)]
        assert torch.equal(*map(torch.as_tensor, same)), name


def test_values_far_out_are_clamped_with_a_warning_and_others_refused(node, photo, caplog):
    far = photo.clone()
    far[0, 0, 0] = 1.4
    assert node("DualEncCompare", image=far, reference=photo)[0] < 1e-3
    assert "clamped" in caplog.text
    for wrong in (photo * 2 - 1, photo * 255, photo.clone().fill_(float("nan"))):
        for name, more in (("DualEncAlignPortrait", {}), ("DualEncCompare", {"reference": photo})):
            with pytest.raises(ValueError, match="expected 0..1"):
                node(name, image=wrong, **more)


def test_empty_batches_are_refused_by_name(node, generator, encoder, head, photo, dc):
    camera = dc.Camera.look_at()
    given = {"generator": generator, "camera": camera}
    calls = [
        ("DualEncAlignPortrait", "image", {"image": photo[:0]}),
        ("DualEncAlignPortrait", "mask", {"image": photo, "mask": torch.zeros(0, 256, 256)}),
        ("DualEncRender", "camera", given | {"triplane": head, "camera": camera[0:0]}),
        ("DualEncRender", "triplane", given | {"triplane": head[0:0]}),
        ("DualEncEncode", "image", given | {"encoder": encoder, "image": photo[:0]}),
        ("DualEncInvert", "camera", {"generator": generator, "encoder1": encoder, "encoder2": encoder, "image": photo,
                                     "camera": camera[0:0]}),
        ("DualEncOptimize", "image", given | {"image": photo[:0]}),
        ("DualEncCompare", "reference", {"image": photo, "reference": photo[:0]}),
        ("DualEncMirror", "triplane", {"generator": generator, "triplane": head[0:0]}),
        ("DualEncSaveTriplane", "triplane", {"triplane": head[0:0]}),
    ]  # fmt: skip
    for name, culprit, inputs in calls:
        with pytest.raises(ValueError, match=f"{culprit} is empty"):
            node(name, **inputs)


# ---------------------------------------------------------------------------------------------------------------- masks


def test_a_mask_means_the_same_in_every_shape_type_and_size(node, photo):
    mask = torch.zeros(1, 256, 256)
    mask[:, 20:240, 40:216] = 1
    expected = node("DualEncAlignPortrait", image=photo, mask=mask, size=128)[2]
    forms = [mask[0], mask[:, None], mask.bool(), mask.byte(), mask.byte() * 255, mask.half(), mask * 255]
    forms += [F.interpolate(mask[None], (128, 128))[0], mask * 1.1 - 0.05]
    for form in forms:
        matte = node("DualEncAlignPortrait", image=photo, mask=form, size=128)[2]
        assert (matte - expected).abs().mean() < 0.01, (form.dtype, form.shape)


def test_load_images_zeros_are_no_mask(node, generator, head, photo, aligned, pack):
    none, camera = torch.zeros(1, 64, 64), aligned[1]
    plain, with_none = (node("DualEncAlignPortrait", image=photo, **more)[2] for more in ({}, {"mask": none}))
    assert torch.equal(plain, with_none)
    encode = sys.modules[pack.__name__ + ".nodes.encode"]
    assert encode.subject(photo, none, torch.device("cpu"))[1] is None
    with pytest.raises(ValueError, match="nothing"):
        node("DualEncRegionMask", generator=generator, triplane=head, part="painted", mask=none, camera=camera)


def test_masks_that_leave_no_head_are_refused_everywhere(node, generator, encoder, photo, aligned):
    person = torch.zeros(1, 256, 256)
    person[:, 10:250, 40:216] = 1
    given = {"generator": generator, "image": aligned[0], "camera": aligned[1]}
    both = {"encoder1": encoder, "encoder2": encoder}
    for matte, message in ((torch.zeros(1, 256, 256), "nothing"), (1 - person, "Invert Mask")):
        with pytest.raises(ValueError, match=message):
            node("DualEncAlignPortrait", image=photo, mask=matte)
        with pytest.raises(ValueError, match=message):
            node("DualEncEncode", encoder=encoder, matte=matte, **given)
        with pytest.raises(ValueError, match=message):
            node("DualEncInvert", matte=matte, **both, **given)
        with pytest.raises(ValueError, match=message):
            node("DualEncOptimize", matte=matte, steps=1, **given)


def test_little_of_the_face_is_a_warning_on_the_node(node, photo):
    mask = torch.zeros(1, 256, 256)
    mask[:, 115:135, 115:135] = 1
    warnings = node.full("DualEncAlignPortrait", image=photo, mask=mask, size=128)["ui"]["dualenc_warnings"]
    assert any("of the face" in text for text in warnings)


# ----------------------------------------------------------------------------------------------- frames without a face


@pytest.fixture(scope="module")
def clip(photo):
    """Frames: nobody, a face, nobody, the face moved."""
    return torch.cat([EMPTY, photo, EMPTY, torch.roll(photo, 20, dims=2)])


def test_a_frame_without_a_face_is_an_error_that_says_which_and_what_to_do(node, clip):
    with pytest.raises(ValueError, match="image 1 of 4: no face was found.*on_no_face.*'skip' or 'previous camera'"):
        node("DualEncAlignPortrait", image=clip, size=128)


def test_frames_without_a_face_are_skipped_and_the_kept_ones_listed(node, clip):
    answer = node.full("DualEncAlignPortrait", image=clip, size=128, on_no_face="skip")
    crop, camera, matte, overlay, report, kept = answer["result"]
    assert kept == "1, 3" and answer["ui"]["kept"] == [1, 3]
    assert len(crop) == len(camera) == len(matte) == len(overlay) == 2
    assert "image 2:" in report and "image 4:" in report and "left out: image 1, 3" in report
    with pytest.raises(ValueError, match="^no face"):
        node("DualEncAlignPortrait", image=EMPTY, size=128, on_no_face="skip")


def test_frames_without_a_face_take_the_camera_and_crop_of_the_one_before(node, clip):
    answer = node.full("DualEncAlignPortrait", image=clip, size=128, on_no_face="previous camera")
    crop, camera, matte, overlay, report, kept = answer["result"]
    assert kept == "0, 1, 2, 3" and len(crop) == len(camera) == len(matte) == len(overlay) == 4
    places = [line["crop"] for line in answer["ui"]["alignment"]]
    # Equal up to rounding: what is computed with the camera in between may end in another last bit.
    same = pytest.approx(places[1], abs=1e-6)
    assert places[0] == same and places[2] == same and places[3] != same
    poses = camera.cam2world
    assert torch.equal(poses[2], poses[1]) and torch.equal(poses[0], poses[1])
    assert (crop[2] - 0.5).abs().max() < 0.02
    assert report.count("those of another picture") == 2
