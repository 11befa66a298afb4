"""What /stop ends: what a session is doing, its background, or one task of it."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.transcript import CallRequest
from daemon.store import children, turnrow
from daemon.store.turnrow import OPEN, TurnRow, get
from daemon.store.turns import end_all

# What the conversation is told of a task in the background that a person has stopped.
STOPPED = "[{label}]\nStopped by /stop before it was done; nothing more will come of it."


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
    ended, freed = end_all(db, [rows[0][0]], now)
    return Stopped(ended, len(rows) - 1, freed=freed)


def _stop_background(db: sqlite3.Connection, session_id: str, now: float) -> Stopped:
    """End all that is beside the conversation, which is told of the tasks that owed it an answer.

    Told as by the answer: by a row that its next turn reads. No turn is begun for it, since who has
    just stopped something waits for no remark on that, and should not pay for one.
    """
    tasks = children.in_background(db, session_id)
    ended, freed = end_all(db, children.beside(db, session_id), now)
    for turn_id, label in tasks:
        children.report(db, turn_id, STOPPED.format(label=label), now)
    return Stopped(ended, background=True, freed=freed)


def stop_task(db: sqlite3.Connection, turn_id: int, now: float) -> Stopped:
    """End one task in the background, of which the conversation is told; it may have ended."""
    if get(db, turn_id).state == "ended":
        return Stopped(background=True)
    label = turnrow.label(db, turn_id)
    ended, freed = end_all(db, [turn_id], now)
    children.report(db, turn_id, STOPPED.format(label=label), now)
    return Stopped(ended, background=True, freed=freed)


def under_way(db: sqlite3.Connection, session_id: str) -> list[CallRequest]:
    """The calls that what the session is doing now has begun, the oldest first."""
    rows = db.execute(
        "SELECT c.call_id, c.name, c.arguments FROM tool_calls AS c WHERE c.state = 'running'"
        f" AND c.turn_id = (SELECT id FROM {OPEN} AND lane = ? ORDER BY id LIMIT 1) ORDER BY c.id",
        (session_id,),
    )
    return [CallRequest(*row) for row in rows.fetchall()]
