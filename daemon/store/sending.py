"""What is being sent: how the next part of a destination is claimed, and how that can end.

A row is `sending` from before the request until its outcome is recorded. If we die in between,
the next boot cannot know whether it arrived: `recover` then counts a doubt, and a part with one
doubt is sent once more under a label. Two doubts end it as `unknown`.

Editing an earlier message again changes nothing, so methods in `IDEMPOTENT` carry no doubt, and are
repeated `MAX_REPEATS` times. A text that takes the place of an earlier message is an edit as long
as that message is there.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from attrs import frozen

from daemon.store import closed
from daemon.store.outbox import DUE, Destination, Draft, chat_of, destination_of, enqueue, requeue
from daemon.store.outbox_files import WIDTH, Kept, from_json, keys
from daemon.store.values import Place

IDEMPOTENT = frozenset(
    {"editMessageText", "deleteMessage", "answerCallbackQuery", "setMessageReaction"}
)
SEND, EDIT, REMOVE = "sendMessage", "editMessageText", "deleteMessage"
MAX_DOUBTS = 2
# Sends without an answer of what may be repeated, over nine minutes: longer than a server needs to
# start, and what is behind it waits.
MAX_REPEATS = 15
MAX_WAIT = 3600.0  # seconds; a not_before from before a clock change must not silence a chat
# The row whose message another one (o) changes, if that is there. A group that has moved has left
# its messages behind: their numbers mean others, or none.
TARGET = "edited.ref = o.edits AND edited.chat = o.chat"
IS_THERE = "edited.state = 'sent' AND edited.message_id IS NOT NULL"


@frozen
class Part:
    """A claimed row: ours to send, once.

    `edits` is the row whose message it changes, and `target` that message, None if it is not there.
    With one, what was queued to be sent edits it: then it is `in_place`. An `awaited` one is of an
    appointment, which is over when all of its parts have arrived.
    """

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
    more: tuple[Kept, ...] = ()
    edits: str | None = None
    target: str | None = None
    is_placeholder: bool = False
    in_place: bool = False
    awaited: bool = False

    @property
    def files(self) -> tuple[Kept, ...]:
        return () if self.file is None else (Kept(self.file, self.file_name), *self.more)

    @property
    def is_void(self) -> bool:
        """Whether there is nothing to do, because what it changes is not there."""
        return self.edits is not None and self.target is None and self.method in {EDIT, REMOVE}


@frozen
class Shut:
    """Nothing can be sent to the destination, and why (`daemon.store.closed`).

    What waited for it has ended by that; `files` are the keys of what nobody will send any more.
    """

    why: str
    files: list[str]


@frozen
class LastTry:
    """The destination's next part is in doubt, and another doubt would end it."""


def claim_next(
    db: sqlite3.Connection, to: Destination, boot: str, now: float, *, careful: bool = False
) -> Part | LastTry | Shut | float | None:
    """The destination's next part, marked as being sent.

    A float is the time before which nothing may be sent there; None means that nothing waits. What
    waits for a destination that is shut is given up, here and now: a moment later it may be open,
    with something to send. A `careful` claim leaves a last try where it is.
    """
    row = _first(db, to)
    if row is None:
        return None
    if row["closed"] is not None:
        error = f"not sent: {closed.WORDS[row['closed']]}"
        return Shut(row["closed"], give_up(db, to, error))
    waits = (row["not_before"], row["chat_not_before"] or 0.0)
    not_before = max((each for each in waits if now < each <= now + MAX_WAIT), default=None)
    if not_before is not None:
        return float(not_before)
    if careful and row["doubts"] == MAX_DOUBTS - 1:
        return LastTry()
    db.execute(
        "UPDATE outbox SET state = 'sending', boot = ?, attempts = attempts + 1 WHERE id = ?",
        (boot, row["id"]),
    )
    return _part(to, row)


def _first(db: sqlite3.Connection, to: Destination) -> sqlite3.Row | None:
    """The destination's first part that is not over, with what decides whether it may go."""
    where = (to.channel, to.account, to.chat)
    row: sqlite3.Row | None = db.execute(
        "SELECT o.id, o.topic, o.turn_id, o.method, o.params, o.attempts, o.doubts, o.about,"
        " o.asked_at, o.file, o.file_name, o.cuts, o.more_files, o.edits, o.stands_for,"
        " d.not_before, d.closed,"
        " (SELECT cause = 'schedule' FROM turns WHERE id = o.turn_id) AS awaited,"
        " (SELECT not_before FROM destinations WHERE channel = o.channel AND account = o.account"
        " AND chat = ?) AS chat_not_before,"
        f" (SELECT message_id FROM outbox AS edited WHERE {TARGET} AND {IS_THERE}) AS target,"
        f" (SELECT state = 'unknown' FROM outbox AS edited WHERE {TARGET}) AS may_be_there"
        " FROM outbox AS o JOIN destinations AS d"
        " USING (channel, account, chat) WHERE o.channel = ? AND o.account = ? AND o.chat = ?"
        f" AND o.{DUE} ORDER BY o.seq LIMIT 1",
        (chat_of(to.chat), *where),
    ).fetchone()
    return row


