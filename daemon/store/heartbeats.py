"""When each chat had its last heartbeat, so that a restart brings none early and none twice."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from daemon.store import turnrow
from daemon.store.turnrow import TurnRow
from daemon.store.values import Address, Home, Place, new_ref

AWAKE_SECONDS = 30 * 86400.0  # a chat where nobody has said anything for so long is let be


@frozen
class Beat:
    """A chat whose heartbeat is due, by the session that was used last."""

    session_id: str
    address: Address


def take_due(db: sqlite3.Connection, every: float, now: float) -> list[Beat]:
    """The chats whose last heartbeat is `every` seconds ago, which counts as had from now on.

    The first one of a chat comes that long after it was first seen. One that lies in the future is
    from before a change of the clock.
    """
    due = []
    for row in _latest_sessions(db, now):
        home = _home(row)
        last = _last(db, home, now)
        if every <= now - last or last > now:
            db.execute(
                "UPDATE heartbeats SET last_at = ? WHERE agent_id = ? AND channel = ?"
                " AND account = ? AND chat = ?",
                (now, *home),
            )
            due.append(_beat(row, now))
    return due


def _latest_sessions(db: sqlite3.Connection, now: float) -> list[sqlite3.Row]:
    """The session of each (agent, chat) that somebody used last, if that was not long ago."""
    rows = db.execute(
        "SELECT s.*, t.payer_id FROM sessions AS s JOIN turns AS t ON t.id = (SELECT id FROM turns"
        " WHERE session_id = s.id AND cause IN ('update', 'console', 'link') ORDER BY id DESC"
        " LIMIT 1) WHERE t.created_at > ? ORDER BY t.id",
        (now - AWAKE_SECONDS,),
    ).fetchall()
    # The last of each home is the one that was used last.
    return list({_home(row): row for row in rows}.values())


def _home(row: sqlite3.Row) -> Home:
    return row["agent_id"], row["channel"], row["account"], row["chat"]


def _last(db: sqlite3.Connection, home: Home, now: float) -> float:
    db.execute("INSERT INTO heartbeats VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (*home, now))
    (last,) = db.execute(
        "SELECT last_at FROM heartbeats WHERE agent_id = ? AND channel = ? AND account = ?"
        " AND chat = ?",
        home,
    ).fetchone()
    return float(last)


def _beat(row: sqlite3.Row, now: float) -> Beat:
    place = Place(row["channel"], row["account"], row["chat"], row["topic"])
    return Beat(row["id"], Address(place, row["agent_id"], row["payer_id"], "", "", now))


def begin(db: sqlite3.Connection, beat: Beat, text: str, now: float) -> TurnRow | None:
    """A heartbeat's turn, with a lane and thus a context of its own; None if one is open yet."""
    open_one = db.execute(
        "SELECT 1 FROM turns INDEXED BY turns_open WHERE state <> 'ended' AND cause = 'heartbeat'"
        " AND session_id = ?",
        (beat.session_id,),
    ).fetchone()
    if open_one is not None:
        return None
    (turn_id,) = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, payer_id, state, asked_at, created_at)"
        " VALUES (?, ?, ?, 'heartbeat', ?, 'ready', ?, ?) RETURNING id",
        (
            new_ref(),
            beat.session_id,
            f"heartbeat-{new_ref()}",
            beat.address.payer_id,
            now,
            now,
        ),
    ).fetchone()
    turnrow.add_user_message(db, turn_id, text, now)
    return turnrow.get(db, turn_id)
