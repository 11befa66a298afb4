"""Memory's pure part: which files it is, and what of them the prompt shows."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import memory
from agent.memory import EMPTY, MEMORY, MEMORY_BYTES, NOTES_BYTES, snapshot
from agent.text import unclosing

TODAY = dt.date(2026, 3, 1)
NOTE, BEFORE = "memory/2026-03-01.md", "memory/2026-02-28.md"


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (MEMORY, True),
        (NOTE, True),
        ("memory/2026-3-1.md", False),
        ("memory/notes.md", False),
        ("MEMORY.md", False),
        ("x/memory/MEMORY.md", False),
        ("memory/MEMORY.md\n", False),
    ],
)
def test_memory_is_one_file_and_one_for_each_day(path: str, is_one: bool) -> None:
    assert memory.is_memory(path) is is_one


def test_the_patterns_reach_back_to_the_beginning_of_last_year() -> None:
    """So the number of files is bounded, whatever lies there."""
    assert memory.patterns(TODAY) == (
        MEMORY,
        "memory/2025-??-??.md",
        "memory/2026-??-??.md",
    )


def test_the_snapshot_shows_memory_and_the_notes_of_two_days() -> None:
    """Also across the end of a month; older notes are not shown."""
    text = snapshot({MEMORY: "a", NOTE: "b", BEFORE: "c", "memory/2026-02-27.md": "d"}, TODAY)
    assert '<memory file="memory/MEMORY.md">\na\n</memory>' in text
    assert text.index("\nb\n") < text.index("\nc\n")
    assert "\nd\n" not in text
    assert EMPTY not in text


def test_an_empty_memory_is_said_to_be_empty() -> None:
    assert snapshot({MEMORY: " \n"}, TODAY).endswith(EMPTY)


def test_a_remark_is_shown_before_what_it_is_about() -> None:
    assert snapshot({MEMORY: "a"}, TODAY, "(old)").splitlines()[1] == "(old)"


def test_what_is_cut_is_said_where_it_was_cut() -> None:
    """Of the memory the end is left out, of a day's notes the beginning."""
    text = snapshot({MEMORY: "first" + "x" * MEMORY_BYTES, NOTE: "y" * NOTES_BYTES + "last"}, TODAY)
    assert "first" in text
    assert "x\n[5 characters left out here; read_file shows them]\n</memory>" in text
    assert "[4 characters left out here; read_file shows them]\ny" in text
    assert "last\n</memory>" in text


def test_the_budget_is_in_bytes() -> None:
    """A character of Chinese takes more tokens than one of English, too; none is cut in two."""
    text = snapshot(
        {MEMORY: "\u8bb0" * MEMORY_BYTES, NOTE: "\u8bb0" * 1300, BEFORE: "ab" * 60}, TODAY
    )
    assert text.count("\u8bb0") == MEMORY_BYTES // 3 + 1300
    assert "[5334 characters left out here" in text
    assert "[20 characters left out here; read_file shows them]\n" + "ab" * 50 in text


texts = st.text(st.sampled_from("ab</>memory é\n"), max_size=60).map(lambda text: text * 150)


@given(texts, texts, texts)
def test_the_budget_holds_whatever_the_files_say(long: str, today: str, before: str) -> None:
    """MEMORY.md has its share, the notes have one together; nothing in them closes their tags."""
    text = snapshot({MEMORY: long, NOTE: today, BEFORE: before}, TODAY)
    shown = text.replace("&lt;", "<")
    assert len(shown.encode()) <= MEMORY_BYTES + NOTES_BYTES + 800
    parts = [part for part in (long, today, before) if part.strip()]
    assert text.count("</memory>") == text.count("<memory file=") == len(parts)


@given(st.text(st.sampled_from("< /MemoryX>\t\n")))
def test_no_text_closes_a_tag(text: str) -> None:
    """In whatever case, and with blanks within."""
    cleaned = "".join(unclosing(text, "memory").split()).lower()
    assert "</memory" not in cleaned
