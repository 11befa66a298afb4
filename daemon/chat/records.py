"""What the agent's tools may do with our records, bound to one turn: its home, its session.

Implements `agent.tools.notes.Notes`, `agent.tools.history.History`, `agent.tools.memory.Search` and
`agent.tools.schedule.Schedules`. What a model writes can never name another chat, for no method
takes one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from attrs import frozen

from agent.ports import Extent, Trimmed
from agent.tools.memory import Passage, Passages
from agent.tools.notes import NoRoom, Note
from daemon.chat import bookings
from daemon.schedule import booking, telling
from daemon.store import history, journal, notes, search
from daemon.store.db import Database
from daemon.store.values import Home

DAY = 86_400.0  # seconds
MOST_SCHEDULED = 50  # that a list shows


@frozen
class Records:
    """The notes and the past of `home`, as the turn `turn_id` may see and change them."""

    database: Database
    home: Home
    turn_id: int

    # --- Notes ---

    async def save(self, title: str, text: str, days: float | None) -> tuple[Note, bool]:
        now = time.time()
        note = notes.Note(title, text, now, None if days is None else now + days * DAY)
        try:
            new = await self.database.write(notes.save, self.home, note)
        except notes.TooManyNotes:
            raise NoRoom(f"there are {notes.MOST_NOTES} notes, the most that a chat has") from None
        return _note(note), new

    async def get(self, title: str) -> Note | None:
        found = await self.database.read(notes.get, self.home, title, time.time())
        return None if found is None else _note(found)

    async def delete(self, title: str) -> bool:
        return await self.database.write(notes.delete, self.home, title, time.time())

    async def find(self, query: str | None, limit: int, offset: int) -> tuple[Sequence[Note], int]:
        cut, now = notes.Cut(limit, offset), time.time()
        if query is None:
            page = await self.database.read(notes.newest, self.home, cut, now)
        else:
            page = await self.database.read(notes.search, self.home, query, cut, now)
        return [_note(each) for each in page.notes], page.total

    # --- The past ---

    async def extents(self) -> tuple[Extent, Extent]:
        return await self.database.read(history.extents, self.turn_id)

    async def trim(self, keep: int) -> Trimmed:
        return await self.database.write(history.trim, self.turn_id, keep)

    async def search(self, query: str, limit: int) -> Passages:
        question = search.Question(self.home, query, self.turn_id, time.time())
        found = await self.database.read(search.search, question, limit)
        passages = [Passage(hit.source, hit.at, hit.excerpt) for hit in found.hits]
        return Passages(passages, found.loose, found.partly)

    # --- What is scheduled ---

    async def listed(self) -> list[str]:
        return await self.database.read(_scheduled, self.turn_id)


def _scheduled(db: sqlite3.Connection, turn_id: int) -> list[str]:
    """What the person of a turn may see of the jobs of its chat."""
    asker = bookings.asker_of(db, turn_id, journal.read_address(db, turn_id))
    found = booking.visible(db, asker, MOST_SCHEDULED + 1)
    lines = [telling.listed(job) for job in found[:MOST_SCHEDULED]]
    return lines if len(lines) == len(found) else [*lines, telling.MORE]


def _note(row: notes.Note) -> Note:
    return Note(row.title, row.text, row.updated_at, row.expires_at)
