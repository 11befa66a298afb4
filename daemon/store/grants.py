"""Lasting permissions: calls of a kind that a person has allowed in a chat once and for all.

A grant is of one person in one chat, for one tool, as far as its scope says: what others ask for
there still needs a word of their own. It is looked for in the transaction that would open the
question, so one that was taken back a moment ago does not count.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store.values import Home, new_ref

GRANTS = (
    """CREATE TABLE grants (
        ref TEXT PRIMARY KEY,
        agent_id TEXT NOT NULL REFERENCES agents (id),
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        user_id TEXT NOT NULL,             -- who asks for such calls; '': nobody in particular
        tool TEXT NOT NULL,
        scope TEXT NOT NULL,               -- which of the tool's calls, in its own words; '': all
        granted_by TEXT REFERENCES users (id),
        created_at REAL NOT NULL,
        UNIQUE (channel, account, chat, agent_id, user_id, tool, scope)
    ) STRICT, WITHOUT ROWID""",
)

_OF_HOME = "agent_id = ? AND channel = ? AND account = ? AND chat = ?"


@frozen
class Kind:
    """Which calls: whose, of which tool, and which of those."""

    user: str
    tool: str
    scope: str

    def __str__(self) -> str:
        return f"{self.tool} {self.scope}".strip()


def grant(db: sqlite3.Connection, home: Home, kind: Kind, by: str | None, now: float) -> None:
    """Allow calls of a kind from now on; twice is once."""
    db.execute(
        "INSERT INTO grants (ref, agent_id, channel, account, chat, user_id, tool, scope,"
        " granted_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (new_ref(), *home, kind.user, kind.tool, kind.scope, by, now),
    )


def covers(db: sqlite3.Connection, home: Home, kind: Kind) -> bool:
    """Whether a call of that kind needs no question."""
    row = db.execute(
        f"SELECT 1 FROM grants WHERE {_OF_HOME} AND user_id = ? AND tool = ? AND scope = ?",
        (*home, kind.user, kind.tool, kind.scope),
    ).fetchone()
    return row is not None


@frozen
class Given:
    """A grant as it stands: the name of its row, what it covers, and for whom, '' for nobody."""

    ref: str
    kind: Kind
    person: str


def of_user(db: sqlite3.Connection, home: Home, user: str) -> list[Given]:
    """What a person's calls need no question for in a chat, the oldest first."""
    return [each for each in of_home(db, home) if each.kind.user in {"", user}]


def of_home(db: sqlite3.Connection, home: Home) -> list[Given]:
    """All the grants in a chat, the oldest first."""
    rows = db.execute(
        "SELECT ref, user_id, tool, scope, coalesce(u.name, '') FROM grants AS g"
        f" LEFT JOIN users AS u ON u.id = user_id WHERE {_OF_HOME} ORDER BY g.created_at, ref",
        home,
    ).fetchall()
    return [Given(row[0], Kind(*row[1:4]), row[4]) for row in rows]


def revoke(db: sqlite3.Connection, ref: str) -> bool:
    """Take a grant back; False if there is none any more."""
    return bool(db.execute("DELETE FROM grants WHERE ref = ?", (ref,)).rowcount)
