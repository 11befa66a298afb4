"""Counts for people: what waits, and what went wrong and stays visible until somebody looks."""

from __future__ import annotations

import sqlite3

from daemon.store import jobs, outbox
from daemon.store.values import Place, workspace_key

MOST_COUNTED = 10_000  # jobs; /status has better to do


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Open work and dead letters, by name."""
    troubles = outbox.troubles(db)
    return {
        "updates to route": _count(db, "inbox WHERE state = 'new'"),
        "turns open": _count(db, "turns WHERE state <> 'ended'"),
        "messages to send": _count(db, "outbox WHERE state IN ('queued', 'sending')"),
        "messages held back": troubles.get("held", 0),
        "messages that may not have arrived": troubles.get("unknown", 0),
        "messages not sent": troubles.get("failed", 0),
        "updates given up": _count(db, "inbox WHERE outcome = 'dead'"),
        "turns given up": _count(db, "turns WHERE outcome = 'dead'"),
        "prompts scheduled": _count(db, f"(SELECT 1 FROM {jobs.DUE} LIMIT {MOST_COUNTED})"),
        "runs of prompts to be tried again": _count(db, "occurrences WHERE state = 'retry'"),
    }


def lines(db: sqlite3.Connection) -> list[str]:
    """The counts that are not zero, a line each, but for those that are seldom zero."""
    usual = {"updates to route", "turns open"}
    return [f"{name}: {count}" for name, count in counts(db).items() if count and name not in usual]


def _count(db: sqlite3.Connection, where: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {where}").fetchone()[0])


def sessions(db: sqlite3.Connection) -> list[dict[str, object]]:
    """The sessions, the one spoken in last first, with the names of their files' workspaces."""
    rows = db.execute(
        "SELECT s.id AS session, s.channel, s.account, s.chat, s.topic, s.agent_id AS agent,"
        " s.workspace, count(t.id) AS turns, coalesce(max(t.asked_at), s.created_at) AS at"
        " FROM sessions AS s LEFT JOIN turns AS t ON t.session_id = s.id"
        " GROUP BY s.id ORDER BY at DESC LIMIT 1000"
    ).fetchall()
    return [_session(row) for row in rows]


def _session(row: sqlite3.Row) -> dict[str, object]:
    values = dict(row)
    place = Place(row["channel"], values.pop("account"), row["chat"], row["topic"])
    values["workspace"] = row["workspace"] or workspace_key(row["agent"], place)
    return values
