"""Whose scheduled prompts one sees, and what a chat is told of one that was booked in it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from daemon.chat import appointments, tasks
from daemon.chat.appointments import confirmation
from daemon.schedule import booking, telling
from daemon.store import jobs, occurrences, outbox, turnrow
from daemon.store.db import open_database
from daemon.store.jobs import Job
from tests.daemon.chat.taskchats import (
    ADA,
    BOB,
    EVE,
    GROUP,
    GUS,
    NOW,
    OLGA,
    Chats,
    named,
)


@pytest.fixture
async def chats(tmp_path: Path) -> AsyncIterator[Chats]:
    async with open_database(tmp_path / "famulus.db") as database:
        yield Chats(database)


# --- Whose ---


async def test_in_a_group_each_sees_their_own_and_the_owner_all(chats: Chats) -> None:
    """The owner is told whose they are."""
    await chats.add(named("of Ada"), ADA, GROUP)
    await chats.add(named("of Eve"), EVE, GROUP)
    await chats.add(named("elsewhere"), ADA)
    text = await chats.say("/tasks", ADA, GROUP)
    assert "of Ada" in text
    assert "of Eve" not in text
    assert "elsewhere" not in text
    assert await chats.say("/tasks", BOB, GROUP) == tasks.NOTHING
    text = await chats.say("/tasks", OLGA, GROUP)
    assert text.startswith("Scheduled (2):")
    assert "(for P1)" in text
    assert "(for P3)" in text
    assert "elsewhere" not in text


async def test_nobody_names_the_job_of_another(chats: Chats) -> None:
    """It is as if it were not there; nor is one of another chat."""
    job = await chats.add(who=ADA, chat=GROUP)
    text = await chats.say(f"/tasks {job.ref}", BOB, GROUP)
    assert text.startswith("There is no scheduled prompt")
    assert (await chats.say(f"/tasks {job.ref}", ADA)).startswith("There is no scheduled prompt")
    assert (await chats.say(f"/tasks {job.ref}", OLGA)).startswith("There is no scheduled prompt")


async def test_nobody_presses_what_was_offered_to_another(chats: Chats) -> None:
    """Not even the owner; who asks gets buttons of their own."""
    job = await chats.add(who=ADA, chat=GROUP)
    await chats.say(f"/tasks {job.ref}", ADA, GROUP)
    for who in (BOB, OLGA):
        assert await chats.press("Pause", who, GROUP) == "This button is for somebody else."
    assert await chats.state(job) == "active"
    await chats.say(f"/tasks {job.ref}", OLGA, GROUP)
    assert await chats.press("Pause", OLGA, GROUP) == "It is paused."
    assert "by P9." in (await chats.page())[0]


async def test_the_owner_runs_the_job_of_another_as_theirs(chats: Chats) -> None:
    """With their role, and at their cost."""
    job = await chats.add(who=EVE, chat=GROUP)
    await chats.say(f"/tasks {job.ref}", OLGA, GROUP)
    await chats.press("Run now", OLGA, GROUP)
    (turn,) = await chats.do(lambda db: occurrences.open_turns(db, job.id))
    payer, role = await chats.do(
        lambda db: db.execute("SELECT payer_id, role FROM turns WHERE id = ?", (turn,)).fetchone()
    )
    assert (payer, role) == (job.whose.user_id, "user")


async def test_guests_are_not_offered_it(chats: Chats) -> None:
    """Nor do the buttons work that somebody has kept who was made a guest."""
    assert await chats.say("/tasks", GUS) == "/tasks is not for guests."
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    chats.allow(users=frozenset({BOB}), guests=frozenset({ADA}))
    assert await chats.press("Run now") == "This button is not for guests."
    assert await chats.state(job) == "active"
    assert await chats.do(lambda db: occurrences.open_turns(db, job.id)) == []


async def test_who_was_the_owner_sees_no_more_than_their_own(chats: Chats) -> None:
    """The role counts that they have when they press."""
    job = await chats.add(who=ADA, chat=GROUP)
    await chats.say(f"/tasks {job.ref}", OLGA, GROUP)
    chats.router.access = evolve(chats.router.access, owner=None, users=frozenset({ADA, OLGA}))
    assert await chats.press("Pause", OLGA, GROUP) == tasks.GONE
    assert await chats.state(job) == "active"


# --- What is said of one that was booked ---


async def confirm(chats: Chats, job: Job, *, changed: bool = False) -> str:
    def queue(db: sqlite3.Connection) -> None:
        place = jobs.place_of(db, job)
        draft = confirmation(db, place, job.whose.user_id, job, time.time(), changed=changed)
        outbox.enqueue(db, place, [draft], NOW)

    await chats.do(queue)
    return (await chats.page())[0]


@pytest.mark.parametrize("changed", [True, False])
async def test_what_was_booked_is_confirmed_with_its_next_times(
    chats: Chats, *, changed: bool
) -> None:
    """And with buttons for whose it is."""
    job = await chats.add()
    assert await confirm(chats, job, changed=changed) == telling.booked(job, changed=changed)
    assert await chats.labels() == [["Cancel it", "Show"]]


async def test_what_was_booked_is_cancelled_where_that_was_said(chats: Chats) -> None:
    """The message says so from then on, and what runs is ended."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    await chats.press("Run now")
    (turn,) = await chats.do(lambda db: occurrences.open_turns(db, job.id))
    await confirm(chats, job)
    before = chats.scheduled
    assert await chats.press("Cancel it") == "Cancelled."
    edit = (await chats.sent("editMessageText"))[-1]
    assert edit["message_id"] == 5
    assert edit["text"] == f"Cancelled: stretch\n{telling.rule(job)}\nIt is not run again."
    assert edit.get("reply_markup") is None
    assert chats.scheduled == before + 1
    ended = await chats.job(job)
    assert (ended.state, ended.why) == ("ended", "cancelled by P1")
    assert (await chats.do(lambda db: turnrow.get(db, turn))).state == "ended"


