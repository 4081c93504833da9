from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from dualenc_core.errors import DualEncError
from dualenc_core.export import save_video, to_uint8, with_alpha

av = pytest.importorskip("av")


def ramp(count: int, height: int = 64, width: int = 48) -> list[torch.Tensor]:
    """Flat frames whose colour moves from dark blue to light orange."""
    low, high = torch.tensor([-0.8, -0.6, 0.0]), torch.tensor([0.8, 0.3, -0.4])
    weights = torch.linspace(0, 1, count)
    return [torch.lerp(low, high, w).view(3, 1, 1).expand(3, height, width) for w in weights]


def decode(path) -> list:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_frames_come_back_in_order_and_colour(tmp_path) -> None:
    frames = ramp(12)
    seen = []
    path = save_video(iter(frames), tmp_path / "turn.mp4", fps=24, progress=seen.append)
    assert seen == list(range(1, 13))
    decoded = decode(path)
    assert len(decoded) == 12
    for picture, frame in zip(decoded, frames, strict=True):
        assert abs(picture[8:-8, 8:-8].astype(int) - to_uint8(frame)[8:-8, 8:-8].astype(int)).max() <= 6


def test_stream_is_what_players_expect(tmp_path) -> None:
    path = save_video(ramp(3, 33, 47), tmp_path / "odd.mp4", fps=23.976)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (48, 34)
        assert float(stream.average_rate) == pytest.approx(23.976, abs=1e-3)
        assert stream.codec_context.colorspace == 1, "BT.709 must be declared, or players guess"


def test_only_one_frame_is_asked_for_at_a_time(tmp_path) -> None:
    alive, most = 0, 0

    def frames():
        nonlocal alive, most
        for frame in ramp(5):
            alive += 1
            most = max(most, alive)
            yield frame
            alive -= 1

    save_video(frames(), tmp_path / "a.mp4")
    assert most == 1


def test_same_frames_same_bytes(tmp_path) -> None:
    first, second = (save_video(ramp(8), tmp_path / name) for name in ("a.mp4", "b.mp4"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        ([], {}, "no frames"),
        (itertools.chain(ramp(2), ramp(1, 32, 32)), {}, "frame 2 has size"),
        ([torch.full((3, 32, 32), float("nan"))], {}, "NaN"),
        (ramp(1), {"fps": 0}, "fps is 0"),
        (ramp(1), {"crf": 60}, "crf 60"),
    ],
)
def test_wrong_input_leaves_no_file(tmp_path, frames, options, words) -> None:
    with pytest.raises(DualEncError, match=words):
        save_video(frames, tmp_path / "x.mp4", **options)
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path) -> None:
    with pytest.raises(DualEncError, match=r"must end in \.mp4, \.gif or \.webp"):
        save_video(ramp(1), tmp_path / "x.avi")


def test_an_mp4_keeps_the_comment(tmp_path) -> None:
    path = save_video(ramp(3), tmp_path / "a.mp4", comment='{"head": "Zoë"}')
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == '{"head": "Zoë"}'


# --------------------------------------------------------------------------------------------------------- GIF and WebP


def play(path) -> tuple[list[np.ndarray], list[int]]:
    """Frames [H,W,3] uint8 and their durations in milliseconds."""
    with Image.open(path) as image:
        frames = [(np.asarray(f.convert("RGB")), f.info["duration"]) for f in ImageSequence.Iterator(image)]
    return [frame for frame, _ in frames], [duration for _, duration in frames]


@pytest.mark.parametrize(("suffix", "error"), [("gif", 8), ("webp", 6)])
def test_animations_keep_order_colour_size_and_time(tmp_path, suffix, error) -> None:
    frames = ramp(12, 33, 47)
    seen = []
    path = save_video(iter(frames), tmp_path / f"turn.{suffix}", fps=24, progress=seen.append)
    pictures, durations = play(path)
    assert seen == list(range(1, 13)) and len(pictures) == 12
    for picture, frame in zip(pictures, frames, strict=True):
        assert picture.shape == (33, 47, 3)
        assert abs(picture.astype(int) - to_uint8(frame)).mean() <= error
    # A GIF counts hundredths of a second; the whole must not drift.
    assert sum(durations) == pytest.approx(500, abs=5)


def test_a_gif_of_a_detailed_picture_is_close(tmp_path) -> None:
    picture = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij"))
    picture = torch.cat([picture, picture[:1] * picture[1:]])
    pictures, _ = play(save_video([picture, picture.flip(2)], tmp_path / "a.gif", fps=10))
    for shown, frame in zip(pictures, (picture, picture.flip(2)), strict=True):
        assert abs(shown.astype(int) - to_uint8(frame)).mean() < 12


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations_loop_for_ever_unless_told_not_to(tmp_path, suffix) -> None:
    for loop, expected in ((True, (0,)), (False, (1, None))):
        with Image.open(save_video(ramp(3), tmp_path / f"{loop}.{suffix}", fps=10, loop=loop)) as image:
            assert image.info.get("loop") in expected


