"""What may be done with scheduled prompts, and by whom: each refusal, each default."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
import zoneinfo
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ports import Appointment
from daemon.chat import roles
from daemon.schedule import booking, telling
from daemon.schedule.booking import Asker, NotBooked
from daemon.schedule.deciding import Arrival
from daemon.schedule.limits import Limits
from daemon.schedule.recurrence import Cron, Interval, Once, Recurrence
from daemon.store import jobs, occurrences
from daemon.store.jobs import Job
from daemon.store.values import Place
from tests.daemon.schedule.jobs_of import HERE, HOUR, HOURLY, NOON, add, end_turn, whose

GROUP, TOPIC = Place("telegram", "42", "-100"), Place("telegram", "42", "-100", "7")
ELSEWHERE = Place("telegram", "42", "2")
LIMITS = Limits(zone="Europe/Berlin", models=("small", "large"))
ONCE = Appointment(prompt="tell me to stretch", delay_seconds=5)
WEEKDAYS = Appointment(prompt="news", cron="0 9 * * 1-5")


def asker(
    db: sqlite3.Connection, place: Place = HERE, person: str = "1", role: str = roles.USER
) -> Asker:
    whom = whose(db, place, person)
    return Asker(place, whom.user_id, role, whom.session_id, owner=role == roles.OWNER)


def book(db: sqlite3.Connection, wish: Appointment = ONCE, limits: Limits = LIMITS) -> Job:
    return booking.book(db, asker(db), wish, limits, NOON)


def change(db: sqlite3.Connection, job: Job, now: float = NOON, **wish: Any) -> Job:
    return booking.book(db, asker(db), Appointment(job=job.ref, **wish), LIMITS, now)


def refusal(db: sqlite3.Connection, limits: Limits = LIMITS, **wish: Any) -> str:
    """Why a wish is not booked; nothing is, then."""
    before = _rows(db)
    with pytest.raises(NotBooked) as refused:
        book(db, Appointment(**{"prompt": "x", **wish}), limits)
    assert _rows(db) == before
    return str(refused.value)


def _rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute("SELECT * FROM jobs").fetchall()]


# --- When ---


def test_what_is_not_said_has_its_default(db: sqlite3.Connection) -> None:
    """The name is the beginning of the prompt, the zone the person's, all else the chat's."""
    job = book(db)
    plan = job.plan
    assert (plan.name, plan.prompt) == ("tell me to stretch", "tell me to stretch")
    assert plan.recurrence == Recurrence(Once(NOON + 5))
    assert (plan.zone, plan.missed, plan.silent) == ("Europe/Berlin", "once", False)
    assert (plan.model, plan.tools, plan.tokens) == ("", None, 0)
    assert (job.state, job.next_at, job.begun) == ("active", NOON + 5, 0)
    assert job.whose == whose(db)


def test_a_time_is_local(db: sqlite3.Connection) -> None:
    """In the person's zone, in the one that is named, or with the offset that it has."""
    at = "2027-02-01T18:00"  # in winter
    assert book(db, Appointment(prompt="x", run_at=at)).next_at == 1_801_501_200.0
    there = book(db, Appointment(prompt="x", run_at=at, zone="Asia/Tokyo"))
    assert there.next_at == 1_801_501_200.0 - 8 * HOUR
    assert book(db, Appointment(prompt="x", run_at=f"{at}Z")).next_at == 1_801_501_200.0 + HOUR


def test_an_interval_begins_one_interval_from_now(db: sqlite3.Connection) -> None:
    """What was missed of it is not made up for; or it begins when it is told to."""
    job = book(db, Appointment(prompt="x", every_seconds=HOUR))
    assert job.plan.recurrence.rule == Interval(HOUR, NOON)
    assert (job.next_at, job.plan.missed) == (NOON + HOUR, "skip")
    later = book(db, Appointment(prompt="x", every_seconds=HOUR, run_at="2027-02-01T18:00"))
    assert later.next_at == 1_801_501_200.0