async def test_what_was_booked_is_shown_with_all_that_can_be_done(chats: Chats) -> None:
    job = await chats.add()
    await confirm(chats, job)
    await chats.press("Show")
    assert (await chats.labels())[0] == ["Run now", "Pause", "Delete"]


async def test_what_has_ended_is_not_cancelled(chats: Chats) -> None:
    """Why it has ended stays."""
    job = await chats.add()
    await confirm(chats, job)
    await chats.do(lambda db: booking.call_off(db, job, "done", NOW))
    assert await chats.press("Cancel it") == "It has ended already (done)."
    assert (await chats.job(job)).why == "done"


async def test_a_confirmation_is_its_persons(chats: Chats) -> None:
    """In a group others read it, too."""
    job = await chats.add(who=ADA, chat=GROUP)
    await confirm(chats, job)
    assert await chats.press("Cancel it", BOB, GROUP) == "This button is for somebody else."
    assert await chats.state(job) == "active"
    assert await chats.press("Cancel it", ADA, GROUP) == "Cancelled."


async def test_a_job_that_is_gone_is_not_cancelled(chats: Chats) -> None:
    job = await chats.add()
    await confirm(chats, job)
    await chats.do(lambda db: booking.delete(db, job, NOW))
    assert await chats.press("Cancel it") == tasks.GONE
    assert (await chats.page())[0] == tasks.NOTHING


# --- Zones ---


async def test_jobs_keep_the_zone_that_they_were_made_in(chats: Chats) -> None:
    """Which is said when the zone of their person changes, if they have another."""
    kept = "keeps the zone that it was scheduled in"
    assert kept not in await chats.say("/settings zone Asia/Tokyo")
    job = await chats.add()
    text = await chats.say("/settings zone Asia/Tokyo")
    assert text.startswith("Your times are told in Asia/Tokyo")
    assert kept in text
    assert kept not in await chats.say("/settings zone Europe/Berlin")
    assert kept in await chats.say("/settings zone default")
    assert kept not in await chats.say("/settings zone Asia/Tokyo", BOB)
    assert (await chats.job(job)).plan.zone == "Europe/Berlin"


def test_every_way_to_make_up_for_missed_runs_has_words() -> None:
    """A job's page names it."""
    assert appointments.MISSED.keys() == set(booking.MISSED)
