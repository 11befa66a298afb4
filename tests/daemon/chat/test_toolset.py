"""Which tools a turn is offered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from agent import activity
from agent.parts import Takes
from agent.ports import Appointment, ToolOutcome
from agent.specialists import Specialist
from agent.tools import schedule
from agent.tools.view import NO_PICTURES
from agent.transcript import CallRequest
from daemon.chat import roles
from daemon.chat.toolset import Scope, Toolset
from daemon.shelf import Holding, Shelf
from daemon.store.db import Database, open_database
from daemon.store.values import Address, Place
from executor.client import ExecutorClient

HERE = Address(Place("telegram", "42", "1"), "agent", None, "ref", "", 0.0)
SCOPE = Scope(HERE, "talk", 1)
FILE_TOOLS = {
    "read_file",
    "write_file",
    "edit_file",
    "list_dir",
    "glob",
    "grep",
    "apply_patch",
    "send_file",
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


class Deaf:
    """Hears nothing."""

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str:
        raise NotImplementedError


class Mute:
    """Says nothing."""

    async def speak(self, text: str) -> bytes:
        raise NotImplementedError


def schemas(toolset: Toolset) -> list[dict[str, object]]:
    return [each["function"] for each in toolset.registry(SCOPE).schemas()]


async def test_tools_for_recordings_are_offered_where_something_hears(database: Database) -> None:
    """Those for files in any case: without an executor they say why they cannot."""
    toolset = Toolset(ExecutorClient("/nowhere"), database)
    names = {each["name"] for each in schemas(toolset)}
    assert names >= FILE_TOOLS
    hearing = {each["name"] for each in schemas(evolve(toolset, transcriber=Deaf()))}
    assert hearing - names == {"transcribe_audio"}
    speaking = {each["name"] for each in schemas(evolve(toolset, speaker=Mute()))}
    assert speaking - names == {"speak"}


async def test_each_tool_has_a_description_of_its_own(database: Database) -> None:
    """However its function is wrapped."""
    told = [json.dumps(each["description"]) for each in schemas(_all(database))]
    assert len(set(told)) == len(told)


async def test_calls_that_touch_files_wait_for_each_other(database: Database) -> None:
    """So that a read sees what the write before it has written; and what jobs have, too."""
    registry = _all(database).registry(SCOPE)
    queues = {registry.queue(name) for name in (*FILE_TOOLS, "transcribe_audio", "bash")}
    assert len(queues) == 1
    assert queues != {""}


async def test_a_specialist_looks_with_the_eyes_of_its_own_model(database: Database) -> None:
    """Whether the configured one sees is no matter then, either way."""
    holding = Holding(
        specialists={
            "painter": Specialist("painter", "Looks.", "Look.", model="seeing"),
            "scribe": Specialist("scribe", "Writes.", "Write."),
        }
    )
    toolset = Toolset(
        ExecutorClient("/nowhere"),
        database,
        shelf=Shelf(holding=holding),
        sees=lambda model: Takes(images=model == "seeing"),
    )
    look = CallRequest("c", "view_file", '{"path": "plot.png"}')
    told = {
        name: (await toolset.registry(evolve(SCOPE, specialist=name)).run(look)).text
        for name in ("painter", "scribe", "")
    }
    assert NO_PICTURES not in told["painter"], "it went as far as the executor, which is not there"
    assert NO_PICTURES in told["scribe"]
    assert NO_PICTURES in told[""]


async def test_who_can_be_asked_is_asked_by_the_conversation_alone(database: Database) -> None:
    """Neither by a turn that nobody waits for, nor by a helper in the background."""
    toolset = Toolset(ExecutorClient("/nowhere"), database)
    causes = ("update", "console", "schedule", "heartbeat", "child")
    asking = [
        cause
        for cause in causes
        for each in toolset.registry(evolve(SCOPE, cause=cause)).schemas()
        if each["function"]["name"] == "ask_user"
    ]
    assert asking == ["update", "console"]


async def test_only_a_conversation_schedules(database: Database) -> None:
    """What nobody waits for may look, and end; a helper has nothing to do with it; nor a guest."""
    toolset = Toolset(ExecutorClient("/nowhere"), database)

    def offered(scope: Scope) -> set[str]:
        names = {each["function"]["name"] for each in toolset.registry(scope).schemas()}
        return names & set(schedule.NAMES)

    for cause in ("update", "console"):
        assert offered(evolve(SCOPE, cause=cause)) == set(schedule.NAMES)
        assert offered(evolve(SCOPE, cause=cause, role=roles.GUEST)) == set()
    for cause in ("schedule", "heartbeat"):
        assert offered(evolve(SCOPE, cause=cause)) == set(schedule.NAMES[1:])
    assert offered(evolve(SCOPE, cause="child")) == set()


async def test_a_run_can_be_given_any_tool_that_it_will_be_offered(database: Database) -> None:
    """And no other, such as one that asks a person."""
    toolset = Toolset(ExecutorClient("/nowhere"), database)
    schemas = toolset.registry(evolve(SCOPE, cause="schedule")).schemas()
    names = [each["function"]["name"] for each in schemas]

    async def book(tools: list[str]) -> ToolOutcome:
        arguments = json.dumps({"prompt": "x", "delay_seconds": 5, "tools": tools})
        return await toolset.registry(SCOPE).run(CallRequest("c", "schedule_prompt", arguments))

    booked = (await book(names)).booking
    assert isinstance(booked, Appointment)
    assert booked.tools == tuple(names)
    for name in ("ask_user", "schedule_prompt"):
        assert f"a run has no tool {name!r}" in (await book([name])).text


def _all(database: Database) -> Toolset:
    return Toolset(ExecutorClient("/nowhere"), database, transcriber=Deaf())


async def test_every_tool_has_words_for_what_it_does(database: Database) -> None:
    """Who waits is told what is done, and no tool's bare name."""
    toolset = Toolset(ExecutorClient("/nowhere"), database, transcriber=Deaf())
    assert {str(each["name"]) for each in schemas(toolset)} <= activity.LINES.keys()
