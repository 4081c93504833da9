from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core.errors import DualEncError
from dualenc_core.export import save_alpha, save_depth, save_png, to_uint8


def picture(height: int = 9, width: int = 7) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_every_level_survives_the_round_trip() -> None:
    levels = torch.arange(256).float()
    image = (levels / 127.5 - 1).view(1, 16, 16).expand(3, -1, -1)
    assert np.array_equal(to_uint8(image)[..., 0].reshape(-1), np.arange(256))


def test_values_outside_are_clamped() -> None:
    assert to_uint8(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1)).tolist() == [[[0, 128, 255]]]


def test_png_holds_the_picture_and_equal_tensors_give_equal_bytes(tmp_path) -> None:
    first, second = save_png(picture(), tmp_path / "a.png"), save_png(picture(), tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), to_uint8(picture()))


def test_alpha_becomes_transparency_at_the_size_of_the_image(tmp_path) -> None:
    alpha = torch.tensor([[[0.0, 1.0]]]).expand(1, 2, 2)
    with Image.open(save_png(picture(8, 8), tmp_path / "a.png", alpha)) as image:
        channel = np.asarray(image.getchannel("A"))
        assert image.mode == "RGBA" and channel.shape == (8, 8)
        assert channel[:, 0].max() == 0 and channel[:, -1].min() == 255


def test_depth_is_linear_between_near_and_far(tmp_path) -> None:
    depth = torch.tensor([[[2.0, 2.5, 3.0, 9.0]]])
    with Image.open(save_depth(depth, tmp_path / "d.png", 2.0, 3.0)) as image:
        assert image.mode.startswith("I;16")
        assert np.asarray(image).tolist() == [[0, 32768, 65535, 65535]]


def test_alpha_picture(tmp_path) -> None:
    with Image.open(save_alpha(torch.tensor([[[0.0, 0.5, 1.2]]]), tmp_path / "a.png")) as image:
        assert image.mode == "L" and np.asarray(image).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("save", "wrong", "words"),
    [
        (save_png, torch.zeros(1, 4, 4), "shape"),
        (save_png, torch.zeros(3, 0, 4), "shape"),
        (save_png, torch.full((3, 4, 4), float("nan")), "NaN"),
        (save_alpha, torch.zeros(3, 4, 4), "shape"),
        (lambda depth, path: save_depth(depth, path, 2.0, 3.0), torch.full((1, 4, 4), float("inf")), "infinite"),
        (lambda depth, path: save_depth(depth, path, 3.0, 3.0), torch.zeros(1, 4, 4), "near"),
    ],
)
def test_wrong_pictures_are_refused_and_leave_no_file(tmp_path, save, wrong, words) -> None:
    with pytest.raises(DualEncError, match=words):
        save(wrong, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
