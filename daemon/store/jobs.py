"""Scheduled prompts: what is to be asked of the agent, when, for whom and in which chat.

A job is `active`, `paused` or `ended`. The next instant of an active one stands in its row, so
what is due is found by an index, however many there are. What became of each instant is in
`daemon.store.occurrences`.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from attrs import frozen

from agent.text import clean
from daemon.schedule import recurrence
from daemon.schedule.recurrence import Recurrence
from daemon.store.values import Place, new_ref

KEEP_SECONDS: Final = 30 * 86400.0  # what has ended is remembered for so long
MOST_PRUNED: Final = 100  # jobs in one transaction, each with up to fifty runs

JOBS = (
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL REFERENCES sessions (id),   -- where its answers go
        user_id TEXT NOT NULL REFERENCES users (id),         -- whose it is, and who pays
        role TEXT NOT NULL CHECK (role IN ('owner', 'user', 'guest')),   -- that it was made with
        name TEXT NOT NULL,
        prompt TEXT NOT NULL,
        rule TEXT NOT NULL,                -- JSON, see daemon.schedule.recurrence
        zone TEXT NOT NULL,                -- its times are told in
        until REAL,                        -- no instant after this; NULL: no end
        count INTEGER,                     -- instants in all; NULL: no end
        begun INTEGER NOT NULL DEFAULT 0,  -- instants that have come, missed ones included
        missed TEXT NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
        silent INTEGER NOT NULL DEFAULT 0,
        model TEXT NOT NULL DEFAULT '',    -- '': the chat's
        tools TEXT,                        -- JSON; NULL: all that its role may use
        tokens INTEGER NOT NULL DEFAULT 0, -- for one run; 0: as configured
        state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'ended')),
        why TEXT NOT NULL DEFAULT '',      -- it is not active
        failures INTEGER NOT NULL DEFAULT 0,     -- runs in a row that came to nothing
        next_at REAL,                      -- NULL: none comes any more
        looked_at REAL NOT NULL,           -- when next_at was found
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    ) STRICT""",
    "CREATE INDEX jobs_due ON jobs (next_at) WHERE state = 'active' AND next_at IS NOT NULL",
    "CREATE INDEX jobs_looked ON jobs (looked_at) WHERE state = 'active' AND next_at IS NOT NULL",
    "CREATE INDEX jobs_user ON jobs (user_id) WHERE state <> 'ended'",
    "CREATE INDEX jobs_session ON jobs (session_id, id)",
    "CREATE INDEX jobs_past ON jobs (updated_at) WHERE state = 'ended'",
)

# The words of the indexes of the same name: a statement without them reads the whole table.
DUE: Final = "jobs INDEXED BY jobs_due WHERE state = 'active' AND next_at IS NOT NULL"
LOOKED: Final = "jobs INDEXED BY jobs_looked WHERE state = 'active' AND next_at IS NOT NULL"


@frozen(kw_only=True)
class Plan:
    """What a person decides about a job. `missed` is skip, once or all.

    `tools` None are all that its role may use, `tokens` 0 is what the configuration says, and so is
    the `model` ''. A `silent` one speaks only when it has something to tell.
    """

    name: str
    prompt: str
    recurrence: Recurrence
    zone: str
    missed: str
    silent: bool = False
    model: str = ""
    tools: tuple[str, ...] | None = None
    tokens: int = 0


@frozen
class Whose:
    """Where a job belongs: the session that it answers in, its person, their role there."""

    session_id: str
    user_id: str
    role: str


@frozen(kw_only=True)
class Job:
    """A row."""

    id: int
    ref: str
    whose: Whose
    plan: Plan
    state: str
    why: str
    begun: int
    failures: int
    next_at: float | None
    created_at: float


@frozen(kw_only=True)
class Kept:
    """What a job that comes out of a file has been through; an empty `ref` gets a new one."""

    ref: str
    state: str
    why: str
    begun: int
    next_at: float | None
    created_at: float


COLUMNS: Final = (
    "jobs.id, jobs.ref, jobs.session_id, jobs.user_id, jobs.role, jobs.name, jobs.prompt,"
    " jobs.rule, jobs.zone, jobs.until, jobs.count, jobs.begun, jobs.missed, jobs.silent,"
    " jobs.model, jobs.tools, jobs.tokens, jobs.state, jobs.why, jobs.failures, jobs.next_at,"
    " jobs.created_at"
)


