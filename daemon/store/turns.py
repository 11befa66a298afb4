"""Turns: one piece of work in a session, from what began it to what ended it.

A turn is `ready`, `running`, `waiting` or `ended`, and every change of that is a compare-and-set
inside a write transaction. A running turn belongs to the boot that runs it; `recover` gives back
what an earlier boot left, which is the whole of crash recovery for turns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from daemon.store import approvals, children, money, views
from daemon.store.turnrow import COLUMNS, OPEN, TurnRow, add_user_message, get, make_ready
from daemon.store.values import Claim, new_ref

# Runs at a turn that end without a step kept, before it is given up: a turn that takes the
# process down must not do so for ever. A turn that makes progress starts counting afresh.
MAX_ATTEMPTS = 5
MAX_AGE = 48 * 3600.0  # seconds; nobody waits for an answer longer than that
MAX_GATHERING = 60.0  # seconds; a deadline further off is from before a change of the clock

# Results of calls that a turn's end overtook.
NOT_RUN = "not run: the turn was ended first"
CUT_OFF = "cut off by the end of the turn; it may or may not have taken effect"
# The result of a call whose child turn ended without an answer.
CHILDLESS = "it did not come to an end: {}"
WORDLESS = "it ended without a word"
# What the conversation is told of a task in the background that a person has stopped.
STOPPED = "[{label}]\nStopped by /stop before it was done; nothing more will come of it."


@frozen
class Ended:
    """What else the end of a turn did.

    `dropped` are the turns that ended with it, which may have tasks; `parent` is the turn that
    waited for it, and may go on; `heir` is a new one, with what it was told and has not read.
    """

    dropped: tuple[int, ...] = ()
    parent: TurnRow | None = None
    heir: TurnRow | None = None


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
        f" RETURNING {COLUMNS}",
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


def gathering(db: sqlite3.Connection, session_id: str, gather_key: str) -> TurnRow | None:
    """The turn of the session that is still open for more of `gather_key`."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM {OPEN} AND lane = ? AND state = 'waiting'"
        " AND waiting_for = 'gathering' AND gather_key = ? ORDER BY id DESC LIMIT 1",
        (session_id, gather_key),
    ).fetchone()
    return None if row is None else TurnRow(*row)


def extend_gathering(db: sqlite3.Connection, turn_id: int, deadline: float) -> None:
    db.execute("UPDATE turns SET deadline = ? WHERE id = ?", (deadline, turn_id))


def park(db: sqlite3.Connection, claim: Claim, ran_seconds: float, *, child: bool) -> str:
    """Let a running turn wait for its children or for people; its state then.

    If they have answered already, it is ready. Waiting is no failed attempt.
    """
    if child:
        waits, deadline = bool(children.waited_for(db, claim.turn_id)), None
    else:
        waits = approvals.is_open(db, claim.turn_id)
        deadline = approvals.deadline(db, claim.turn_id)
    db.execute(
        "UPDATE turns SET state = ?, waiting_for = ?, deadline = ?, boot = NULL, attempts = 0,"
        " ran_seconds = ran_seconds + ? WHERE id = ?",
        (
            "waiting" if waits else "ready",
            ("child" if child else "approval") if waits else None,
            deadline,
            ran_seconds,
            claim.turn_id,
        ),
    )
    return "waiting" if waits else "ready"


def unread(db: sqlite3.Connection, turn_id: int, seen: int) -> list[tuple[int, str, float]]:
    """What people have said to a turn after the message `seen`: (id, text, when), in order."""
    rows = db.execute(
        "SELECT id, content, created_at FROM messages WHERE turn_id = ? AND id > ?"
        " AND role = 'user' ORDER BY id",
        (turn_id, seen),
    )
    return [(int(row[0]), str(row[1]), float(row[2])) for row in rows.fetchall()]


def ripen(db: sqlite3.Connection, now: float) -> list[TurnRow]:
    """Make every gathering whose deadline has passed ready; returns those turns."""
    rows = db.execute(
        f"SELECT id FROM {OPEN} AND state = 'waiting' AND waiting_for = 'gathering'"
        " AND (deadline <= ? OR deadline > ?) ORDER BY id",
        (now, now + MAX_GATHERING),
    ).fetchall()
    return [get(db, turn_id) for (turn_id,) in rows if make_ready(db, turn_id)]


def unanswered(
    db: sqlite3.Connection, session_id: str, since: float, payer_id: str | None
) -> TurnRow | None:
    """The session's newest turn if that person began it after `since` and it has no answer yet.

    What belongs to the same thought may still be added to it.
    """
    row = db.execute(
        f"SELECT {COLUMNS} FROM turns WHERE lane = ? AND state IN ('ready', 'running')"
        " AND cause = 'update' AND asked_at >= ?2 AND payer_id IS ?3 AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE turn_id = turns.id AND role = 'assistant')"
        " AND id = (SELECT max(id) FROM turns WHERE session_id = ?1)",
        (session_id, since, payer_id),
    ).fetchone()
    return None if row is None else TurnRow(*row)


