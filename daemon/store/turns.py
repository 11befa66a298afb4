"""Turns: one piece of work in a session, from what began it to what ended it.

A turn is `ready`, `running`, `waiting` or `ended`, and every change of that is a compare-and-set
inside a write transaction. A running turn belongs to the boot that runs it; `recover` gives back
what an earlier boot left, which is the whole of crash recovery for turns.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.text import clean
from daemon.store import money
from daemon.store.values import new_ref

# Runs at a turn that end without a step kept, before it is given up: a turn that takes the
# process down must not do so for ever. A turn that makes progress starts counting afresh.
MAX_ATTEMPTS = 5
MAX_AGE = 48 * 3600.0  # seconds; nobody waits for an answer longer than that
MAX_GATHERING = 60.0  # seconds; a deadline further off is from before a change of the clock

# Results of calls that a turn's end overtook.
NOT_RUN = "not run: the turn was ended first"
CUT_OFF = "cut off by the end of the turn; it may or may not have taken effect"


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


_OPEN = "turns INDEXED BY turns_open WHERE state <> 'ended'"
_COLUMNS = "id, ref, lane, session_id, cause, state, waiting_for, deadline"


def create(
    db: sqlite3.Connection,
    session_id: str,
    *,
    text: str,
    asked_at: float,
    now: float,
    payer_id: str | None = None,
    cause: str = "update",
    gather_key: str | None = None,
    deadline: float | None = None,
) -> TurnRow:
    """A new turn of a session that opens with a person's `text`.

    With a `deadline` it waits until then for more of the same (`gather_key`), see `join`.
    """
    state = "ready" if deadline is None else "waiting"
    waiting_for = None if deadline is None else "gathering"
    row = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, payer_id, state, waiting_for,"
        " gather_key, deadline, asked_at, created_at) VALUES (?, ?2, ?2, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" RETURNING {_COLUMNS}",
        (
            new_ref(),
            session_id,
            cause,
            payer_id,
            state,
            waiting_for,
            gather_key,
            deadline,
            asked_at,
            now,
        ),
    ).fetchone()
    turn = TurnRow(*row)
    add_user_message(db, turn.id, text, now)
    return turn


def add_user_message(db: sqlite3.Connection, turn_id: int, text: str, now: float) -> None:
    db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'user', ?, ?)",
        (turn_id, clean(text), now),
    )


def get(db: sqlite3.Connection, turn_id: int) -> TurnRow:
    return TurnRow(*db.execute(f"SELECT {_COLUMNS} FROM turns WHERE id = ?", (turn_id,)).fetchone())


def gathering(db: sqlite3.Connection, session_id: str, gather_key: str) -> TurnRow | None:
    """The turn of the session that is still open for more of `gather_key`."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM {_OPEN} AND lane = ? AND state = 'waiting'"
        " AND waiting_for = 'gathering' AND gather_key = ? ORDER BY id DESC LIMIT 1",
        (session_id, gather_key),
    ).fetchone()
    return None if row is None else TurnRow(*row)


def extend_gathering(db: sqlite3.Connection, turn_id: int, deadline: float) -> None:
    db.execute("UPDATE turns SET deadline = ? WHERE id = ?", (deadline, turn_id))


def make_ready(db: sqlite3.Connection, turn_id: int) -> None:
    """What the turn waited for has come."""
    db.execute(
        "UPDATE turns SET state = 'ready', waiting_for = NULL, gather_key = NULL, deadline = NULL"
        " WHERE id = ? AND state = 'waiting'",
        (turn_id,),
    )


def ripen(db: sqlite3.Connection, now: float) -> list[int]:
    """Make every gathering whose deadline has passed ready; returns their ids."""
    rows = db.execute(
        f"SELECT id FROM {_OPEN} AND state = 'waiting' AND waiting_for = 'gathering'"
        " AND (deadline <= ? OR deadline > ?) ORDER BY id",
        (now, now + MAX_GATHERING),
    ).fetchall()
    for (turn_id,) in rows:
        make_ready(db, turn_id)
    return [int(row[0]) for row in rows]


