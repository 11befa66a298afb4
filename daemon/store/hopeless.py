"""Turns that are given up: they failed too often, or are too old for anybody to wait for them."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store import children
from daemon.store.turnrow import COLUMNS, OPEN, TurnRow, get
from daemon.store.turns import end

# Runs at a turn that end without a step kept, before it is given up: a turn that takes the
# process down must not do so for ever. A turn that makes progress starts counting afresh.
MAX_ATTEMPTS = 5
MAX_AGE = 48 * 3600.0  # seconds; nobody waits for an answer longer than that


@frozen
class Dead:
    """A turn that was given up; `awaited` if another turn's call has that as its result."""

    turn: TurnRow
    awaited: bool


def give_up_hopeless(db: sqlite3.Connection, now: float) -> list[Dead]:
    """End the ready turns that failed too often or are too old; returns them.

    A turn is as old as the last that was said in it or decided about it: what has waited a day for
    a person's permission is not late when it gets that.
    """
    rows = db.execute(
        f"SELECT {COLUMNS} FROM {OPEN} AND state = 'ready' AND (attempts >= ?1 OR created_at < ?2"
        " AND NOT EXISTS (SELECT 1 FROM messages WHERE turn_id = turns.id AND created_at >= ?2)"
        " AND NOT EXISTS (SELECT 1 FROM tool_calls AS c JOIN approvals AS a ON a.call_id = c.id"
        " WHERE c.turn_id = turns.id AND a.answered_at >= ?2)) ORDER BY id",
        (MAX_ATTEMPTS, now - MAX_AGE),
    ).fetchall()
    hopeless = [TurnRow(*row) for row in rows]
    return [dead for turn in hopeless if (dead := _give_up(db, turn, now)) is not None]


def _give_up(db: sqlite3.Connection, turn: TurnRow, now: float) -> Dead | None:
    """None if it has ended with the turn that waited for it."""
    if get(db, turn.id).state == "ended":
        return None
    dead = Dead(turn, children.is_waited_for(db, turn.id))
    end(db, turn.id, "dead", now, error="too many attempts, or too old")
    return dead
