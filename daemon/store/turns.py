"""Turns: one piece of work in a session, from what began it to what ended it.

A turn is `ready`, `running`, `waiting` or `ended`, and every change of that is a compare-and-set
inside a write transaction. A running turn belongs to the boot that runs it; `recover` gives back
what an earlier boot left, which is the whole of crash recovery for turns.

What people stop is in `daemon.store.stops`, what is given up in `daemon.store.hopeless`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from attrs import frozen

from daemon.store import acks, approvals, attachments, children, money, questions, sayings, views
from daemon.store.turnrow import (
    COLUMNS,
    OPEN,
    TurnRow,
    add_user_message,
    extend_gathering,
    get,
    make_ready,
)
from daemon.store.values import Claim, Place, new_ref

MAX_GATHERING = 60.0  # seconds; a deadline further off is from before a change of the clock

# Results of calls that a turn's end overtook.
NOT_RUN = "not run: the turn was ended first"
CUT_OFF = "cut off by the end of the turn; it may or may not have taken effect"
# The result of a call whose child turn ended without an answer.
CHILDLESS = "it did not come to an end: {}"
WORDLESS = "it ended without a word"


@frozen
class Ended:
    """What else the end of a turn did.

    `dropped` are the turns that ended with it, which may have tasks; `parent` is the turn that
    waited for it, and may go on; `heir` is a new one, with what it was told and has not read.
    """

    dropped: tuple[int, ...] = ()
    parent: TurnRow | None = None
    heir: TurnRow | None = None


# Turns that were ended, and those that waited for them and may go on.
Dropped: TypeAlias = tuple[tuple[int, ...], tuple[TurnRow, ...]]


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
    role: str = "user",
    reply_to: str | None = None,
) -> TurnRow:
    """A new turn of a session that opens with a person's `text`.

    With a `deadline` it waits until then for more of the same (`gather_key`), see `join`. `role` is
    that person's there; `reply_to` is the network's name of the message, if the answer is to show
    what it answers.
    """
    state = "ready" if deadline is None else "waiting"
    waiting_for = None if deadline is None else "gathering"
    row = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, payer_id, state, waiting_for,"
        " gather_key, deadline, asked_at, created_at, role, reply_to)"
        " VALUES (?, ?2, ?2, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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
            role,
            reply_to,
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


def park(db: sqlite3.Connection, claim: Claim, ran_seconds: float, *, child: bool) -> str:
    """Let a running turn wait for its children or for people; its state then.

    If they have answered already, it is ready. Waiting is no failed attempt.
    """
    waiting_for, deadline = _waits_for(db, claim.turn_id, child=child)
    waits = waiting_for is not None
    db.execute(
        "UPDATE turns SET state = ?, waiting_for = ?, deadline = ?, boot = NULL, attempts = 0,"
        " ran_seconds = ran_seconds + ? WHERE id = ?",
        (
            "waiting" if waits else "ready",
            waiting_for,
            deadline,
            ran_seconds,
            claim.turn_id,
        ),
    )
    return "waiting" if waits else "ready"


def _waits_for(
    db: sqlite3.Connection, turn_id: int, *, child: bool
) -> tuple[str | None, float | None]:
    """What has not come yet of that for which a turn is parked, and when the wait has its end."""
    if not child:
        waits = approvals.is_open(db, turn_id)
        return ("approval" if waits else None), approvals.deadline(db, turn_id)
    if questions.is_open(db, turn_id):
        return "question", questions.deadline(db, turn_id)
    return ("child" if children.waited_for(db, turn_id) else None), None


def unread(db: sqlite3.Connection, turn_id: int, seen: int) -> list[tuple[int, str, float]]:
    """What people have said to a turn after the message `seen`: (id, text, when), in order."""
    rows = db.execute(
        "SELECT id, content, created_at FROM messages WHERE turn_id = ? AND id > ?"
        " AND role = 'user' ORDER BY id",
        (turn_id, seen),
    )
    return [(int(row[0]), str(row[1]), float(row[2])) for row in rows.fetchall()]


def ripen(db: sqlite3.Connection, now: float) -> list[TurnRow]:
    """Make every gathering whose deadline has passed ready, or let it wait for its files.

    Returns the turns that it has changed.
    """
    rows = db.execute(
        f"SELECT id, deadline FROM {OPEN} AND state = 'waiting' AND waiting_for = 'gathering'"
        " AND (deadline <= ? OR deadline > ?) ORDER BY id",
        (now, now + MAX_GATHERING),
    ).fetchall()
    return [get(db, turn_id) for turn_id, deadline in rows if _ripe(db, turn_id, deadline, now)]


def _ripe(db: sqlite3.Connection, turn_id: int, deadline: float, now: float) -> bool:
    """Whether the end of a gathering has come, or has moved: nobody waits longer for its files."""
    files = attachments.until(db, turn_id)
    if files is None or files <= now:
        attachments.give_up(db, turn_id, now)
        make_ready(db, turn_id)
        return True
    later = min(files, now + attachments.PATIENCE)  # of a clock that was set back
    extend_gathering(db, turn_id, later)
    return later != deadline


def unanswered(
    db: sqlite3.Connection, session_id: str, since: float, payer_id: str | None
) -> TurnRow | None:
    """The session's newest turn if that person began it after `since` and it has no answer yet.

    What belongs to the same thought may still be added to it.
    """
    row = db.execute(
        f"SELECT {COLUMNS} FROM turns WHERE lane = ? AND (state IN ('ready', 'running')"
        " OR state = 'waiting' AND waiting_for = 'gathering') AND cause = 'update'"
        " AND asked_at >= ?2 AND payer_id IS ?3 AND NOT EXISTS"
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
    follow(db, turn_id, [each[0] for each in said], [each[0] for each in again])
    return again


def follow(db: sqlite3.Connection, turn_id: int, old: Sequence[int], new: Sequence[int]) -> None:
    """Let what belongs to messages go with them."""
    views.follow(db, turn_id, old, new)
    attachments.follow(db, turn_id, old, new)
    sayings.follow(db, old, new)


def bequeath(
    db: sqlite3.Connection, turn_id: int, said: Sequence[tuple[int, str, float]], now: float
) -> TurnRow | None:
    """Begin a turn of the same person with what was said to one that has ended without reading it.

    None if nothing was. It comes behind what waits in the lane already.
    """
    if not said:
        return None
    session_id, payer_id, role = db.execute(
        "SELECT session_id, payer_id, role FROM turns WHERE id = ?", (turn_id,)
    ).fetchone()
    _, text, at = said[0]
    heir = create(db, session_id, text=text, asked_at=at, now=now, payer_id=payer_id, role=role)
    for _, later, later_at in said[1:]:
        add_user_message(db, heir.id, later, later_at)
    told = db.execute("SELECT id FROM messages WHERE turn_id = ? ORDER BY id", (heir.id,))
    follow(db, heir.id, [each[0] for each in said], [row[0] for row in told.fetchall()])
    db.executemany("DELETE FROM messages WHERE id = ?", [(each[0],) for each in said])
    return heir


def open_turns(db: sqlite3.Connection) -> list[TurnRow]:
    """Every turn that has not ended, in order."""
    rows = db.execute(f"SELECT {COLUMNS} FROM {OPEN} ORDER BY id")
    return [TurnRow(*row) for row in rows.fetchall()]


def open_chats(db: sqlite3.Connection, channel: str, account: str) -> list[str]:
    """The chats of an account that have turns which have not ended."""
    rows = db.execute(
        "SELECT DISTINCT s.chat FROM turns AS t INDEXED BY turns_open JOIN sessions AS s"
        " ON s.id = t.session_id WHERE t.state <> 'ended' AND s.channel = ? AND s.account = ?",
        (channel, account),
    )
    return [str(row[0]) for row in rows.fetchall()]


def open_in_chat(db: sqlite3.Connection, place: Place) -> list[int]:
    """The turns of all sessions of a chat that have not ended, in order."""
    rows = db.execute(
        "SELECT t.id FROM turns AS t INDEXED BY turns_open JOIN sessions AS s"
        " ON s.id = t.session_id WHERE t.state <> 'ended' AND s.channel = ? AND s.account = ?"
        " AND s.chat = ? ORDER BY t.id",
        (place.channel, place.account, place.chat),
    )
    return [int(row[0]) for row in rows.fetchall()]


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


def end_all(db: sqlite3.Connection, turn_ids: Sequence[int], now: float) -> Dropped:
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
    questions.void(db, turn_id, now)
    _settle_open_calls(db, turn_id, now)
    approvals.void(db, turn_id, now)
    acks.settle(db, turn_id, now)
    money.abandon(db, "the turn was ended first", now, turn_id=turn_id)
    db.execute(
        "UPDATE turns SET state = 'ended', outcome = ?, error = ?, ended_at = ?, waiting_for ="
        " NULL, deadline = NULL, ran_seconds = ran_seconds + ? WHERE id = ?",
        (outcome, error, now, ran_seconds, turn_id),
    )
    failed = outcome != "answered"
    text = said or (CHILDLESS.format(outcome) if failed else WORDLESS)
    parent = children.answer_parent(db, turn_id, text, now, failed=failed)
    return Ended(end_all(db, waited_for, now)[0], parent)


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
