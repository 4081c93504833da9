from __future__ import annotations

import itertools

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.export import save_video, to_uint8

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
    with pytest.raises(DualEncError, match=r"must end in \.mp4"):
        save_video(ramp(1), tmp_path / "x.gif")
