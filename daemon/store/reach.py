"""How far back the context of a turn goes: the turns that are read, and the summary before them."""

from __future__ import annotations

import sqlite3
import sys

from attrs import evolve, frozen

from daemon.store import compactions
from daemon.store.compactions import Summary

# Whole turns of history that are read at most. A conversation is summed up before it has so many
# that are in no summary (`daemon.chat.compaction`); `agent.fitting` keeps what fits a model.
HISTORY_TURNS = 200


@frozen
class Reach:
    """The turns that the context of the turn `last` holds: those of its lane, from `first` on.

    A session's lane is named by its id, and a child turn, whose lane is another, is no part of it.
    `summary` stands for what came before them; `cut` if there were others that are in none.
    """

    lane: str
    first: int
    last: int
    summary: Summary = compactions.NONE
    cut: bool = False

    def where(self) -> tuple[str, int, int]:
        return self.lane, self.first, self.last


# A session may have ten times as many turns beside its lane, so they are found by that alone.
LANES = ("CREATE INDEX turns_lane ON turns (lane, id)",)
REACHED = "t.lane = ? AND t.id >= ? AND t.id <= ?"
END = sys.maxsize  # of a reach that has no last turn yet


def reach_of(db: sqlite3.Connection, turn_id: int) -> Reach:
    """How far back the context of a turn goes: to the last /new, trim or summary, at most.

    The runs of a job follow each other in one lane, and each is a conversation of its own.
    """
    lane, oldest = db.execute(
        "SELECT t.lane, CASE t.cause WHEN 'schedule' THEN t.id"
        " ELSE max(s.fresh_after + 1, s.trimmed_before) END"
        " FROM turns AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    summary = compactions.before(db, lane, turn_id, oldest)
    oldest = max(oldest, summary.through_turn + 1)
    return bounded(db, Reach(lane, oldest, turn_id, summary), HISTORY_TURNS)


def reaching_back(db: sqlite3.Connection, session_id: str, oldest: int) -> Reach:
    """The session's own turns from `oldest` on, as far back as they are read."""
    return bounded(db, Reach(session_id, oldest, END), HISTORY_TURNS)


def bounded(db: sqlite3.Connection, reach: Reach, most: int) -> Reach:
    """The last `most` turns of a reach; without any, only what would be the last."""
    rows = db.execute(
        f"SELECT t.id FROM turns AS t WHERE {REACHED} ORDER BY t.id DESC LIMIT ?",
        (*reach.where(), most + 1),
    ).fetchall()
    kept = rows[:most]
    first = int(kept[-1][0]) if kept else reach.last
    return evolve(reach, first=first, cut=len(rows) > most)


def count(db: sqlite3.Connection, reach: Reach, most: int) -> int:
    """How many turns a reach has; no more than `most` are counted."""
    row = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM turns AS t WHERE {REACHED} LIMIT ?)",
        (*reach.where(), most),
    ).fetchone()
    return int(row[0])
