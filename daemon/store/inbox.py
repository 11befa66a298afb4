"""What has come in: a row per update, kept from before Telegram may forget it until 72 h after.

`receive` commits updates together with the offset that will confirm them, so an update is either
here or still with Telegram. A closed row stays as a tombstone, so that an update that Telegram
hands out again (we were killed between the commit and the next poll) is recognised.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence

from attrs import frozen

from daemon.telegram.types import Json

TOMBSTONE_SECONDS = 72 * 3600  # Telegram keeps an update for 24 h; three times that
MAX_ATTEMPTS = 3  # runs at a row that makes the router fail, before it is a dead letter


@frozen
class InboxRow:
    id: int
    body: str
    received_at: float


def receive(
    db: sqlite3.Connection,
    channel: str,
    account: str,
    updates: Sequence[Json],
    next_offset: int | None,
    now: float,
) -> int:
    """Keep the updates that are not here yet, and the next offset; returns how many were new."""
    before = db.total_changes
    db.executemany(
        "INSERT INTO inbox (channel, account, external_id, body, received_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(channel, account, *_named(update), now) for update in updates],
    )
    new = db.total_changes - before
    if next_offset is not None:
        db.execute(
            "INSERT INTO polls VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            (channel, account, next_offset),
        )
    return new


def _named(update: Json) -> tuple[str, str]:
    """(external id, body): the id carries a digest, see `daemon.store.schema`.

    What is no number is no id, and may be anything: a text that no column can hold.
    """
    body = json.dumps(update, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(body.encode(), digest_size=6).hexdigest()
    number = update.get("update_id")
    return f"{number if type(number) is int else '?'}:{digest}", body


def next_offset(db: sqlite3.Connection, channel: str, account: str) -> int | None:
    row = db.execute(
        "SELECT next_offset FROM polls WHERE channel = ? AND account = ?", (channel, account)
    ).fetchone()
    return None if row is None else int(row[0])


def forget_offset(db: sqlite3.Connection, channel: str, account: str) -> None:
    """Let the next poll begin with whatever Telegram has: updates came by another way meanwhile."""
    db.execute("DELETE FROM polls WHERE channel = ? AND account = ?", (channel, account))


def new_rows(db: sqlite3.Connection, channel: str, account: str, limit: int) -> list[InboxRow]:
    """The oldest rows that nobody has routed, in the order in which they came."""
    rows = db.execute(
        "SELECT id, body, received_at FROM inbox INDEXED BY inbox_new WHERE state = 'new'"
        " AND channel = ? AND account = ? ORDER BY id LIMIT ?",
        (channel, account, limit),
    )
    return [InboxRow(*row) for row in rows.fetchall()]


def close(
    db: sqlite3.Connection, row_id: int, outcome: str, now: float, turn_id: int | None = None
) -> None:
    """End a row with the word for what became of it. What we do not answer, we do not keep."""
    db.execute(
        "UPDATE inbox SET state = 'closed', outcome = ?1, turn_id = ?2, closed_at = ?3,"
        " body = CASE WHEN ?1 = 'stranger' THEN '' ELSE body END WHERE id = ?4",
        (outcome, turn_id, now, row_id),
    )


def count_attempt(db: sqlite3.Connection, row_id: int, now: float) -> bool:
    """Count one run at a row before it is made; False once it has become a dead letter."""
    (attempts,) = db.execute(
        "UPDATE inbox SET attempts = attempts + 1 WHERE id = ? RETURNING attempts", (row_id,)
    ).fetchone()
    if attempts > MAX_ATTEMPTS:
        close(db, row_id, "dead", now)
    return int(attempts) <= MAX_ATTEMPTS


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget the tombstones that no network can ask about any more; returns how many."""
    return db.execute(
        "DELETE FROM inbox WHERE state = 'closed' AND closed_at < ?", (now - TOMBSTONE_SECONDS,)
    ).rowcount
