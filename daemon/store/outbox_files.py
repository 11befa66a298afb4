"""The files of parts of the outbox: one, or those of an album, each by its key in the spool."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from daemon.store.values import new_ref

if TYPE_CHECKING:
    from daemon.store.outbox import Draft

# Files of albums after their first, as JSON: [[key, name], ...].
ALBUMS = ("ALTER TABLE outbox ADD COLUMN more_files TEXT NOT NULL DEFAULT '[]'",)

# How many places a part takes in its destination's order.
WIDTH = "1 + json_array_length(more_files)"


@frozen
class Kept:
    """A file in the spool, by its key there, and the name that the chat is shown."""

    key: str
    name: str


def as_json(files: Sequence[Kept]) -> str:
    return json.dumps([[each.key, each.name] for each in files])


def from_json(text: str) -> tuple[Kept, ...]:
    return tuple(Kept(key, name) for key, name in json.loads(text))


def keys(rows: Iterable[Sequence[str]]) -> list[str]:
    """All files of rows (file, more_files)."""
    return [key for file, more in rows for key in (file, *(kept.key for kept in from_json(more)))]


def one_by_one(db: sqlite3.Connection, part_id: int, drafts: Sequence[Draft], error: str) -> None:
    """Put the files of a refused album into its places in the order, as `drafts`."""
    (seq,) = db.execute("SELECT seq FROM outbox WHERE id = ?", (part_id,)).fetchone()
    db.executemany(
        "INSERT INTO outbox (ref, channel, account, chat, topic, seq, turn_id, method, params,"
        " state, doubts, about, asked_at, created_at, error, file, file_name)"
        " SELECT ?, channel, account, chat, topic, ?, turn_id, ?, ?, 'queued', doubts, about,"
        " asked_at, created_at, ?, ?, ? FROM outbox WHERE id = ?",
        [
            (
                new_ref(),
                seq + 1 + index,
                draft.method,
                json.dumps(draft.params),
                error,
                draft.file,
                draft.file_name,
                part_id,
            )
            for index, draft in enumerate(drafts[1:])
        ],
    )
    db.execute(
        "UPDATE outbox SET state = 'queued', method = ?, params = ?, error = ?, cuts = 0,"
        " more_files = '[]' WHERE id = ?",
        (drafts[0].method, json.dumps(drafts[0].params), error, part_id),
    )
