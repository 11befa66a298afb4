"""How much of a conversation is in context, and how to put some of it out."""

from __future__ import annotations

import sqlite3

from agent.ports import Extent, Trimmed
from daemon.store.reach import REACHED, Reach, reach_of


def extents(db: sqlite3.Connection, turn_id: int) -> tuple[Extent, Extent]:
    """What a turn has in its context, itself included, and all that is kept of its session."""
    reach = reach_of(db, turn_id)
    stored = Reach(reach.lane, 0, turn_id)
    return _extent(db, reach), _extent(db, stored)


def _extent(db: sqlite3.Connection, reach: Reach) -> Extent:
    row = db.execute(
        "SELECT count(DISTINCT t.id), count(m.id), coalesce(sum(length(m.content)), 0),"
        " min(m.created_at) FROM turns AS t JOIN messages AS m ON m.turn_id = t.id"
        f" WHERE {REACHED}",
        reach.where(),
    ).fetchone()
    (arguments,) = db.execute(
        "SELECT coalesce(sum(length(c.arguments)), 0) FROM turns AS t"
        f" JOIN tool_calls AS c ON c.turn_id = t.id WHERE {REACHED}",
        reach.where(),
    ).fetchone()
    characters = row[2] + arguments + len(reach.summary.text)
    return Extent(row[0], row[1], characters, row[3], bool(reach.summary.id))


def trim(db: sqlite3.Connection, turn_id: int, keep: int) -> Trimmed:
    """Keep the newest `keep` of the turns before this one in context.

    Nothing is deleted, and a turn is in or out as a whole, so no call is parted from its result.
    A summary stands for turns that are older than those, so it goes before any of them does. What
    is out stays out: keeping more later brings nothing back.
    """
    reach = reach_of(db, turn_id)
    # All but this turn itself.
    rows = db.execute(
        "SELECT id FROM turns WHERE lane = ? AND id >= ? AND id < ? ORDER BY id DESC",
        reach.where(),
    ).fetchall()
    earlier = [int(row[0]) for row in rows]
    kept, out = earlier[:keep], earlier[keep:]
    summary = bool(reach.summary.id) and keep <= len(earlier)
    if out or summary:
        oldest = kept[-1] if kept else turn_id
        db.execute(
            "UPDATE sessions SET trimmed_before = max(trimmed_before, ?) WHERE id = ?",
            (oldest, reach.lane),  # a child turn's lane is no session's, so it trims nothing
        )
    return Trimmed(len(kept), len(out), summary)
