"""What is said in a group to others, kept until the bot is next spoken to there.

Little of it, and no longer than a day: it is for the one who then says "what do you think?".
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import attrs
from attrs import frozen

from daemon.store.attachments import File
from daemon.store.values import Place

PIECES = (
    # A part of an album that has not called us yet: which album, and the part as JSON.
    "ALTER TABLE overheard ADD COLUMN album TEXT",
    "ALTER TABLE overheard ADD COLUMN piece TEXT",
)

MOST = 20  # messages of a place
MOST_CHARACTERS = 500  # of each
HOLDS = 86400.0  # seconds
CUT = " [...]"


@frozen
class Piece:
    """A message of an album: what was said with it, its number, and its files."""

    text: str
    message_id: str
    files: tuple[File, ...]


def keep(db: sqlite3.Connection, place: Place, text: str, now: float) -> int:
    """Keep what somebody said (with their name), and forget the oldest beyond `MOST`; its row."""
    short = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + CUT
    (row_id,) = db.execute(
        "INSERT INTO overheard (channel, account, chat, topic, text, said_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (*_where(place), short, now),
    ).fetchone()
    db.execute(
        "DELETE FROM overheard WHERE channel = ?1 AND account = ?2 AND chat = ?3 AND topic = ?4"
        " AND id <= (SELECT id FROM overheard WHERE channel = ?1 AND account = ?2 AND chat = ?3"
        " AND topic = ?4 ORDER BY id DESC LIMIT 1 OFFSET ?5)",
        (*_where(place), MOST),
    )
    return int(row_id)


def is_of_album(db: sqlite3.Connection, row_id: int, album: str, piece: Piece) -> None:
    """What was kept is a part of an album, which may call us by a later one yet."""
    db.execute(
        "UPDATE overheard SET album = ?, piece = ? WHERE id = ?",
        (album, json.dumps(attrs.asdict(piece)), row_id),
    )


def take_album(db: sqlite3.Connection, place: Place, album: str) -> list[Piece]:
    """The parts of an album that were kept as talk; they are that no longer."""
    rows = db.execute(
        "DELETE FROM overheard WHERE channel = ? AND account = ? AND chat = ? AND topic = ?"
        " AND album = ? RETURNING id, piece",
        (*_where(place), album),
    ).fetchall()
    return [_piece(json.loads(row["piece"])) for row in sorted(rows, key=tuple)]


def _piece(kept: dict[str, Any]) -> Piece:
    return Piece(**{**kept, "files": tuple(File(**each) for each in kept["files"])})


def take(db: sqlite3.Connection, place: Place, now: float) -> list[str]:
    """What was said in a place since the last time, in order; it is kept no longer."""
    rows = db.execute(
        "DELETE FROM overheard WHERE channel = ? AND account = ? AND chat = ? AND topic = ?"
        " RETURNING id, text, said_at",
        _where(place),
    ).fetchall()
    return [row["text"] for row in sorted(rows, key=tuple) if now - HOLDS < row["said_at"]]


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget what is too old; returns how many."""
    return db.execute("DELETE FROM overheard WHERE said_at < ?", (now - HOLDS,)).rowcount


def _where(place: Place) -> tuple[str, str, str, str]:
    return place.channel, place.account, place.chat, place.topic
