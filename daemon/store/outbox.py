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

# What a chat shows as a message of its own.
MESSAGES = ("sendMessage", "sendPhoto", "sendDocument")
IDEMPOTENT = frozenset({"editMessageText", "answerCallbackQuery", "setMessageReaction"})
MAX_DOUBTS = 2
HOLD_AFTER = 48 * 3600.0  # seconds; older parts are folded into one line and a button
KEEP_HELD = 14 * 86400.0  # seconds from its queueing; a held file takes room that others may need
MAX_WAIT = 3600.0  # seconds; a not_before from before a clock change must not silence a chat
ABOUT_LENGTH = 60  # characters of the question that a row remembers
KEEP_SECONDS = 30 * 86400.0  # what was sent, and what went wrong, is remembered for so long

# The words of the indexes of the same name: a statement without them reads the whole table.
_DUE = "state IN ('queued', 'sending')"
_TROUBLE = "state IN ('held', 'failed', 'unknown')"


@frozen
class Draft:
    """Something to send: a method of the channel and its parameters without the address."""

    method: str
    params: dict[str, Any]
    file: str | None = None  # its key in the spool, where the bytes are already
    file_name: str = ""


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
    file: str | None = None
    file_name: str = ""
    cuts: int = 0


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
    first = _take_places(db, destination_of(place), len(drafts))
    where = (place.channel, place.account, place.chat, place.topic)
    db.executemany(
        "INSERT INTO outbox (ref, channel, account, chat, topic, seq, turn_id, method, params,"
        " state, about, asked_at, created_at, file, file_name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
        [
            (
                new_ref(),
                *where,
                first + index,
                turn_id,
                draft.method,
                json.dumps(draft.params),
                about[:ABOUT_LENGTH],
                asked_at,
                now,
                draft.file,
                draft.file_name,
            )
            for index, draft in enumerate(drafts)
        ],
    )


def _take_places(db: sqlite3.Connection, to: Destination, count: int) -> int:
    """Take the next `count` numbers of a destination's order; returns the first."""
    (last,) = db.execute(
        "INSERT INTO destinations (channel, account, chat, last_seq) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last_seq = last_seq + excluded.last_seq RETURNING last_seq",
        (to.channel, to.account, to.chat, count),
    ).fetchone()
    return int(last) - count + 1


def _requeue(db: sqlite3.Connection, part_ids: Sequence[int], to: Destination) -> None:
    """Put parts, as they are, behind everything that the destination still has to be sent."""
    first = _take_places(db, to, len(part_ids))
    db.executemany(
        "UPDATE outbox SET state = 'queued', chat = ?, seq = ? WHERE id = ?",
        [(to.chat, first + index, part_id) for index, part_id in enumerate(part_ids)],
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
        " o.asked_at, o.file, o.file_name, o.cuts, d.not_before"
        " FROM outbox AS o JOIN destinations AS d"
        " USING (channel, account, chat) WHERE o.channel = ? AND o.account = ? AND o.chat = ?"
        f" AND o.{_DUE} ORDER BY o.seq LIMIT 1",
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
        row["file"],
        row["file_name"],
        row["cuts"],
    )


def give_back(db: sqlite3.Connection, part_id: int) -> None:
    """Queue a claimed part again that nobody has begun to send."""
    db.execute(
        "UPDATE outbox SET state = 'queued', attempts = attempts - 1 WHERE id = ?", (part_id,)
    )


def forget_refused_token(db: sqlite3.Connection) -> None:
    """Let the destinations go on that wait because the token was refused (401, 404)."""
    db.execute(
        "UPDATE destinations SET not_before = 0 WHERE (channel, account, chat) IN"
        " (SELECT channel, account, chat FROM outbox WHERE state = 'queued'"
        " AND (error LIKE '401 %' OR error LIKE '404 %'))"
    )


def sent(db: sqlite3.Connection, part_id: int, message_id: str | None, now: float) -> None:
    db.execute(
        "UPDATE outbox SET state = 'sent', message_id = ?, sent_at = ?, error = NULL WHERE id = ?",
        (message_id, now, part_id),
    )


def not_sent(
    db: sqlite3.Connection, part: Part, not_before: float, error: str, *, cut: bool = False
) -> None:
    """It certainly did not arrive: queue it again, and leave its chat alone until `not_before`."""
    db.execute(
        "UPDATE outbox SET state = 'queued', error = ?, cuts = cuts + ? WHERE id = ?",
        (error, cut, part.id),
    )
    db.execute(
        "UPDATE destinations SET not_before = ? WHERE channel = ? AND account = ? AND chat = ?",
        (not_before, part.place.channel, part.place.account, part.place.chat),
    )


def failed(db: sqlite3.Connection, part_id: int, error: str) -> None:
    db.execute("UPDATE outbox SET state = 'failed', error = ? WHERE id = ?", (error, part_id))


def as_document(db: sqlite3.Connection, part_id: int, error: str) -> None:
    """Queue a refused picture again, in its place, as a file like any other."""
    db.execute(
        "UPDATE outbox SET state = 'queued', method = 'sendDocument', error = ? WHERE id = ?",
        (error, part_id),
    )


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


