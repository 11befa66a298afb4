"""Notes, as a model asks for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from agent.ports import ToolOutcome
from agent.tools.notes import (
    ACTIONS,
    PAGE_LENGTH,
    TEXT_LENGTH,
    TITLE_LENGTH,
    NoRoom,
    Note,
    notes_tools,
)
from agent.tools.registry import Registry
from agent.transcript import CallRequest

SAVED = 1_790_000_000.0  # 2026-09-21 14:13 UTC


@define
class Shelf:
    """Notes in a dict."""

    room: int = 1000
    notes: dict[str, Note] = field(factory=dict)

    async def save(self, title: str, text: str, days: float | None) -> tuple[Note, bool]:
        if len(self.notes) >= self.room:
            raise NoRoom(f"there are {self.room} notes")
        new = title not in self.notes
        self.notes[title] = Note(title, text, SAVED, days and SAVED + days * 86400)
        return self.notes[title], new

    async def get(self, title: str) -> Note | None:
        return self.notes.get(title)

    async def delete(self, title: str) -> bool:
        return self.notes.pop(title, None) is not None

    async def find(self, query: str | None, limit: int, offset: int) -> tuple[Sequence[Note], int]:
        found = [note for note in self.notes.values() if query is None or query in note.text]
        return found[offset : offset + limit], len(found)


async def ask(shelf: Shelf, action: str, **arguments: Any) -> ToolOutcome:
    registry = Registry.of(notes_tools(shelf))
    given_ = json.dumps({"action": action, **arguments})
    return await registry.run(CallRequest("x", "kv_memory", given_))


async def test_a_note_from_its_saving_to_its_end() -> None:
    """Each action says what it did, with the title by which the note is known."""
    shelf = Shelf()
    saved = await ask(shelf, "save", title=" shopping\nlist ", text="milk", expires_in_days=2)
    assert saved.text == "Saved the note 'shopping list', until 2026-09-23 14:13 UTC."
    again = await ask(shelf, "save", title="shopping list", text="milk and jam")
    assert again.text == "Replaced the note 'shopping list'."
    got = await ask(shelf, "get", title="shopping list")
    assert got.text == "shopping list (saved 2026-09-21)\n\nmilk and jam"
    gone = await ask(shelf, "delete", title="shopping list")
    assert gone.text == "Deleted the note 'shopping list'."
    assert shelf.notes == {}


async def test_lists_come_in_pages() -> None:
    """With the number of pages, and of notes in all."""
    shelf = Shelf()
    for index in range(PAGE_LENGTH + 1):
        await ask(shelf, "save", title=f"note {index}", text="word " * 50)
    first = (await ask(shelf, "list")).text.splitlines()
    assert first[0] == f"Page 1 of 2 ({PAGE_LENGTH + 1} in all):"
    assert len(first) == PAGE_LENGTH + 1
    assert all(len(line) < 120 for line in first)
    second = await ask(shelf, "search", query="word", page=2)
    assert second.text.startswith(f"Page 2 of 2 ({PAGE_LENGTH + 1} in all):\n- note {PAGE_LENGTH} ")


@pytest.mark.parametrize("page", [3, 0, -1, 10**30])
async def test_a_page_that_is_not_there_is_told(page: int) -> None:
    """With the last that is."""
    shelf = Shelf()
    await ask(shelf, "save", title="a", text="b")
    outcome = await ask(shelf, "list", page=page)
    assert outcome == ToolOutcome(f"Error: there is no page {page}: the last one is 1", failed=True)


async def test_nothing_is_told_as_such() -> None:
    """An empty list is no failure."""
    assert await ask(Shelf(), "list") == ToolOutcome("There are no notes.")
    assert await ask(Shelf(), "search", query="x") == ToolOutcome("No note has these words.")


@pytest.mark.parametrize(
    ("action", "arguments", "problem"),
    [
        ("save", {"text": "x"}, "needs a title"),
        ("get", {"title": " \0 "}, "needs a title"),
        ("delete", {}, "needs a title"),
        ("save", {"title": "x" * (TITLE_LENGTH + 1), "text": "x"}, "at most 200 characters"),
        ("save", {"title": "a"}, "needs a text"),
        ("save", {"title": "a", "text": "x" * (TEXT_LENGTH + 1)}, "has 20001 characters"),
        ("save", {"title": "a", "text": "x", "expires_in_days": 0}, "above 0"),
        ("save", {"title": "a", "text": "x", "expires_in_days": 1e300}, "at most 36500"),
        ("get", {"title": "absent"}, "there is no note 'absent'"),
        ("delete", {"title": "absent"}, "there is no note 'absent'"),
        ("search", {"query": " "}, "needs a query"),
        ("forget", {"title": "a"}, "action must be one of"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    action: str, arguments: dict[str, Any], problem: str
) -> None:
    """With what to do instead, and without any change."""
    shelf = Shelf()
    outcome = await ask(shelf, action, **arguments)
    assert outcome.failed
    assert problem in outcome.text
    assert shelf.notes == {}


async def test_a_full_shelf_is_told() -> None:
    """With the remedy."""
    outcome = await ask(Shelf(room=0), "save", title="a", text="b")
    assert outcome == ToolOutcome("Error: there are 0 notes; delete some first", failed=True)


async def test_the_longest_note_is_read_whole() -> None:
    """A result is not cut where a note may be that long."""
    shelf, text = Shelf(), "x" * TEXT_LENGTH
    await ask(shelf, "save", title="t" * TITLE_LENGTH, text=text, expires_in_days=1)
    assert text in (await ask(shelf, "get", title="t" * TITLE_LENGTH)).text


WORDS = st.text(st.characters(exclude_categories=()), max_size=20)


@given(
    action=st.sampled_from(sorted(ACTIONS)),
    arguments=st.fixed_dictionaries(
        {"title": WORDS, "text": WORDS, "query": WORDS, "page": st.integers()}
    ),
    days=st.floats(allow_nan=False, allow_infinity=False),
)
async def test_any_arguments_are_answered(
    action: str, arguments: dict[str, Any], days: float
) -> None:
    """Whatever a model writes comes out as text that can be kept."""
    outcome = await ask(Shelf(), action, **arguments, expires_in_days=days)
    outcome.text.encode()
