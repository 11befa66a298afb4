"""Splitting and labels: every part fits, nothing is lost, and a cut is where a reader would cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telegram.markdown import cleaned
from daemon.telegram.parts import UNSEEN, units
from daemon.telegram.render import (
    CAPTION_UNITS,
    LABEL_UNITS,
    LATE_AFTER,
    MAYBE_TWICE,
    PART_UNITS,
    label,
    plain,
    rendered,
)

UNSEEN_ONES = re.compile(UNSEEN.pattern)

TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n.\U0001f600e\u0301")), max_size=400
)


def squashed(text: str) -> str:
    """What one can see of it."""
    return UNSEEN_ONES.sub("", text)


@given(TEXTS, st.integers(min_value=2, max_value=50))
def test_every_part_fits_and_nothing_but_white_space_is_lost(text: str, limit: int) -> None:
    parts = plain(text, limit)
    assert all(part.strip() and units(part) <= limit for part in parts)
    assert squashed("".join(parts)) == squashed(cleaned(text))


@given(TEXTS)
def test_units_are_those_of_utf_16(text: str) -> None:
    assert units(text) == len(text.encode("utf-16-le")) // 2


def test_a_short_text_is_one_part() -> None:
    assert plain("hello") == ["hello"]
    assert plain(" \n ") == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two.\n\nthree four", ["one two.", "three four"]),
        ("one two\nthree four", ["one two", "three four"]),
        ("It is so. It is not so", ["It is so.", "It is not so"]),
        ("words that go on and on", ["words that go", "on and on"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmn", "opqrstuvwxyz"]),
    ],
)
def test_the_best_place_is_cut(text: str, parts: list[str]) -> None:
    assert plain(text, 14) == parts


def test_indentation_after_a_cut_at_a_line_is_kept() -> None:
    assert plain("first line\n    indented", 16) == ["first line", "    indented"]


def test_a_surrogate_pair_is_never_parted() -> None:
    assert plain("\U0001f600" * 4, 5) == ["\U0001f600" * 2, "\U0001f600" * 2]


def test_a_hostile_length_is_split_quickly() -> None:
    """A megabyte without a break: the work is linear."""
    parts = plain("x" * 1_000_000)
    assert len(parts) == -(-1_000_000 // PART_UNITS)


# --- Labels ---


def test_an_answer_in_time_has_no_label() -> None:
    assert label(doubts=0, about="x", asked_at=0.0, now=LATE_AFTER) == ""
    assert label(doubts=0, about="", asked_at=None, now=1e9) == ""


def test_a_doubtful_part_says_so_first() -> None:
    assert label(doubts=1, about="", asked_at=None, now=0.0) == "Possibly sent twice:\n"


def test_a_late_part_says_what_it_answers_and_from_when() -> None:
    asked = 1_763_733_900.0  # 2025-11-21 14:05 UTC
    line = label(doubts=0, about="how are you", asked_at=asked, now=asked + LATE_AFTER + 1)
    assert line == 'Re "how are you", 21 Nov 14:05 UTC:\n'


@given(st.text(max_size=200), st.booleans(), st.integers(0, 4_000_000_000))
def test_labels_fit_into_what_is_kept_free(about: str, doubt: bool, asked: int) -> None:
    line = label(doubts=int(doubt), about=about, asked_at=float(asked), now=asked + 1e6)
    assert units(line) <= LABEL_UNITS
    assert line.startswith(MAYBE_TWICE) == doubt
    assert line.count("\n") == 1 + doubt or "\n" in about


@given(st.one_of(TEXTS, TEXTS.map(lambda text: text * 12)))
def test_a_caption_fits_with_every_label_before_it(text: str) -> None:
    """What is below the file is shorter than what comes after it, and nothing is lost."""
    whole, parts = rendered(text), rendered(text, first=CAPTION_UNITS)
    assert all(units(part["text"]) + LABEL_UNITS <= 1024 for part in parts[:1])
    assert all(units(part["text"]) <= PART_UNITS for part in parts)
    shown, expected = ("".join("".join(p["text"] for p in each).split()) for each in (parts, whole))
    assert shown == expected