def of_row(row: sqlite3.Row) -> Job:
    """A job of a row that has COLUMNS."""
    rule = recurrence.from_json(row["rule"])
    return Job(
        id=row["id"],
        ref=row["ref"],
        whose=Whose(row["session_id"], row["user_id"], row["role"]),
        plan=Plan(
            name=row["name"],
            prompt=row["prompt"],
            recurrence=Recurrence(rule, row["until"], row["count"]),
            zone=row["zone"],
            missed=row["missed"],
            silent=bool(row["silent"]),
            model=row["model"],
            tools=None if row["tools"] is None else tuple(json.loads(row["tools"])),
            tokens=row["tokens"],
        ),
        state=row["state"],
        why=row["why"],
        begun=row["begun"],
        failures=row["failures"],
        next_at=row["next_at"],
        created_at=row["created_at"],
    )


# --- One job ---


def create(
    db: sqlite3.Connection,
    whose: Whose,
    plan: Plan,
    next_at: float | None,
    now: float,
    ref: str = "",
) -> Job:
    """A new active job, the first instant of which is `next_at`."""
    (job_id,) = db.execute(
        "INSERT INTO jobs (ref, session_id, user_id, role, name, prompt, rule, zone, until, count,"
        " missed, silent, model, tools, tokens, next_at, looked_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            ref or new_ref(),
            whose.session_id,
            whose.user_id,
            whose.role,
            *_columns(plan),
            next_at,
            *(now, now, now),
        ),
    ).fetchone()
    return get(db, int(job_id))


def _columns(plan: Plan) -> tuple[object, ...]:
    return (
        clean(plan.name),
        clean(plan.prompt),
        recurrence.to_json(plan.recurrence.rule),
        plan.zone,
        plan.recurrence.until,
        plan.recurrence.count,
        plan.missed,
        plan.silent,
        plan.model,
        None if plan.tools is None else json.dumps(plan.tools),
        plan.tokens,
    )


def change(
    db: sqlite3.Connection, job_id: int, plan: Plan, next_at: float | None, now: float
) -> Job:
    """Let a job be this from now on; what it has counted begins anew."""
    db.execute(
        "UPDATE jobs SET name = ?, prompt = ?, rule = ?, zone = ?, until = ?, count = ?,"
        " missed = ?, silent = ?, model = ?, tools = ?, tokens = ?, next_at = ?, looked_at = ?,"
        " updated_at = ?, begun = 0, failures = 0 WHERE id = ?",
        (*_columns(plan), next_at, now, now, job_id),
    )
    return get(db, job_id)


def lower_role(db: sqlite3.Connection, job_id: int, role: str) -> None:
    """Somebody of that role, who may do no more than its person, has changed a job."""
    db.execute("UPDATE jobs SET role = ?1 WHERE id = ?2 AND role <> ?1", (role, job_id))


def get(db: sqlite3.Connection, job_id: int) -> Job:
    return of_row(db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone())


def find(db: sqlite3.Connection, ref: str) -> Job | None:
    """The job of that name, wherever it belongs: see `daemon.schedule.booking` for who may ask."""
    row = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE ref = ?", (ref,)).fetchone()
    return None if row is None else of_row(row)


def passed(
    db: sqlite3.Connection, job_id: int, begun: int, next_at: float | None, now: float
) -> None:
    """Instants of a job have come; without a next one it has ended, once its runs have."""
    db.execute(
        "UPDATE jobs SET begun = ?, next_at = ?, looked_at = ?, updated_at = ? WHERE id = ?",
        (begun, next_at, now, now, job_id),
    )


def set_state(
    db: sqlite3.Connection, job_id: int, state: str, why: str, next_at: float | None, now: float
) -> None:
    """Pause, resume or end a job; `why` is for people, '' for an active one."""
    db.execute(
        "UPDATE jobs SET state = ?, why = ?, next_at = ?, looked_at = ?, updated_at = ?,"
        " failures = 0 WHERE id = ?",
        (state, why, next_at, now, now, job_id),
    )


