"""What a chat has chosen for itself; what it has not chosen is as configured."""

from __future__ import annotations

import sqlite3

from daemon.store.values import Place

SETTINGS = (
    """CREATE TABLE chat_settings (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        name TEXT NOT NULL,                -- while_busy, model, streaming, ...
        value TEXT NOT NULL,
        PRIMARY KEY (channel, account, chat, name)
    ) STRICT, WITHOUT ROWID""",
)


def get(db: sqlite3.Connection, place: Place, name: str) -> str | None:
    """The chat's choice, for all of its topics; None if it has made none."""
    row = db.execute(
        "SELECT value FROM chat_settings WHERE channel = ? AND account = ? AND chat = ?"
        " AND name = ?",
        (place.channel, place.account, place.chat, name),
    ).fetchone()
    return None if row is None else str(row[0])


def put(db: sqlite3.Connection, place: Place, name: str, value: str | None) -> None:
    """Keep a choice; None: as configured."""
    where = place.channel, place.account, place.chat, name
    if value is None:
        db.execute(
            "DELETE FROM chat_settings WHERE channel = ? AND account = ? AND chat = ? AND name = ?",
            where,
        )
        return
    db.execute("INSERT OR REPLACE INTO chat_settings VALUES (?, ?, ?, ?, ?)", (*where, value))
