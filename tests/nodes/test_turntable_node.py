"""Views that reach the browser while they are made, once for a head."""

from __future__ import annotations

import base64
import io
import json
import sys

import pytest
import torch
from PIL import Image

FEW = {"views": 8, "rows": 3, "size": 128}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Without ComfyUI the folders input, output and temp are in the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def turntable(pack, monkeypatch):
    """The module, without what earlier runs have left in it."""
    module = sys.modules[pack.__name__ + ".nodes.turntable"]
    monkeypatch.setattr(module, "_last", None)
    module._sheets.clear()
    return module


@pytest.fixture
def sent(turntable, monkeypatch):
    """What the browser is told."""
    messages = []
    monkeypatch.setattr(turntable.runtime, "send", lambda event, data: messages.append((event, data)))
    monkeypatch.setattr(turntable.runtime, "executing_node", lambda: "7")
    return messages


def opened(message: dict) -> Image.Image:
    head, _, body = message["picture"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_every_view_is_sent_and_all_are_kept_in_one_file(node, generator, head, sent, folder, turntable):
    answer = node.full("DualEncTurntable", generator=generator, triplane=head, **FEW)
    (line,) = answer["ui"]["dualenc_turntable"]
    json.dumps([line, sent])
    assert [event for event, _ in sent] == ["dualenc.turntable"] * 24
    messages = [message for _, message in sent]
    assert [message["view"] for message in messages] == list(turntable.Strip(8, 3, 25.0, 128).order)
    for message in messages:
        assert message["node"] == "7" and message["token"] == line["token"]
        assert message["views"] == 8 and message["pitches"] == [-25, 0, 25] and message["size"] == 128
    sheet = Image.open(folder / line["type"] / line["sheet"])
    assert "filename" not in line, "the browser would show the sheet among the results"
    assert sheet.size == (5 * 128, 5 * 128) and line["columns"] == 5
    for message in messages[::7]:
        row, column = divmod(message["view"], 5)
        part = sheet.crop((column * 128, row * 128, column * 128 + 128, row * 128 + 128))
        a, b = (torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).float() for p in (part, opened(message)))
        assert (a - b).abs().mean() < 3
    assert len(set(opened(message).tobytes() for message in messages)) == 24, "no two views are alike"


def test_the_level_turn_is_what_render_draws(node, generator, head, sent):
    image, fps, *_ = node("DualEncTurntable", generator=generator, triplane=head, seconds=2.0, **FEW)
    assert image.shape == (8, 128, 128, 3) and image.dtype == torch.float32 and fps == 4
    camera = node("DualEncOrbit", frames=8)[0]
    exact = node("DualEncRender", generator=generator, triplane=head, camera=camera[3])[0]
    small = torch.nn.functional.interpolate(exact.movedim(-1, 1), (128, 128), mode="area").movedim(1, -1)
    psnr = [float(-10 * (small[0] - frame).square().mean().log10()) for frame in image]
    assert max(range(8), key=psnr.__getitem__) == 3 and psnr[3] > 30


def test_turning_the_head_makes_no_new_views(node, generator, head, sent):
    first = node.full("DualEncTurntable", generator=generator, triplane=head, **FEW)
    count = len(sent)
    again = node.full("DualEncTurntable", generator=generator, triplane=head, yaw=40.0, pitch=10.0, zoom=2.0, **FEW)
    assert len(sent) == count and again["ui"] == first["ui"]
    camera, info = again["result"][2:]
    yaw, pitch = camera.angles
    assert yaw.item() == pytest.approx(40, abs=1e-3) and pitch.item() == pytest.approx(10, abs=1e-3)
    plain = node("DualEncCamera", yaw=40.0, pitch=10.0)[0]
    assert camera.intrinsics[0, 0, 0] == pytest.approx(2 * plain.intrinsics[0, 0, 0].item(), rel=1e-3)
    back = node("DualEncCamera", camera_info=info)[0]
    assert torch.allclose(back.label, camera.label, atol=1e-5), "through the pad it stays the same"
    other = node("DualEncSample", generator=generator, seed=8)[0]
    changed = node.full("DualEncTurntable", generator=generator, triplane=other, **FEW)
    assert len(sent) == 2 * count and changed["ui"] != first["ui"]


def test_a_lost_file_is_made_again_and_old_ones_go(node, generator, head, sent, folder, turntable, monkeypatch):
    monkeypatch.setattr(turntable, "_SHEETS_KEPT", 2)
    small = {"views": 4, "rows": 1, "size": 128, "super_resolution": False}
    for _ in range(4):
        node("DualEncTurntable", generator=generator, triplane=head, **small)
        next(reversed(turntable._sheets)).unlink()
    assert len(sent) == 16
    for seed in range(3):
        other = node("DualEncSample", generator=generator, seed=seed)[0]
        node("DualEncTurntable", generator=generator, triplane=other, **small)
    assert len(list((folder / "temp").iterdir())) == 2


def test_an_interrupted_run_leaves_nothing(node, generator, head, folder, turntable, monkeypatch):
    class Interrupted(Exception):
        pass

    def progress(total):
        def report(done, total):
            if done == 3:
                raise Interrupted

        return report

    monkeypatch.setattr(turntable.runtime, "progress", progress)
    with pytest.raises(Interrupted):
        node("DualEncTurntable", generator=generator, triplane=head, **FEW)
    assert not (folder / "temp").exists() and turntable._last is None


def test_the_views_do_not_keep_a_head_alive(node, generator, head, sent, turntable):
    other = head.replace(meta={"mine": True})
    node("DualEncTurntable", generator=generator, triplane=other, views=4, rows=1, size=128)
    assert turntable._last.triplane() is other
    del other
    assert turntable._last.triplane() is None


def test_a_head_that_is_not_there_and_too_many_pixels_are_named(node, generator, head, sent):
    with pytest.raises(ValueError, match="head is 2, but the batch holds 1"):
        node("DualEncTurntable", generator=generator, triplane=head, head=2)
    with pytest.raises(ValueError, match="make fewer or smaller ones"):
        node("DualEncTurntable", generator=generator, triplane=head, views=180, rows=9, size=512)
    assert sent == []
