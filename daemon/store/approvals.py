"""Questions whether a tool call may run: asked once, answered once, and gone after a day.

A question is a row beside its call. Its turn waits, as a row too, until no question of it is open;
then it is ready, and goes on by the path that a restart uses. Whoever answers second, or after the
turn ended by other means, changes nothing and is told how it stands.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store import turnrow
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place, new_ref

WAIT_SECONDS = 24 * 3600.0


@frozen
class Question:
    """An open question: its name for people, what would run, and where it was asked.

    `label` is of the task that asks, '' where that is the conversation itself.
    """

    ref: str
    what: str
    turn_id: int
    payer_id: str | None
    label: str
    place: Place
    asked_at: float
    deadline: float


@frozen
class Answered:
    """What an answer did: how the question stands, and the turn, if that changed with it.

    The turn may go on now, or waits for another question until another time.
    """

    state: str  # granted, denied, lapsed, void; 'unknown' if there is no such question
    new: bool = False  # whether it was this answer that decided it
    turn: TurnRow | None = None


_QUESTION = (
    "SELECT a.ref, a.what, a.turn_id, t.payer_id, t.label, s.channel, s.account, s.chat,"
    " s.topic, a.created_at, a.deadline FROM approvals AS a INDEXED BY approvals_open"
    " JOIN turns AS t ON t.id = a.turn_id JOIN sessions AS s ON s.id = t.session_id"
    " WHERE a.state = 'open'"
)


def ask(db: sqlite3.Connection, turn_id: int, call_id: int, what: str, now: float) -> str:
    """Open the question about a call; returns its name for people."""
    ref = new_ref()
    db.execute(
        "INSERT INTO approvals (ref, call_id, turn_id, what, deadline, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (ref, call_id, turn_id, what, now + WAIT_SECONDS, now),
    )
    return ref


def answer(
    db: sqlite3.Connection, ref: str, state: str, now: float, *, by: str | None = None
) -> Answered:
    """Answer an open question with `state`, granted or denied; `by` is the user who did.

    Too late is too late, also where the lapse was not written down yet, as after a pause.
    """
    row = db.execute(
        "UPDATE approvals SET state = ?1, answered_by = ?2, answered_at = ?3 WHERE ref = ?4"
        " AND state = 'open' AND (deadline > ?3 OR ?1 = 'lapsed') RETURNING turn_id",
        (state, by, now, ref),
    ).fetchone()
    if row is not None:
        return Answered(state, new=True, turn=_go_on(db, row["turn_id"]))
    known = db.execute("SELECT state FROM approvals WHERE ref = ?", (ref,)).fetchone()
    if known is None:
        return Answered("unknown")
    return Answered("lapsed" if known["state"] == "open" else known["state"])


def standing(db: sqlite3.Connection, ref: str, user: str | None) -> str:
    """How a question stands that is over, for the person who could have answered it."""
    row = db.execute(
        "SELECT a.state FROM approvals AS a JOIN turns AS t ON t.id = a.turn_id"
        " WHERE a.ref = ? AND a.state <> 'open' AND t.payer_id = ?",
        (ref, user),
    ).fetchone()
    return "unknown" if row is None else str(row["state"])


def _go_on(db: sqlite3.Connection, turn_id: int) -> TurnRow | None:
    """The turn, made ready or with the deadline of its next question; None if it does not wait."""
    if not is_open(db, turn_id):
        changed = turnrow.make_ready(db, turn_id, "approval")
    else:
        changed = turnrow.wait_until(db, turn_id, deadline(db, turn_id))
    return turnrow.get(db, turn_id) if changed else None


def is_open(db: sqlite3.Connection, turn_id: int) -> bool:
    row = db.execute("SELECT 1 FROM approvals WHERE state = 'open' AND turn_id = ?", (turn_id,))
    return row.fetchone() is not None


def holds_up(db: sqlite3.Connection, turn_id: int) -> bool:
    """Whether a turn waits for a person: about a call of its own, or of a child it waits for."""
    row = db.execute(
        "SELECT 1 FROM turns WHERE id = ?1 AND waiting_for = 'approval' UNION ALL"
        " SELECT 1 FROM turns AS t JOIN tool_calls AS c ON c.turn_id = t.id"
        " JOIN turns AS child ON child.id = c.child_id WHERE t.id = ?1 AND t.state = 'waiting'"
        " AND c.state <> 'done' AND child.waiting_for = 'approval'",
        (turn_id,),
    )
    return row.fetchone() is not None


def deadline(db: sqlite3.Connection, turn_id: int) -> float | None:
    """When the first of the turn's open questions lapses."""
    row = db.execute(
        "SELECT min(deadline) FROM approvals WHERE state = 'open' AND turn_id = ?", (turn_id,)
    ).fetchone()
    return row[0] if row is not None else None


def void(db: sqlite3.Connection, turn_id: int, now: float) -> None:
    """Close the questions of a turn that has ended without an answer to them."""
    db.execute(
        "UPDATE approvals SET state = 'void', answered_at = ? WHERE state = 'open' AND turn_id = ?",
        (now, turn_id),
    )


def lapse(db: sqlite3.Connection, now: float) -> list[tuple[Question, TurnRow | None]]:
    """Deny what nobody has answered in time; returns each with its turn, if that may go on."""
    overdue = [each for each in find(db) if each.deadline <= now]
    return [(each, answer(db, each.ref, "lapsed", now).turn) for each in overdue]


def find(db: sqlite3.Connection, place: Place | None = None) -> list[Question]:
    """The open questions, of one place or of all, the oldest first."""
    rows = db.execute(f"{_QUESTION} ORDER BY a.id").fetchall()
    questions = [_question(row) for row in rows]
    return [each for each in questions if place is None or each.place == place]


def _question(row: sqlite3.Row) -> Question:
    return Question(
        row["ref"],
        row["what"],
        row["turn_id"],
        row["payer_id"],
        row["label"],
        Place(row["channel"], row["account"], row["chat"], row["topic"]),
        row["created_at"],
        row["deadline"],
    )
