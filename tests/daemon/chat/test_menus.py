"""Keyboards: every label can be read, and every button fits into what Telegram takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chat.menus import GAP, MOST_BUTTONS, MOST_IN_A_ROW, ROW, Key, arranged, keyboard


def keys(*labels: str) -> list[Key]:
    return [Key(label, f"ref{number}") for number, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        (["yes", "no"], [2]),
        (["yes", "no", "maybe", "later", "never"], [4, 1]),
        (["a middling answer", "another one of it"], [1, 1]),
        (["blue as the sky", "red as a rose"], [2]),
        (["short", "x" * 80, "short"], [1, 1, 1]),
    ],
)
def test_as_many_stand_in_a_row_as_can_be_read(labels: list[str], rows: list[int]) -> None:
    assert [len(row) for row in arranged(keys(*labels))] == rows


@given(st.lists(st.text(max_size=80), max_size=2 * MOST_BUTTONS))
def test_nothing_is_lost_or_too_wide(labels: list[str]) -> None:
    """All up to the most that a message may have, in order, none without words."""
    offered = keys(*labels)
    rows = arranged(offered)
    assert [key for row in rows for key in row] == offered[:MOST_BUTTONS]
    for row in rows:
        widest = max(len(key.shown) for key in row)
        assert len(row) <= MOST_IN_A_ROW
        assert len(row) == 1 or len(row) * (widest + GAP) - GAP <= ROW
        assert all(key.shown.strip() and len(key.shown) <= ROW for key in row)


def test_a_label_is_one_line_that_hides_nothing() -> None:
    """What does not show is no part of a name; what is cut says so."""
    shown = [key.shown for key in keys("two\nlines", "safe\u202egnp.exe", "\u200b", "x" * 99)]
    assert shown == ["two lines", "safegnp.exe", "?", "x" * (ROW - 1) + "…"]


def test_a_keyboard_has_no_empty_rows() -> None:
    (key,) = keys("yes")
    assert keyboard([[], [key], []]) == {
        "inline_keyboard": [[{"text": "yes", "callback_data": "ref0"}]]
    }
