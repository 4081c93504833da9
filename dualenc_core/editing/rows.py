"""W+ rows as people write them."""

from __future__ import annotations

from ..errors import DualEncError


def parse_rows(text: str, count: int) -> list[int]:
    """ "0-2, 5, 8-" → [0, 1, 2, 5, 8, …, count - 1], in order; raises DualEncError for anything else.

    Example:
        >>> from dualenc_core.editing import parse_rows
        >>> parse_rows("0-2, 5, 12-", count=14)
        [0, 1, 2, 5, 12, 13]
    """
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise DualEncError(f"rows is {text!r}, expected single rows and ranges such as '0-3, 7, 9-'")
        end = int(last) if last else count - 1 if dash else int(first)
        if end >= count or int(first) > end:
            raise DualEncError(f"rows is {text!r}, but this generator has rows 0 to {count - 1}")
        chosen.update(range(int(first), end + 1))
    return sorted(chosen)
