"""Notes of a home, by title. One that has expired is not there, whether it is pruned yet or not."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Sequence

from attrs import frozen

from agent.text import clean
from daemon.store import fts
from daemon.store.fts import BEST, expression, home_word, words
from daemon.store.notes_schema import NOTE, NOTE_TEXT, row_of
from daemon.store.values import Home

MOST_NOTES = 5_000  # of one home
_OF_HOME = "agent_id = ? AND channel = ? AND account = ? AND chat = ?"
_ALIVE = "(expires_at IS NULL OR expires_at > ?)"
_COLUMNS = "notes.title, notes.text, notes.updated_at, notes.expires_at"


class TooManyNotes(Exception):
    """The home has MOST_NOTES already."""


@frozen
class Note:
    title: str
    text: str
    updated_at: float
    expires_at: float | None


@frozen
class Page:
    """Some of `total` notes."""

    notes: tuple[Note, ...]
    total: int


@frozen
class Cut:
    """Which part of a list is wanted."""

    limit: int
    offset: int


def save(db: sqlite3.Connection, home: Home, note: Note) -> bool:
    """Keep a note, in the place of the one with its title; True if there was none.

    Raises TooManyNotes.
    """
    now = note.updated_at
    # What has expired neither fills the place nor lends its date to the new one.
    prune(db, now)
    new = get(db, home, note.title, now) is None
    if new and _count(db, home) >= MOST_NOTES:
        raise TooManyNotes
    db.execute(
        "INSERT INTO notes (agent_id, channel, account, chat, key, title, text, created_at,"
        " updated_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?8, ?8, ?9)"
        " ON CONFLICT (channel, account, chat, agent_id, key) DO UPDATE SET title = excluded.title,"
        " text = excluded.text, updated_at = excluded.updated_at, expires_at = excluded.expires_at",
        (*home, _key(note.title), clean(note.title), clean(note.text), now, note.expires_at),
    )
    return new


def get(db: sqlite3.Connection, home: Home, title: str, now: float) -> Note | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM notes WHERE {_OF_HOME} AND key = ? AND {_ALIVE}",
        (*home, _key(title), now),
    ).fetchone()
    return None if row is None else Note(*row)


def delete(db: sqlite3.Connection, home: Home, title: str, now: float) -> bool:
    """Remove a note; False if there was none to be seen."""
    seen = get(db, home, title, now) is not None
    db.execute(f"DELETE FROM notes WHERE {_OF_HOME} AND key = ?", (*home, _key(title)))
    return seen


def newest(db: sqlite3.Connection, home: Home, cut: Cut, now: float) -> Page:
    """The notes, those changed last first."""
    (total,) = db.execute(
        f"SELECT count(*) FROM notes WHERE {_OF_HOME} AND {_ALIVE}", (*home, now)
    ).fetchone()
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM notes WHERE {_OF_HOME} AND {_ALIVE}"
        " ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?",
        (*home, now, cut.limit, cut.offset),
    ).fetchall()
    return _page(rows, total)


# In the order in which they are joined, which is the index's first.
_FOUND = (
    f"FROM passages CROSS JOIN notes ON notes.id = {row_of(NOTE)}"
    f" WHERE passages MATCH ? AND {_ALIVE}"
)


def search(db: sqlite3.Connection, home: Home, query: str, cut: Cut, now: float) -> Page:
    """The notes that have all the words in title or text, or else any of them; the best first.

    Where words are looked for letter by letter (`daemon.store.fts`), the newest first.
    """
    wanted = words(query)
    if not wanted:
        return Page((), 0)
    if lettered := fts.lettered(wanted):
        found = _holding(db, home, lettered, cut, now, " AND ")
        alone = len(lettered) == 1
        return found if found.total or alone else _holding(db, home, lettered, cut, now, " OR ")
    found = _search(db, home, wanted, cut, now)
    return found if found.total else _search(db, home, wanted, cut, now, every=False)


def _search(
    db: sqlite3.Connection,
    home: Home,
    wanted: Sequence[str],
    cut: Cut,
    now: float,
    *,
    every: bool = True,
) -> Page:
    match = expression([home_word(NOTE, home)], wanted, every=every)
    (total,) = db.execute(f"SELECT count(*) {_FOUND}", (match, now)).fetchone()
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FOUND} ORDER BY {BEST}, notes.id DESC LIMIT ? OFFSET ?",
        (match, now, cut.limit, cut.offset),
    ).fetchall()
    return _page(rows, total)


def _holding(
    db: sqlite3.Connection, home: Home, wanted: Sequence[str], cut: Cut, now: float, joined: str
) -> Page:
    held = joined.join(f"{NOTE_TEXT.format('notes')} LIKE ?" for _ in wanted)
    where = f"FROM notes WHERE {_OF_HOME} AND {_ALIVE} AND ({held})"
    bound = (*home, now, *map(fts.pattern, wanted))
    (total,) = db.execute(f"SELECT count(*) {where}", bound).fetchone()
    rows = db.execute(
        f"SELECT {_COLUMNS} {where} ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?",
        (*bound, cut.limit, cut.offset),
    ).fetchall()
    return _page(rows, total)


def prune(db: sqlite3.Connection, now: float) -> int:
    """Remove what has expired, of all homes; returns how many."""
    return db.execute(
        "DELETE FROM notes INDEXED BY notes_expiring"
        " WHERE expires_at IS NOT NULL AND expires_at <= ?",
        (now,),
    ).rowcount


def _count(db: sqlite3.Connection, home: Home) -> int:
    row = db.execute(f"SELECT count(*) FROM notes WHERE {_OF_HOME}", home).fetchone()
    return int(row[0])


def _key(title: str) -> str:
    """What makes two titles the same: neither case nor how an accent is written."""
    return unicodedata.normalize("NFC", clean(title)).casefold()


def _page(rows: Sequence[sqlite3.Row], total: int) -> Page:
    return Page(tuple(Note(*row) for row in rows), int(total))