def recover(db: sqlite3.Connection) -> list[str]:
    """What was being sent may or may not have arrived; called while nobody sends anything.

    Returns the files of the parts that end by it, which nobody will send any more.
    """
    harmless = ", ".join(f"'{method}'" for method in sorted(IDEMPOTENT))
    db.execute(
        "UPDATE outbox INDEXED BY outbox_due SET state = 'queued'"
        f" WHERE {_DUE} AND state = 'sending' AND method IN ({harmless})"
    )
    ending = db.execute(
        f"SELECT file FROM outbox INDEXED BY outbox_due WHERE {_DUE} AND state = 'sending'"
        " AND file IS NOT NULL AND doubts + 1 >= ?",
        (MAX_DOUBTS,),
    ).fetchall()
    _doubt(db, f"{_DUE} AND state = 'sending'", ())
    return [row[0] for row in ending]


def due(db: sqlite3.Connection) -> list[Destination]:
    """Every destination with something to send."""
    rows = db.execute(
        f"SELECT DISTINCT channel, account, chat FROM outbox INDEXED BY outbox_due WHERE {_DUE}"
    )
    return [Destination(*row) for row in rows.fetchall()]


# --- Parts that waited too long ---


def hold_old(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, str]]:
    """Set aside the messages that waited longer than `HOLD_AFTER`.

    Returns for each place (where, how many, the name by which `show_held` brings them back).
    """
    rows = db.execute(
        "SELECT id, channel, account, chat, topic, ref FROM outbox INDEXED BY outbox_due"
        f" WHERE {_DUE} AND state = 'queued' AND method IN (?, ?, ?) AND created_at < ?",
        (*MESSAGES, now - HOLD_AFTER),
    ).fetchall()
    db.executemany("UPDATE outbox SET state = 'held' WHERE id = ?", [(row[0],) for row in rows])
    refs: dict[Place, list[str]] = {}
    for row in rows:
        refs.setdefault(Place(*row[1:5]), []).append(row[5])
    return [(place, len(held), held[0]) for place, held in refs.items()]


def show_held(db: sqlite3.Connection, place: Place, ref: str, now: float) -> int:
    """Queue the parts that are held in the place where `ref` is held; returns how many."""
    rows = db.execute(
        "SELECT id FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {_TROUBLE} AND state = 'held' AND channel = ?1 AND account = ?2 AND chat = ?3"
        " AND topic = (SELECT topic FROM outbox WHERE ref = ?4 AND chat = ?3) ORDER BY seq",
        (place.channel, place.account, place.chat, ref),
    ).fetchall()
    ids = [row[0] for row in rows]
    _requeue(db, ids, destination_of(place))
    # They wait from now on, or the next look would hold them again.
    db.executemany("UPDATE outbox SET created_at = ? WHERE id = ?", [(now, each) for each in ids])
    return len(ids)


def drop_held(db: sqlite3.Connection, now: float) -> list[tuple[Place, list[str]]]:
    """End the parts with files that are held and were queued before `KEEP_HELD`.

    Returns for each place the keys of the files, which nobody will send any more.
    """
    rows = db.execute(
        "SELECT id, channel, account, chat, topic, file FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {_TROUBLE} AND state = 'held' AND file IS NOT NULL AND created_at < ?",
        (now - KEEP_HELD,),
    ).fetchall()
    for row in rows:
        failed(db, row[0], "held back for too long, and nobody asked to see it")
    files: dict[Place, list[str]] = {}
    for row in rows:
        files.setdefault(Place(*row[1:5]), []).append(row[5])
    return list(files.items())


def move_chat(db: sqlite3.Connection, old: Destination, new_chat: str) -> None:
    """Queue everything unsent of a group under the supergroup's id that it has become."""
    rows = db.execute(
        "SELECT id FROM outbox WHERE channel = ? AND account = ? AND chat = ?"
        f" AND {_DUE} ORDER BY seq",
        (old.channel, old.account, old.chat),
    ).fetchall()
    _requeue(db, [row[0] for row in rows], Destination(old.channel, old.account, new_chat))


# --- Files ---


def files(db: sqlite3.Connection) -> set[str]:
    """The spool's files that a row may still send: waiting, on their way, or held."""
    waiting = db.execute(
        f"SELECT file FROM outbox INDEXED BY outbox_due WHERE {_DUE} AND file IS NOT NULL"
    ).fetchall()
    held = db.execute(
        "SELECT file FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {_TROUBLE} AND state = 'held' AND file IS NOT NULL"
    ).fetchall()
    return {row[0] for row in (*waiting, *held)}


def is_over(db: sqlite3.Connection, part_id: int) -> bool:
    """Whether nothing can become of a part any more, so that its file is not needed."""
    (over,) = db.execute(
        "SELECT count(*) FROM outbox WHERE id = ? AND state IN ('sent', 'failed', 'unknown')",
        (part_id,),
    ).fetchone()
    return bool(over)


# --- What is remembered ---


def troubles(db: sqlite3.Connection) -> dict[str, int]:
    """How many parts are held, refused, and in doubt for good, by their state."""
    rows = db.execute(
        "SELECT state, count(*) FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {_TROUBLE} GROUP BY state"
    )
    return {state: int(count) for state, count in rows.fetchall()}


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget what nothing can become of any more, after `KEEP_SECONDS`; returns how many."""
    return db.execute(
        "DELETE FROM outbox WHERE state IN ('sent', 'failed', 'unknown') AND created_at < ?",
        (now - KEEP_SECONDS,),
    ).rowcount
