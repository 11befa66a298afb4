"""When each chat had its last heartbeat: a restart brings none early and none twice."""

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
    role: str = "user"


def due(db: sqlite3.Connection, every: float, now: float) -> list[Beat]:
    """The chats whose last heartbeat is `every` seconds ago; they stay due until they had it.

    The first one of a chat comes that long after it was first seen. One that lies in the future is
    from before a change of the clock.
    """
    found = []
    for row in _latest_sessions(db, now):
        last = _last(db, _home(row), now)
        if every <= now - last or last > now:
            found.append(_beat(row, now))
    return found


def passed(db: sqlite3.Connection, beat: Beat, now: float) -> None:
    """The chat had its heartbeat: the next one comes the full time from now on."""
    db.execute(
        "UPDATE heartbeats SET last_at = ? WHERE agent_id = ? AND channel = ? AND account = ?"
        " AND chat = ?",
        (now, *beat.address.home),
    )


def _latest_sessions(db: sqlite3.Connection, now: float) -> list[sqlite3.Row]:
    """The session of each (agent, chat) that somebody used last, if that was not long ago.

    A chat that cannot be written to has none.
    """
    rows = db.execute(
        f"SELECT s.*, t.payer_id, {turnrow.ROLE} AS role FROM sessions AS s"
        " JOIN turns AS t ON t.id = (SELECT id FROM turns WHERE session_id = s.id"
        " AND cause IN ('update', 'console', 'link') ORDER BY id DESC"
        " LIMIT 1) WHERE t.created_at > ? AND NOT EXISTS (SELECT 1 FROM destinations AS d"
        " WHERE d.channel = s.channel AND d.account = s.account AND d.chat = s.chat"
        " AND d.closed IS NOT NULL) ORDER BY t.id",
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
    whose = row["agent_id"], row["payer_id"]
    address = Address(place, *whose, "", "", now, row["workspace"])
    return Beat(row["id"], address, row["role"])


def begin(db: sqlite3.Connection, beat: Beat, text: str, now: float) -> TurnRow | None:
    """A heartbeat's turn, with a lane and thus a context of its own; it has passed with that.

    None if one of the chat is open yet, in whatever topic.
    """
    passed(db, beat, now)
    open_one = db.execute(
        "SELECT 1 FROM turns AS t INDEXED BY turns_open JOIN sessions AS s ON s.id = t.session_id"
        " WHERE t.state <> 'ended' AND t.cause = 'heartbeat' AND s.agent_id = ? AND s.channel = ?"
        " AND s.account = ? AND s.chat = ?",
        beat.address.home,
    ).fetchone()
    if open_one is not None:
        return None
    (turn_id,) = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, payer_id, state, asked_at, created_at,"
        " role) VALUES (?, ?, ?, 'heartbeat', ?, 'ready', ?, ?, ?) RETURNING id",
        (
            new_ref(),
            beat.session_id,
            f"heartbeat-{new_ref()}",
            beat.address.payer_id,
            now,
            now,
            beat.role,
        ),
    ).fetchone()
    turnrow.add_user_message(db, turn_id, text, now)
    return turnrow.get(db, turn_id)
