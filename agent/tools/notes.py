"""`kv_memory`: notes with titles, kept for the agent in this chat.

One tool with an action, since every tool's schema is paid for in every request. Whose notes they
are is never an argument: the host gives a `Notes` that knows no others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal, Protocol, TypeAlias

from attrs import frozen

from agent.text import clean
from agent.tools.registry import Kind, Tool, ToolError, tool

TITLE_LENGTH = 200
TEXT_LENGTH = 20_000
PAGE_LENGTH = 20  # notes
GLANCE = 80  # characters of a note's text in a list
MOST_DAYS = 36_500.0
# A whole note, and the lines around it.
CAP = TEXT_LENGTH + TITLE_LENGTH + 500

Action: TypeAlias = Literal["save", "get", "search", "list", "delete"]


@frozen
class Note:
    """A note; times in Unix seconds. One without `expires_at` stays until it is deleted."""

    title: str
    text: str
    saved_at: float
    expires_at: float | None


class NoRoom(Exception):
    """There are as many notes as there may be."""


class Notes(Protocol):
    """The notes of one agent in one chat. What has expired is not there. Titles ignore case."""

    async def save(self, title: str, text: str, days: float | None) -> tuple[Note, bool]:
        """Keep a note; tells whether it is a new one. Raises NoRoom."""
        ...

    async def get(self, title: str) -> Note | None: ...

    async def delete(self, title: str) -> bool: ...

    async def find(self, query: str | None, limit: int, offset: int) -> tuple[Sequence[Note], int]:
        """Notes with these words, the best first, or all, the newest first; and how many."""
        ...


@frozen
class Request:
    """The arguments of a call."""

    title: str | None
    text: str | None
    query: str | None
    days: float | None
    page: int | None


def notes_tools(notes: Notes) -> list[Tool]:
    """The tool for `notes`."""

    @tool(kind=Kind.LOCAL_WRITE, output_cap=CAP)
    async def kv_memory(  # noqa: PLR0913  (one tool is cheaper than five)
        action: Annotated[Action, "What to do"],
        title: Annotated[str | None, "For save, get, delete"] = None,
        text: Annotated[str | None, "For save: replaces the note of that title"] = None,
        query: Annotated[str | None, "For search: words"] = None,
        expires_in_days: Annotated[float | None, "For save; null: never"] = None,
        page: Annotated[int | None, "For search and list"] = None,
    ) -> str:
        """Keep and find this chat's notes: facts, lists, wishes to be remembered by title."""
        return await ACTIONS[action](notes, Request(title, text, query, expires_in_days, page))

    return [kv_memory]


async def _save(notes: Notes, request: Request) -> str:
    title, text = _title(request), clean(request.text or "")
    if not text.strip():
        raise ToolError("save needs a text; to remove a note, use the action delete")
    if len(text) > TEXT_LENGTH:
        raise ToolError(
            f"the text has {len(text)} characters, and a note holds {TEXT_LENGTH};"
            " split it over several titles, or write a file"
        )
    try:
        note, new = await notes.save(title, text, _days(request))
    except NoRoom as error:
        raise ToolError(f"{error}; delete some first") from None
    return f"{'Saved' if new else 'Replaced'} the note {note.title!r}{_until(note)}."


async def _get(notes: Notes, request: Request) -> str:
    title = _title(request)
    note = await notes.get(title)
    if note is None:
        raise ToolError(_missing(title))
    return f"{note.title} (saved {day(note.saved_at)}{_until(note)})\n\n{note.text}"


async def _delete(notes: Notes, request: Request) -> str:
    title = _title(request)
    if not await notes.delete(title):
        raise ToolError(_missing(title))
    return f"Deleted the note {title!r}."


async def _search(notes: Notes, request: Request) -> str:
    if not (request.query or "").strip():
        raise ToolError("search needs a query; to see all notes, use the action list")
    return await _page(notes, request.query, request.page)


async def _list(notes: Notes, request: Request) -> str:
    return await _page(notes, None, request.page)


ACTIONS: dict[Action, Callable[[Notes, Request], Awaitable[str]]] = {
    "save": _save,
    "get": _get,
    "search": _search,
    "list": _list,
    "delete": _delete,
}


async def _page(notes: Notes, query: str | None, page: int | None) -> str:
    number = 1 if page is None else page
    # SQLite's integers have 64 bits; no page is that far off.
    offset = min(max(0, number - 1) * PAGE_LENGTH, 2**62)
    found, total = await notes.find(query, PAGE_LENGTH, offset)
    pages = max(1, -(-total // PAGE_LENGTH))
    if not 1 <= number <= pages:
        raise ToolError(f"there is no page {number}: the last one is {pages}")
    if not total:
        return "There are no notes." if query is None else "No note has these words."
    return "\n".join([f"Page {number} of {pages} ({total} in all):", *map(_line, found)])


def _line(note: Note) -> str:
    text = " ".join(note.text.split())
    glance = text if len(text) <= GLANCE else f"{text[:GLANCE]}..."
    return f"- {note.title} ({day(note.saved_at)}{_until(note)}): {glance}"


def _title(request: Request) -> str:
    """The title in one line; NUL, which no text should have, counts as a space."""
    title = " ".join(clean(request.title or "").replace("\0", " ").split())
    if not title:
        raise ToolError("this action needs a title")
    if len(title) > TITLE_LENGTH:
        raise ToolError(f"a title has at most {TITLE_LENGTH} characters, not {len(title)}")
    return title


def _days(request: Request) -> float | None:
    days = request.days
    if days is not None and not 0 < days <= MOST_DAYS:
        raise ToolError(f"expires_in_days must be above 0 and at most {MOST_DAYS:.0f}, or null")
    return days


def _missing(title: str) -> str:
    return f"there is no note {title!r}; the actions list and search show what there is"


def _until(note: Note) -> str:
    return "" if note.expires_at is None else f", until {minute(note.expires_at)}"


def day(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%d}"


def minute(moment: float) -> str:
    """A time in words; a job can give a file one that no calendar has."""
    try:
        return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "at no time that there is"
