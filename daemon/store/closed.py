"""Chats that cannot be written to: the bot was blocked, thrown out, or has lost its rights there.

A chat is closed when Telegram says so, in answer to a send or by itself, and opened when it says
that, or when somebody writes there. Nothing is begun for a closed chat that nobody there has asked
for.
"""

from __future__ import annotations

import sqlite3

from daemon.store.values import Place

BLOCKED = "blocked"  # by the person of a private chat
KICKED = "kicked"  # out of a group, or the group is gone
RIGHTS = "rights"  # to write are lacking in a group
GONE = "gone"  # Telegram knows no such chat, or none that the bot has ever met

# What the model is told of an answer that could not be sent.
WORDS = {
    BLOCKED: "the person has blocked the bot",
    KICKED: "the bot is no member of the group any more",
    RIGHTS: "the bot may not write in the group",
    GONE: "Telegram knows no such chat",
}

# Nobody is told when the rights of all members change, so after so many seconds it is tried again.
TRY_AGAIN = 600.0


def close(db: sqlite3.Connection, place: Place, why: str, now: float) -> None:
    db.execute(
        "INSERT INTO destinations (channel, account, chat, closed, closed_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " closed = excluded.closed, closed_at = excluded.closed_at",
        (place.channel, place.account, place.chat, why, now),
    )


def reopen(db: sqlite3.Connection, place: Place) -> None:
    db.execute(
        "UPDATE destinations SET closed = NULL, closed_at = NULL"
        " WHERE channel = ? AND account = ? AND chat = ? AND closed IS NOT NULL",
        (place.channel, place.account, place.chat),
    )


def why(db: sqlite3.Connection, place: Place) -> str | None:
    """Why a chat cannot be written to; None if it can, as far as is known."""
    row = db.execute(
        "SELECT closed FROM destinations WHERE channel = ? AND account = ? AND chat = ?",
        (place.channel, place.account, place.chat),
    ).fetchone()
    return None if row is None else row[0]


def heard_from(db: sqlite3.Connection, place: Place, now: float) -> bool:
    """Somebody has written there; whether it is worth an answer.

    A person who had blocked us cannot write before they have let us in again, and a group that had
    thrown us out shows us nothing. Only a group's rights may still be lacking: that is tried now
    and then. A person who writes to us alone can be answered, whatever has closed their chat.
    """
    row = db.execute(
        "SELECT closed, closed_at FROM destinations WHERE channel = ? AND account = ? AND chat = ?",
        (place.channel, place.account, place.chat),
    ).fetchone()
    if row is None or row["closed"] is None:
        return True
    if row["closed"] == RIGHTS and place.in_group and 0 <= now - row["closed_at"] < TRY_AGAIN:
        return False
    reopen(db, place)
    return True
