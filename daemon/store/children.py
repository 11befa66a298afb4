"""Turns that other turns begin: a helper in the background, or a specialist that is waited for.

A child has a lane of its own, so that its parent's chat goes on meanwhile, and the session, payer
and place of its parent, so that whatever it says goes to the chat that asked and to no other. The
call that waits for a child names it, and gets the child's last words as its result in the very
transaction that ends the child.
"""

from __future__ import annotations

import sqlite3

from agent.ports import Subtask
from agent.text import clean
from daemon.store import turnrow
from daemon.store.turnrow import TurnRow
from daemon.store.values import new_ref

MOST = 4  # open ones in one session: each is a conversation that somebody pays for


class TooMany(Exception):
    """The session has as many open children as it may have."""


def begin(
    db: sqlite3.Connection, parent_id: int, call_id: int, subtask: Subtask, now: float
) -> TurnRow:
    """A child turn that does `subtask`, as the call `call_id` asked. Raises TooMany."""
    session_id, asked_at, payer_id, role, reply_to = db.execute(
        "SELECT session_id, asked_at, payer_id, role, reply_to FROM turns WHERE id = ?",
        (parent_id,),
    ).fetchone()
    if len(background(db, session_id)) >= MOST:
        raise TooMany
    (turn_id,) = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, parent_id, payer_id, state, label,"
        " specialist, asked_at, created_at, role, reply_to)"
        " VALUES (?, ?, ?, 'child', ?, ?, 'ready', ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            new_ref(),
            session_id,
            f"child-{new_ref()}",
            parent_id,
            payer_id,
            clean(subtask.label),
            subtask.specialist,
            asked_at,
            now,
            role,
            reply_to,
        ),
    ).fetchone()
    turnrow.add_user_message(db, turn_id, subtask.task, now)
    if subtask.waits:
        db.execute("UPDATE tool_calls SET child_id = ? WHERE id = ?", (turn_id, call_id))
    return turnrow.get(db, turn_id)


def background(db: sqlite3.Connection, session_id: str) -> list[int]:
    """The open children of a session's turns, the oldest first."""
    rows = db.execute(
        "SELECT id FROM turns INDEXED BY turns_open WHERE state <> 'ended' AND cause = 'child'"
        " AND session_id = ? ORDER BY id",
        (session_id,),
    )
    return [int(row[0]) for row in rows.fetchall()]


def in_background(db: sqlite3.Connection, session_id: str) -> list[tuple[int, str]]:
    """Those of them that no call waits for, so that their answers go to the chat: (id, label)."""
    rows = db.execute(
        "SELECT id, label FROM turns INDEXED BY turns_open WHERE state <> 'ended'"
        " AND cause = 'child' AND session_id = ? AND NOT EXISTS (SELECT 1 FROM tool_calls"
        " WHERE child_id = turns.id AND state <> 'done') ORDER BY id",
        (session_id,),
    )
    return [(int(row[0]), str(row[1])) for row in rows.fetchall()]


def beside(db: sqlite3.Connection, session_id: str) -> list[int]:
    """All that is open beside a session's conversation: heartbeats and their children, too."""
    rows = db.execute(
        "SELECT id FROM turns INDEXED BY turns_open WHERE state <> 'ended' AND lane <> session_id"
        " AND session_id = ? ORDER BY id",
        (session_id,),
    )
    return [int(row[0]) for row in rows.fetchall()]


def waited_for(db: sqlite3.Connection, turn_id: int) -> list[int]:
    """The children that open calls of a turn wait for."""
    rows = db.execute(
        "SELECT child_id FROM tool_calls WHERE turn_id = ? AND state <> 'done'"
        " AND child_id IS NOT NULL ORDER BY id",
        (turn_id,),
    )
    return [int(row[0]) for row in rows.fetchall()]


def is_waited_for(db: sqlite3.Connection, turn_id: int) -> bool:
    """Whether a call waits for this turn's answer."""
    row = db.execute(
        "SELECT 1 FROM tool_calls WHERE child_id = ? AND state <> 'done'", (turn_id,)
    ).fetchone()
    return row is not None


def answer_parent(
    db: sqlite3.Connection, turn_id: int, text: str, now: float, *, failed: bool
) -> TurnRow | None:
    """Give the call that waits for this turn its result; the parent, if it may go on now."""
    call = db.execute(
        "SELECT id, turn_id FROM tool_calls WHERE child_id = ? AND state <> 'done'", (turn_id,)
    ).fetchone()
    if call is None:
        return None
    turnrow.add_result(db, call["turn_id"], call["id"], text, now, failed=failed)
    parent = int(call["turn_id"])
    if waited_for(db, parent) or not turnrow.make_ready(db, parent, "child"):
        return None
    return turnrow.get(db, parent)


def report(db: sqlite3.Connection, turn_id: int, text: str, now: float) -> None:
    """Put what became of a background task into its conversation, as a turn of its own."""
    session_id, payer_id, label = db.execute(
        "SELECT session_id, payer_id, label FROM turns WHERE id = ?", (turn_id,)
    ).fetchone()
    (report_id,) = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, parent_id, payer_id, state, outcome,"
        " label, asked_at, created_at, ended_at) VALUES (?1, ?2, ?2, 'child', ?3, ?4, 'ended',"
        " 'answered', ?5, ?6, ?6, ?6) RETURNING id",
        (new_ref(), session_id, turn_id, payer_id, label, now),
    ).fetchone()
    db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'assistant', ?, ?)",
        (report_id, clean(text), now),
    )
