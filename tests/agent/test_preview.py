"""What a person is shown of a call that needs permission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.preview import MARK, argument, bare, visible

PLAIN = "Grüße, 東京 🌍: rm -rf /tmp/x && echo 'done'"


def test_plain_text_is_shown_as_it_is() -> None:
    """Of any language; an argument of one line stands on one."""
    assert argument("command", PLAIN) == f"command: {PLAIN}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("safe\u202etxt.exe", r"safe\u202etxt.exe"),
        ("a\u2066b\u2069\u200f", r"a\u2066b\u2069\u200f"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\x1b[2Jbell\x07\x00", r"\x1b[2Jbell\x07\x00"),
        ("over\rwritten\ttab", r"over\rwritten\ttab"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("no\u00a0break\u3000wide", r"no\xa0break\u3000wide"),
        ("filler\u3164\u2800\u115f", r"filler\u3164\u2800\u115f"),
        ("tag\U000e0041 variant\ufe0f\U000e0100", r"tag\U000e0041 variant\ufe0f\U000e0100"),
        ("lone \ud800", r"lone \ud800"),
        ("e" + "\u0301" * 5, "e" + "\u0301" * 3 + r"\u0301\u0301"),
    ],
)
def test_what_has_no_shape_is_shown_as_an_escape(text: str, shown: str) -> None:
    """Nothing turns the text around, overwrites it or stands in it unseen."""
    assert visible(text) == shown


def test_a_name_is_bare_of_what_does_not_show() -> None:
    """It is a few words, not something to look into."""
    assert bare("Grüße \u202e東京\u200b \x1b[2J🌍\ufe0f") == "Grüße 東京 [2J🌍"


def test_long_runs_of_blanks_are_counted() -> None:
    """What follows them is not pushed out of sight; a few are left as they are."""
    assert visible("ls" + " " * 5000 + "; rm x") == "ls[5000 spaces]; rm x"
    assert visible("ls\n" + "  \n" * 3000 + "rm x") == "ls\n[3000 empty lines]\nrm x"
    assert visible("a\n\n    b") == "a\n\n    b"


def test_no_line_of_a_value_passes_for_another_argument() -> None:
    """Nor for words of ours; a name with a line break has none."""
    forged = "x\n\n/approve abc lets me do nothing at all\nto: Bob"
    lines = argument("body", forged).split("\n")
    assert lines[0] == "body:"
    assert all(line.startswith(MARK) for line in lines[1:])
    assert argument("a\nto", "Bob") == r"a\nto: Bob"


@given(st.text(), st.text())
def test_everything_can_be_seen(name: str, value: str) -> None:
    """Of any text nothing is left out but blanks, and every character of what is shown prints."""
    shown = argument(name, value)
    assert shown.replace("\n", "").isprintable()
    kept = [char for char in value if char.isascii() and char.isalnum()]
    rest = iter(shown)
    assert all(char in rest for char in kept)
