"""Looks at the schedule, as transactions: what is begun, tried again, told, and given up."""

from __future__ import annotations

import json
import sqlite3

import pytest
from attrs import evolve

from agent.ports import Appointment, Subtask
from daemon.schedule import advancing, booking, telling
from daemon.schedule.advancing import BATCH, MOST_OPEN, News, Step
from daemon.schedule.deciding import GRACE, MOST_FAILURES, OLDEST, RETRIES, Clock
from daemon.schedule.limits import Limits
from daemon.schedule.recurrence import Cron, Interval, Recurrence
from daemon.store import children, closed, jobs, journal, occurrences, outbox, people, turnrow
from daemon.store.jobs import Job
from daemon.store.outbox import Draft
from daemon.store.values import Place
from tests.daemon.schedule.jobs_of import HERE, HOUR, HOURLY, NOON, PLAN, add, end_turn, whose

GROUP = Place("telegram", "42", "-100")


def look(
    db: sqlite3.Connection, now: float, *, awake: float = NOON - HOUR, permits: bool = True
) -> Step:
    return advancing.advance(db, Clock(now, awake), News(), lambda _place: permits)


def states(db: sqlite3.Connection, job: Job) -> list[str]:
    return [each.state for each in occurrences.history(db, job.id, 99)]


def deliver(db: sqlite3.Connection, turn_id: int, state: str = "sent") -> None:
    """An answer that was queued for the chat and came to this end."""
    outbox.enqueue(db, HERE, [Draft("sendMessage", {"text": "x"})], NOON, turn_id=turn_id)
    db.execute("UPDATE outbox SET state = ?, error = 'E' WHERE turn_id = ?", (state, turn_id))


def told(db: sqlite3.Connection, place: Place = HERE) -> list[str]:
    """What was queued for a place that belongs to no turn."""
    rows = db.execute(
        "SELECT params FROM outbox WHERE chat = ? AND turn_id IS NULL ORDER BY id", (place.chat,)
    )
    return [json.loads(row[0])["text"] for row in rows.fetchall()]


def test_what_is_due_becomes_a_turn(db: sqlite3.Connection) -> None:
    """With its occurrence and the next instant; before that there is nothing to do."""
    job = add(db, HOURLY)
    early = look(db, NOON - 1)
    assert (early.begun, early.next_at) == ([], NOON)
    step = look(db, NOON)
    (turn,) = step.begun
    assert (turn.cause, turn.lane) == ("schedule", f"job-{job.ref}")
    assert "tell me to stretch" in turnrow.text(db, turnrow.first_message(db, turn.id))
    assert step.next_at == NOON + HOUR
    assert look(db, NOON).begun == [], "a second look begins nothing"


def test_a_run_is_done_when_its_answer_has_arrived(db: sqlite3.Connection) -> None:
    """Not when its turn has ended; a job that comes once has ended then."""
    job = add(db)
    (turn,) = look(db, NOON).begun
    look(db, NOON + 1)
    assert states(db, job) == ["open"]
    deliver(db, turn.id, "queued")
    end_turn(db, turn.id, "answered", "Stretch!", NOON + 1)
    look(db, NOON + 2)
    assert states(db, job) == ["open"]
    db.execute("UPDATE outbox SET state = 'sent'")
    look(db, NOON + 3)
    assert states(db, job) == ["done"]
    assert (jobs.get(db, job.id).state, jobs.get(db, job.id).why) == ("ended", "done")


def test_a_silent_run_is_done_without_a_message(db: sqlite3.Connection) -> None:
    """There is nothing that could arrive."""
    job = add(db, evolve(HOURLY, silent=True))
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "answered", "NOTHING_TO_REPORT", NOON)
    look(db, NOON + 1)
    assert states(db, job) == ["done"]


