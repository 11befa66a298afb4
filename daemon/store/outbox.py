"""What is to be sent: a row per message, in order within each destination.

`daemon.store.sending` has what becomes of a row whose turn it is, `daemon.store.holding` of those
that waited too long.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from attrs import frozen

from daemon.store.outbox_files import WIDTH, Kept, as_json, keys
from daemon.store.values import Place, new_ref

# What is sent beside a chat's messages, so that none waits for it, has a destination of its own.
BESIDE = "reactions "
ABOUT_LENGTH = 60  # characters of the question that a row remembers
KEEP_SECONDS = 30 * 86400.0  # what was sent, and what went wrong, is remembered for so long

# A part that changes what an earlier one has shown, by the name of that one's row.
EDITS = ("ALTER TABLE outbox ADD COLUMN edits TEXT",)
# Before this, what takes the place of another was told apart from what edits it.
ONE_EDIT = (
    """UPDATE outbox SET edits = (SELECT ref FROM outbox AS p WHERE p.id = outbox.replaces),
        method = CASE method WHEN 'editMessageText' THEN 'sendMessage' ELSE method END,
        params = json_remove(params, '$.message_id') WHERE replaces IS NOT NULL""",
    "DROP INDEX outbox_replaces",
    "ALTER TABLE outbox DROP COLUMN replaces",
    "CREATE INDEX outbox_edits ON outbox (edits) WHERE edits IS NOT NULL",
)

# The words of the indexes of the same name: a statement without them reads the whole table.
DUE = "state IN ('queued', 'sending')"
TROUBLE = "state IN ('held', 'failed', 'unknown')"


@frozen
class Draft:
    """Something to send: a method of the channel and its parameters without the address.

    An album has a first file and more; it takes as many places in the order as it has files, so
    that each could be sent on its own there.

    What `edits` the message of another row is made when it is sent: a text by `sendMessage` takes
    the place of that message, or is one of its own where that is not there; `editMessageText` and
    `deleteMessage` have nothing to do then.
    """

    method: str
    params: dict[str, Any]
    file: str | None = None  # its key in the spool, where the bytes are already
    file_name: str = ""
    more: tuple[Kept, ...] = ()
    edits: str | None = None  # the row whose message it changes
    stands_for: int | None = None  # see `daemon.store.previews`
    instead: tuple[dict[str, Any], ...] = ()  # parameters of plain messages, if this is refused

    @property
    def files(self) -> tuple[Kept, ...]:
        return () if self.file is None else (Kept(self.file, self.file_name), *self.more)


@frozen
class Destination:
    """Where order is kept: a chat, with all its topics."""

    channel: str
    account: str
    chat: str


def destination_of(place: Place) -> Destination:
    return Destination(place.channel, place.account, place.chat)


def chat_of(chat: str) -> str:
    """The chat that a destination is in. Where its messages have to wait, all else does."""
    return chat.removeprefix(BESIDE)


def enqueue(
    db: sqlite3.Connection,
    place: Place,
    drafts: Sequence[Draft],
    now: float,
    *,
    turn_id: int | None = None,
    about: str = "",
    asked_at: float | None = None,
) -> list[str]:
    """Queue `drafts` behind everything that the destination still has to be sent.

    Returns the names of their rows.
    """
    refs = [new_ref() for _ in drafts]
    seqs = _take_places(db, destination_of(place), [1 + len(draft.more) for draft in drafts])
    where = (place.channel, place.account, place.chat, place.topic)
    db.executemany(
        "INSERT INTO outbox (ref, channel, account, chat, topic, seq, turn_id, method, params,"
        " state, about, asked_at, created_at, file, file_name, more_files, edits, stands_for,"
        " instead)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                ref,
                *where,
                seq,
                turn_id,
                draft.method,
                json.dumps(draft.params),
                about[:ABOUT_LENGTH],
                asked_at,
                now,
                draft.file,
                draft.file_name,
                as_json(draft.more),
                draft.edits,
                draft.stands_for,
                json.dumps(draft.instead) if draft.instead else None,
            )
            for ref, seq, draft in zip(refs, seqs, drafts, strict=True)
        ],
    )
    return refs


def amend(
    db: sqlite3.Connection, place: Place, ref: str, params: dict[str, Any], now: float
) -> None:
    """Have the text that the row `ref` shows, or will show, be this one instead, buttons and all.

    One that certainly nobody has seen is never shown as it was.
    """
    unseen = db.execute(
        "UPDATE outbox SET params = ? WHERE ref = ? AND doubts = 0 AND state IN ('queued', 'held')",
        (json.dumps(params), ref),
    )
    if not unseen.rowcount:
        enqueue(db, place, [Draft("editMessageText", params, edits=ref)], now)


def in_reply_to(message_id: str) -> dict[str, Any]:
    """The parameter by which a message shows which one it answers, if that is still there."""
    answered = {"message_id": int(message_id), "allow_sending_without_reply": True}
    return {"reply_parameters": answered}


def _take_places(db: sqlite3.Connection, to: Destination, widths: Sequence[int]) -> list[int]:
    """Take the next numbers of a destination's order; returns the first of each width."""
    (last,) = db.execute(
        "INSERT INTO destinations (channel, account, chat, last_seq) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last_seq = last_seq + excluded.last_seq RETURNING last_seq",
        (to.channel, to.account, to.chat, sum(widths)),
    ).fetchone()
    begin = int(last) - sum(widths) + 1
    return list(accumulate(widths, initial=begin))[:-1]


