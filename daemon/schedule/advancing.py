"""One look at the schedule, as a transaction: what is due is begun, what has ended is settled.

The occurrence, the turn that it starts and the next instant of its job are one commit, so a kill
leaves all of them or none. A run has come to its end when its turn has ended and every message of
its answer is in the chat.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import define, field, frozen

from daemon.chat.drafts import text_drafts
from daemon.schedule import recurrence, telling
from daemon.schedule.deciding import (
    MOST_FAILURES,
    OLDEST,
    Arrival,
    Clock,
    Standing,
    arrivals,
    retry_after,
)
from daemon.schedule.occasion import words
from daemon.schedule.recurrence import Once, Recurrence
from daemon.store import closed, jobs, journal, occurrences, outbox, people
from daemon.store.jobs import Job
from daemon.store.occurrences import Occurrence
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

BATCH: Final = 50  # jobs in one transaction: others write between two
# Seconds after which a transaction begins no other job: after an absence, one takes up to 50 ms.
LONGEST: Final = 0.25
# Open turns of appointments. More wait in the rows of their jobs, and take no memory.
MOST_OPEN: Final = 500

UNREACHABLE: Final = "the chat cannot be written to: {why}"
NOT_ANSWERED: Final = "nobody is answered in that chat any more"
NOT_IN_TIME: Final = "nobody was there to run it in time"
BUSY: Final = "the run before it had not ended"
TOO_OFTEN: Final = "it failed too often in a row"
LOST: Final = "the time zone {zone} is not known on this system any more"
DONE: Final = "done"

Permits = Callable[[Place], bool]


@define
class Step:
    """What a look has done; `more` if there is more to do at once, else when to look again."""

    begun: list[TurnRow] = field(factory=list)
    told: list[Place] = field(factory=list)
    missed: int = 0
    more: bool = False
    next_at: float | None = None


@frozen
class News:
    """Turns and answers of which something is over; None: of whichever."""

    turns: Sequence[int] | None = None


def advance(db: sqlite3.Connection, clock: Clock, news: News, permits: Permits) -> Step:
    """Settle what is over, rewind what a wrong clock has passed, begin what is due."""
    step = Step()
    now = clock.now
    for turn_id in occurrences.all_open(db) if news.turns is None else news.turns:
        _settle(db, step, turn_id, now)
    if now < OLDEST:  # all rules would be gone through from then on, as soon as it is set
        step.next_at = OLDEST
        return step
    later = jobs.looked_later(db, now + 1.0, BATCH)
    for job in later:
        if not _is_lost(db, step, job, now):
            _rewind(db, job, now)
    room = _room(db)
    due = jobs.due(db, now, min(BATCH, room))
    begin = time.perf_counter()
    for job in due:
        if not _is_lost(db, step, job, now):
            _begin_due(db, step, job, clock, permits)
        if time.perf_counter() - begin > LONGEST:
            step.more = True
            break
    retried = occurrences.to_retry(db, now, min(BATCH, room - len(due)))
    for each in retried:
        _begin_again(db, step, each, clock, permits)
    step.more = step.more or BATCH in {len(later), len(due), len(retried)}
    step.next_at = None if room <= 0 else _earliest(jobs.next_at(db), occurrences.retry_at(db))
    return step


def _room(db: sqlite3.Connection) -> int:
    """How many turns may be begun: none before there is room for a batch, so that few looks do."""
    (open_now,) = db.execute(
        "SELECT count(*) FROM turns INDEXED BY turns_open WHERE state <> 'ended'"
        " AND cause = 'schedule'"
    ).fetchone()
    room = MOST_OPEN - int(open_now)
    return room if room >= BATCH else 0


def _is_lost(db: sqlite3.Connection, step: Step, job: Job, now: float) -> bool:
    """Whether nobody knows when a job is to be run; it is paused then, and its person told.

    Systems forget zones: Debian has moved those of old names, such as US/Pacific, to a package of
    their own.
    """
    zone = recurrence.lost_zone(job.plan.recurrence.rule, job.plan.zone)
    if zone is None:
        return False
    why = LOST.format(zone=zone)
    occurrences.stop_retries(db, job.id, now)
    jobs.set_state(db, job.id, "paused", why, job.next_at, now)
    _tell(db, step, job, telling.lost(job, why), now)
    return True


def _earliest(*times: float | None) -> float | None:
    return min((each for each in times if each is not None), default=None)


def _rewind(db: sqlite3.Connection, job: Job, now: float) -> None:
    """The clock was ahead and has been set back: what it has passed over comes yet.

    An instant that was run has its row, and is not run again; it is counted again as it passes.
    """
    wanted, first, begun = job.plan.recurrence, job.next_at, job.begun
    if first is not None and not isinstance(wanted.rule, Once):
        before = Recurrence(wanted.rule, math.nextafter(first, 0.0), begun)
        begun -= 0 if wanted.count is None else len(recurrence.upcoming(before, now, begun))
        first = recurrence.next_after(wanted, now, begun)
    jobs.passed(db, job.id, begun, first, now)


# --- What is due ---


def _begin_due(
    db: sqlite3.Connection, step: Step, job: Job, clock: Clock, permits: Permits
) -> None:
    assert job.next_at is not None  # noqa: S101  (it was found by that)
    plan, runs = job.plan, occurrences.open_runs(db, job.id)
    standing = Standing(plan.recurrence, plan.missed, job.next_at, job.begun, runs)
    found = arrivals(standing, clock)
    missed, why = found.missed, BUSY if runs else NOT_IN_TIME
    hindrance = _hindrance(db, job, permits)
    for arrival in found.run:
        if hindrance is None:
            _begin(db, step, job, arrival, clock.now)
        else:
            missed, why = arrival, hindrance
    if missed is not None:
        occurrences.miss(db, job, missed, why, clock.now)
        step.missed += 1
    jobs.passed(db, job.id, found.begun, found.next_at, clock.now)
    _end_if_over(db, job.id, clock.now)


def _hindrance(db: sqlite3.Connection, job: Job, permits: Permits) -> str | None:
    """Why nothing can be sent to the chat of a job, so that nothing is run."""
    place = jobs.place_of(db, job)
    if not permits(place):
        return NOT_ANSWERED
    shut = closed.why(db, place)
    return None if shut is None else UNREACHABLE.format(why=closed.WORDS[shut])


def _begin(db: sqlite3.Connection, step: Step, job: Job, arrival: Arrival, now: float) -> None:
    occurrence = occurrences.begin(db, job, arrival, now)
    if occurrence is not None:
        text = words(db, job, arrival.instant, now)
        step.begun.append(occurrences.begin_turn(db, job, occurrence, text, now))


def _begin_again(
    db: sqlite3.Connection, step: Step, each: Occurrence, clock: Clock, permits: Permits
) -> None:
    """Another try; none where nothing can be sent by now."""
    job, now = jobs.get(db, each.job_id), clock.now
    hindrance = _hindrance(db, job, permits)
    if hindrance is not None:
        occurrences.end(db, each.id, "failed", now, hindrance)
        _end_if_over(db, job.id, now)
        return
    text = words(db, job, each.instant, now)
    step.begun.append(occurrences.begin_turn(db, job, each.id, text, now))


# --- What is over ---


def _settle(db: sqlite3.Connection, step: Step, turn_id: int, now: float) -> None:
    """Take note of the end of a turn, or of the arrival of what it has said."""
    each = occurrences.of_turn(db, turn_id)
    if each is None:
        return
    state, outcome = db.execute(
        "SELECT state, outcome FROM turns WHERE id = ?", (turn_id,)
    ).fetchone()
    if state != "ended":
        return
    if outcome == "answered":
        _settle_answer(db, step, each, now)
    elif outcome == "stopped":
        occurrences.end(db, each.id, "stopped", now)
    else:
        _settle_failure(db, step, each, outcome, now)
    _end_if_over(db, each.job_id, now)


def _settle_answer(db: sqlite3.Connection, step: Step, each: Occurrence, now: float) -> None:
    """A run is done when all of its answer has arrived; what is on its way is waited for."""
    parts = db.execute(
        "SELECT state, error FROM outbox WHERE turn_id = ? AND stands_for IS NULL ORDER BY id",
        (each.turn_id,),
    ).fetchall()
    states = {row["state"] for row in parts}
    if states & {"queued", "sending", "held"}:
        return
    if states <= {"sent"}:
        occurrences.end(db, each.id, "done", now)
        db.execute("UPDATE jobs SET failures = 0 WHERE id = ? AND failures > 0", (each.job_id,))
        return
    error = next(row["error"] for row in parts if row["state"] != "sent") or "it is not known why"
    occurrences.end(db, each.id, "undelivered", now, error)
    _complain(db, step, each, f"the answer did not arrive ({error})", now)


def _settle_failure(
    db: sqlite3.Connection, step: Step, each: Occurrence, outcome: str, now: float
) -> None:
    sentence, _ = journal.last_answer(db, each.turn_id or 0)
    pause = None if outcome == "dead" else retry_after(each.attempts)
    job = jobs.get(db, each.job_id)
    if pause is not None and job.state == "active":
        occurrences.retry(db, each.id, now + pause, sentence)
        return
    occurrences.end(db, each.id, "failed", now, sentence)
    _complain(db, step, each, sentence or "it broke", now)


def _complain(
    db: sqlite3.Connection, step: Step, each: Occurrence, sentence: str, now: float
) -> None:
    """Count a run that came to nothing against its job, and tell its person."""
    db.execute("UPDATE jobs SET failures = failures + 1 WHERE id = ?", (each.job_id,))
    job = jobs.get(db, each.job_id)
    paused = job.failures >= MOST_FAILURES and job.state == "active" and job.next_at is not None
    if paused:
        occurrences.stop_retries(db, job.id, now)
        jobs.set_state(db, job.id, "paused", TOO_OFTEN, job.next_at, now)
    _tell(db, step, job, telling.failed(job, each, sentence, paused=paused), now)


def _tell(db: sqlite3.Connection, step: Step, job: Job, text: str, now: float) -> None:
    """Tell the person of a job, where they can be told."""
    place = _whom(db, job)
    if place is not None:
        outbox.enqueue(db, place, text_drafts(text), now)
        step.told.append(place)


def _whom(db: sqlite3.Connection, job: Job) -> Place | None:
    """Where the person of a job can be told: its chat, or else their own."""
    here = jobs.place_of(db, job)
    private = people.private_place(db, here, job.whose.user_id)
    places: Iterable[Place | None] = (here, private)
    return next((each for each in places if each and closed.why(db, each) is None), None)


def _end_if_over(db: sqlite3.Connection, job_id: int, now: float) -> None:
    """End a job that has no instant to come and no run under way; paused, it could not go on."""
    job = jobs.get(db, job_id)
    if job.state != "ended" and job.next_at is None and not occurrences.is_under_way(db, job_id):
        jobs.set_state(db, job_id, "ended", DONE, None, now)
