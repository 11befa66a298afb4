"""What a turn is to do for a scheduled prompt, as its job says."""

from __future__ import annotations

import json
import sqlite3

from attrs import frozen


@frozen
class Errand:
    """What a turn does for a scheduled prompt, or for one that has begun it.

    `tools` None are all, `model` '' and `tokens` 0 as elsewhere. `due` is when it was to begin, and
    `began` when it did, or does now.
    """

    model: str
    tools: tuple[str, ...] | None
    tokens: int
    silent: bool
    due: float
    zone: str
    began: float


def of_turn(db: sqlite3.Connection, turn_id: int, now: float) -> Errand:
    """The errand of a turn, or of the one that has begun it.

    If that is not known any more (its job was deleted, or has run fifty times since), no tool is.
    """
    row = db.execute(
        "SELECT j.model, j.tools, j.tokens, j.silent, o.instant, j.zone, t.started_at"
        " FROM turns AS t JOIN occurrences AS o INDEXED BY occurrences_turn"
        " ON o.turn_id IN (t.id, t.parent_id)"
        " JOIN jobs AS j ON j.id = o.job_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    if row is None:
        return Errand("", (), 0, silent=False, due=now, zone="UTC", began=now)
    tools = None if row["tools"] is None else tuple(json.loads(row["tools"]))
    times = row["instant"], row["zone"], row["started_at"] or now
    return Errand(row["model"], tools, row["tokens"], bool(row["silent"]), *times)