def test_cron_is_in_the_person_s_zone(db: sqlite3.Connection) -> None:
    """Nine in the morning is that in Berlin; a run that was missed is made up for by one."""
    job = book(db, WEEKDAYS)
    assert job.plan.recurrence.rule == Cron("0 9 * * 1-5", "Europe/Berlin")
    assert job.plan.missed == "once"
    assert "09:00" in telling.coming(job)[0]


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_time_that_has_just_passed_is_now(db: sqlite3.Connection, seconds: float) -> None:
    """Who names the minute that has begun means it, once or as the first of several."""
    at = _local(NOON - seconds)
    assert book(db, Appointment(prompt="x", run_at=at)).next_at == NOON - seconds
    repeated = Appointment(prompt="x", run_at=at, every_seconds=HOUR)
    assert book(db, repeated).next_at == NOON - seconds
    assert book(db, Appointment(prompt="x", delay_seconds=0)).next_at == NOON


def _local(at: float) -> str:
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    return dt.datetime.fromtimestamp(at, zone).isoformat()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "say when: one of run_at, delay_seconds, every_seconds, cron"),
        ({"delay_seconds": 5, "cron": "0 9 * * *"}, "in one way, not by delay_seconds and cron"),
        ({"run_at": "2027-02-01", "cron": "0 9 * * *"}, "in one way"),
        ({"delay_seconds": 5, "every_seconds": 60}, "in one way"),
        ({"delay_seconds": -1}, "delay_seconds must be 0 or more"),
        ({"delay_seconds": math.nan}, "delay_seconds must be 0 or more"),
        ({"delay_seconds": 1e12}, "less than ten years"),
        ({"every_seconds": 0}, "every_seconds must be more than 0"),
        ({"every_seconds": math.nan}, "every_seconds must be more than 0"),
        ({"every_seconds": 1e300}, "less than ten years"),
        ({"every_seconds": 59}, "that is every 59 seconds; 60 is the least"),
        ({"run_at": "2020-01-01T00:00"}, "2020-01-01T00:00 has passed: it is "),
        ({"run_at": "2099-01-01T00:00"}, "more than ten years off"),
        ({"run_at": "soon"}, "soon"),
        ({"cron": "whenever"}, ""),
        ({"cron": "0 9 31 2 *"}, ""),
        ({"delay_seconds": 5, "zone": "Europe/Atlantis"}, "Europe/Atlantis"),
        ({"delay_seconds": 5, "zone": "\ud800"}, ""),
        ({"every_seconds": 60, "end_at": "2020-01-01T00:00"}, "has passed"),
        ({"every_seconds": 1e6, "end_at": "2027-01-16"}, "no time is left for it"),
        ({"every_seconds": 60, "count": 0}, "count must be 1 to 10,000"),
        ({"every_seconds": 60, "count": 10**30}, "count must be 1 to 10,000"),
        ({"delay_seconds": 5, "count": 2}, "it comes only once"),
        ({"delay_seconds": 1e7, "end_at": "2027-01-16"}, "it comes only once"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(
    db: sqlite3.Connection, wish: dict[str, Any], words: str
) -> None:
    """With what is wrong about it, and what would not be."""
    assert words in refusal(db, **wish)


def test_the_least_between_two_runs_is_the_owner_s_to_say(db: sqlite3.Connection) -> None:
    """Of intervals and of cron alike; a prompt that comes once is not held up by it."""
    slow = evolve(LIMITS, shortest=2 * HOUR)
    assert "7200 is the least" in refusal(db, slow, every_seconds=HOUR)
    assert "every 3600 seconds" in refusal(db, slow, cron="0 * * * *")
    assert book(db, WEEKDAYS, slow).next_at is not None
    assert book(db, ONCE, slow).next_at == NOON + 5


def test_what_comes_once_needs_no_end(db: sqlite3.Connection) -> None:
    """One that does not contradict it is no matter."""
    wish = evolve(ONCE, count=1, end_at="2028-01-01")
    assert book(db, wish).plan.recurrence == Recurrence(Once(NOON + 5))


def test_an_end_is_kept(db: sqlite3.Connection) -> None:
    wish = Appointment(prompt="x", every_seconds=HOUR, end_at="2027-02-01T18:00", count=3)
    assert book(db, wish).plan.recurrence == Recurrence(Interval(HOUR, NOON), 1_801_501_200.0, 3)


# --- What else ---


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "x" * 8001}, "longer than 8,000 characters"),
        ({"missed": "never"}, "missed must be one of skip, once, all"),
        ({"model": "huge"}, "there is no model 'huge'; there are: small, large"),
        ({"tools": tuple(map(str, range(101)))}, "tools names more than 100"),
        ({"max_tokens": -1}, "max_tokens must be 0 (as configured) to"),
        ({"max_tokens": 10**30}, "max_tokens must be 0 (as configured) to"),
    ],
)
def test_the_rest_is_checked_too(db: sqlite3.Connection, wish: dict[str, Any], words: str) -> None:
    assert words in refusal(db, delay_seconds=5, **wish)


