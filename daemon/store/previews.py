"""What a chat is shown of an answer before it is there, as far as that needs rows.

Where a preview has to be a message, its first one, the placeholder, is a row of the outbox like
any other, which says for which turn it stands (`stands_for`). What the turn has to say then takes
its place: the row that does names it (`edits`), and is sent as an edit of the placeholder's message
if that has arrived by the time it is claimed, else as a message of its own. The turn has no
placeholder any more from the moment at which that row is there.

A placeholder is never sent twice. If it may have arrived, nobody can edit it, and what follows
says that it may be there twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from daemon.store import children, outbox, sending
from daemon.store.outbox import Destination, Draft
from daemon.store.values import Place

LIVE = (
    "ALTER TABLE outbox ADD COLUMN stands_for INTEGER REFERENCES turns (id)",
    "ALTER TABLE outbox ADD COLUMN replaces INTEGER",
    "CREATE INDEX outbox_stands_for ON outbox (stands_for) WHERE stands_for IS NOT NULL",
    "CREATE INDEX outbox_replaces ON outbox (replaces) WHERE replaces IS NOT NULL",
)


@frozen
class Look:
    """Whether a turn may be shown now, and as what.

    `awaited` if it runs and somebody waits for it. `not_before` is when its chat may be written to
    again; `busy` if something else waits to be sent there. `message_id` is its placeholder's.
    """

    awaited: bool
    busy: bool
    not_before: float
    has_placeholder: bool
    message_id: str | None


def look(db: sqlite3.Connection, to: Destination, turn_id: int) -> Look:
    row = db.execute("SELECT state, cause FROM turns WHERE id = ?", (turn_id,)).fetchone()
    awaited = row is not None and row["state"] == "running"
    if awaited and row["cause"] == "child":
        awaited = children.is_waited_for(db, turn_id)
    found = _placeholder(db, turn_id)
    if found is not None and found["chat"] != to.chat:
        found = None  # it was left behind when the group moved
    where = (to.channel, to.account, to.chat)
    wait = db.execute(
        "SELECT not_before FROM destinations WHERE channel = ? AND account = ? AND chat = ?", where
    ).fetchone()
    return Look(
        awaited,
        outbox.is_due(db, to),
        0.0 if wait is None else float(wait[0]),
        found is not None,
        None if found is None else found["message_id"],
    )


def begin(
    db: sqlite3.Connection, place: Place, turn_id: int, params: dict[str, Any], now: float
) -> bool:
    """See to it that a turn has a placeholder, queued now or there from before.

    False if it has none, because it has ended or others are to be sent first.
    """
    to = outbox.destination_of(place)
    seen = look(db, to, turn_id)
    if seen.has_placeholder:
        return True
    if not seen.awaited or seen.busy or now < seen.not_before <= now + sending.MAX_WAIT:
        return False
    shown = {**params, **_answering(db, turn_id)}
    outbox.enqueue(db, place, [Draft("sendMessage", shown, stands_for=turn_id)], now)
    return True


def _answering(db: sqlite3.Connection, turn_id: int) -> dict[str, Any]:
    """What shows the message that a turn answers, where several people speak."""
    row = db.execute("SELECT reply_to FROM turns WHERE id = ?", (turn_id,)).fetchone()
    return outbox.in_reply_to(row[0]) if row and row[0] else {}


def in_place(db: sqlite3.Connection, turn_id: int, drafts: Sequence[Draft]) -> list[Draft]:
    """What a turn has to say, so that it takes the place of what the chat was shown of it.

    Without anything to say, or with a file first, the placeholder is removed.
    """
    found = _placeholder(db, turn_id)
    if found is None:
        return list(drafts)
    if found["state"] == "queued":  # nobody has seen it, and nobody will
        db.execute("DELETE FROM outbox WHERE id = ?", (found["id"],))
        return list(drafts)
    if drafts and drafts[0].method == "sendMessage":
        return [evolve(drafts[0], edits=found["ref"]), *drafts[1:]]
    return [Draft("deleteMessage", {}, edits=found["ref"]), *drafts]


def _placeholder(db: sqlite3.Connection, turn_id: int) -> sqlite3.Row | None:
    """The turn's placeholder that nothing has taken the place of."""
    row: sqlite3.Row | None = db.execute(
        "SELECT id, ref, chat, state, message_id FROM outbox AS o INDEXED BY outbox_stands_for"
        " WHERE stands_for = ? AND state IN ('queued', 'sending', 'sent', 'unknown')"
        " AND NOT EXISTS (SELECT 1 FROM outbox WHERE edits = o.ref) ORDER BY id DESC LIMIT 1",
        (turn_id,),
    ).fetchone()
    return row


def pause(db: sqlite3.Connection, to: Destination, until: float) -> None:
    """Leave a chat alone until then: it has said so to a preview."""
    db.execute(
        "INSERT INTO destinations (channel, account, chat, not_before) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET not_before = max(not_before, excluded.not_before)",
        (to.channel, to.account, to.chat, until),
    )


def fail(db: sqlite3.Connection, part_id: int, error: str, *, sent: bool | None) -> None:
    """End a placeholder that did not arrive; None for `sent`: it may have.

    One that was certainly not sent is forgotten: what it was to show is old when it could be.
    """
    if sent is False:
        db.execute("DELETE FROM outbox WHERE id = ?", (part_id,))
    else:
        state = "unknown" if sent is None else "failed"
        db.execute("UPDATE outbox SET state = ?, error = ? WHERE id = ?", (state, error, part_id))
