from __future__ import annotations

import pytest

from dualenc_core.editing.rows import parse_rows
from dualenc_core.errors import DualEncError


def test_rows_and_ranges():
    assert parse_rows("0-2, 5, 8-", 10) == [0, 1, 2, 5, 8, 9]
    assert parse_rows("3", 4) == [3]


@pytest.mark.parametrize("text", ["", "a", "3-1", "99", "-2", "1,,2", "0-10"])
def test_anything_else_is_named(text):
    with pytest.raises(DualEncError, match="rows"):
        parse_rows(text, 10)