def test_where_no_model_is_to_be_chosen_none_can_be(db: sqlite3.Connection) -> None:
    refused = refusal(db, evolve(LIMITS, models=()), delay_seconds=5, model="small")
    assert "none to choose from" in refused


def test_a_prompt_that_cannot_be_seen_has_a_name(db: sqlite3.Connection) -> None:
    assert book(db, evolve(ONCE, prompt="\u200b")).plan.name == "scheduled prompt"


def test_all_else_is_as_wished(db: sqlite3.Connection) -> None:
    """An empty list of tools is none, and so is an empty name."""
    wish = evolve(
        ONCE, name=" ", missed="all", silent=True, model="large", tools=("bash",), max_tokens=9
    )
    plan = book(db, wish).plan
    assert (plan.missed, plan.silent, plan.model) == ("all", True, "large")
    assert (plan.name, plan.tools, plan.tokens) == ("tell me to stretch", ("bash",), 9)
    assert book(db, evolve(ONCE, tools=(), model="")).plan.tools is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  two\nwords ", "two words"),
        ("x" * 61, "x" * 59 + "…"),
        ("a\u202eb\u200bc", "abc"),
        ("\u200b", "tell me to stretch"),
        ("half \ud800", "half"),
    ],
)
def test_a_name_is_one_line_in_which_nothing_hides(
    db: sqlite3.Connection, name: str, shown: str
) -> None:
    """It stands before the answers of the job, and in lists."""
    assert book(db, evolve(ONCE, name=name)).plan.name == shown


# --- Who ---


def test_a_person_has_so_many_and_no_more(db: sqlite3.Connection) -> None:
    """Wherever they are; what has ended does not count, nor do other people's."""
    few = evolve(LIMITS, per_person=2)
    first = book(db, ONCE, few)
    booking.book(db, asker(db, GROUP), ONCE, few, NOON)
    assert "there are 2 scheduled prompts of this person" in refusal(db, few, delay_seconds=5)
    booking.book(db, asker(db, GROUP, "2"), ONCE, few, NOON)
    assert change(db, first, name="still to be changed").plan.name == "still to be changed"
    booking.call_off(db, first, "cancelled", NOON)
    assert book(db, ONCE, few).state == "active"


@pytest.mark.parametrize("role", [roles.GUEST, "emperor"])
def test_guests_book_nothing(db: sqlite3.Connection, role: str) -> None:
    """Nor does an unknown role, or nobody; not even what was theirs before can be changed."""
    job = book(db)
    for wish in (ONCE, Appointment(job=job.ref, name="mine")):
        with pytest.raises(NotBooked, match="guests may not"):
            booking.book(db, asker(db, role=role), wish, LIMITS, NOON)
    with pytest.raises(NotBooked, match="guests may not"):
        booking.book(db, evolve(asker(db), user_id=""), ONCE, LIMITS, NOON)


def test_each_sees_their_own_of_the_chat_and_the_owner_all(db: sqlite3.Connection) -> None:
    """Topics are one chat; another chat's are nobody's here, whoever asks."""
    ours = booking.book(db, asker(db, GROUP, "2"), ONCE, LIMITS, NOON)
    theirs = booking.book(db, asker(db, TOPIC, "3"), WEEKDAYS, LIMITS, NOON)
    apart = booking.book(db, asker(db, ELSEWHERE, "2"), ONCE, LIMITS, NOON)

    def seen(who: Asker) -> set[str]:
        listed = {each.ref for each in booking.visible(db, who)}
        found = set()
        for job in (ours, theirs, apart):
            try:
                found.add(booking.named(db, who, f" {job.ref.upper()} ").ref)
            except NotBooked as refused:
                assert "there is no scheduled prompt" in str(refused)
        assert found == listed
        return found

    assert seen(asker(db, GROUP, "2")) == seen(asker(db, TOPIC, "2")) == {ours.ref}
    assert seen(asker(db, GROUP, "3")) == {theirs.ref}
    assert seen(asker(db, GROUP, "1", roles.OWNER)) == {ours.ref, theirs.ref}
    assert seen(asker(db, ELSEWHERE, "1", roles.OWNER)) == {apart.ref}
    assert seen(asker(db, HERE, "2")) == set()


