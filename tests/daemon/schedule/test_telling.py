"""Scheduled prompts in words: for the chat, for the model, in lists."""

from __future__ import annotations

import re
import sqlite3

import pytest
from attrs import evolve

from daemon.schedule import booking, recurrence, telling
from daemon.schedule.recurrence import Cron, Interval, Once, Recurrence
from daemon.store import jobs
from daemon.store.jobs import Job
from daemon.store.occurrences import Occurrence
from tests.daemon.schedule.jobs_of import HOUR, HOURLY, NOON, PLAN, add

BERLIN = evolve(
    PLAN,
    name="news",
    prompt="tell me\n the news",
    recurrence=Recurrence(Cron("0 9 * * *", "Europe/Berlin")),
    zone="Europe/Berlin",
)


def at(instant: float, zone: str = "UTC") -> str:
    return recurrence.moment(instant, zone)


def test_one_that_comes_once_tells_its_time_once(db: sqlite3.Connection) -> None:
    job = add(db)
    said = recurrence.describe(PLAN.recurrence, "UTC")
    assert telling.rule(job) == said
    assert telling.coming(job) == [at(NOON)]
    assert telling.when(job) == f"next {at(NOON)}"
    assert telling.line(job) == f"stretch: {said}"
    assert telling.booked(job, changed=False).splitlines() == [
        "Scheduled: stretch",
        said,
        "To do: tell me to stretch",
    ]


def test_one_that_recurs_tells_its_next_three_times(db: sqlite3.Connection) -> None:
    """In its own zone."""
    first = NOON + HOUR - NOON % HOUR
    job = add(db, BERLIN, first)
    *_, rule, next_times, todo = telling.booked(job, changed=True).splitlines()
    assert telling.booked(job, changed=True).startswith("Changed: news\n")
    assert rule == recurrence.describe(BERLIN.recurrence, "Europe/Berlin")
    times = next_times.removeprefix("Next: ").split(", ")
    assert times == telling.coming(job)
    assert times[0] == at(first, "Europe/Berlin")
    assert [each[-5:] for each in times[1:]] == ["09:00", "09:00"]
    assert todo == "To do: tell me the news"
    assert telling.line(job).endswith(f"; next {times[0]}")


def test_what_is_counted_has_no_more_times_than_it_has(db: sqlite3.Connection) -> None:
    counted = evolve(HOURLY, recurrence=Recurrence(Interval(HOUR, NOON - HOUR), None, 4))
    job = add(db, counted)
    jobs.passed(db, job.id, 2, NOON + 2 * HOUR, NOON)
    assert telling.coming(jobs.get(db, job.id)) == [at(NOON + 2 * HOUR), at(NOON + 3 * HOUR)]
    jobs.passed(db, job.id, 4, None, NOON)
    over = jobs.get(db, job.id)
    assert telling.coming(over) == []
    assert telling.when(over) == telling.NOT_SCHEDULED


def test_what_is_not_plain_is_said(db: sqlite3.Connection) -> None:
    """A name that is the prompt is not said twice; a silent one is not waited for."""
    plan = evolve(PLAN, prompt="Stretch", silent=True)
    lines = telling.booked(add(db, plan), changed=False).splitlines()
    assert "To do" not in "".join(lines)
    assert lines[-1] == "You hear of it only when there is something to tell."
    paused = booking.pause(db, add(db), "by Ada", NOON - 1)
    assert telling.booked(paused, changed=True).endswith("\nIt is paused: by Ada.")
    assert telling.when(paused) == "paused: by Ada"
    assert telling.line(paused).endswith("; paused: by Ada")


def test_a_long_prompt_is_cut(db: sqlite3.Connection) -> None:
    """In what the chat is told, and in lists."""
    job = add(db, evolve(PLAN, prompt="x" * 1000))
    shown = "x" * (telling.MOST_SHOWN - 1) + "…"
    assert telling.booked(job, changed=False).endswith(f"\nTo do: {shown}")
    assert telling.listed(job).endswith(f": {shown}")


def test_the_model_has_the_id_and_the_times(db: sqlite3.Connection) -> None:
    job = add(db, HOURLY)
    told = telling.for_model(job, changed=False)
    assert told.startswith(f"scheduled: id {job.ref}, {telling.rule(job)}; next: {at(NOON)}, ")
    assert "(UTC)" in told
    assert telling.for_model(job, changed=True).startswith("changed: id ")


def test_a_list_has_what_differs(db: sqlite3.Connection) -> None:
    plain = add(db)
    assert telling.listed(plain) == (
        f"- id {plain.ref}: {telling.line(plain)} (missed: once): tell me to stretch"
    )
    plan = evolve(BERLIN, silent=True, model="small", tools=("bash", "grep"), missed="all")
    listed = telling.listed(add(db, plan))
    assert "(silent; model small; tools bash, grep; missed: all): tell me the news" in listed


RUN = Occurrence(1, 1, NOON, "done", False, 0, 1, 1, None, None, NOON, NOON)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (RUN, "done"),
        (evolve(RUN, state="open", by_hand=True), "under way (by hand)"),
        (evolve(RUN, stands_for=3), "done (for 3 before it, too)"),
        (evolve(RUN, state="failed", attempts=4, error="no model"), "failed (4 tries; no model)"),
        (evolve(RUN, state="missed", error="nobody was there"), "not run (nobody was there)"),
    ],
)
def test_a_run_is_one_line(run: Occurrence, words: str) -> None:
    assert telling.run(run, "UTC") == f"{at(NOON)}: {words}"


def test_every_state_has_its_words(db: sqlite3.Connection) -> None:
    (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'occurrences'").fetchone()
    states = sql.partition("state IN")[2].partition(")")[0]
    assert set(re.findall(r"'(\w+)'", states)) == telling.STATES.keys()


def _failed(job: Job, *, paused: bool = False, attempts: int = 4) -> list[str]:
    run = evolve(RUN, attempts=attempts)
    return telling.failed(job, run, "No model.", paused=paused).splitlines()


def test_a_failure_says_what_comes_next(db: sqlite3.Connection) -> None:
    """Another time, none, or none before somebody has looked at it."""
    head = f'"stretch" (due {at(NOON)}) came to nothing, after 4 tries: No model.'
    hourly = add(db, HOURLY, NOON + HOUR)
    next_time = at(NOON + HOUR)
    assert _failed(hourly) == [head, f"It is run again at {next_time} (UTC); see /tasks."]
    assert "paused" in _failed(hourly, paused=True)[1]
    over = evolve(hourly, next_at=None)
    assert _failed(over)[1] == "It is not run again by itself; see /tasks."
    assert "at the first try: No model." in _failed(over, attempts=1)[0]


def test_an_instant_that_was_named_stays_that(db: sqlite3.Connection) -> None:
    """Wherever its time is told."""
    job = add(db, evolve(PLAN, zone="Asia/Tokyo", recurrence=Recurrence(Once(NOON))))
    assert telling.coming(job) == [at(NOON, "Asia/Tokyo")]