def test_animations_keep_the_comment(tmp_path) -> None:
    text = '{"head": "Zoë <1 & 2>"}'
    with Image.open(save_video(ramp(3), tmp_path / "a.gif", comment=text)) as image:
        assert image.info["comment"].decode() == text
    with Image.open(save_video(ramp(3), tmp_path / "a.webp", comment=text)) as image:
        described = ElementTree.fromstring(image.info["xmp"]).find(".//{*}description//{*}li")
        assert described.text == text


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_equal_frames_give_equal_animations(tmp_path, suffix) -> None:
    first, second = (save_video(ramp(6), tmp_path / f"{name}.{suffix}", comment="a") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_one_frame_is_an_animation_too(tmp_path, suffix) -> None:
    with Image.open(save_video(ramp(1), tmp_path / f"a.{suffix}")) as image:
        assert image.size == (48, 64)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_wrong_frames_leave_no_animation(tmp_path, suffix) -> None:
    for frames, words in (
        ([], "no frames"),
        (ramp(2) + ramp(1, 32, 32), "frame 2 has size"),
        ([torch.full((3, 8, 8), float("nan"))], "NaN"),
    ):
        with pytest.raises(DualEncError, match=words):
            save_video(frames, tmp_path / f"x.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_gif_faster_than_browsers_play_is_refused(tmp_path) -> None:
    with pytest.raises(DualEncError, match="at most 50"):
        save_video(ramp(2), tmp_path / "x.gif", fps=60)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- transparency

CLEAR = ("webm", "mov", "webp", "gif", "png")


def discs(count: int, size: int = 64) -> list[torch.Tensor]:
    """A disc that moves over nothing, with a colour that changes across it."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    frames = []
    for i in range(count):
        alpha = ((x - 0.3 * i / count) ** 2 + y**2 < 0.4).float()[None]
        frames.append(with_alpha(torch.stack([x, y, 0 * x]) * alpha + (alpha - 1), alpha))
    return frames


def transparent(path) -> list[np.ndarray]:
    """Frames [H,W,4] uint8 of any format."""
    suffix = path.suffix[1:]
    if suffix == "png":
        return [np.asarray(Image.open(file)) for file in sorted(path.parent.glob("*.png"))]
    if suffix in ("webp", "gif"):
        with Image.open(path) as image:
            return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if suffix == "webm":
            # FFmpeg's own decoder of VP9 leaves the transparency out.
            assert stream.metadata["alpha_mode"] == "1"
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            found = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
        else:
            assert stream.codec_context.name == "prores" and "yuva444" in stream.codec_context.pix_fmt
            found = list(container.decode(stream))
    return [frame.to_ndarray(format="rgba") for frame in found]


@pytest.mark.parametrize("suffix", CLEAR)
def test_transparent_frames_come_back(tmp_path, suffix) -> None:
    frames, seen = discs(5), []
    path = save_video(iter(frames), tmp_path / f"turn.{suffix}", fps=24, progress=seen.append)
    found = transparent(path)
    assert len(found) == 5 and seen == [1, 2, 3, 4, 5]
    for picture, frame in zip(found, frames, strict=True):
        expected = ((frame + 1) * 127.5).round().permute(1, 2, 0).numpy()
        picture = picture.astype(float)
        assert np.abs(picture[..., 3] - expected[..., 3]).mean() < 1
        inside = expected[..., 3] > 0
        assert np.abs(picture[..., :3] - expected[..., :3])[inside].mean() < 6


@pytest.mark.parametrize("suffix", [suffix for suffix in CLEAR if suffix != "png"])
def test_opaque_frames_stay_opaque_in_these_formats(tmp_path, suffix) -> None:
    frames = ramp(3)
    for picture, frame in zip(transparent_or_not(save_video(frames, tmp_path / f"a.{suffix}")), frames, strict=True):
        assert np.abs(picture[8:-8, 8:-8, :3].astype(int) - to_uint8(frame)[8:-8, 8:-8]).mean() < 8


def transparent_or_not(path) -> list[np.ndarray]:
    return play(path)[0] if path.suffix in (".webp", ".gif") else decode(path)


@pytest.mark.parametrize("suffix", [suffix for suffix in CLEAR if suffix != "png"])
def test_equal_transparent_frames_give_equal_bytes(tmp_path, suffix) -> None:
    first, second = (save_video(discs(3), tmp_path / f"{name}.{suffix}", comment="a") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", ["webm", "mov"])
def test_films_keep_comment_speed_and_colour_space(tmp_path, suffix) -> None:
    with av.open(str(save_video(discs(3, 33), tmp_path / f"a.{suffix}", fps=12.5, comment="Zoë"))) as container:
        stream = container.streams.video[0]
        assert "Zoë" in {**container.metadata}.values() and float(stream.average_rate) == 12.5
        assert stream.codec_context.colorspace == 1


def test_an_mp4_is_never_transparent(tmp_path) -> None:
    with pytest.raises(DualEncError, match="MP4 knows no transparency; use .webm, .mov"):
        save_video(discs(2), tmp_path / "a.mp4")
    with pytest.raises(DualEncError, match="expected"):
        save_video([discs(1)[0], discs(1)[0][:3]], tmp_path / "a.webm")
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_replaces_a_longer_one_and_nothing_else(tmp_path) -> None:
    for name in ("turn-2024.png", "turn.png", "turn-00001.png"):
        (tmp_path / name).write_bytes(b"mine")
    assert save_video(ramp(5), tmp_path / "turn.png").name == "turn-0000.png"
    save_video(ramp(2), tmp_path / "turn.png")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"turn-0000.png", "turn-0001.png", "turn-2024.png", "turn.png", "turn-00001.png"}
    assert (tmp_path / "turn-2024.png").read_bytes() == b"mine"


@pytest.mark.parametrize(("error", "kept"), [(OSError(28, "No space left"), 2), (KeyboardInterrupt(), 0)])
def test_a_sequence_that_ends_early(tmp_path, error, kept) -> None:
    """A full disk keeps the pictures that are finished, an interrupt none: it is the user who stopped."""

    def frames():
        yield from ramp(2)
        raise error

    with pytest.raises(type(error)):
        save_video(frames(), tmp_path / "a.png")
    assert len(list(tmp_path.iterdir())) == kept