def test_the_console_finds_every_one_by_its_id(db: sqlite3.Connection) -> None:
    """But none by its name, which may be anybody's."""
    job = booking.book(db, asker(db, GROUP, "2"), ONCE, LIMITS, NOON)
    console = evolve(asker(db, HERE), everywhere=True)
    assert booking.named(db, console, job.ref) == job
    with pytest.raises(NotBooked):
        booking.named(db, console, job.plan.name)


def test_a_name_that_only_one_has_is_as_good_as_an_id(db: sqlite3.Connection) -> None:
    """In whatever case. Where several have it, their ids are told; ended ones have none."""
    stretch = book(db, evolve(ONCE, name="Stretch"))
    assert booking.named(db, asker(db), "stretch ") == stretch
    with pytest.raises(NotBooked, match="there is no scheduled prompt"):
        booking.named(db, asker(db, HERE, "2"), "stretch")
    again = book(db, evolve(ONCE, name="stretch"))
    with pytest.raises(NotBooked, match=rf"say which id: {stretch.ref}, {again.ref}"):
        booking.named(db, asker(db), "stretch")
    booking.call_off(db, stretch, "cancelled", NOON)
    assert booking.named(db, asker(db), "STRETCH") == again
    with pytest.raises(NotBooked):
        booking.named(db, asker(db), "\ud800")


def test_what_is_not_in_sight_cannot_be_changed(db: sqlite3.Connection) -> None:
    job = book(db)
    wish = Appointment(job=job.ref, prompt="pay me")
    with pytest.raises(NotBooked, match="there is no scheduled prompt"):
        booking.book(db, asker(db, HERE, "2"), wish, LIMITS, NOON)
    assert jobs.get(db, job.id) == job


def test_a_changed_job_may_do_no_more_than_who_changed_it(db: sqlite3.Connection) -> None:
    """A turn in which others have spoken has less of a role than its person; it keeps it."""
    mine = booking.book(db, asker(db, role=roles.OWNER), ONCE, LIMITS, NOON)
    assert mine.whose.role == roles.OWNER
    assert change(db, mine, prompt="what they said").whose.role == roles.USER
    again = Appointment(job=mine.ref, prompt="mine")
    owner = booking.book(db, asker(db, role=roles.OWNER), again, LIMITS, NOON)
    assert owner.whose.role == roles.USER


# --- Changes ---


def test_what_is_none_stays(db: sqlite3.Connection) -> None:
    """All of it, and when it comes next, and how often it has come."""
    wish = Appointment(
        prompt="news",
        name="press",
        cron="0 9 * * 1-5",
        zone="Asia/Tokyo",
        end_at="2028-01-01",
        count=9,
        missed="all",
        silent=True,
        model="small",
        tools=("web_search",),
        max_tokens=7,
    )
    job = book(db, wish)
    jobs.passed(db, job.id, 3, (job.next_at or 0) + 5, NOON)
    before = jobs.get(db, job.id)
    assert change(db, job) == before
    renamed = change(db, job, name="papers", silent=False)
    assert renamed == evolve(before, plan=evolve(before.plan, name="papers", silent=False))
    assert change(db, job, model="", tools=(), max_tokens=0).plan.tools is None


def test_another_time_counts_anew(db: sqlite3.Connection) -> None:
    """What becomes of missed runs is for its kind of time, unless that is said."""
    job = book(db, Appointment(prompt="x", every_seconds=HOUR, count=3))
    jobs.passed(db, job.id, 2, NOON + 3 * HOUR, NOON)
    weekly = change(db, job, cron="0 9 * * 1")
    assert (weekly.begun, weekly.plan.missed) == (0, "once")
    assert (weekly.plan.recurrence.count, weekly.plan.zone) == (3, "Europe/Berlin")
    kept = change(db, job, cron="0 9 * * 2", missed="skip")
    assert change(db, kept, cron="0 9 * * 3").plan.missed == "skip"
    once = change(db, job, delay_seconds=5)
    assert once.plan.recurrence == Recurrence(Once(NOON + 5))


def test_another_zone_moves_what_is_by_the_clock_there(db: sqlite3.Connection) -> None:
    """Nine o'clock is nine there; an instant that was named stays, and is told in its time."""
    moved = change(db, book(db, WEEKDAYS), zone="Asia/Tokyo")
    assert moved.plan.recurrence.rule == Cron("0 9 * * 1-5", "Asia/Tokyo")
    assert "09:00" in telling.coming(moved)[0]
    once = change(db, book(db), zone="Asia/Tokyo")
    assert (once.next_at, once.plan.zone) == (NOON + 5, "Asia/Tokyo")


