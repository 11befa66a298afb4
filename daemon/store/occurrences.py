"""What became of each instant of a job: a row each, made together with the turn that it begins.

An occurrence is `open` from then until its turn has ended and what that said has arrived, `retry`
while it waits for another try, and then `done`, `failed`, `undelivered` (the turn ended well, but
the chat did not get the answer), `missed` or `stopped`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from attrs import frozen

from daemon.schedule.deciding import RETRIES, Arrival
from daemon.store import turnrow
from daemon.store.jobs import Job
from daemon.store.turnrow import TurnRow
from daemon.store.values import new_ref

OCCURRENCES = (
    """CREATE TABLE occurrences (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs (id),
        instant REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('open', 'retry', 'done', 'failed', 'undelivered', 'missed', 'stopped')),
        by_hand INTEGER NOT NULL DEFAULT 0,      -- somebody asked for it: no instant of the job's
        stands_for INTEGER NOT NULL DEFAULT 0,   -- older instants that are not run
        turn_id INTEGER REFERENCES turns (id),   -- of the latest try
        attempts INTEGER NOT NULL DEFAULT 0,
        retry_at REAL,
        error TEXT,
        created_at REAL NOT NULL,
        ended_at REAL,
        UNIQUE (job_id, instant)
    ) STRICT""",
    "CREATE INDEX occurrences_turn ON occurrences (turn_id)",
    "CREATE INDEX occurrences_open ON occurrences (turn_id) WHERE state = 'open'",
    "CREATE INDEX occurrences_retry ON occurrences (retry_at) WHERE state = 'retry'",
    "CREATE INDEX occurrences_under_way ON occurrences (job_id) WHERE state IN ('open', 'retry')",
)

OPEN: Final = "occurrences AS o INDEXED BY occurrences_open"
RETRY: Final = "occurrences AS o INDEXED BY occurrences_retry"
UNDER_WAY: Final = "occurrences INDEXED BY occurrences_under_way"
KEEP: Final = 50  # of one job; older ones are forgotten when a new one comes


@frozen
class Occurrence:
    """A row."""

    id: int
    job_id: int
    instant: float
    state: str
    by_hand: bool
    stands_for: int
    turn_id: int | None
    attempts: int
    retry_at: float | None
    error: str | None
    created_at: float
    ended_at: float | None


COLUMNS: Final = (
    "o.id, o.job_id, o.instant, o.state, o.by_hand, o.stands_for, o.turn_id, o.attempts,"
    " o.retry_at, o.error, o.created_at, o.ended_at"
)


def _of(row: sqlite3.Row) -> Occurrence:
    values = [*row[:12]]
    values[4] = bool(values[4])
    return Occurrence(*values)


# --- A new one ---


def begin(
    db: sqlite3.Connection, job: Job, arrival: Arrival, now: float, *, by_hand: bool = False
) -> int | None:
    """An open occurrence without a turn as yet; None if that instant has one already."""
    row = db.execute(
        "INSERT INTO occurrences (job_id, instant, state, by_hand, stands_for, created_at)"
        " VALUES (?, ?, 'open', ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
        (job.id, arrival.instant, by_hand, arrival.stands_for, now),
    ).fetchone()
    if row is None:
        return None
    _trim(db, job.id)
    return int(row[0])


def miss(db: sqlite3.Connection, job: Job, arrival: Arrival, why: str, now: float) -> None:
    """Record an instant that is not run, and why."""
    db.execute(
        "INSERT INTO occurrences (job_id, instant, state, stands_for, error, created_at, ended_at)"
        " VALUES (?, ?, 'missed', ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (job.id, arrival.instant, arrival.stands_for, why, now, now),
    )
    _trim(db, job.id)


def _trim(db: sqlite3.Connection, job_id: int) -> None:
    db.execute(
        "DELETE FROM occurrences WHERE job_id = ?1 AND state NOT IN ('open', 'retry') AND id <="
        " (SELECT id FROM occurrences WHERE job_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (job_id, KEEP),
    )


def begin_turn(db: sqlite3.Connection, job: Job, occurrence: int, text: str, now: float) -> TurnRow:
    """A turn for an occurrence, in the job's own lane: its runs come one after another."""
    (turn_id,) = db.execute(
        "INSERT INTO turns (ref, session_id, lane, cause, payer_id, state, label, asked_at,"
        " created_at, role) VALUES (?, ?, ?, 'schedule', ?, 'ready', ?, ?, ?, ?) RETURNING id",
        (
            new_ref(),
            job.whose.session_id,
            f"job-{job.ref}",
            job.whose.user_id,
            job.plan.name,
            now,
            now,
            job.whose.role,
        ),
    ).fetchone()
    turnrow.add_user_message(db, turn_id, text, now)
    db.execute(
        "UPDATE occurrences SET state = 'open', turn_id = ?, attempts = attempts + 1,"
        " retry_at = NULL WHERE id = ?",
        (turn_id, occurrence),
    )
    return turnrow.get(db, turn_id)