_PUT: Final = (
    *("ref", "session_id", "user_id", "role", "name", "prompt", "rule", "zone", "until", "count"),
    *("missed", "silent", "model", "tools", "tokens", "state", "why", "begun", "next_at"),
    *("created_at", "looked_at", "updated_at"),
)
_AS_PUT: Final = ", ".join(f"{column} = excluded.{column}" for column in _PUT[1:])


def put(db: sqlite3.Connection, whose: Whose, plan: Plan, kept: Kept, now: float) -> int:
    """A job as it was, in place of one that has its ref; its history stays. Returns its id."""
    (job_id,) = db.execute(
        f"INSERT INTO jobs ({', '.join(_PUT)}) VALUES ({', '.join('?' * len(_PUT))})"
        f" ON CONFLICT (ref) DO UPDATE SET {_AS_PUT}, failures = 0 RETURNING id",
        (
            kept.ref or new_ref(),
            *(whose.session_id, whose.user_id, whose.role),
            *_columns(plan),
            *(kept.state, clean(kept.why), kept.begun, kept.next_at, kept.created_at),
            *(now, now),
        ),
    ).fetchone()
    return int(job_id)


def delete(db: sqlite3.Connection, job_id: int) -> None:
    """Forget a job and all that became of it."""
    db.execute("DELETE FROM occurrences WHERE job_id = ?", (job_id,))
    db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))


# --- Several ---


def of_chat(db: sqlite3.Connection, place: Place, user_id: str | None, most: int) -> list[Job]:
    """The jobs of a chat that have not ended, those that come first first.

    Those of one person; of everybody, if `user_id` is None.
    """
    rows = db.execute(
        f"SELECT {COLUMNS} FROM sessions AS s JOIN jobs INDEXED BY jobs_session"
        " ON jobs.session_id = s.id WHERE s.channel = ?1 AND s.account = ?2 AND s.chat = ?3"
        " AND jobs.state <> 'ended' AND (?4 IS NULL OR jobs.user_id = ?4)"
        " ORDER BY jobs.state <> 'active', jobs.next_at IS NULL, jobs.next_at, jobs.id LIMIT ?5",
        (place.channel, place.account, place.chat, user_id, most),
    )
    return [of_row(row) for row in rows.fetchall()]


def count_of(db: sqlite3.Connection, user_id: str, most: int) -> int:
    """How many jobs of a person have not ended; no more than `most` are counted."""
    row = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_user WHERE state <> 'ended'"
        " AND user_id = ? LIMIT ?)",
        (user_id, most),
    ).fetchone()
    return int(row[0])


def place_of(db: sqlite3.Connection, job: Job) -> Place:
    """Where a job answers."""
    row = db.execute(
        "SELECT channel, account, chat, topic FROM sessions WHERE id = ?", (job.whose.session_id,)
    ).fetchone()
    return Place(*row)


def due(db: sqlite3.Connection, now: float, most: int) -> list[Job]:
    """The jobs whose next instant has come, the longest due first."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM {DUE} AND next_at <= ? ORDER BY next_at LIMIT ?", (now, most)
    )
    return [of_row(row) for row in rows.fetchall()]


def next_at(db: sqlite3.Connection) -> float | None:
    """When the next job is due; None if none is."""
    (earliest,) = db.execute(f"SELECT min(next_at) FROM {DUE}").fetchone()
    return None if earliest is None else float(earliest)


def looked_later(db: sqlite3.Connection, now: float, most: int) -> list[Job]:
    """The jobs whose next instant was found by a clock that was ahead of `now`."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM {LOOKED} AND looked_at > ? ORDER BY looked_at LIMIT ?", (now, most)
    )
    return [of_row(row) for row in rows.fetchall()]


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget jobs that ended `KEEP_SECONDS` ago, `MOST_PRUNED` at once; returns how many."""
    rows = db.execute(
        "SELECT id FROM jobs INDEXED BY jobs_past WHERE state = 'ended' AND updated_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM occurrences WHERE job_id = jobs.id"
        " AND state IN ('open', 'retry')) LIMIT ?",
        (now - KEEP_SECONDS, MOST_PRUNED),
    ).fetchall()
    for (job_id,) in rows:
        delete(db, job_id)
    return len(rows)
