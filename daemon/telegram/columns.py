"""Tables in columns for a typeface of one width: pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

RIGHT, CENTER = "Right", "Center"
MOST_PADDED = 48  # columns; a longer cell sticks out, rather than push all others off the screen


def aligned(rows: Sequence[Sequence[str]], sides: Sequence[str] = ()) -> str:
    """A table in columns, with a line below its head.

    `sides` are where the columns' cells are put: RIGHT, CENTER, and left for anything else.
    """
    columns = zip_longest(*rows, fillvalue="")
    widths = [min(max(map(width, column)), MOST_PADDED) for column in columns]
    where = [*sides[: len(widths)], *("" for _ in widths[len(sides) :])]
    lines = [_row(row, widths, where) for row in rows]
    lines.insert(1, "-+-".join("-" * each for each in widths))
    return "\n".join(lines)


def _row(row: Sequence[str], widths: Sequence[int], sides: Sequence[str]) -> str:
    cells = (*row, *("" for _ in widths[len(row) :]))
    padded = (
        _padded(cell, wide - width(cell), side)
        for cell, wide, side in zip(cells, widths, sides, strict=True)
    )
    return " | ".join(padded).rstrip()


def _padded(cell: str, free: int, side: str) -> str:
    before = {RIGHT: free, CENTER: free // 2}.get(side, 0)
    return f"{' ' * before}{cell}{' ' * (free - before)}"


def width(text: str) -> int:
    """How many columns a text takes: characters of East Asia two, marks on others none."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
