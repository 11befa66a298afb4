"""What a chat's memory files said when they were last read, and the snapshots made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from daemon.store.values import Address, Home

MIND = (
    # Up to which revision of the workspace `memory_files` is known to hold all that there is.
    """CREATE TABLE memory_seen (
        agent_id TEXT NOT NULL REFERENCES agents (id),
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        revision INTEGER NOT NULL,
        seen_at REAL NOT NULL,
        PRIMARY KEY (agent_id, channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
    # The memory that a session's system prompt shows, to the byte, until it is renewed.
    """CREATE TABLE prompt_snapshots (
        session_id TEXT PRIMARY KEY REFERENCES sessions (id),
        conversation TEXT NOT NULL,        -- another one begins with /new
        day TEXT NOT NULL,                 -- YYYY-MM-DD in the agent's zone
        text TEXT NOT NULL,
        made_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
)

_HOME = "agent_id = ? AND channel = ? AND account = ? AND chat = ?"


@frozen
class Kept:
    """A file's text as it was read, and the file's time then."""

    text: str
    modified: float


@frozen
class Known:
    """What is known of a workspace's memory: the times that its files had when they were read.

    `revision` is None before it was first read as a whole.
    """

    times: Mapping[str, float]
    revision: int | None
    seen_at: float


@frozen
class Found:
    """What reading a workspace gave: files that are new or changed, and paths that are gone."""

    revision: int
    changed: Mapping[str, Kept]
    gone: Collection[str]


def known(db: sqlite3.Connection, address: Address) -> Known:
    home = address.home
    files = db.execute(f"SELECT path, modified FROM memory_files WHERE {_HOME}", home).fetchall()
    seen = db.execute(f"SELECT revision, seen_at FROM memory_seen WHERE {_HOME}", home).fetchone()
    return Known(dict(map(tuple, files)), seen[0] if seen else None, seen[1] if seen else 0.0)


def texts(db: sqlite3.Connection, address: Address, paths: Iterable[str]) -> dict[str, str]:
    """What these files said, as far as they were read; all together can be a great deal."""
    rows = (
        db.execute(
            f"SELECT path, text FROM memory_files WHERE {_HOME} AND path = ?",
            (*address.home, path),
        ).fetchone()
        for path in paths
    )
    return {row[0]: row[1] for row in rows if row is not None}


def sizes(db: sqlite3.Connection, home: Home) -> list[tuple[str, int]]:
    """The files that are known, the one changed last first, with their bytes."""
    rows = db.execute(
        "SELECT path, length(CAST(text AS BLOB)) FROM memory_files"
        f" WHERE {_HOME} ORDER BY modified DESC, path",
        home,
    )
    return [(row[0], int(row[1])) for row in rows.fetchall()]


def keep(
    db: sqlite3.Connection, address: Address, found: Found, now: float, *, complete: bool = True
) -> None:
    """Take over what was found; unless it is `complete`, the next look begins where this ended."""
    home = address.home
    for path in {*found.gone, *found.changed}:
        db.execute(f"DELETE FROM memory_files WHERE {_HOME} AND path = ?", (*home, path))
    for path, kept in found.changed.items():
        db.execute(
            "INSERT INTO memory_files (agent_id, channel, account, chat, path, text, revision,"
            " modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*home, path, kept.text, found.revision, kept.modified),
        )
    if complete:
        db.execute(
            "INSERT OR REPLACE INTO memory_seen VALUES (?, ?, ?, ?, ?, ?)",
            (*home, found.revision, now),
        )


def forget(db: sqlite3.Connection, address: Address) -> None:
    """The workspace is gone, and its files with it."""
    db.execute(f"DELETE FROM memory_files WHERE {_HOME}", address.home)
    db.execute(f"DELETE FROM memory_seen WHERE {_HOME}", address.home)


# --- Snapshots ---


@frozen
class Period:
    """The time for which a snapshot stands: a day of a conversation in a session."""

    session_id: str
    conversation: str
    day: str


@frozen
class Snapshot:
    """What is shown of memory in a period; without one it is of none."""

    period: Period | None = None
    text: str = ""

    def of(self, period: Period) -> str | None:
        """Its text if it is this period's."""
        return self.text if self.period == period else None


NONE = Snapshot()


def keep_snapshot(db: sqlite3.Connection, period: Period, text: str, now: float) -> str:
    """Make this the period's snapshot unless it has one; gives the one that holds."""
    made = last_snapshot(db, period.session_id).of(period)
    if made is not None:
        return made
    db.execute(
        "INSERT OR REPLACE INTO prompt_snapshots (session_id, conversation, day, text, made_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (period.session_id, period.conversation, period.day, text, now),
    )
    return text


def last_snapshot(db: sqlite3.Connection, session_id: str) -> Snapshot:
    """The one that the session was shown last, of whatever period."""
    row = db.execute(
        "SELECT conversation, day, text FROM prompt_snapshots WHERE session_id = ?", (session_id,)
    ).fetchone()
    return NONE if row is None else Snapshot(Period(session_id, *row[:2]), row[2])


def renew_snapshot(db: sqlite3.Connection, session_id: str) -> None:
    """Let the next turn make a new one: for compaction, in whose transaction it belongs."""
    db.execute("DELETE FROM prompt_snapshots WHERE session_id = ?", (session_id,))
