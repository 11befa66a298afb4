"""What a model books, moves and ends in a conversation, through the real tools and the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from agent.sizes import Sizes
from daemon.demo.brain import respond
from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall
from daemon.schedule.deciding import Arrival
from daemon.store import jobs, occurrences, people
from daemon.store.db import Database, open_database
from daemon.store.jobs import Job
from tests.daemon.chat.conversations import Conversation, conversation


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@pytest.fixture
async def talk(database: Database) -> AsyncIterator[Conversation]:
    """A conversation with the offline model."""
    async with conversation(database, Sizes(), respond) as found, found.going_on():
        yield found


async def all_jobs(talk: Conversation) -> list[Job]:
    def read(db: sqlite3.Connection) -> list[Job]:
        rows = db.execute("SELECT id FROM jobs ORDER BY id").fetchall()
        return [jobs.get(db, row[0]) for row in rows]

    return await talk.database.read(read)


async def result(talk: Conversation) -> str:
    """What the model was told last of a call."""
    sql = "SELECT content FROM messages WHERE role = 'tool' ORDER BY id DESC LIMIT 1"
    return str(await talk.value(sql))


async def begin_run(talk: Conversation) -> None:
    """Let the first job run, and not come to an end."""
    (job, *_) = await all_jobs(talk)

    def begin(db: sqlite3.Connection) -> None:
        occurrence = occurrences.begin(db, job, Arrival(1.0), 1.0)
        assert occurrence is not None
        occurrences.begin_turn(db, job, occurrence, "x", 1.0)

    await talk.database.write(begin)


async def test_a_booking_is_made_with_its_result_and_told(talk: Conversation) -> None:
    """The model has its id and times, the chat its name and times, before the answer."""
    await talk.say("remind me in 90 minutes to stretch")
    (job,) = await all_jobs(talk)
    person = await talk.value("SELECT id FROM users")
    session = await talk.value("SELECT id FROM sessions")
    assert (job.whose.session_id, job.whose.user_id, job.whose.role) == (session, person, "user")
    assert (await result(talk)).startswith(f"scheduled: id {job.ref}, once")
    told, answered = await talk.texts()
    assert told.startswith("Scheduled: stretch\n")
    assert answered == f"I will. (Its id is {job.ref}.)"


async def test_times_are_in_the_zone_that_the_person_has_chosen(talk: Conversation) -> None:
    """From the next message on; one that is named counts more."""
    await talk.say("hello")
    person = await talk.value("SELECT id FROM users")
    await talk.database.write(people.set_zone, person, "Asia/Tokyo")
    await talk.say("remind me every day at 9 to stretch")
    await talk.say("remind me every day at 9 in Berlin to stretch")
    assert [job.plan.zone for job in await all_jobs(talk)] == ["Asia/Tokyo", "Europe/Berlin"]


async def test_a_refusal_is_the_result_and_nobody_is_told(talk: Conversation) -> None:
    """But by the model, which is told what to do differently."""
    await talk.say("every 5 seconds: look")
    assert await all_jobs(talk) == []
    assert (await result(talk)).startswith("Error: that is every 5 seconds; 60 is the least")
    failed = "SELECT failed FROM tool_calls"
    assert await talk.value(failed) == 1
    assert [text[:19] for text in await talk.texts()] == ["That did not work. "]


async def test_one_is_moved_and_told_so(talk: Conversation) -> None:
    await talk.say("remind me in 90 minutes to stretch")
    (before,) = await all_jobs(talk)
    await talk.say("move the reminder stretch to every weekday at 9 in Berlin")
    (after,) = await all_jobs(talk)
    assert (after.ref, after.plan.prompt) == (before.ref, before.plan.prompt)
    assert after.plan.zone == "Europe/Berlin"
    assert (await talk.texts())[-2].startswith("Changed: stretch\n")


async def test_one_is_cancelled_once(talk: Conversation) -> None:
    """Its row stays, with who has ended it; by its id it can be said that it has ended."""
    await talk.say("remind me in 90 minutes to stretch")
    await talk.say("cancel the reminder stretch")
    (job,) = await all_jobs(talk)
    assert (job.state, job.next_at) == ("ended", None)
    assert (await result(talk)).startswith(f"cancelled: stretch (id {job.ref})")
    await talk.say(f"cancel the reminder {job.ref}")
    assert "'stretch' has ended already (cancelled by the assistant)" in await result(talk)


async def test_one_is_forgotten_once_nothing_of_it_runs(talk: Conversation) -> None:
    """A run goes on under the rules of its job, so these stay as long as it does."""
    await talk.say("remind me in 90 minutes to stretch")
    await begin_run(talk)
    await talk.say("delete the reminder stretch")
    assert "'stretch' is running; cancel it" in await result(talk)
    (job,) = await all_jobs(talk)
    await talk.say("cancel the reminder stretch")
    assert await talk.database.read(occurrences.open_runs, job.id) == 1
    await talk.database.write(lambda db: db.execute("UPDATE turns SET state = 'ended'") and None)
    await talk.say(f"delete the reminder {job.ref}")
    assert await result(talk) == f"deleted, with its history: stretch (id {job.ref})"
    assert await all_jobs(talk) == []


def twice(request: ChatRequest) -> Item:
    """Books two at once, and is done."""
    if request.messages[-1]["role"] != "user":
        return Reply("done")
    wishes: list[dict[str, object]] = [{"prompt": each, "delay_seconds": 60} for each in "ab"]
    return Reply(calls=tuple(ToolCall("schedule_prompt", wish) for wish in wishes))


async def test_each_of_several_calls_books_once(database: Database) -> None:
    """In the order in which they were asked for."""
    async with conversation(database, Sizes(), twice) as talk, talk.going_on():
        await talk.say("both")
        assert [job.plan.prompt for job in await all_jobs(talk)] == ["a", "b"]
        assert [text.split("\n")[0] for text in await talk.texts()] == [
            "Scheduled: a",
            "Scheduled: b",
            "done",
        ]


async def test_the_scheduler_is_told(talk: Conversation) -> None:
    """Of what was booked, and of what was ended."""
    woken: list[str] = []
    wakes = evolve(talk.runner.wakes, schedule=lambda: woken.append("again"))
    talk.lanes.run_turn = evolve(talk.runner, wakes=wakes).run
    await talk.say("remind me in 90 minutes to stretch")
    await talk.say("cancel the reminder stretch")
    await talk.say("what is scheduled?")
    assert woken == ["again"] * 2