# --- How they go on ---


def open_runs(db: sqlite3.Connection, job_id: int) -> int:
    """How many turns of a job have not ended."""
    row = db.execute(
        "SELECT count(*) FROM occurrences AS o INDEXED BY occurrences_under_way"
        " JOIN turns AS t ON t.id = o.turn_id WHERE o.job_id = ?"
        " AND o.state IN ('open', 'retry') AND t.state <> 'ended'",
        (job_id,),
    ).fetchone()
    return int(row[0])


def open_turns(db: sqlite3.Connection, job_id: int) -> list[int]:
    """The turns of a job that have not ended."""
    rows = db.execute(
        "SELECT t.id FROM occurrences AS o INDEXED BY occurrences_under_way"
        " JOIN turns AS t ON t.id = o.turn_id WHERE o.job_id = ?"
        " AND o.state IN ('open', 'retry') AND t.state <> 'ended' ORDER BY t.id",
        (job_id,),
    )
    return [int(row[0]) for row in rows.fetchall()]


def of_turn(db: sqlite3.Connection, turn_id: int) -> Occurrence | None:
    """The open occurrence that a turn is the latest try of."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM {OPEN} WHERE o.state = 'open' AND o.turn_id = ?", (turn_id,)
    ).fetchone()
    return None if row is None else _of(row)


def all_open(db: sqlite3.Connection) -> list[int]:
    """The turns of all open occurrences."""
    rows = db.execute(f"SELECT o.turn_id FROM {OPEN} WHERE o.state = 'open' ORDER BY o.turn_id")
    return [int(row[0]) for row in rows.fetchall() if row[0] is not None]


def to_retry(db: sqlite3.Connection, now: float, most: int) -> list[Occurrence]:
    """Those whose next try is due; one that is further off than any is from another clock."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM {RETRY} WHERE o.state = 'retry' AND (o.retry_at <= ? OR"
        " o.retry_at > ?) ORDER BY o.retry_at LIMIT ?",
        (now, now + max(RETRIES), most),
    )
    return [_of(row) for row in rows.fetchall()]


def retry_at(db: sqlite3.Connection) -> float | None:
    """When the next try is due; None if none is."""
    (earliest,) = db.execute(
        f"SELECT min(o.retry_at) FROM {RETRY} WHERE o.state = 'retry'"
    ).fetchone()
    return None if earliest is None else float(earliest)


def retry(db: sqlite3.Connection, occurrence: int, at: float, error: str) -> None:
    db.execute(
        "UPDATE occurrences SET state = 'retry', retry_at = ?, error = ? WHERE id = ?",
        (at, error, occurrence),
    )


def end(
    db: sqlite3.Connection, occurrence: int, state: str, now: float, error: str | None = None
) -> None:
    db.execute(
        "UPDATE occurrences SET state = ?, error = ?, retry_at = NULL, ended_at = ? WHERE id = ?",
        (state, error, now, occurrence),
    )


def stop_retries(db: sqlite3.Connection, job_id: int, now: float) -> None:
    """Nothing of the job is tried again."""
    db.execute(
        "UPDATE occurrences SET state = 'stopped', retry_at = NULL, ended_at = ?"
        " WHERE job_id = ? AND state = 'retry'",
        (now, job_id),
    )


def is_under_way(db: sqlite3.Connection, job_id: int) -> bool:
    """Whether a run of the job has not come to its end."""
    row = db.execute(
        f"SELECT 1 FROM {UNDER_WAY} WHERE job_id = ? AND state IN ('open', 'retry') LIMIT 1",
        (job_id,),
    ).fetchone()
    return row is not None


# --- What is told of them ---


def history(db: sqlite3.Connection, job_id: int, most: int) -> list[Occurrence]:
    """The latest occurrences of a job, the newest first."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM occurrences AS o WHERE o.job_id = ? ORDER BY o.id DESC LIMIT ?",
        (job_id, most),
    )
    return [_of(row) for row in rows.fetchall()]


def last_words(db: sqlite3.Connection, job_id: int) -> tuple[str, float] | None:
    """What the latest run that came to its end has said, and its instant; None before that."""
    row = db.execute(
        "SELECT o.instant, (SELECT content FROM messages WHERE turn_id = o.turn_id AND role ="
        " 'assistant' ORDER BY id DESC LIMIT 1) AS said FROM occurrences AS o WHERE o.job_id = ?"
        " AND o.state = 'done' ORDER BY o.id DESC LIMIT 1",
        (job_id,),
    ).fetchone()
    return None if row is None or not row["said"] else (str(row["said"]), float(row["instant"]))
