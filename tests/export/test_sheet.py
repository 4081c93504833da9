from __future__ import annotations

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.export import contact_sheet
from dualenc_core.export.sheet import MARGIN

RED = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 32, 32)
BLUE = torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1).expand(3, 32, 32)


def test_pictures_stand_in_their_cells() -> None:
    sheet = contact_sheet([[RED, BLUE], [BLUE, None]], cell=32)
    step = 32 + MARGIN
    assert sheet.shape == (3, MARGIN + 2 * step, MARGIN + 2 * step)

    def cell(i: int, j: int) -> torch.Tensor:
        y, x = MARGIN + i * step, MARGIN + j * step
        return sheet[:, y : y + 32, x : x + 32]

    assert torch.equal(cell(0, 0), RED) and torch.equal(cell(0, 1), BLUE) and torch.equal(cell(1, 0), BLUE)
    assert cell(1, 1).std(dim=(1, 2)).max() == 0


def test_labels_make_room_and_leave_ink() -> None:
    bare = contact_sheet([[RED]], cell=96)
    labelled = contact_sheet([[RED]], ["Encoder 1"], ["45°"], cell=96)
    assert labelled.shape[1] > bare.shape[1] and labelled.shape[2] > bare.shape[2]
    top, left = labelled.shape[1] - bare.shape[1], labelled.shape[2] - bare.shape[2]
    assert (labelled[:, : top + MARGIN, left:] < 0).any(), "no column label"
    assert (labelled[:, top:, : left + MARGIN] < 0).any(), "no row label"
    # The labels do not reach into the picture.
    assert torch.equal(labelled[:, top:, left:], bare)


def test_rows_may_be_ragged_and_pictures_of_any_size() -> None:
    sheet = contact_sheet([[RED], [RED, torch.nn.functional.interpolate(BLUE[None], 64)[0]]], cell=16)
    assert sheet.shape == (3, MARGIN + 2 * (16 + MARGIN), MARGIN + 2 * (16 + MARGIN))
    assert -1 <= sheet.min() and sheet.max() <= 1


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ([], ([], []), "needs a picture"),
        ([[]], ([], []), "needs a picture"),
        ([[RED]], (["a", "b"], []), "2 row labels for 1 rows"),
        ([[RED]], ([], ["a", "b"]), "2 column labels for 1 columns"),
        ([[RED[:, :16]]], ([], []), "shape"),
        ([[RED * float("nan")]], ([], []), "NaN"),
    ],
)
def test_wrong_input_is_refused(rows, labels, words) -> None:
    with pytest.raises(DualEncError, match=words):
        contact_sheet(rows, *labels, cell=32)
