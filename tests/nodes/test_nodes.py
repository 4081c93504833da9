"""What each node does beyond calling the library."""

from __future__ import annotations

import math
import sys

import pytest
import torch

SMALL = {"resolution": 16, "samples": 8, "super_resolution": False}


@pytest.fixture
def runtime(pack):
    return sys.modules[pack.__name__ + ".nodes.runtime"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Without ComfyUI the folders input, output and temp are in the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------------------------------- render


def test_every_camera_of_every_head_in_order(node, generator):
    heads = node("DualEncSample", generator=generator, seed=3, count=2)[0]
    cameras = node("DualEncOrbit", frames=3)[0]
    image, alpha, depth, normal = node("DualEncRender", generator=generator, triplane=heads, camera=cameras, **SMALL)
    assert image.shape == (6, 16, 16, 3) and alpha.shape == (6, 16, 16)
    assert depth.shape == normal.shape == image.shape
    second = node("DualEncSample", generator=generator, seed=4)[0]
    one = node("DualEncRender", generator=generator, triplane=second, camera=cameras[1], **SMALL)[0]
    assert torch.allclose(image[4], one[0], atol=1e-5)
    for tensor in (image, alpha, depth, normal):
        assert tensor.dtype == torch.float32 and 0 <= tensor.min() and tensor.max() <= 1


def test_backgrounds(node, generator, head):
    camera = node("DualEncCamera")[0]
    options = {"generator": generator, "triplane": head, "camera": camera, **SMALL}
    plain = node("DualEncRender", background="colour", colour="#0f0", **options)
    empty = plain[1][0] < 0.01
    assert empty.any()
    assert torch.allclose(plain[0][0][empty], torch.tensor([0.0, 1.0, 0.0]), atol=0.02)
    clear = node("DualEncRender", background="transparent", colour="#0f0", **options)
    assert clear[0].shape == (1, 16, 16, 4)
    assert torch.equal(clear[0][..., 3], clear[1])
    assert torch.equal(clear[0][0][empty][:, :3], torch.tensor([0.0, 1.0, 0.0]).expand(int(empty.sum()), 3))


def test_transparent_frames_are_not_for_a_video_and_this_is_said_before_the_video_fails(node, generator, head):
    options = {"generator": generator, "triplane": head, **SMALL}
    cameras = node("DualEncOrbit", frames=2)[0]
    answer = node.full("DualEncRender", camera=cameras, background="transparent", **options)
    assert "Save Video" in answer["ui"]["dualenc_warnings"][0] and answer["result"][0].shape[-1] == 4
    for changes in ({"camera": cameras[0], "background": "transparent"}, {"camera": cameras, "background": "colour"}):
        assert isinstance(node.full("DualEncRender", **options, **changes), tuple)


def test_the_fast_renderer_is_the_default_and_agrees_with_the_plain_one(node, generator, head):
    options = {"generator": generator, "triplane": head, "camera": node("DualEncCamera", yaw=40.0)[0], **SMALL}
    generator.module.release_prepared()
    plain = node("DualEncRender", quality="reference", **options)
    assert not generator.module._prepared.heads
    fast = node("DualEncRender", **options)
    assert [key[0] for key in generator.module._prepared.heads] == ["exact"]
    # Relative depth and normals are unsteady where there is hardly any head.
    for picture, other in zip(fast[:2], plain[:2], strict=True):
        assert (picture - other).abs().max() < 1e-3
    rough = node("DualEncRender", quality="draft", **options)[0]
    assert 1e-6 < (rough - plain[0]).square().mean().sqrt() < 0.02


@pytest.mark.parametrize("colour", ["reddish", "#12", "#12345g", ""])
def test_a_bad_colour_is_named(node, generator, head, colour):
    camera = node("DualEncCamera")[0]
    with pytest.raises(ValueError, match="expected #rrggbb"):
        node("DualEncRender", generator=generator, triplane=head, camera=camera, background="colour", colour=colour)


def test_too_few_samples_are_named(node, generator, head):
    camera = node("DualEncCamera")[0]
    with pytest.raises(ValueError, match="samples is 2"):
        node("DualEncRender", generator=generator, triplane=head, camera=camera, samples=2)


def test_inputs_are_not_changed(node, generator, head):
    before = head.planes.clone()
    camera = node("DualEncCamera", yaw=50.0)[0]
    label = camera.label.clone()
    node("DualEncRender", generator=generator, triplane=head, camera=camera, **SMALL)
    assert torch.equal(head.planes, before) and torch.equal(camera.label, label)


# --------------------------------------------------------------------------------------------------------------- camera


def test_the_default_camera_is_panoheads(node, dc):
    camera = node("DualEncCamera")[0]
    assert torch.allclose(camera.label, dc.Camera.look_at().label, atol=2e-4)


def test_a_load3d_camera_replaces_the_angles(node):
    info = {"position": {"x": 5, "y": 0, "z": 0}, "target": {"x": 0, "y": 0, "z": 0}, "zoom": 1}
    yaw, pitch = node("DualEncCamera", yaw=10.0, camera_info=info)[0].angles
    assert yaw.item() == pytest.approx(90, abs=1e-3) and pitch.item() == pytest.approx(0, abs=1e-3)


def test_several_cameras_in_one_become_a_batch(node):
    """As ComfyUI's Create Camera Orbit and Batch Cameras give them."""
    infos = [{"position": {"x": x, "y": 0.5, "z": 2}, "target": dict.fromkeys("xyz", 0)} for x in (-1, 0, 1)]
    camera, again = node("DualEncCamera", camera_info=infos)
    assert len(camera) == len(again) == 3
    for info, one in zip(infos, camera.label, strict=True):
        assert torch.equal(one[None], node("DualEncCamera", camera_info=info)[0].label)
    answer = node.full("DualEncCamera", camera_info=[infos[0], {**infos[1], "cameraType": "orthographic"}])
    assert "orthographic" in answer["ui"]["dualenc_warnings"][0]
    with pytest.raises(ValueError, match="camera_info is empty"):
        node("DualEncCamera", camera_info=[])


def test_a_camera_goes_through_load3d_as_it_is(node):
    """Yaw, pitch, roll, radius and lens come back whatever the second camera's widgets say."""
    camera, info = node("DualEncCamera", yaw=-130.0, pitch=35.0, roll=20.0, radius=3.1, fov=17.0)
    back, again = node("DualEncCamera", yaw=5.0, radius=2.0, fov=40.0, camera_info=info)
    assert torch.allclose(back.label, camera.label, atol=1e-6)
    for key in ("position", "target", "quaternion"):
        assert again[key] == pytest.approx(info[key], abs=1e-6)
    orbit, _, infos = node("DualEncOrbit", frames=3, pitch=10.0)
    assert len(infos) == 3 and node.classes["DualEncOrbit"].OUTPUT_IS_LIST == (False, False, True)
    assert torch.allclose(node("DualEncCamera", camera_info=infos[2])[0].label, orbit[2].label, atol=1e-6)


def test_an_orthographic_camera_is_drawn_in_perspective_and_this_is_said(node):
    info = {"position": {"x": 0, "y": 0, "z": 5}, "target": {"x": 0, "y": 0, "z": 0}, "cameraType": "orthographic"}
    answer = node.full("DualEncCamera", camera_info=info)
    assert "orthographic" in answer["ui"]["dualenc_warnings"][0]
    assert isinstance(node.full("DualEncCamera", camera_info={**info, "cameraType": "perspective"}), tuple)


def test_orbits(node):
    camera, fps, _ = node("DualEncOrbit", frames=4, fps=12.0)
    assert fps == 12.0
    assert [round(v) % 360 for v in camera.angles[0].tolist()] == [0, 90, 180, 270]
    swing = node("DualEncOrbit", frames=4, start=-20.0, end=20.0, swing=True)[0]
    assert [round(v) for v in swing.angles[0].tolist()] == [-20, 0, 20, 0]


# ------------------------------------------------------------------------------------------------------------ inversion


def test_invert_is_the_four_stages(node, generator, encoder, photo, dc):
    camera = dc.Camera.look_at(10.0)
    second = node("DualEncLoadEncoder", file="demo Encoder 2 (bundled)")[0]
    given = {"generator": generator, "image": photo, "camera": camera, "matte": torch.ones(1, 256, 256)}
    for mode in ("points", "cells"):
        whole, picture = node("DualEncInvert", encoder1=encoder, encoder2=second, stitch_by=mode, **given)
        one, _ = node("DualEncEncode", encoder=encoder, **given)
        two, _ = node("DualEncEncode", encoder=second, **given)
        mask, preview = node("DualEncOcclusionMask", generator=generator, triplane=one, camera=camera, mode=mode)
        stitched = node("DualEncStitch", visible=one, occluded=two, mask=mask, generator=generator)[0]
        views = [
            node("DualEncRender", generator=generator, triplane=t, camera=dc.Camera.look_at(150.0), **SMALL)[0]
            for t in (whole, stitched)
        ]
        assert torch.equal(*views)
        assert picture.shape[0] == 1 and preview.shape[2] == 4 * preview.shape[1]


def test_the_matte_removes_the_surroundings(node, generator, encoder, photo, dc):
    camera = dc.Camera.look_at(10.0)
    matte = torch.zeros(1, 256, 256)
    matte[:, 40:220, 60:200] = 1
    noisy = photo.clone()
    noisy[:, :30] = torch.rand(1, 30, 256, 3, generator=torch.Generator().manual_seed(0))
    given = {"generator": generator, "encoder": encoder, "camera": camera, "matte": matte}
    planes = [node("DualEncEncode", image=image, **given)[0].planes for image in (photo, noisy)]
    assert torch.allclose(*planes, atol=1e-4)


def test_a_head_of_another_generator_is_refused(node, generator, head):
    other = head.replace(generator="0123456789abcdef")
    with pytest.raises(ValueError, match="load the generator that made it"):
        node("DualEncRender", generator=generator, triplane=other, camera=node("DualEncCamera")[0])


def test_a_wrong_socket_is_named(node, head):
    with pytest.raises(ValueError, match="DualEnc Load PanoHead"):
        node("DualEncRender", generator="demo", triplane=head, camera=node("DualEncCamera")[0])


# ------------------------------------------------------------------------------------------------------------- portrait


def test_align_reports_and_previews(node, photo, folder):
    answer = node.full("DualEncAlignPortrait", image=photo)
    crop, camera, matte, overlay, report, kept = answer["result"]
    assert crop.shape == (1, 512, 512, 3) and matte.shape == (1, 512, 512) and overlay.shape[-1] == 3
    assert abs(camera.angles[0].item() - 10) < 10
    assert "confidence" in report and answer["ui"]["text"] == [report]
    assert kept == "0" and answer["ui"]["kept"] == [0]
    line = answer["ui"]["images"][0]
    assert (folder / line["type"] / line["filename"]).stat().st_size > 1000


def test_no_face_says_what_to_do_and_by_hand_works(node):
    empty = torch.full((1, 128, 128, 3), 0.5)
    with pytest.raises(ValueError, match="^no face was found .* 'by hand'"):
        node("DualEncAlignPortrait", image=empty)
    answer = node.full("DualEncAlignPortrait", image=empty, pose="by hand", yaw=30.0, pitch=-5.0)
    yaw, pitch = answer["result"][1].angles
    assert yaw.item() == pytest.approx(30, abs=1e-3) and pitch.item() == pytest.approx(-5, abs=1e-3)
    assert answer["ui"]["dualenc_warnings"]


def test_pictures_of_several_sizes_share_one_overlay_batch(node, photo):
    both = torch.cat([photo, photo.flip(2)])
    crop, camera, _, overlay, report, _ = node("DualEncAlignPortrait", image=both)
    assert len(crop) == len(camera) == len(overlay) == 2 and "image 2:" in report


# -------------------------------------------------------------------------------------------------------------- storage


def test_a_saved_head_comes_back(node, head, folder):
    answer = node.full("DualEncSaveTriplane", triplane=head, filename_prefix="mine/head")
    name = answer["result"][0]
    line = answer["ui"]["files"][0]
    assert (folder / "output" / line["subfolder"] / line["filename"]).is_file()
    loaded = node("DualEncLoadTriplane", path=name)[0]
    assert torch.equal(loaded.planes, head.planes) and loaded.generator == head.generator
    assert node.full("DualEncSaveTriplane", triplane=head, filename_prefix="mine/head")["result"][0] != name
    listed = node.classes["DualEncLoadTriplane"].INPUT_TYPES()["required"]["file"][0]
    assert name in listed


def test_a_changed_file_is_read_again(node, head, folder):
    name = node("DualEncSaveTriplane", triplane=head)[0]
    loader = node.classes["DualEncLoadTriplane"]
    before = loader.IS_CHANGED(name)
    path = next((folder / "output").rglob("*.safetensors"))
    path.write_bytes(path.read_bytes() + b" ")
    assert loader.IS_CHANGED(name) != before


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b [output]"])
def test_files_outside_the_folders_are_refused(node, name):
    assert "outside" in node.classes["DualEncLoadTriplane"].VALIDATE_INPUTS(name)
    with pytest.raises(ValueError, match="outside"):
        node("DualEncLoadTriplane", file=name)


def test_nothing_saved_yet_says_so(node):
    with pytest.raises(ValueError, match="save one with DualEnc Save Triplane first"):
        node("DualEncLoadTriplane")


# -------------------------------------------------------------------------------------------------------------- compare


def test_compare(node):
    picture = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    answer = node.full("DualEncCompare", image=picture, reference=picture[:1])
    l2, psnr, ssim, lpips, identity, report = answer["result"]
    rows = answer["ui"]["metrics"]
    assert rows[0]["l2"] == 0 and rows[0]["psnr"] == 100 and rows[0]["ssim"] == pytest.approx(1)
    assert rows[1]["psnr"] < 15 and l2 == pytest.approx(rows[1]["l2"] / 2)
    assert psnr > rows[1]["psnr"] and ssim < 1
    assert math.isnan(lpips) and math.isnan(identity) and "mean" in report


def test_perceptual_metrics_name_the_missing_file(node):
    picture = torch.zeros(1, 32, 32, 3)
    with pytest.raises(ValueError, match="alexnet"):
        node("DualEncCompare", image=picture, reference=picture, perceptual=True)


# --------------------------------------------------------------------------------------------------------------- models


def test_a_missing_known_file_says_where_it_comes_from(node):
    message = node.classes["DualEncLoadPanoHead"].VALIDATE_INPUTS("panohead.safetensors")
    for part in ("easy-khair", "http", "licence", "convert"):
        assert part in message
    assert "is not in" in node.classes["DualEncLoadEncoder"].VALIDATE_INPUTS("nothing.safetensors")
    assert "is not in" in node.classes["DualEncLoadEncoder"].VALIDATE_INPUTS("/etc/passwd")


def test_bundled_models_are_valid_and_change_with_their_file(node):
    for name in ("DualEncLoadPanoHead", "DualEncLoadEncoder"):
        cls = node.classes[name]
        for file in cls.INPUT_TYPES()["required"]["file"][0]:
            assert cls.VALIDATE_INPUTS(file) is True
            assert "demo" in cls.IS_CHANGED(file)


def test_weights_can_have_gradients_although_comfyui_runs_in_inference_mode(generator):
    assert not any(p.is_inference() for p in generator.module.parameters())


# -------------------------------------------------------------------------------------------------------------- runtime


def test_running_out_of_memory_halves_the_chunk(runtime):
    tried = []

    def run(chunk):
        tried.append(chunk)
        if chunk > 1024:
            raise torch.OutOfMemoryError("full")
        return chunk

    assert runtime.back_off(run) == 1024
    assert tried == [4096, 2048, 1024]


def test_running_out_of_memory_at_the_floor_says_what_to_do(runtime):
    def run(chunk):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(ValueError, match="lower the resolution"):
        runtime.back_off(run)


def test_masks_and_images_of_other_shapes_are_named(node, photo):
    with pytest.raises(ValueError, match="IMAGE has shape"):
        node("DualEncAlignPortrait", image=photo[0])
    with pytest.raises(ValueError, match="2 masks for 1 images"):
        node("DualEncAlignPortrait", image=photo, mask=torch.ones(2, 256, 256))
