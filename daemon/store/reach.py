"""How far back the context of a turn goes: the turns that are read, and the summary before them."""

from __future__ import annotations

import sqlite3

from attrs import evolve, frozen

from daemon.store import compactions
from daemon.store.compactions import Summary

# Whole turns of history that are read at most. A conversation is summed up before it has so many
# that are in no summary (`daemon.chat.compaction`); `agent.fitting` keeps what fits a model.
HISTORY_TURNS = 200


@frozen
class Reach:
    """The turns that the context of the turn `last` holds: those of its lane, from `first` on.

    A session's lane has its own turns; a child turn, whose lane is another, is no part of it.
    `summary` stands for what came before them; `cut` if there were others that are in none.
    """

    session_id: str
    lane: str
    first: int
    last: int
    summary: Summary = compactions.NONE
    cut: bool = False

    def where(self) -> tuple[str, int, int, str]:
        return self.session_id, self.first, self.last, self.lane


REACHED = "t.session_id = ? AND t.id >= ? AND t.id <= ? AND t.lane = ?"


def reach_of(db: sqlite3.Connection, turn_id: int) -> Reach:
    """How far back the context of a turn goes: to the last /new, trim or summary, at most."""
    session_id, lane, oldest = db.execute(
        "SELECT t.session_id, t.lane, max(s.fresh_after + 1, s.trimmed_before)"
        " FROM turns AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    summary = compactions.before(db, lane, turn_id, oldest)
    oldest = max(oldest, summary.through_turn + 1)
    return bounded(db, Reach(session_id, lane, oldest, turn_id, summary), HISTORY_TURNS)


def bounded(db: sqlite3.Connection, reach: Reach, most: int) -> Reach:
    """The last `most` turns of a reach; without any, only what would be the last."""
    rows = db.execute(
        f"SELECT t.id FROM turns AS t WHERE {REACHED} ORDER BY t.id DESC LIMIT ?",
        (*reach.where(), most + 1),
    ).fetchall()
    kept = rows[:most]
    first = int(kept[-1][0]) if kept else reach.last
    return evolve(reach, first=first, cut=len(rows) > most)
