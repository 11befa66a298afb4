"""What a turn's model is told of the scheduled prompts of its chat, on a real database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from agent.transcript import CallRequest
from daemon.chat import records, roles
from daemon.chat.toolset import Scope, Toolset
from daemon.store import jobs, journal, people, turns
from daemon.store.db import Database, open_database
from daemon.store.jobs import Whose
from daemon.store.values import Place
from executor.client import ExecutorClient
from tests.daemon.schedule.jobs_of import NOON, PLAN

ALONE, GROUP = Place("telegram", "42", "1"), Place("telegram", "42", "-100")
TOPIC = Place("telegram", "42", "-100", "7")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


def _person(db: sqlite3.Connection, person: str) -> str:
    return people.ensure_user(db, "telegram", person, person, 1.0)


async def schedule(database: Database, name: str, place: Place, person: str) -> None:
    """A job of that name, in the chat and of the person."""

    def make(db: sqlite3.Connection) -> None:
        whose = Whose(people.ensure_session(db, place, 1.0), _person(db, person), roles.USER)
        jobs.create(db, whose, evolve(PLAN, name=name), NOON, 1.0)

    await database.write(make)


async def listed(
    database: Database, place: Place, person: str, role: str = roles.USER, cause: str = "update"
) -> list[str]:
    """What the model of a person's turn there is told, line by line."""

    def begin(db: sqlite3.Connection) -> Scope:
        session = people.ensure_session(db, place, 1.0)
        whose: dict[str, Any] = {"payer_id": _person(db, person), "role": role, "cause": cause}
        turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0, **whose)
        if cause == "schedule":
            db.execute(
                "INSERT INTO occurrences (job_id, instant, state, turn_id, created_at)"
                " SELECT min(id), 1, 'open', ?, 1 FROM jobs",
                (turn.id,),
            )
        return Scope.of(turn.id, journal.read_pages(db, turn.id))

    scope = await database.write(begin)
    tools = Toolset(ExecutorClient("/nowhere.sock"), database).registry(scope)
    outcome = await tools.run(CallRequest("x", "list_scheduled_prompts", "{}"))
    assert not outcome.failed
    return outcome.text.splitlines()


def names(lines: list[str]) -> list[str]:
    return [line.partition(": ")[2].partition(":")[0] for line in lines]


async def test_a_chat_without_any_says_so(database: Database) -> None:
    assert await listed(database, ALONE, "ada") == ["Nothing is scheduled here."]


async def test_a_line_has_all_that_the_model_needs(database: Database) -> None:
    """The id to name it by, when it comes, and what is to be done."""
    await schedule(database, "stretch", ALONE, "ada")
    (line,) = await listed(database, ALONE, "ada")
    (ref,) = (await database.read(lambda db: db.execute("SELECT ref FROM jobs").fetchone()))[:1]
    assert line.startswith(f"- id {ref}: stretch: once")
    assert "2027-01-15" in line
    assert line.endswith("(missed: once): tell me to stretch")


async def test_in_a_group_each_is_told_of_their_own(database: Database) -> None:
    """The bot's owner is told of everybody's, in all topics; what is of another chat, nobody is."""
    await schedule(database, "adas", GROUP, "ada")
    await schedule(database, "bens", TOPIC, "ben")
    await schedule(database, "alone", ALONE, "ada")
    assert names(await listed(database, GROUP, "ada")) == ["adas"]
    assert names(await listed(database, TOPIC, "ben")) == ["bens"]
    assert await listed(database, GROUP, "cleo") == ["Nothing is scheduled here."]
    assert names(await listed(database, GROUP, "cleo", roles.OWNER)) == ["adas", "bens"]
    assert names(await listed(database, ALONE, "ada")) == ["alone"]
    assert names(await listed(database, ALONE, "ada", roles.OWNER)) == ["alone"]


async def test_the_owner_is_one_of_many_where_others_speak_too(database: Database) -> None:
    """A turn in which somebody else has spoken has no owner's role, whoever pays for it."""
    await schedule(database, "bens", GROUP, "ben")
    owner = await database.write(_person, "olga")
    await database.write(people.set_role, owner, roles.OWNER)
    assert names(await listed(database, GROUP, "olga", roles.OWNER)) == ["bens"]
    assert await listed(database, GROUP, "olga", roles.USER) == ["Nothing is scheduled here."]


async def test_a_run_is_told_of_what_its_person_is(database: Database) -> None:
    """It may look at the schedule that it is a part of."""
    await schedule(database, "adas", GROUP, "ada")
    assert names(await listed(database, GROUP, "ada", cause="schedule")) == ["adas"]


async def test_a_long_list_says_that_it_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_SCHEDULED", 2)
    for name in ("a", "b"):
        await schedule(database, name, ALONE, "ada")
    assert names(await listed(database, ALONE, "ada")) == ["a", "b"]
    await schedule(database, "c", ALONE, "ada")
    *shown, more = await listed(database, ALONE, "ada")
    assert names(shown) == ["a", "b"]
    assert "There are more" in more
