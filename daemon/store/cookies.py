"""The cookies by which model providers know our sessions again: one row a session and provider."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

# Seconds after which a cookie that never changed is of no use: no cache lasts as long.
KEPT = 30 * 86_400

COOKIES = (
    """CREATE TABLE session_cookies (
        session_id TEXT NOT NULL REFERENCES sessions (id),
        address TEXT NOT NULL,             -- of the provider that gave them
        cookies TEXT NOT NULL,             -- as a header's text
        updated_at REAL NOT NULL,
        PRIMARY KEY (session_id, address)
    ) STRICT, WITHOUT ROWID""",
)


def load(db: sqlite3.Connection, now: float) -> dict[str, dict[str, str]]:
    """All that are of use, by session and address."""
    found: dict[str, dict[str, str]] = {}
    rows = db.execute(
        "SELECT session_id, address, cookies FROM session_cookies WHERE updated_at > ?",
        (now - KEPT,),
    )
    for session, address, cookies in rows.fetchall():
        found.setdefault(session, {})[address] = cookies
    return found


def save(db: sqlite3.Connection, session: str, cookies: Mapping[str, str], now: float) -> None:
    """Keep a session's cookies by address, '' for none; and forget those of no use."""
    db.execute("DELETE FROM session_cookies WHERE updated_at <= ?", (now - KEPT,))
    for address, text in cookies.items():
        db.execute(
            "INSERT OR REPLACE INTO session_cookies VALUES (?, ?, ?, ?)",
            (session, address, text, now),
        )
    db.execute("DELETE FROM session_cookies WHERE session_id = ? AND cookies = ''", (session,))
