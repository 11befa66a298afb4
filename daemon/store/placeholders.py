"""How a part takes the place of a placeholder when it is claimed: see `daemon.store.previews`."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from attrs import frozen

NEW, EDIT, REMOVE = "sendMessage", "editMessageText", "deleteMessage"


@frozen
class Taken:
    """The request that a part makes; `twice` if what it stands for may be in the chat beside it."""

    method: str
    params: dict[str, Any]
    twice: bool = False


def take(db: sqlite3.Connection, part_id: int, replaces: int, taken: Taken) -> Taken | None:
    """What a part that replaces a placeholder is sent as; None if it has nothing to do.

    That it is an edit is written down before it is made, since an edit may be made again.
    """
    if taken.method not in {NEW, REMOVE}:
        return taken
    state, message_id = db.execute(
        "SELECT state, message_id FROM outbox WHERE id = ?", (replaces,)
    ).fetchone() or ("gone", None)
    if state == "sent" and message_id is not None:
        return _edit(db, part_id, taken, int(message_id))
    return None if taken.method == REMOVE else Taken(NEW, taken.params, state == "unknown")


def _edit(db: sqlite3.Connection, part_id: int, taken: Taken, message_id: int) -> Taken:
    method = EDIT if taken.method == NEW else REMOVE
    params = {**taken.params, "message_id": message_id}
    params.pop("reply_parameters", None)  # the placeholder shows what it answers
    db.execute(
        "UPDATE outbox SET method = ?, params = ? WHERE id = ?",
        (method, json.dumps(params), part_id),
    )
    return Taken(method, params)


def as_message(db: sqlite3.Connection, part_id: int, error: str) -> None:
    """Queue a part again as a message of its own: the one that it was to change is not there."""
    db.execute(
        "UPDATE outbox SET state = 'failed', error = ?"
        " WHERE id = (SELECT replaces FROM outbox WHERE id = ?)",
        (error, part_id),
    )
    db.execute(
        "UPDATE outbox SET state = 'queued', method = ?, error = ?,"
        " params = json_remove(params, '$.message_id') WHERE id = ?",
        (NEW, error, part_id),
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
