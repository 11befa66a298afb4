"""Jobs as the command line shows and exports them: with their persons and chats, all there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from daemon.store import jobs
from daemon.store.jobs import Job
from daemon.store.values import Place

PAGE: Final = 500  # rows that are held at a time


@frozen
class Listed:
    """A job, where it answers, and whose it is: the network's id ('' if not known) and name."""

    job: Job
    place: Place
    person: str
    person_name: str


_LISTED: Final = (
    f"SELECT {jobs.COLUMNS}, s.channel, s.account, s.chat, s.topic, u.name AS person_name,"
    " (SELECT external_id FROM identities WHERE user_id = jobs.user_id AND channel = s.channel"
    " ORDER BY external_id LIMIT 1) AS person FROM jobs JOIN sessions AS s"
    " ON s.id = jobs.session_id JOIN users AS u ON u.id = jobs.user_id"
)


def _of(row: sqlite3.Row) -> Listed:
    place = Place(row["channel"], row["account"], row["chat"], row["topic"])
    return Listed(jobs.of_row(row), place, row["person"] or "", row["person_name"])


def some(db: sqlite3.Connection, most: int, *, ended: bool) -> list[Listed]:
    """Those that come first first, then the paused ones and those that have ended."""
    rows = db.execute(
        f"{_LISTED} WHERE ? OR jobs.state <> 'ended' ORDER BY"
        " jobs.state = 'ended', jobs.state = 'paused', jobs.next_at IS NULL, jobs.next_at, jobs.id"
        " LIMIT ?",
        (ended, most),
    )
    return [_of(row) for row in rows.fetchall()]


def count(db: sqlite3.Connection, *, ended: bool) -> int:
    """How many there are for `some`."""
    row = db.execute("SELECT count(*) FROM jobs WHERE ? OR state <> 'ended'", (ended,)).fetchone()
    return int(row[0])


def each(db: sqlite3.Connection, *, ended: bool) -> Iterator[Listed]:
    """All of them in the order in which they were made, with few in memory at a time."""
    last = 0
    while True:
        rows = db.execute(
            f"{_LISTED} WHERE jobs.id > ? AND (? OR jobs.state <> 'ended') ORDER BY jobs.id"
            " LIMIT ?",
            (last, ended, PAGE),
        ).fetchall()
        if not rows:
            return
        yield from map(_of, rows)
        last = rows[-1]["id"]


def find(db: sqlite3.Connection, ref: str) -> Listed | None:
    row = db.execute(f"{_LISTED} WHERE jobs.ref = ?", (ref,)).fetchone()
    return None if row is None else _of(row)
