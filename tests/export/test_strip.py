"""Grids of views: which are made first, from where, and how they lie in one picture."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from dualenc_core.errors import DualEncError
from dualenc_core.export.strip import Strip, atlas, jpeg, shrunk


def test_early_views_show_the_head_from_all_round() -> None:
    strip = Strip(36, 3, 25.0, 64)
    assert sorted(strip.order) == list(range(108))
    first = strip.order[:9]
    assert [view // 36 for view in first] == [1] * 9, "the level row"
    assert [view % 36 for view in first] == list(range(0, 36, 4))
    assert {view % 36 % 4 for view in strip.order[:27]} == {0}


@pytest.mark.parametrize(("rows", "pitches", "level"), [(1, (0.0,), 0), (3, (-20.0, 0.0, 20.0), 1), (2, (-20, 20), 1)])
def test_rows(rows, pitches, level) -> None:
    strip = Strip(8, rows, 20.0, 64)
    assert strip.pitches == pytest.approx(pitches) and strip.level == level
    yaw, pitch = strip.camera(range(len(strip))).angles
    assert yaw[1] == pytest.approx(45, abs=1e-3) and pitch[0] == pytest.approx(pitches[0], abs=1e-3)
    assert pitch[-1] == pytest.approx(pitches[-1], abs=1e-3)


def test_what_a_browser_could_not_hold_is_refused() -> None:
    with pytest.raises(DualEncError, match="1620 views of 512² pixels take 1699 MB in a browser, expected at most 192"):
        Strip(180, 9, 25.0, 512)
    for wrong in ((0, 3, 25.0, 64), (8, 3, 100.0, 64), (8, 3, 25.0, 0)):
        with pytest.raises(DualEncError, match="at least 1"):
            Strip(*wrong)


def test_every_picture_is_in_the_sheet() -> None:
    pictures = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 4, 4, 3) * 30
    sheet, columns = atlas(pictures)
    assert sheet.shape == (12, 12, 3) and columns == 3
    for number in range(7):
        row, column = divmod(number, columns)
        assert (sheet[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] == number * 30).all()
    assert not sheet[8:, 4:].any()


def test_pictures_shrink_by_averages_and_survive_jpeg() -> None:
    fine = torch.zeros(3, 64, 64)
    fine[:, ::2] = 1.0
    small = shrunk(fine, 16)
    assert small.shape == (16, 16, 3) and small.dtype == torch.uint8
    assert ((small.int() - 191).abs() <= 1).all(), "half of 0 and half of 1, in -1..1"
    assert shrunk(torch.full((3, 8, 8), -1.0), 16).sum() == 0
    back = Image.open(io.BytesIO(jpeg(small)))
    assert back.format == "JPEG" and back.size == (16, 16) and abs(back.getpixel((8, 8))[0] - 191) <= 2
