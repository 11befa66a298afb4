"""What is to be sent: a row per message, in order within each destination.

A row is `sending` from before the request until its outcome is recorded. If we die in between,
the next boot cannot know whether it arrived: `recover` then counts a doubt, and a part with one
doubt is sent once more under a label. Two doubts end it as `unknown`.

Editing an earlier message again changes nothing, so methods in `IDEMPOTENT` carry no doubt.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from daemon.store.values import Place, new_ref

IDEMPOTENT = frozenset({"editMessageText", "answerCallbackQuery", "setMessageReaction"})
MAX_DOUBTS = 2
HOLD_AFTER = 48 * 3600.0  # seconds; older parts are folded into one line and a button
MAX_WAIT = 3600.0  # seconds; a not_before from before a clock change must not silence a chat
ABOUT_LENGTH = 60  # characters of the question that a row remembers


@frozen
class Draft:
    """Something to send: a method of the channel and its parameters without the address."""

    method: str
    params: dict[str, Any]


@frozen
class Part:
    """A claimed row: ours to send, once."""

    id: int
    place: Place
    turn_id: int | None
    method: str
    params: dict[str, Any]
    attempts: int
    doubts: int
    about: str
    asked_at: float | None
    created_at: float


@frozen
class Destination:
    """Where order is kept: a chat, with all its topics."""

    channel: str
    account: str
    chat: str


def destination_of(place: Place) -> Destination:
    return Destination(place.channel, place.account, place.chat)


def enqueue(
    db: sqlite3.Connection,
    place: Place,
    drafts: Sequence[Draft],
    now: float,
    *,
    turn_id: int | None = None,
    about: str = "",
    asked_at: float | None = None,
) -> None:
    """Queue `drafts` behind everything that the destination still has to be sent."""
    (last,) = db.execute(
        "INSERT INTO destinations (channel, account, chat, last_seq) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last_seq = last_seq + excluded.last_seq RETURNING last_seq",
        (place.channel, place.account, place.chat, len(drafts)),
    ).fetchone()
    where = (place.channel, place.account, place.chat, place.topic)
    db.executemany(
        "INSERT INTO outbox (ref, channel, account, chat, topic, seq, turn_id, method, params,"
        " state, about, asked_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
        [
            (
                new_ref(),
                *where,
                last - len(drafts) + 1 + index,
                turn_id,
                draft.method,
                json.dumps(draft.params),
                about[:ABOUT_LENGTH],
                asked_at,
                now,
            )
            for index, draft in enumerate(drafts)
        ],
    )


def claim_next(
    db: sqlite3.Connection, to: Destination, boot: str, now: float
) -> Part | float | None:
    """The destination's next part, marked as being sent.

    A float is the time before which nothing may be sent there; None means that nothing waits.
    """
    where = (to.channel, to.account, to.chat)
    row = db.execute(
        "SELECT o.id, o.topic, o.turn_id, o.method, o.params, o.attempts, o.doubts, o.about,"
        " o.asked_at, o.created_at, d.not_before FROM outbox AS o JOIN destinations AS d"
        " USING (channel, account, chat) WHERE o.channel = ? AND o.account = ? AND o.chat = ?"
        " AND o.state IN ('queued', 'sending') ORDER BY o.seq LIMIT 1",
        where,
    ).fetchone()
    if row is None:
        return None
    if now < row["not_before"] <= now + MAX_WAIT:
        return float(row["not_before"])
    db.execute(
        "UPDATE outbox SET state = 'sending', boot = ?, attempts = attempts + 1 WHERE id = ?",
        (boot, row["id"]),
    )
    return Part(
        row["id"],
        Place(*where, row["topic"]),
        row["turn_id"],
        row["method"],
        json.loads(row["params"]),
        row["attempts"] + 1,
        row["doubts"],
        row["about"],
        row["asked_at"],
        row["created_at"],
    )


def sent(db: sqlite3.Connection, part_id: int, message_id: str | None, now: float) -> None:
    db.execute(
        "UPDATE outbox SET state = 'sent', message_id = ?, sent_at = ?, error = NULL WHERE id = ?",
        (message_id, now, part_id),
    )


def not_sent(db: sqlite3.Connection, part: Part, not_before: float, error: str) -> None:
    """It certainly did not arrive: queue it again, and leave its chat alone until `not_before`."""
    db.execute("UPDATE outbox SET state = 'queued', error = ? WHERE id = ?", (error, part.id))
    db.execute(
        "UPDATE destinations SET not_before = ? WHERE channel = ? AND account = ? AND chat = ?",
        (not_before, part.place.channel, part.place.account, part.place.chat),
    )


def failed(db: sqlite3.Connection, part_id: int, error: str) -> None:
    db.execute("UPDATE outbox SET state = 'failed', error = ? WHERE id = ?", (error, part_id))


def doubtful(db: sqlite3.Connection, part: Part, not_before: float, error: str) -> None:
    """It may have arrived: queue it once more if this was the first doubt, else leave it open."""
    not_sent(db, part, not_before, error)
    if part.method not in IDEMPOTENT:
        _doubt(db, "id = ?", (part.id,))


def _doubt(db: sqlite3.Connection, which: str, args: tuple[object, ...]) -> None:
    db.execute(
        "UPDATE outbox SET doubts = doubts + 1, state = CASE WHEN doubts + 1 >= ?"
        f" THEN 'unknown' ELSE 'queued' END WHERE {which}",
        (MAX_DOUBTS, *args),
    )


def recover(db: sqlite3.Connection) -> None:
    """What was being sent may or may not have arrived; called while nobody sends anything."""
    harmless = ", ".join(f"'{method}'" for method in sorted(IDEMPOTENT))
    db.execute(
        f"UPDATE outbox SET state = 'queued' WHERE state = 'sending' AND method IN ({harmless})"
    )
    _doubt(db, "state = 'sending'", ())


def due(db: sqlite3.Connection) -> list[Destination]:
    """Every destination with something to send."""
    rows = db.execute(
        "SELECT DISTINCT channel, account, chat FROM outbox WHERE state IN ('queued', 'sending')"
    )
    return [Destination(*row) for row in rows.fetchall()]


def hold_old(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, str]]:
    """Set aside the parts that waited longer than `HOLD_AFTER`.

    Returns for each place (where, how many, the name by which `show_held` brings them back).
    """
    rows = db.execute(
        "SELECT channel, account, chat, topic, count(*), min(ref) FROM outbox"
        " WHERE state = 'queued' AND created_at < ? GROUP BY channel, account, chat, topic",
        (now - HOLD_AFTER,),
    ).fetchall()
    db.execute(
        "UPDATE outbox SET state = 'held' WHERE state = 'queued' AND created_at < ?",
        (now - HOLD_AFTER,),
    )
    return [(Place(*row[:4]), row[4], row[5]) for row in rows]


def show_held(db: sqlite3.Connection, place: Place, ref: str, now: float) -> int:
    """Queue the parts that are held in the place where `ref` is held; returns how many."""
    where = (place.channel, place.account, place.chat)
    rows = db.execute(
        "SELECT o.* FROM outbox AS o JOIN outbox AS named ON named.ref = ? AND"
        " o.topic = named.topic WHERE o.channel = ?2 AND o.account = ?3 AND o.chat = ?4"
        " AND named.chat = ?4 AND o.state = 'held' ORDER BY o.seq",
        (ref, *where),
    ).fetchall()
    for row in rows:
        db.execute("UPDATE outbox SET state = 'folded' WHERE id = ?", (row["id"],))
        enqueue(
            db,
            Place(*where, row["topic"]),
            [Draft(row["method"], json.loads(row["params"]))],
            now,
            turn_id=row["turn_id"],
            about=row["about"],
            asked_at=row["asked_at"],
        )
    return len(rows)


def move_chat(db: sqlite3.Connection, old: Destination, new_chat: str, now: float) -> None:
    """Queue everything unsent of a group under the supergroup's id that it has become."""
    rows = db.execute(
        "SELECT id, topic, turn_id, method, params, about, asked_at FROM outbox WHERE channel = ?"
        " AND account = ? AND chat = ? AND state IN ('queued', 'sending') ORDER BY seq",
        (old.channel, old.account, old.chat),
    ).fetchall()
    for row in rows:
        place = Place(old.channel, old.account, new_chat, row["topic"])
        draft = Draft(row["method"], json.loads(row["params"]))
        db.execute("UPDATE outbox SET state = 'folded' WHERE id = ?", (row["id"],))
        enqueue(
            db,
            place,
            [draft],
            now,
            turn_id=row["turn_id"],
            about=row["about"],
            asked_at=row["asked_at"],
        )
