"""What a run is told of its job, read from the rows."""

from __future__ import annotations

import sqlite3

from agent import schedule
from daemon.schedule import recurrence
from daemon.schedule.deciding import lateness
from daemon.store import occurrences
from daemon.store.jobs import Job


def words(db: sqlite3.Connection, job: Job, instant: float, now: float) -> str:
    """The prompt of a run that was due at `instant`."""
    zone, rule = job.plan.zone, job.plan.recurrence
    last = occurrences.last_words(db, job.id)
    return schedule.prompt(
        schedule.Occasion(
            name=job.plan.name,
            prompt=job.plan.prompt,
            rule=recurrence.describe(rule, zone),
            due=recurrence.moment(instant, zone),
            now=f"{recurrence.moment(now, zone)} ({zone})",
            late=lateness(now - instant) or "",
            last=last and (last[0], recurrence.moment(last[1], zone)),
            silent=job.plan.silent,
        )
    )
