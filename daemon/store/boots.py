"""The runs of the daemon. A row in flight names the boot that owns it."""

from __future__ import annotations

import sqlite3

from daemon.store.values import new_ref


def begin(db: sqlite3.Connection, version: str, now: float) -> str:
    """Record that a run has begun; returns its id."""
    boot = new_ref()
    db.execute("INSERT INTO boots (id, version, started_at) VALUES (?, ?, ?)", (boot, version, now))
    return boot


def end(db: sqlite3.Connection, boot: str, now: float) -> None:
    """Record that a run ended by itself; a killed one never gets here."""
    db.execute("UPDATE boots SET ended_at = ? WHERE id = ?", (now, boot))
