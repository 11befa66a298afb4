"""Jobs for tests, in the chat of one person."""

from __future__ import annotations

import sqlite3

from attrs import evolve

from daemon.schedule.recurrence import Interval, Once, Recurrence
from daemon.store import jobs, people, turns
from daemon.store.jobs import Job, Plan, Whose
from daemon.store.values import Place

HERE = Place("telegram", "42", "1")
NOON = 1_800_000_000.0  # whatever; a time that all are counted from
HOUR = 3600.0

PLAN = Plan(
    name="stretch",
    prompt="tell me to stretch",
    recurrence=Recurrence(Once(NOON)),
    zone="UTC",
    missed="once",
)
HOURLY = evolve(PLAN, recurrence=Recurrence(Interval(HOUR, NOON - HOUR)), missed="skip")


def whose(db: sqlite3.Connection, place: Place = HERE, person: str = "1") -> Whose:
    user = people.ensure_user(db, "telegram", person, f"person {person}", 1.0)
    return Whose(people.ensure_session(db, place, 1.0), user, "user")


def add(db: sqlite3.Connection, plan: Plan = PLAN, first: float = NOON, place: Place = HERE) -> Job:
    return jobs.create(db, whose(db, place), plan, first, NOON - HOUR)


def end_turn(db: sqlite3.Connection, turn_id: int, outcome: str, said: str, now: float) -> None:
    """The last words of a turn, and its end."""
    db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'assistant', ?, ?)",
        (turn_id, said, now),
    )
    turns.end(db, turn_id, outcome, now)