def requeue(
    db: sqlite3.Connection,
    parts: Sequence[tuple[int, int]],
    to: Destination,
    state: str = "queued",
) -> None:
    """Put parts (id, width), as they are, behind everything that the destination still has."""
    seqs = _take_places(db, to, [width for _, width in parts])
    db.executemany(
        "UPDATE outbox SET state = ?, chat = ?, seq = ? WHERE id = ?",
        [(state, to.chat, seq, part_id) for seq, (part_id, _) in zip(seqs, parts, strict=True)],
    )


def is_due(db: sqlite3.Connection, to: Destination) -> bool:
    """Whether a destination has something to send."""
    row = db.execute(
        "SELECT 1 FROM outbox INDEXED BY outbox_due WHERE channel = ? AND account = ? AND chat = ?"
        f" AND {DUE} LIMIT 1",
        (to.channel, to.account, to.chat),
    ).fetchone()
    return row is not None


def due(db: sqlite3.Connection) -> list[Destination]:
    """Every destination with something to send."""
    rows = db.execute(
        f"SELECT DISTINCT channel, account, chat FROM outbox INDEXED BY outbox_due WHERE {DUE}"
    )
    return [Destination(*row) for row in rows.fetchall()]


def due_chats(db: sqlite3.Connection, channel: str, account: str) -> list[str]:
    """The chats of an account with something to send."""
    return [to.chat for to in due(db) if (to.channel, to.account) == (channel, account)]


def move_chat(db: sqlite3.Connection, old: Destination, new_chat: str) -> None:
    """Queue everything unsent of a group under the supergroup's id that it has become.

    Messages have other numbers there, so nothing is sent in reply to one of them, and what names
    one to change it (a menu) has failed.
    """
    rows = db.execute(
        f"SELECT id, {WIDTH} FROM outbox WHERE channel = ? AND account = ? AND chat = ?"
        f" AND {DUE} ORDER BY seq",
        (old.channel, old.account, old.chat),
    ).fetchall()
    to = Destination(old.channel, old.account, new_chat)
    requeue(db, [tuple(row) for row in rows], to)
    db.executemany(
        "UPDATE outbox SET params = json_remove(params, '$.reply_parameters') WHERE id = ?",
        [(row[0],) for row in rows],
    )
    db.executemany(
        "UPDATE outbox SET state = 'failed', error = 'its message was in the group before it moved'"
        " WHERE id = ? AND json_extract(params, '$.message_id') IS NOT NULL",
        [(row[0],) for row in rows],
    )


# --- Files ---


def files(db: sqlite3.Connection) -> set[str]:
    """The spool's files that a row may still send: waiting, on their way, or held."""
    waiting = db.execute(
        "SELECT file, more_files FROM outbox INDEXED BY outbox_due"
        f" WHERE {DUE} AND file IS NOT NULL"
    ).fetchall()
    held = db.execute(
        "SELECT file, more_files FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {TROUBLE} AND state = 'held' AND file IS NOT NULL"
    ).fetchall()
    return set(keys((*waiting, *held)))


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
        f" WHERE {TROUBLE} AND stands_for IS NULL GROUP BY state"
    )
    return {state: int(count) for state, count in rows.fetchall()}


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget what nothing can become of any more, after `KEEP_SECONDS`; returns how many."""
    return db.execute(
        "DELETE FROM outbox WHERE state IN ('sent', 'failed', 'unknown') AND created_at < ?",
        (now - KEEP_SECONDS,),
    ).rowcount