def test_a_failed_run_is_tried_again_and_then_told(db: sqlite3.Connection) -> None:
    """After longer and longer pauses; the person hears of it once."""
    job, now = add(db, HOURLY), NOON
    (turn,) = look(db, now).begun
    for pause in RETRIES:
        end_turn(db, turn.id, "failed", "The model is down. (id x)", now)
        assert look(db, now).next_at == min(now + pause, NOON + HOUR)
        assert told(db) == []
        now += pause
        (turn,) = look(db, now).begun
    end_turn(db, turn.id, "failed", "The model is down. (id x)", now)
    assert look(db, now).told == [HERE]
    assert states(db, job) == ["failed"]
    (text,) = told(db)
    assert "The model is down" in text
    assert f"after {len(RETRIES) + 1} tries" in text


def test_a_turn_that_takes_the_process_down_is_not_tried_again(db: sqlite3.Connection) -> None:
    """It had its tries."""
    job = add(db, HOURLY)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "dead", "I gave it up.", NOON)
    look(db, NOON)
    assert states(db, job) == ["failed"]


def test_a_run_that_somebody_has_stopped_stays_so(db: sqlite3.Connection) -> None:
    """Nobody is told what they have done."""
    job = add(db, HOURLY)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "stopped", "", NOON)
    look(db, NOON)
    assert (states(db, job), told(db)) == (["stopped"], [])


def test_an_answer_that_cannot_arrive_is_told_elsewhere(db: sqlite3.Connection) -> None:
    """A group that has thrown the bot out: its person hears of it in private."""
    job = add(db, HOURLY, place=GROUP)
    (turn,) = look(db, NOON).begun
    deliver(db, turn.id, "failed")
    end_turn(db, turn.id, "answered", "Stretch!", NOON)
    closed.close(db, GROUP, closed.KICKED, NOON)
    look(db, NOON + 1)
    assert states(db, job) == ["undelivered"]
    assert len(told(db, HERE)) == 1
    assert told(db, GROUP) == []


def test_a_job_that_fails_for_ever_is_paused(db: sqlite3.Connection) -> None:
    """Somebody pays for it; one good run forgives the bad ones."""
    job = add(db, HOURLY)
    for number in range(MOST_FAILURES):
        (turn,) = look(db, NOON + number * HOUR).begun
        end_turn(db, turn.id, "dead", "No.", NOON + number * HOUR)
    look(db, NOON + MOST_FAILURES * HOUR - 1)
    found = jobs.get(db, job.id)
    assert (found.state, found.why) == ("paused", advancing.TOO_OFTEN)
    assert "paused" in told(db)[-1]
    booking.resume(db, found, NOON + 10 * HOUR)
    (turn,) = look(db, NOON + 11 * HOUR).begun
    end_turn(db, turn.id, "answered", "Yes.", NOON + 11 * HOUR)
    look(db, NOON + 11 * HOUR)
    assert jobs.get(db, job.id).failures == 0


def test_a_job_that_is_paused_for_its_failures_tries_nothing_again(db: sqlite3.Connection) -> None:
    """Not even a run that had tries left: each would be paid for."""
    job = add(db, HOURLY)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "failed", "No.", NOON)
    look(db, NOON)
    for number in range(1, MOST_FAILURES + 1):
        now = NOON + number * HOUR
        db.execute("UPDATE occurrences SET retry_at = ? WHERE state = 'retry'", (now + 60,))
        (turn,) = look(db, now).begun
        end_turn(db, turn.id, "dead", "No.", now)
    step = look(db, NOON + 6 * HOUR)
    assert jobs.get(db, job.id).state == "paused"
    assert (step.begun, step.next_at) == ([], None)
    assert sorted(states(db, job)) == ["failed"] * MOST_FAILURES + ["stopped"]


def test_a_last_run_that_ends_in_a_pause_ends_the_job(db: sqlite3.Connection) -> None:
    """There is nothing for which it could go on."""
    job = add(db)
    (turn,) = look(db, NOON).begun
    jobs.set_state(db, job.id, "paused", "by whomever", None, NOON)
    end_turn(db, turn.id, "answered", "Yes.", NOON)
    look(db, NOON + 1)
    assert jobs.get(db, job.id).state == "ended"