def begin_afresh(db: sqlite3.Connection, turn_id: int) -> None:
    """Take a running turn back to ready: it has been given more to read before it answered."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL, attempts = 0"
        " WHERE id = ? AND state = 'running'",
        (turn_id,),
    )


def say_again(
    db: sqlite3.Connection, turn_id: int, said: Sequence[tuple[int, str, float]]
) -> list[tuple[int, str, float]]:
    """Move what was said meanwhile behind all that is there; returns it by its new ids.

    Where nothing came after it, SQLite gives the same ids out again.
    """
    db.executemany("DELETE FROM messages WHERE id = ?", [(each[0],) for each in said])
    again = [(add_user_message(db, turn_id, text, at), text, at) for _, text, at in said]
    views.follow(db, turn_id, [each[0] for each in said], [each[0] for each in again])
    return again


def bequeath(
    db: sqlite3.Connection, turn_id: int, said: Sequence[tuple[int, str, float]], now: float
) -> TurnRow | None:
    """Begin a turn of the same person with what was said to one that has ended without reading it.

    None if nothing was. It comes behind what waits in the lane already.
    """
    if not said:
        return None
    session_id, payer_id = db.execute(
        "SELECT session_id, payer_id FROM turns WHERE id = ?", (turn_id,)
    ).fetchone()
    _, text, at = said[0]
    heir = create(db, session_id, text=text, asked_at=at, now=now, payer_id=payer_id)
    for _, later, later_at in said[1:]:
        add_user_message(db, heir.id, later, later_at)
    told = db.execute("SELECT id FROM messages WHERE turn_id = ? ORDER BY id", (heir.id,))
    views.follow(db, heir.id, [each[0] for each in said], [row[0] for row in told.fetchall()])
    db.executemany("DELETE FROM messages WHERE id = ?", [(each[0],) for each in said])
    return heir


def open_turns(db: sqlite3.Connection) -> list[TurnRow]:
    """Every turn that has not ended, in order."""
    rows = db.execute(f"SELECT {COLUMNS} FROM {OPEN} ORDER BY id")
    return [TurnRow(*row) for row in rows.fetchall()]


def has_any(db: sqlite3.Connection, session_id: str) -> bool:
    """Whether anything was ever said in the session."""
    row = db.execute("SELECT 1 FROM turns WHERE session_id = ? LIMIT 1", (session_id,)).fetchone()
    return row is not None


def is_busy(db: sqlite3.Connection, session_id: str) -> bool:
    """Whether the session has anything that has not ended."""
    row = db.execute(f"SELECT 1 FROM {OPEN} AND lane = ? LIMIT 1", (session_id,)).fetchone()
    return row is not None


def newest(db: sqlite3.Connection, session_id: str) -> int:
    """The last turn of the session's conversation; 0 if there is none."""
    row = db.execute("SELECT max(id) FROM turns WHERE lane = ?", (session_id,)).fetchone()
    return int(row[0] or 0)


@frozen
class Stopped:
    """What /stop ended: turns (none if there was nothing), and how many wait behind them.

    `background` if it was work beside the conversation, of which there was none. `freed` are the
    turns that waited for one of those, and may go on.
    """

    turns: tuple[int, ...] = ()
    waiting: int = 0
    background: bool = False
    freed: tuple[TurnRow, ...] = ()


def stop(db: sqlite3.Connection, session_id: str, now: float) -> Stopped:
    """End what the session is doing now; if it does nothing, what runs in its background."""
    rows = db.execute(f"SELECT id FROM {OPEN} AND lane = ? ORDER BY id", (session_id,)).fetchall()
    if not rows:
        return _stop_background(db, session_id, now)
    ended, freed = _end_all(db, [rows[0][0]], now)
    return Stopped(ended, len(rows) - 1, freed=freed)


def _stop_background(db: sqlite3.Connection, session_id: str, now: float) -> Stopped:
    """End all that is beside the conversation, which is told of the tasks that owed it an answer.

    Told as by the answer: by a row that its next turn reads. No turn is begun for it, since who has
    just stopped something waits for no remark on that, and should not pay for one.
    """
    tasks = children.in_background(db, session_id)
    ended, freed = _end_all(db, children.beside(db, session_id), now)
    for turn_id, label in tasks:
        children.report(db, turn_id, STOPPED.format(label=label), now)
    return Stopped(ended, background=True, freed=freed)


def _end_all(
    db: sqlite3.Connection, turn_ids: Sequence[int], now: float
) -> tuple[tuple[int, ...], tuple[TurnRow, ...]]:
    """End these and what they wait for: those turns, and those that waited for them."""
    ended: dict[int, None] = {}
    freed: list[TurnRow] = []
    for turn_id in turn_ids:
        if turn_id not in ended:
            end_ = end(db, turn_id, "stopped", now)
            ended |= dict.fromkeys([turn_id, *end_.dropped])
            freed += [end_.parent] if end_.parent else []
    return tuple(ended), tuple(each for each in freed if each.id not in ended)


def end(
    db: sqlite3.Connection,
    turn_id: int,
    outcome: str,
    now: float,
    *,
    error: str | None = None,
    ran_seconds: float = 0.0,
    said: str = "",
) -> Ended:
    """End a turn in any state, and the children that it waits for.

    A call that has no result gets one, so that none ever lacks it. `said` are the turn's last
    words, which are the result of the call that waits for it, if one does.
    """
    waited_for = children.waited_for(db, turn_id)
    _settle_open_calls(db, turn_id, now)
    approvals.void(db, turn_id, now)
    money.abandon(db, "the turn was ended first", now, turn_id=turn_id)
    db.execute(
        "UPDATE turns SET state = 'ended', outcome = ?, error = ?, ended_at = ?, waiting_for ="
        " NULL, deadline = NULL, ran_seconds = ran_seconds + ? WHERE id = ?",
        (outcome, error, now, ran_seconds, turn_id),
    )
    failed = outcome != "answered"
    text = said or (CHILDLESS.format(outcome) if failed else WORDLESS)
    parent = children.answer_parent(db, turn_id, text, now, failed=failed)
    return Ended(_end_all(db, waited_for, now)[0], parent)


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


def let_go(db: sqlite3.Connection, turn_id: int) -> TurnRow:
    """A turn whose task has ended: one that is `running` yet is nobody's, so ready."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL WHERE id = ? AND state = 'running'",
        (turn_id,),
    )
    return get(db, turn_id)


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
