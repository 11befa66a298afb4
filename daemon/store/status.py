"""Counts for people: what waits, and what went wrong and stays visible until somebody looks."""

from __future__ import annotations

import sqlite3


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Open work and dead letters, by name."""
    return {
        "updates to route": _count(db, "inbox WHERE state = 'new'"),
        "turns open": _count(db, "turns WHERE state <> 'ended'"),
        "messages to send": _count(db, "outbox WHERE state IN ('queued', 'sending')"),
        "messages held back": _count(db, "outbox WHERE state = 'held'"),
        "messages that may not have arrived": _count(db, "outbox WHERE state = 'unknown'"),
        "messages refused": _count(db, "outbox WHERE state = 'failed'"),
        "updates given up": _count(db, "inbox WHERE state = 'closed' AND outcome = 'dead'"),
        "turns given up": _count(db, "turns WHERE state = 'ended' AND outcome = 'dead'"),
    }


def lines(db: sqlite3.Connection) -> list[str]:
    """The counts that are not zero, a line each, but for those that are seldom zero."""
    usual = {"updates to route", "turns open"}
    return [f"{name}: {count}" for name, count in counts(db).items() if count and name not in usual]


def _count(db: sqlite3.Connection, where: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {where}").fetchone()[0])
