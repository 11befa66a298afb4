"""What everything about turns shares: the row, and the changes that more than one module makes."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.text import clean


@frozen
class TurnRow:
    """An open turn, as the lanes need to know it."""

    id: int
    ref: str
    lane: str
    session_id: str
    cause: str
    state: str
    waiting_for: str | None
    deadline: float | None


OPEN = "turns INDEXED BY turns_open WHERE state <> 'ended'"
COLUMNS = "id, ref, lane, session_id, cause, state, waiting_for, deadline"


def get(db: sqlite3.Connection, turn_id: int) -> TurnRow:
    return TurnRow(*db.execute(f"SELECT {COLUMNS} FROM turns WHERE id = ?", (turn_id,)).fetchone())


def head(db: sqlite3.Connection, lane: str) -> TurnRow | None:
    """What a lane is doing now, or would be: the first of its open turns."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM {OPEN} AND lane = ? ORDER BY id LIMIT 1", (lane,)
    ).fetchone()
    return None if row is None else TurnRow(*row)


def label(db: sqlite3.Connection, turn_id: int) -> str:
    """What people see of the task that a turn does; '' if it is the conversation itself."""
    return str(db.execute("SELECT label FROM turns WHERE id = ?", (turn_id,)).fetchone()[0])


def add_user_message(db: sqlite3.Connection, turn_id: int, text: str, now: float) -> int:
    """Append what a person said; returns the message's id."""
    (message_id,) = db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'user', ?, ?)"
        " RETURNING id",
        (turn_id, clean(text), now),
    ).fetchone()
    return int(message_id)


def add_result(
    db: sqlite3.Connection, turn_id: int, call_id: int, text: str, now: float, *, failed: bool
) -> None:
    """Append the one result of a call."""
    db.execute(
        "INSERT INTO messages (turn_id, role, content, tool_call_id, created_at)"
        " VALUES (?, 'tool', ?, ?, ?)",
        (turn_id, clean(text), call_id, now),
    )
    db.execute(
        "UPDATE tool_calls SET state = 'done', failed = ?, ended_at = ? WHERE id = ?",
        (failed, now, call_id),
    )


def make_ready(db: sqlite3.Connection, turn_id: int, waiting_for: str = "gathering") -> bool:
    """What the turn waited for has come. False if it does not wait for that."""
    made = db.execute(
        "UPDATE turns SET state = 'ready', waiting_for = NULL, gather_key = NULL, deadline = NULL"
        " WHERE id = ? AND state = 'waiting' AND waiting_for = ?",
        (turn_id, waiting_for),
    )
    return bool(made.rowcount)


def wait_until(db: sqlite3.Connection, turn_id: int, deadline: float | None) -> bool:
    """Move the end of a wait for permission. False if the turn does not wait for that."""
    moved = db.execute(
        "UPDATE turns SET deadline = ? WHERE id = ? AND state = 'waiting'"
        " AND waiting_for = 'approval'",
        (deadline, turn_id),
    )
    return bool(moved.rowcount)