def test_a_look_that_takes_long_goes_on_in_another(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write between; each look begins one at least, and none twice."""
    for _ in range(3):
        add(db, HOURLY)
    monkeypatch.setattr(advancing, "LONGEST", 0.0)
    steps = [look(db, NOON) for _ in range(4)]
    assert [len(step.begun) for step in steps] == [1, 1, 1, 0]
    assert [step.more for step in steps] == [True, True, True, False]


@pytest.mark.parametrize("why", [closed.BLOCKED, "not permitted"])
def test_nothing_is_run_for_a_chat_that_cannot_be_told(db: sqlite3.Connection, why: str) -> None:
    """Its instants pass, recorded with the reason, and it goes on by itself later."""
    job = add(db, HOURLY)
    if why == closed.BLOCKED:
        closed.close(db, HERE, why, NOON)
    step = look(db, NOON, permits=why == closed.BLOCKED)
    assert (step.begun, step.missed) == ([], 1)
    (each,) = occurrences.history(db, job.id, 9)
    assert each.state == "missed"
    assert each.error
    closed.reopen(db, HERE)
    assert look(db, NOON + HOUR).begun


def test_runs_of_a_job_are_told_what_the_last_one_said(db: sqlite3.Connection) -> None:
    """So that a watch can tell what is new."""
    add(db, HOURLY)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "answered", "It costs 5.", NOON)
    (turn,) = look(db, NOON + HOUR).begun
    assert "It costs 5." in turnrow.text(db, turnrow.first_message(db, turn.id))


def test_many_at_once_come_in_batches_and_wait_for_room(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no room stays due, and is begun when turns have ended."""
    monkeypatch.setattr(advancing, "LONGEST", 60.0)  # however slow this machine is
    for _ in range(MOST_OPEN + BATCH):
        add(db)
    begun = []
    while (step := look(db, NOON)).more:
        begun += step.begun
    assert len(begun) == MOST_OPEN
    assert step.next_at is None
    for turn in begun[: BATCH - 1]:
        end_turn(db, turn.id, "answered", "", NOON)
    assert look(db, NOON + 9).begun == []
    end_turn(db, begun[BATCH].id, "answered", "", NOON)
    assert len(look(db, NOON + 9).begun) == BATCH


def test_a_clock_that_is_set_back_repeats_nothing(db: sqlite3.Connection) -> None:
    """What had been run is not run again; what was passed over comes at its time."""
    job = add(db, evolve(HOURLY, recurrence=Recurrence(Interval(HOUR, NOON - HOUR))))
    assert len(look(db, NOON).begun) == 1
    year = 365 * 86400.0
    assert len(look(db, NOON + year, awake=NOON).begun) <= 1
    back = NOON + HOUR / 2
    assert look(db, back, awake=back).next_at == NOON + HOUR
    assert jobs.get(db, job.id).next_at == NOON + HOUR
    before = NOON - 10.0
    look(db, before, awake=before)
    assert look(db, NOON, awake=before).begun == []


@pytest.mark.parametrize("rule", [Interval(HOUR, NOON - HOUR), Cron("0 * * * *", "UTC")])
def test_a_clock_that_is_set_back_takes_nothing_off_a_count(
    db: sqlite3.Connection, rule: Interval | Cron
) -> None:
    """What passes twice is counted once, so all runs come that were asked for."""
    job = add(db, evolve(HOURLY, recurrence=Recurrence(rule, count=5)))
    begun = []
    for hour in (0, 1, 2, 0.5, 1, 2, 3, 4, 5, 6):
        now = NOON + hour * HOUR
        for turn in look(db, now).begun:
            begun.append(hour)
            end_turn(db, turn.id, "answered", "", now)
    assert begun == [0, 1, 2, 3, 4]
    assert jobs.get(db, job.id).state == "ended"


def test_a_clock_that_was_never_set_is_not_gone_by(db: sqlite3.Connection) -> None:
    """After a start in 1970 everything comes as if there had been no such time."""
    plan = evolve(PLAN, recurrence=Recurrence(Cron("0 9 * * *", "UTC"), count=3))
    job = add(db, plan, NOON + HOUR)
    assert look(db, 100.0, awake=100.0).next_at == OLDEST
    assert look(db, NOON, awake=NOON).begun == []
    assert jobs.get(db, job.id) == job


@pytest.mark.parametrize("ahead", [0.0, HOUR])
def test_a_job_whose_zone_is_lost_is_paused(db: sqlite3.Connection, ahead: float) -> None:
    """Its person is told, it can be read and given another zone, and others are not held up."""
    rule = Cron("0 9 * * *", "UTC")
    job, other = add(db, evolve(PLAN, recurrence=Recurrence(rule))), add(db)
    text = json.dumps({"cron": rule.expression, "zone": "Mars/Phobos"})
    db.execute("UPDATE jobs SET zone = 'Mars/Phobos', rule = ? WHERE id = ?", (text, job.id))
    db.execute("UPDATE jobs SET looked_at = looked_at + ?", (2 * ahead,))
    step = look(db, NOON)
    assert len(step.begun) == 1
    assert occurrences.open_runs(db, other.id) == 1
    found = jobs.get(db, job.id)
    assert found.state == "paused"
    assert step.told == [HERE]
    assert "time zone Mars/Phobos is not known" in told(db)[0]
    assert "Mars/Phobos" in telling.listed(found)
    asker = booking.Asker(HERE, job.whose.user_id, "user", job.whose.session_id)
    with pytest.raises(booking.NotBooked, match="'Mars/Phobos' is no time zone"):
        booking.resume(db, found, NOON)
    wish = Appointment(job=job.ref, zone="UTC")
    changed = booking.book(db, asker, wish, Limits(), NOON)
    assert booking.resume(db, changed, NOON).next_at == NOON + HOUR


def test_a_try_of_another_clock_is_made(db: sqlite3.Connection) -> None:
    """One that is further off than any pause."""
    job = add(db)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "failed", "No.", NOON)
    look(db, NOON)
    db.execute("UPDATE occurrences SET retry_at = ?", (NOON + 10 * 86400,))
    assert len(look(db, NOON + 1).begun) == 1
    assert states(db, job) == ["open"]


