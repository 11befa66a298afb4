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


# How long a gathering stays open for what may follow, from the latest piece. Pieces of a text
# that a client cut, and items of an album, come within a few hundred milliseconds.
GATHER_SECONDS = 1.0
# How long after a start what was sent while nobody listened may take to come. Until then a
# gathering stays open that the last process has left: its next piece may be still with the network.
LATE_SECONDS = 2.0
# And how long from its beginning, whatever follows: who sends full messages without end gets
# answers, too.
MOST_GATHERING = 60.0

OPEN = "turns INDEXED BY turns_open WHERE state <> 'ended'"
# The role of a turn `t`. Whoever pays for it may have been made a guest since it was begun.
ROLE = (
    "CASE WHEN 'guest' = (SELECT role FROM users WHERE id = t.payer_id) THEN 'guest'"
    " ELSE t.role END"
)
COLUMNS = "id, ref, lane, session_id, cause, state, waiting_for, deadline"


def get(db: sqlite3.Connection, turn_id: int) -> TurnRow:
    return TurnRow(*db.execute(f"SELECT {COLUMNS} FROM turns WHERE id = ?", (turn_id,)).fetchone())


def head(db: sqlite3.Connection, lane: str) -> TurnRow | None:
    """What a lane is doing now, or would be: the first of its open turns."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM {OPEN} AND lane = ? ORDER BY id LIMIT 1", (lane,)
    ).fetchone()
    return None if row is None else TurnRow(*row)


def count_open(db: sqlite3.Connection, lane: str, most: int) -> int:
    """How many turns of a lane have not ended; no more than `most` are counted."""
    row = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {OPEN} AND lane = ? LIMIT ?)", (lane, most)
    ).fetchone()
    return int(row[0])


def label(db: sqlite3.Connection, turn_id: int) -> str:
    """What people see of the task that a turn does; '' if it is the conversation itself."""
    return str(db.execute("SELECT label FROM turns WHERE id = ?", (turn_id,)).fetchone()[0])


def role(db: sqlite3.Connection, turn_id: int) -> str:
    """The role of a turn: the least of those who have spoken in it, and of who pays for it."""
    row = db.execute(f"SELECT {ROLE} FROM turns AS t WHERE t.id = ?", (turn_id,)).fetchone()
    return str(row[0])


def lower_role(db: sqlite3.Connection, turn_id: int, role: str) -> None:
    """Somebody of that role has spoken in the turn, too."""
    db.execute(
        "UPDATE turns SET role = ? WHERE id = ? AND role <> 'guest' AND role <> ?1"
        " AND (?1 = 'guest' OR role = 'owner')",
        (role, turn_id),
    )


def add_user_message(db: sqlite3.Connection, turn_id: int, text: str, now: float) -> int:
    """Append what a person said; returns the message's id."""
    (message_id,) = db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'user', ?, ?)"
        " RETURNING id",
        (turn_id, clean(text), now),
    ).fetchone()
    return int(message_id)


def first_message(db: sqlite3.Connection, turn_id: int) -> int:
    """The message that a turn opens with."""
    row = db.execute("SELECT min(id) FROM messages WHERE turn_id = ?", (turn_id,)).fetchone()
    return int(row[0])


def last_message(db: sqlite3.Connection, turn_id: int) -> int:
    row = db.execute("SELECT max(id) FROM messages WHERE turn_id = ?", (turn_id,)).fetchone()
    return int(row[0])


def text(db: sqlite3.Connection, message_id: int) -> str:
    """What a message says."""
    row = db.execute("SELECT content FROM messages WHERE id = ?", (message_id,)).fetchone()
    return str(row[0])


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


def extend_gathering(db: sqlite3.Connection, turn_id: int, deadline: float) -> None:
    """Move the end of a gathering."""
    db.execute("UPDATE turns SET deadline = ? WHERE id = ?", (deadline, turn_id))


def gather_more(db: sqlite3.Connection, turn_id: int, now: float) -> None:
    """A piece has come: the next one may follow it."""
    db.execute(
        "UPDATE turns SET deadline = min(?, created_at + ?) WHERE id = ?",
        (now + GATHER_SECONDS, MOST_GATHERING, turn_id),
    )


def gather_again(db: sqlite3.Connection, now: float) -> None:
    """At a start: let every gathering stay open as if its latest piece were about to come."""
    db.execute(
        "UPDATE turns INDEXED BY turns_open SET deadline = ? WHERE state <> 'ended'"
        " AND state = 'waiting' AND waiting_for = 'gathering' AND gather_key IS NOT NULL",
        (now + LATE_SECONDS + GATHER_SECONDS,),
    )


def gather_on(db: sqlite3.Connection, turn_id: int, deadline: float, key: str | None) -> None:
    """Let a turn that was given more to read, and has not answered, wait for what is to come.

    A run of it has lost it. `key` is what may still join; None: nothing new.
    """
    db.execute(
        "UPDATE turns SET state = 'waiting', waiting_for = 'gathering', boot = NULL, attempts = 0,"
        " deadline = ?, gather_key = coalesce(?, gather_key) WHERE id = ? AND (state IN ('ready',"
        " 'running') OR waiting_for = 'gathering')",
        (deadline, key, turn_id),
    )


def wait_until(
    db: sqlite3.Connection, turn_id: int, deadline: float | None, waiting_for: str = "approval"
) -> bool:
    """Move the end of a wait for a person. False if the turn does not wait for that."""
    moved = db.execute(
        "UPDATE turns SET deadline = ? WHERE id = ? AND state = 'waiting' AND waiting_for = ?",
        (deadline, turn_id, waiting_for),
    )
    return bool(moved.rowcount)
