"""Memory files that a person wants gone: rows until the executor has removed them."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store import people
from daemon.store.values import Home, Place

FORGETTING = (
    """CREATE TABLE forgetting (
        id INTEGER PRIMARY KEY,
        agent_id TEXT NOT NULL REFERENCES agents (id),
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL,               -- where it was asked for
        path TEXT NOT NULL,
        asked_at REAL NOT NULL
    ) STRICT""",
)

_OF_HOME = "agent_id = ? AND channel = ? AND account = ? AND chat = ?"


@frozen
class Wanted:
    """A file that is to go, in which workspace, and who is told."""

    id: int
    home: Home
    place: Place
    workspace: str
    path: str


def want(db: sqlite3.Connection, place: Place, home: Home, path: str, now: float) -> None:
    """Note that a memory file of `home` is to go; `place` is told when it has."""
    db.execute(
        "INSERT INTO forgetting (agent_id, channel, account, chat, topic, path, asked_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*home, place.topic, path, now),
    )


def wanted(db: sqlite3.Connection) -> list[Wanted]:
    """What has not gone yet, in the order in which it was asked for."""
    rows = db.execute(
        "SELECT id, agent_id, channel, account, chat, topic, path FROM forgetting ORDER BY id"
    ).fetchall()
    return [_wanted(db, row) for row in rows]


def _wanted(db: sqlite3.Connection, row: sqlite3.Row) -> Wanted:
    home = row["agent_id"], row["channel"], row["account"], row["chat"]
    place = Place(*home[1:], row["topic"])
    return Wanted(row["id"], home, place, people.workspace(db, home), row["path"])


def settle(db: sqlite3.Connection, done: Wanted, *, gone: bool) -> None:
    """Nothing is left to do. If it is `gone`, neither search nor the next prompt knows of it."""
    db.execute("DELETE FROM forgetting WHERE id = ?", (done.id,))
    if not gone:
        return
    db.execute(f"DELETE FROM memory_files WHERE {_OF_HOME} AND path = ?", (*done.home, done.path))
    db.execute(
        "DELETE FROM prompt_snapshots WHERE session_id IN"
        f" (SELECT id FROM sessions WHERE {_OF_HOME})",
        done.home,
    )
