"""Which of our messages is which of the network's, so that a correction finds what it corrects.

A row a message of a person, by the network's number of it in its chat. What was said in it is kept
as two digests alone, of the words and of the files: a network also reports as an edit what changes
neither, such as a link's preview.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from daemon.store.values import Place

SAYINGS = (
    """CREATE TABLE sayings (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        external_id TEXT NOT NULL,             -- the network's number of the message in its chat
        message_id INTEGER NOT NULL            -- a message that moves gets another id at once
            REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        words TEXT NOT NULL,                   -- digests of what was written and sent
        files TEXT NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (channel, account, chat, external_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX sayings_message ON sayings (message_id)",
    "CREATE INDEX sayings_past ON sayings (created_at)",
)

# The Bot API lets people edit for 48 hours.
KEPT_SECONDS = 72 * 3600.0

_NAMED = "channel = ? AND account = ? AND chat = ? AND external_id = ?"


@frozen
class Imprint:
    """What a message said, for comparison alone."""

    words: str = ""
    files: str = ""


@frozen
class Saying:
    """A message that was said here before: its row, its turn, and what it said."""

    message_id: int
    turn_id: int
    imprint: Imprint


def note(
    db: sqlite3.Connection,
    place: Place,
    external_id: str,
    message_id: int,
    imprint: Imprint,
    now: float,
) -> None:
    """Remember that the network's message is this one, as it reads now."""
    db.execute(
        "INSERT OR REPLACE INTO sayings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*_key(place, external_id), message_id, imprint.words, imprint.files, now),
    )


def find(db: sqlite3.Connection, place: Place, external_id: str) -> Saying | None:
    """The message with this number in the chat of `place`, whatever its topic."""
    row = db.execute(
        "SELECT said.message_id, m.turn_id, said.words, said.files FROM sayings AS said"
        f" JOIN messages AS m ON m.id = said.message_id WHERE {_NAMED}",
        _key(place, external_id),
    ).fetchone()
    return None if row is None else Saying(row[0], row[1], Imprint(row[2], row[3]))


def follow(db: sqlite3.Connection, old: Sequence[int], new: Sequence[int]) -> None:
    """Messages have got new ids, none smaller than its old one."""
    moves = list(zip(new, old, strict=True))
    db.executemany("UPDATE sayings SET message_id = ? WHERE message_id = ?", reversed(moves))


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget what nobody can correct any more; returns how many."""
    oldest = now - KEPT_SECONDS
    return db.execute("DELETE FROM sayings WHERE created_at < ?", (oldest,)).rowcount


def _key(place: Place, external_id: str) -> tuple[str, str, str, str]:
    return place.channel, place.account, place.chat, external_id
