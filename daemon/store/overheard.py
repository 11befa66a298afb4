"""What is said in a group to others, kept until the bot is next spoken to there.

Little of it, and no longer than a day: it is for the one who then says "what do you think?".
"""

from __future__ import annotations

import sqlite3

from daemon.store.values import Place

MOST = 20  # messages of a place
MOST_CHARACTERS = 500  # of each
HOLDS = 86400.0  # seconds
CUT = " [...]"


def keep(db: sqlite3.Connection, place: Place, text: str, now: float) -> None:
    """Keep what somebody said (with their name), and forget the oldest beyond `MOST`."""
    short = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + CUT
    db.execute(
        "INSERT INTO overheard (channel, account, chat, topic, text, said_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*_where(place), short, now),
    )
    db.execute(
        "DELETE FROM overheard WHERE channel = ?1 AND account = ?2 AND chat = ?3 AND topic = ?4"
        " AND id <= (SELECT id FROM overheard WHERE channel = ?1 AND account = ?2 AND chat = ?3"
        " AND topic = ?4 ORDER BY id DESC LIMIT 1 OFFSET ?5)",
        (*_where(place), MOST),
    )


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