def test_a_limit_that_came_later_hinders_no_other_change(db: sqlite3.Connection) -> None:
    """A job from before it may be renamed, but its time not be changed to such another."""
    job = book(db, Appointment(prompt="x", every_seconds=60))
    slow = evolve(LIMITS, shortest=HOUR)
    wish = Appointment(job=job.ref, name="y")
    assert booking.book(db, asker(db), wish, slow, NOON).plan.name == "y"
    with pytest.raises(NotBooked, match="3600 is the least"):
        booking.book(db, asker(db), evolve(wish, every_seconds=61), slow, NOON)


def test_what_is_wrong_with_a_change_changes_nothing(db: sqlite3.Connection) -> None:
    job = book(db)
    assert "in one way" in refusal(db, job=job.ref, cron="0 9 * * *", delay_seconds=5)
    assert "there is no model" in refusal(db, job=job.ref, model="huge")
    assert "say when" not in refusal(db, job=job.ref, every_seconds=1)


def test_what_has_ended_is_not_changed(db: sqlite3.Connection) -> None:
    """It says why it has ended; a new one is to be made."""
    job = book(db)
    booking.call_off(db, job, "cancelled by Ada", NOON)
    assert "has ended (cancelled by Ada); make a new one" in refusal(db, job=job.ref, name="x")


# --- What else may be done ---


def test_a_paused_one_goes_on_from_now(db: sqlite3.Connection) -> None:
    """What came meanwhile is not made up for; who is not paused is not changed by going on."""
    job = add(db, HOURLY, NOON)
    paused = booking.pause(db, job, "by Ada", NOON - 1)
    assert (paused.state, paused.why, paused.next_at) == ("paused", "by Ada", NOON)
    active = booking.resume(db, paused, NOON + 5 * HOUR + 1)
    assert (active.state, active.why, active.next_at) == ("active", "", NOON + 6 * HOUR)
    assert booking.resume(db, active, NOON + 9 * HOUR) == active


def test_a_paused_one_that_comes_once_comes_late(db: sqlite3.Connection) -> None:
    """It was to be done, and is."""
    paused = booking.pause(db, add(db), "paused", NOON - 1)
    assert booking.resume(db, paused, NOON + HOUR).next_at == NOON


def test_a_paused_one_may_be_changed_and_stays_paused(db: sqlite3.Connection) -> None:
    paused = booking.pause(db, book(db), "by Ada", NOON)
    changed = change(db, paused, delay_seconds=HOUR)
    assert (changed.state, changed.why, changed.next_at) == ("paused", "by Ada", NOON + HOUR)


def test_what_waits_for_nothing_cannot_be_paused(db: sqlite3.Connection) -> None:
    """It could never go on: it is said how to end it, and its tries are left to it."""
    job = add(db)
    jobs.passed(db, job.id, 1, None, NOON)
    with pytest.raises(NotBooked, match="'stretch' has no time left to wait for; delete it"):
        booking.pause(db, jobs.get(db, job.id), "by Ada", NOON)
    assert jobs.get(db, job.id).state == "active"


def test_what_has_no_time_left_does_not_go_on(db: sqlite3.Connection) -> None:
    plan = evolve(HOURLY, recurrence=Recurrence(Interval(HOUR, NOON - HOUR), NOON + HOUR))
    paused = booking.pause(db, add(db, plan), "paused", NOON)
    with pytest.raises(NotBooked, match="no time is left for 'stretch'; give it a new one"):
        booking.resume(db, paused, NOON + 9 * HOUR)


@pytest.mark.parametrize("act", [booking.resume, booking.run_now])
def test_nothing_is_done_with_what_has_ended(db: sqlite3.Connection, act: Any) -> None:
    job = book(db)
    booking.call_off(db, job, "cancelled", NOON)
    with pytest.raises(NotBooked, match="has ended"):
        act(db, jobs.get(db, job.id), NOON)
    with pytest.raises(NotBooked, match="has ended"):
        booking.pause(db, jobs.get(db, job.id), "paused", NOON)


def running(db: sqlite3.Connection, job: Job) -> int:
    """A run of the job that goes on."""
    occurrence = occurrences.begin(db, job, Arrival(NOON), NOON)
    assert occurrence is not None
    return occurrences.begin_turn(db, job, occurrence, "x", NOON).id


