"""Questions whether a tool call may run: asked once, answered once, and gone after a day.

A question is a row beside its call. Its turn waits, as a row too, until no question of it is open;
then it is ready, and goes on by the path that a restart uses. Whoever answers second, or after the
turn ended by other means, changes nothing and is told how it stands.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store import grants, turnrow
from daemon.store.turnrow import TurnRow
from daemon.store.values import Home, Place, new_ref

WAIT_SECONDS = 24 * 3600.0

# What a lasting yes would cover, and which message asks.
LASTING = (
    "ALTER TABLE approvals ADD COLUMN tool TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE approvals ADD COLUMN scope TEXT",  # NULL: each such call needs a word of its own
    "ALTER TABLE approvals ADD COLUMN lasting INTEGER NOT NULL DEFAULT 0",
    # The outbox row that asks; NULL once the end is told there.
    "ALTER TABLE approvals ADD COLUMN shown TEXT",
    "CREATE INDEX approvals_shown ON approvals (id) WHERE shown IS NOT NULL",
)


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
class Wish:
    """What a call would do, as the person sees it, and what a lasting yes would cover.

    A `scope` of None: there is no lasting yes.
    """

    what: str
    tool: str = ""
    scope: str | None = None


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


def ask(db: sqlite3.Connection, turn_id: int, call_id: int, wish: Wish, now: float) -> str:
    """Open the question about a call; returns its name for people."""
    ref = new_ref()
    db.execute(
        "INSERT INTO approvals (ref, call_id, turn_id, what, tool, scope, deadline, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (ref, call_id, turn_id, wish.what, wish.tool, wish.scope, now + WAIT_SECONDS, now),
    )
    return ref


def allowed_before(
    db: sqlite3.Connection, turn_id: int, call_id: int, wish: Wish, now: float
) -> bool:
    """Whether a lasting yes covers the call; then that is kept as its answer."""
    kind = _kind(wish.tool, wish.scope, _payer(db, turn_id))
    if kind is None or not grants.covers(db, _home(db, turn_id), kind):
        return False
    ref = ask(db, turn_id, call_id, wish, now)
    db.execute(
        "UPDATE approvals SET state = 'granted', lasting = 1, answered_at = ? WHERE ref = ?",
        (now, ref),
    )
    return True


def last(db: sqlite3.Connection, ref: str, by: str | None, now: float) -> None:
    """Let the yes to a question cover all that its scope names, from now on."""
    row = db.execute("SELECT turn_id, tool, scope FROM approvals WHERE ref = ?", (ref,)).fetchone()
    kind = _kind(row["tool"], row["scope"], _payer(db, row["turn_id"]))
    if kind is not None:
        grants.grant(db, _home(db, row["turn_id"]), kind, by, now)
        db.execute("UPDATE approvals SET lasting = 1 WHERE ref = ?", (ref,))


def _kind(tool: str, scope: str | None, payer: str | None) -> grants.Kind | None:
    return None if scope is None else grants.Kind(payer or "", tool, scope)


def _payer(db: sqlite3.Connection, turn_id: int) -> str | None:
    (payer,) = db.execute("SELECT payer_id FROM turns WHERE id = ?", (turn_id,)).fetchone()
    return None if payer is None else str(payer)


def _home(db: sqlite3.Connection, turn_id: int) -> Home:
    row = db.execute(
        "SELECT s.agent_id, s.channel, s.account, s.chat FROM turns AS t"
        " JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    return row[0], row[1], row[2], row[3]


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


def is_asked(db: sqlite3.Connection, ref: str) -> bool:
    """Whether a question of that name waits for its answer."""
    row = db.execute("SELECT 1 FROM approvals WHERE ref = ? AND state = 'open'", (ref,))
    return row.fetchone() is not None


def is_open(db: sqlite3.Connection, turn_id: int) -> bool:
    row = db.execute("SELECT 1 FROM approvals WHERE state = 'open' AND turn_id = ?", (turn_id,))
    return row.fetchone() is not None


def holds_up(db: sqlite3.Connection, turn_id: int) -> bool:
    """Whether a turn waits for a person: about a call of its own, or of a child it waits for."""
    row = db.execute(
        "SELECT 1 FROM turns WHERE id = ?1 AND waiting_for IN ('approval', 'question') UNION ALL"
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


# --- How they are shown ---


def shown_as(db: sqlite3.Connection, ref: str, outbox_ref: str) -> None:
    """Note which message asks the question."""
    db.execute("UPDATE approvals SET shown = ? WHERE ref = ?", (outbox_ref, ref))


@frozen
class Closed:
    """A question that is over, with its message, which does not say so yet; `by` is a name."""

    place: Place
    message: str
    wish: Wish
    state: str
    by: str | None
    label: str
    lasting: bool


def take_closed(db: sqlite3.Connection) -> list[Closed]:
    """Those whose end has not been told in their messages; it counts as told from now on."""
    rows = db.execute(
        "SELECT a.id, s.channel, s.account, s.chat, s.topic, a.shown, a.what, a.tool, a.scope,"
        " a.state, u.name, t.label, a.lasting FROM approvals AS a INDEXED BY approvals_shown"
        " JOIN turns AS t ON t.id = a.turn_id JOIN sessions AS s ON s.id = t.session_id"
        " LEFT JOIN users AS u ON u.id = a.answered_by"
        " WHERE a.shown IS NOT NULL AND a.state <> 'open' ORDER BY a.id"
    ).fetchall()
    db.executemany("UPDATE approvals SET shown = NULL WHERE id = ?", [(row[0],) for row in rows])
    return [_closed(row) for row in rows]


def _closed(row: sqlite3.Row) -> Closed:
    return Closed(
        Place(row["channel"], row["account"], row["chat"], row["topic"]),
        row["shown"],
        Wish(row["what"], row["tool"], row["scope"]),
        row["state"],
        row["name"],
        row["label"],
        bool(row["lasting"]),
    )