def unanswered(db: sqlite3.Connection, session_id: str, since: float) -> TurnRow | None:
    """The session's newest turn if a person began it after `since` and nothing was answered yet.

    What belongs to the same thought may still be added to it.
    """
    row = db.execute(
        f"SELECT {_COLUMNS} FROM turns WHERE lane = ? AND state IN ('ready', 'running')"
        " AND cause = 'update' AND asked_at >= ?2 AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE turn_id = turns.id AND role = 'assistant')"
        " AND id = (SELECT max(id) FROM turns WHERE session_id = ?1)",
        (session_id, since),
    ).fetchone()
    return None if row is None else TurnRow(*row)


def begin_afresh(db: sqlite3.Connection, turn_id: int) -> None:
    """Take a running turn back to ready: it has been given more to read before it answered."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL, attempts = 0"
        " WHERE id = ? AND state = 'running'",
        (turn_id,),
    )


def open_turns(db: sqlite3.Connection) -> list[TurnRow]:
    """Every turn that has not ended, in order."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM {_OPEN} ORDER BY id")
    return [TurnRow(*row) for row in rows.fetchall()]


def stop(db: sqlite3.Connection, session_id: str, now: float) -> tuple[int | None, int]:
    """End what the session is doing now; returns (the turn that ended, how many wait behind it)."""
    rows = db.execute(f"SELECT id FROM {_OPEN} AND lane = ? ORDER BY id", (session_id,)).fetchall()
    if not rows:
        return None, 0
    turn_id = int(rows[0][0])
    end(db, turn_id, "stopped", now)
    return turn_id, len(rows) - 1


def end(
    db: sqlite3.Connection,
    turn_id: int,
    outcome: str,
    now: float,
    *,
    error: str | None = None,
    ran_seconds: float = 0.0,
) -> None:
    """End a turn in any state. A call that has no result gets one, so that none ever lacks it."""
    _settle_open_calls(db, turn_id, now)
    money.abandon(db, "the turn was ended first", now, turn_id=turn_id)
    db.execute(
        "UPDATE turns SET state = 'ended', outcome = ?, error = ?, ended_at = ?, waiting_for ="
        " NULL, deadline = NULL, ran_seconds = ran_seconds + ? WHERE id = ?",
        (outcome, error, now, ran_seconds, turn_id),
    )


def _settle_open_calls(db: sqlite3.Connection, turn_id: int, now: float) -> None:
    db.execute(
        "INSERT INTO messages (turn_id, role, content, tool_call_id, created_at)"
        " SELECT turn_id, 'tool', CASE state WHEN 'running' THEN ? ELSE ? END, id, ?"
        " FROM tool_calls WHERE turn_id = ? AND state <> 'done' ORDER BY id",
        (CUT_OFF, NOT_RUN, now, turn_id),
    )
    db.execute(
        "UPDATE tool_calls SET state = 'done', failed = 1, ended_at = ?"
        " WHERE turn_id = ? AND state <> 'done'",
        (now, turn_id),
    )


def recover(db: sqlite3.Connection) -> None:
    """Make every running turn ready to be gone on with; called while nobody runs any.

    A run that was cut off by an orderly end of the daemon is not counted against its turn.
    """
    db.execute(
        "UPDATE turns INDEXED BY turns_open SET state = 'ready', boot = NULL, attempts = attempts -"
        " EXISTS (SELECT 1 FROM boots WHERE id = turns.boot AND ended_at IS NOT NULL)"
        " WHERE state <> 'ended' AND state = 'running'"
    )


def let_go(db: sqlite3.Connection, turn_id: int) -> str:
    """The state of a turn whose task has ended: one that is `running` yet is nobody's, so ready."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL WHERE id = ? AND state = 'running'",
        (turn_id,),
    )
    return str(db.execute("SELECT state FROM turns WHERE id = ?", (turn_id,)).fetchone()[0])


def give_up_hopeless(db: sqlite3.Connection, now: float) -> list[TurnRow]:
    """End the ready turns that failed too often or are too old; returns them to be told about."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM {_OPEN} AND state = 'ready'"
        " AND (attempts >= ? OR created_at < ?) ORDER BY id",
        (MAX_ATTEMPTS, now - MAX_AGE),
    ).fetchall()
    dead = [TurnRow(*row) for row in rows]
    for turn in dead:
        end(db, turn.id, "dead", now, error="too many attempts, or too old")
    return dead