def test_calling_off_lets_what_runs_go_on(db: sqlite3.Connection) -> None:
    """It may be the run that asks; but nothing that has failed is tried again."""
    job = add(db, HOURLY)
    running(db, job)
    failed = occurrences.begin(db, job, Arrival(NOON + HOUR), NOON)
    assert failed is not None
    occurrences.retry(db, failed, NOON + 60, "it broke")
    booking.call_off(db, job, "cancelled by Ada", NOON)
    ended = jobs.get(db, job.id)
    assert (ended.state, ended.why, ended.next_at) == ("ended", "cancelled by Ada", None)
    assert occurrences.open_runs(db, job.id) == 1
    assert occurrences.retry_at(db) is None
    booking.call_off(db, ended, "again", NOON)
    assert jobs.get(db, job.id).why == "cancelled by Ada"


def test_cancelling_ends_what_runs(db: sqlite3.Connection) -> None:
    """And keeps the history."""
    job = add(db, HOURLY)
    turn = running(db, job)
    dropped, freed = booking.cancel(db, job, "cancelled", NOON)
    assert (dropped, freed) == ((turn,), ())
    assert occurrences.open_turns(db, job.id) == []
    assert len(occurrences.history(db, job.id, 9)) == 1


def test_deleting_forgets(db: sqlite3.Connection) -> None:
    """The job and its history; what ran of it is ended, and stays as a turn."""
    job = add(db, HOURLY)
    turn = running(db, job)
    assert booking.delete(db, job, NOON) == ((turn,), ())
    assert jobs.find(db, job.ref) is None
    assert occurrences.history(db, job.id, 9) == []


def test_one_is_run_now_beside_its_times(db: sqlite3.Connection) -> None:
    """One that is paused, too; but not while it runs, and not twice at one instant."""
    job = booking.pause(db, add(db, HOURLY), "paused", NOON - 9)
    turn = booking.run_now(db, job, NOON - 5)
    assert turn.cause == "schedule"
    with pytest.raises(NotBooked, match="'stretch' is running already"):
        booking.run_now(db, job, NOON - 4)
    end_turn(db, turn.id, "answered", "done", NOON - 4)
    with pytest.raises(NotBooked, match="begun this very moment"):
        booking.run_now(db, job, NOON - 5)
    (one,) = occurrences.history(db, job.id, 9)
    assert (one.by_hand, one.instant) == (True, NOON - 5)
    assert jobs.get(db, job.id).next_at == NOON


# --- Whatever a model writes ---

WORDS = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of characters, too
TEXTS = st.none() | WORDS
WISHES = st.builds(
    Appointment,
    prompt=WORDS,
    name=TEXTS,
    run_at=TEXTS | st.datetimes().map(str),
    delay_seconds=st.none() | st.floats(),
    every_seconds=st.none() | st.floats(),
    cron=TEXTS | st.from_regex(r"([0-9*/,-]{1,4} ){4}[0-9*/,L#-]{1,4}", fullmatch=True),
    zone=TEXTS | st.sampled_from(["Europe/Berlin", "America/New_York", "../etc/passwd"]),
    end_at=TEXTS | st.datetimes().map(str),
    count=st.none() | st.integers(),
    missed=TEXTS | st.sampled_from(booking.MISSED),
    silent=st.none() | st.booleans(),
    model=TEXTS | st.just("small"),
    tools=st.none() | st.tuples(WORDS),
    max_tokens=st.none() | st.integers(),
)


def only(wish: Appointment, way: str) -> Appointment:
    """With one way to say when, so that not nearly all wishes are refused for that."""
    return evolve(wish, **dict.fromkeys(set(booking.WAYS) - {way}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(WISHES, st.sampled_from(booking.WAYS))
def test_any_wish_is_booked_or_refused(db: sqlite3.Connection, wish: Appointment, way: str) -> None:
    """Nothing else is raised; what is booked comes some time, is in its row, and can be told."""
    try:
        job = book(db, only(wish, way))
    except NotBooked as refused:
        assert str(refused)
        return
    assert job.next_at is not None
    assert job.next_at >= NOON - booking.JUST_NOW
    assert jobs.get(db, job.id) == job
    assert telling.booked(job, changed=False)
    assert telling.listed(job)
    booking.delete(db, job, NOON)