def _part(to: Destination, row: sqlite3.Row) -> Part:
    """A row of `_first` whose send has just been counted."""
    in_place = row["method"] == SEND and row["target"] is not None
    return Part(
        row["id"],
        Place(to.channel, to.account, to.chat, row["topic"]),
        row["turn_id"],
        EDIT if in_place else row["method"],
        json.loads(row["params"]),
        row["attempts"] + 1,
        row["doubts"] or int(row["may_be_there"] or 0),
        row["about"],
        row["asked_at"],
        row["file"],
        row["file_name"],
        row["cuts"],
        from_json(row["more_files"]),
        row["edits"],
        row["target"],
        row["stands_for"] is not None,
        in_place,
        bool(row["awaited"]),
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
    # A preview may have been told to wait for longer meanwhile. What is beyond all waits is a
    # time from another clock.
    db.execute(
        "UPDATE destinations SET not_before = CASE WHEN not_before BETWEEN ?1 AND ?1 + ?2"
        " THEN not_before ELSE ?1 END WHERE channel = ?3 AND account = ?4 AND chat = ?5",
        (not_before, MAX_WAIT, part.place.channel, part.place.account, part.place.chat),
    )


def failed(db: sqlite3.Connection, part_id: int, error: str) -> None:
    db.execute("UPDATE outbox SET state = 'failed', error = ? WHERE id = ?", (error, part_id))


def give_up(db: sqlite3.Connection, to: Destination, error: str) -> list[str]:
    """End all that waits for a destination; returns the files that nobody will send any more."""
    rows = db.execute(
        "SELECT id, file, more_files FROM outbox WHERE channel = ? AND account = ? AND chat = ?"
        f" AND {DUE} AND state = 'queued'",
        (to.channel, to.account, to.chat),
    ).fetchall()
    for row in rows:
        failed(db, row["id"], error)
    return keys([row[1:] for row in rows if row["file"] is not None])


def as_document(db: sqlite3.Connection, part_id: int, error: str) -> None:
    """Queue a refused picture again, in its place, as a file like any other."""
    db.execute(
        "UPDATE outbox SET state = 'queued', method = 'sendDocument', error = ? WHERE id = ?",
        (error, part_id),
    )


def outside_topics(db: sqlite3.Connection, part_id: int, error: str) -> None:
    """Queue a part again, in its place, for the chat itself: its topic is not there any more."""
    db.execute(
        "UPDATE outbox SET state = 'queued', topic = '', error = ? WHERE id = ?", (error, part_id)
    )


def as_message(db: sqlite3.Connection, part_id: int, error: str, edited: str = "failed") -> None:
    """Queue a part again as a message of its own: the one that it was to change is not there.

    That one is `unknown` if it may have been changed.
    """
    db.execute(
        "UPDATE outbox SET state = ?, error = ?"
        " WHERE ref = (SELECT edits FROM outbox WHERE id = ?)",
        (edited, error, part_id),
    )
    db.execute("UPDATE outbox SET state = 'queued', error = ? WHERE id = ?", (error, part_id))


def plainly(db: sqlite3.Connection, part: Part, now: float) -> None:
    """Put plain messages, made when it was queued, in the place of one that is refused.

    What waits behind it goes behind all of them.
    """
    (kept,) = db.execute("SELECT instead FROM outbox WHERE id = ?", (part.id,)).fetchone()
    first, *others = json.loads(kept)
    db.execute(
        "UPDATE outbox SET state = 'queued', method = 'sendMessage', params = ?, instead = NULL"
        " WHERE id = ?",
        (json.dumps(first), part.id),
    )
    to = destination_of(part.place)
    behind = db.execute(
        f"SELECT id, {WIDTH} FROM outbox WHERE channel = ? AND account = ? AND chat = ?"
        f" AND id <> ? AND {DUE} ORDER BY seq",
        (to.channel, to.account, to.chat, part.id),
    ).fetchall()
    drafts = [Draft("sendMessage", params) for params in others]
    enqueue(
        db,
        part.place,
        drafts,
        now,
        turn_id=part.turn_id,
        about=part.about,
        asked_at=part.asked_at,
    )
    requeue(db, [tuple(row) for row in behind], to)


def doubtful(db: sqlite3.Connection, part: Part, not_before: float, error: str) -> None:
    """It may have arrived: queue it once more if this was the first doubt, else leave it open.

    An edit that nothing comes of is a message of its own, since it may be the answer.
    """
    repeated = part.method in IDEMPOTENT
    not_sent(db, part, not_before, error, cut=repeated)
    if not repeated:
        _doubt(db, "id = ?", (part.id,))
    elif part.cuts + 1 >= MAX_REPEATS and part.in_place:
        as_message(db, part.id, error, "unknown")
    elif part.cuts + 1 >= MAX_REPEATS:
        db.execute("UPDATE outbox SET state = 'unknown' WHERE id = ?", (part.id,))


def _doubt(db: sqlite3.Connection, which: str, args: tuple[object, ...]) -> None:
    db.execute(
        "UPDATE outbox SET doubts = doubts + 1, state = CASE WHEN doubts + 1 >= ? OR stands_for"
        f" IS NOT NULL THEN 'unknown' ELSE 'queued' END WHERE {which}",
        (MAX_DOUBTS, *args),
    )


def recover(db: sqlite3.Connection) -> list[str]:
    """What was being sent may or may not have arrived; called while nobody sends anything.

    Returns the files of the parts that end by it, which nobody will send any more.
    """
    harmless = ", ".join(f"'{method}'" for method in sorted(IDEMPOTENT))
    db.execute(
        "UPDATE outbox AS o INDEXED BY outbox_due SET state = 'queued'"
        f" WHERE {DUE} AND state = 'sending' AND (method IN ({harmless}) OR method = '{SEND}'"
        f" AND EXISTS (SELECT 1 FROM outbox AS edited WHERE {TARGET} AND {IS_THERE}))"
    )
    ending = db.execute(
        "SELECT file, more_files FROM outbox INDEXED BY outbox_due"
        f" WHERE {DUE} AND state = 'sending' AND file IS NOT NULL AND doubts + 1 >= ?",
        (MAX_DOUBTS,),
    ).fetchall()
    _doubt(db, f"{DUE} AND state = 'sending'", ())
    return keys(ending)