def test_instants_of_an_absence(db: sqlite3.Connection) -> None:
    """An hourly job that skips has missed five, and a daily appointment is kept late."""
    hourly, once = add(db, HOURLY), add(db)
    now = NOON + 4 * HOUR + GRACE + 1
    step = look(db, now, awake=now)
    assert [turn.lane for turn in step.begun] == [f"job-{once.ref}"]
    (each,) = occurrences.history(db, hourly.id, 9)
    assert (each.state, each.stands_for, each.error) == ("missed", 4, advancing.NOT_IN_TIME)
    text = turnrow.text(db, turnrow.first_message(db, step.begun[0].id))
    assert "4 h late" in text


def test_a_run_that_had_not_ended(db: sqlite3.Connection) -> None:
    """The next instant of what skips is recorded as missed because of that."""
    job = add(db, HOURLY)
    look(db, NOON)
    assert look(db, NOON + HOUR).begun == []
    assert occurrences.history(db, job.id, 1)[0].error == advancing.BUSY


def test_history_is_trimmed(db: sqlite3.Connection) -> None:
    """What is open is never forgotten."""
    job = add(db, HOURLY)
    look(db, NOON)
    for number in range(1, occurrences.KEEP + 20):
        look(db, NOON + number * HOUR)
    kept = occurrences.history(db, job.id, 999)
    assert len(kept) in {occurrences.KEEP, occurrences.KEEP + 1}
    assert kept[-1].state == "open"


