"""Questions that an agent puts to a person: asked once, answered once, and gone after a day.

A question is a row beside the call that asks it, which has no result until somebody answers: then
the answer is the result, in the same transaction. The turn waits as a row, and goes on by the path
that a restart uses.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from attrs import frozen

from agent.ports import Inquiry
from agent.text import clean
from daemon.store import turnrow
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place, new_ref

QUESTIONS = (
    """CREATE TABLE questions (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        call_id INTEGER NOT NULL UNIQUE REFERENCES tool_calls (id),
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        text TEXT NOT NULL,
        choices TEXT NOT NULL,             -- JSON, a list of strings; empty: say it in words
        state TEXT NOT NULL DEFAULT 'open'
            CHECK (state IN ('open', 'answered', 'lapsed', 'void')),
        answer TEXT,
        answered_by TEXT REFERENCES users (id),
        shown TEXT,                        -- the outbox row that asks it; NULL once its end is told
        deadline REAL NOT NULL,
        created_at REAL NOT NULL,
        answered_at REAL
    ) STRICT""",
    "CREATE INDEX questions_open ON questions (turn_id) WHERE state = 'open'",
    "CREATE INDEX questions_shown ON questions (id) WHERE shown IS NOT NULL",
)

WAIT_SECONDS: Final = 24 * 3600.0
UNANSWERED: Final = "nobody answered within a day"
GIVEN_UP: Final = "not answered: the turn was ended first"
_OPEN = "questions INDEXED BY questions_open WHERE state = 'open'"


@frozen
class Question:
    """An open question; `payer_id` is the person whom it is for, None: whoever may speak there."""

    ref: str
    turn_id: int
    payer_id: str | None
    text: str
    choices: tuple[str, ...]


def ask(db: sqlite3.Connection, turn_id: int, call_id: int, inquiry: Inquiry, now: float) -> str:
    """Open a question, which the call waits for; returns its name."""
    ref = new_ref()
    db.execute(
        "INSERT INTO questions (ref, call_id, turn_id, text, choices, deadline, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            ref,
            call_id,
            turn_id,
            clean(inquiry.question),
            json.dumps([clean(each) for each in inquiry.choices]),
            now + WAIT_SECONDS,
            now,
        ),
    )
    return ref


def open_of(db: sqlite3.Connection, turn_id: int) -> Question | None:
    """The first question of a turn that waits for an answer."""
    row = db.execute(
        f"SELECT ref, text, choices FROM {_OPEN} AND turn_id = ? ORDER BY id LIMIT 1", (turn_id,)
    ).fetchone()
    return None if row is None else _question(db, turn_id, row)


def find(db: sqlite3.Connection, ref: str) -> Question | None:
    """The question of that name, while it is open."""
    row = db.execute(
        "SELECT ref, text, choices, turn_id FROM questions WHERE ref = ? AND state = 'open'", (ref,)
    ).fetchone()
    return None if row is None else _question(db, row["turn_id"], row)


def _question(db: sqlite3.Connection, turn_id: int, row: sqlite3.Row) -> Question:
    (payer,) = db.execute("SELECT payer_id FROM turns WHERE id = ?", (turn_id,)).fetchone()
    return Question(row["ref"], turn_id, payer, row["text"], tuple(json.loads(row["choices"])))


def answer(
    db: sqlite3.Connection, ref: str, text: str, now: float, by: str | None
) -> TurnRow | None:
    """Make `text` the result of the call that asks; the turn, if it may go on or is running.

    None if somebody, or time, was faster.
    """
    return _close(db, ref, "answered", text, now, by)


def _close(
    db: sqlite3.Connection, ref: str, state: str, text: str, now: float, by: str | None = None
) -> TurnRow | None:
    # Too late is too late, also where the lapse was not written down yet.
    row = db.execute(
        "UPDATE questions SET state = ?1, answer = ?2, answered_by = ?3, answered_at = ?4"
        " WHERE ref = ?5 AND state = 'open' AND (deadline > ?4 OR ?1 <> 'answered')"
        " RETURNING turn_id, call_id",
        (state, clean(text), by, now, ref),
    ).fetchone()
    if row is None:
        return None
    failed = state != "answered"
    turnrow.add_result(db, row["turn_id"], row["call_id"], text, now, failed=failed)
    if is_open(db, row["turn_id"]):
        turnrow.wait_until(db, row["turn_id"], deadline(db, row["turn_id"]), "question")
    else:
        turnrow.make_ready(db, row["turn_id"], "question")
    return turnrow.get(db, row["turn_id"])


def is_open(db: sqlite3.Connection, turn_id: int) -> bool:
    row = db.execute(f"SELECT 1 FROM {_OPEN} AND turn_id = ?", (turn_id,)).fetchone()
    return row is not None


def deadline(db: sqlite3.Connection, turn_id: int) -> float | None:
    """When the first of the turn's open questions lapses."""
    row = db.execute(f"SELECT min(deadline) FROM {_OPEN} AND turn_id = ?", (turn_id,)).fetchone()
    return None if row is None else row[0]


def lapse(db: sqlite3.Connection, now: float) -> list[TurnRow]:
    """Close what nobody has answered in time; returns the turns, which may go on."""
    rows = db.execute(f"SELECT ref FROM {_OPEN} AND deadline <= ? ORDER BY id", (now,)).fetchall()
    closed = (_close(db, row["ref"], "lapsed", UNANSWERED, now) for row in rows)
    return [turn for turn in closed if turn is not None]


def void(db: sqlite3.Connection, turn_id: int, now: float) -> None:
    """Close the questions of a turn that ends; their calls get the result that says so."""
    rows = db.execute(f"SELECT ref FROM {_OPEN} AND turn_id = ? ORDER BY id", (turn_id,))
    for row in rows.fetchall():
        _close(db, row["ref"], "void", GIVEN_UP, now)


# --- How they are shown ---


def shown_as(db: sqlite3.Connection, ref: str, outbox_ref: str) -> None:
    """Note which message asks the question."""
    db.execute("UPDATE questions SET shown = ? WHERE ref = ?", (outbox_ref, ref))


@frozen
class Closed:
    """A question that is over, with its message, which does not say so yet."""

    place: Place
    message: str
    text: str
    state: str
    answer: str | None
    by: str | None


def take_closed(db: sqlite3.Connection) -> list[Closed]:
    """Those whose end has not been told in their messages; it counts as told from now on."""
    rows = db.execute(
        "SELECT q.id, s.channel, s.account, s.chat, s.topic, q.shown, q.text, q.state, q.answer,"
        " u.name FROM questions AS q INDEXED BY questions_shown"
        " JOIN turns AS t ON t.id = q.turn_id JOIN sessions AS s ON s.id = t.session_id"
        " LEFT JOIN users AS u ON u.id = q.answered_by"
        " WHERE q.shown IS NOT NULL AND q.state <> 'open' ORDER BY q.id"
    ).fetchall()
    db.executemany("UPDATE questions SET shown = NULL WHERE id = ?", [(row[0],) for row in rows])
    return [Closed(Place(*row[1:5]), *row[5:]) for row in rows]