def test_a_group_that_moves_takes_its_jobs_along(db: sqlite3.Connection) -> None:
    """Also where the new chat has spoken already."""
    job = add(db, HOURLY, place=GROUP)
    other = add(db, HOURLY, place=Place("telegram", "42", "-200", "7"))
    moved = Place("telegram", "42", "-300")
    people.move_chat(db, GROUP, "-300")
    assert jobs.place_of(db, jobs.get(db, job.id)) == moved
    people.ensure_session(db, Place("telegram", "42", "-400", "7"), NOON)
    people.move_chat(db, Place("telegram", "42", "-200"), "-400")
    assert jobs.place_of(db, jobs.get(db, other.id)).chat == "-400"


def test_what_has_ended_is_forgotten_after_a_month(db: sqlite3.Connection) -> None:
    """With its history, and not before."""
    job = add(db)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "answered", "", NOON)
    look(db, NOON)
    assert jobs.prune(db, NOON + jobs.KEEP_SECONDS - 1) == 0
    assert jobs.prune(db, NOON + jobs.KEEP_SECONDS + 1) == 1
    assert jobs.find(db, job.ref) is None
    assert occurrences.history(db, job.id, 9) == []


@pytest.mark.parametrize("why", [closed.BLOCKED, "not permitted"])
def test_nothing_is_tried_again_for_a_chat_that_cannot_be_told(
    db: sqlite3.Connection, why: str
) -> None:
    """It would be paid for, and nobody would read it."""
    job = add(db)
    (turn,) = look(db, NOON).begun
    end_turn(db, turn.id, "failed", "No.", NOON)
    look(db, NOON)
    if why == closed.BLOCKED:
        closed.close(db, HERE, why, NOON)
    step = look(db, NOON + RETRIES[0], permits=why == closed.BLOCKED)
    assert (step.begun, step.told, states(db, job)) == ([], [], ["failed"])
    assert jobs.get(db, job.id).state == "ended"


def test_who_has_paused_a_job_is_not_told_that_it_is_run_again(db: sqlite3.Connection) -> None:
    """When a run that went on all the same has failed."""
    job = add(db, HOURLY)
    (turn,) = look(db, NOON).begun
    booking.pause(db, jobs.get(db, job.id), "by Ada", NOON)
    end_turn(db, turn.id, "failed", "No.", NOON)
    look(db, NOON)
    (text,) = told(db)
    assert text.endswith("It is paused: by Ada; see /tasks.")


def test_what_a_deleted_job_has_begun_has_no_tools_any_more(db: sqlite3.Connection) -> None:
    """Nobody knows which it was to have; as long as the job is there, it has those."""
    job = add(db, evolve(HOURLY, tools=("web_fetch",)))
    (turn,) = look(db, NOON).begun
    child = children.begin(db, turn.id, "", Subtask("task", "brew"), NOON)
    end_turn(db, turn.id, "answered", "", NOON)
    look(db, NOON)
    assert tools_of(db, child.id) == ("web_fetch",)
    booking.delete(db, job, NOON)
    assert tools_of(db, child.id) == ()


def tools_of(db: sqlite3.Connection, turn_id: int) -> tuple[str, ...] | None:
    errand = journal.read_pages(db, turn_id, NOON).errand
    return errand and errand.tools


def test_many_that_have_ended_are_forgotten_in_parts(db: sqlite3.Connection) -> None:
    """Others may write between two."""
    for _ in range(jobs.MOST_PRUNED + 5):
        booking.call_off(db, add(db), "cancelled", NOON)
    now = NOON + jobs.KEEP_SECONDS + 1
    assert [jobs.prune(db, now) for _ in range(3)] == [jobs.MOST_PRUNED, 5, 0]


def test_a_person_who_is_made_a_guest_is_one_in_their_jobs(db: sqlite3.Connection) -> None:
    """A run has the least role of then and now."""
    add(db, PLAN)
    people.set_role(db, whose(db).user_id, "guest")
    (turn,) = look(db, NOON).begun
    assert turnrow.role(db, turn.id) == "guest"
