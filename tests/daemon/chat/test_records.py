"""The tools over a chat's records, in turns of their own, on a real database."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.ports import ToolOutcome
from agent.tools.registry import Registry
from agent.transcript import CallRequest
from daemon.chat import records
from daemon.chat.toolset import Scope, Toolset
from daemon.demo.chatrules import check_request
from daemon.store import journal, notes, people, turns
from daemon.store.db import Database, open_database
from daemon.store.values import Place
from executor.client import ExecutorClient

HERE = Place("telegram", "42", "1")
TOPIC = Place("telegram", "42", "1", "7")
THERE = Place("telegram", "42", "2")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def turn_in(database: Database, place: Place, text: str = "hello") -> Registry:
    """The tools of a new turn there."""

    def begin(db: Any) -> Scope:
        session = people.ensure_session(db, place, 1.0)
        turn = turns.create(db, session, text=text, asked_at=1.0, now=1.0)
        pages = journal.read_pages(db, turn.id)
        return Scope(pages.address, pages.conversation, turn.id)

    nobody = ExecutorClient("/nowhere.sock")
    return Toolset(nobody, database).registry(await database.write(begin))


async def ask(tools: Registry, name: str, **arguments: Any) -> ToolOutcome:
    return await tools.run(CallRequest("x", name, json.dumps(arguments)))


async def keep(tools: Registry, action: str, **arguments: Any) -> str:
    return (await ask(tools, "kv_memory", action=action, **arguments)).text


async def test_the_schemas_are_accepted_and_small(database: Database) -> None:
    """They are paid for in every request."""
    schemas = (await turn_in(database, HERE)).schemas()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": schemas}
    assert check_request(body) is None
    own = [each for each in schemas if "memory" in each["function"]["name"]]
    assert len(own) == 4
    assert len(json.dumps(own, separators=(",", ":"))) < 2000


async def test_notes_are_the_chat_s(database: Database) -> None:
    """All of its topics share them, and no other chat has any."""
    here = await turn_in(database, HERE)
    assert await keep(here, "save", title="a", text="the fern") == "Saved the note 'a'."
    topic, there = await turn_in(database, TOPIC), await turn_in(database, THERE)
    assert "the fern" in await keep(topic, "get", title="A")
    assert await keep(there, "list") == "There are no notes."
    assert await keep(there, "search", query="fern") == "No note has these words."
    assert (await keep(there, "delete", title="a")).startswith("Error: there is no note")
    assert await keep(here, "delete", title="a") == "Deleted the note 'a'."


async def test_a_note_expires(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its time it is there for no action any more."""
    tools = await turn_in(database, HERE)
    await keep(tools, "save", title="a", text="the fern", expires_in_days=1)
    assert "Page 1 of 1 (1 in all)" in await keep(tools, "search", query="fern")
    later = time.time() + records.DAY
    monkeypatch.setattr(records.time, "time", lambda: later)
    for action, arguments in [("get", {"title": "a"}), ("delete", {"title": "a"})]:
        assert (await keep(tools, action, **arguments)).startswith("Error: there is no note")
    assert await keep(tools, "list") == "There are no notes."
    assert (await ask(tools, "memory_search", query="fern")).text.startswith("Nothing was found")


async def test_there_is_a_most(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with what can be done."""
    monkeypatch.setattr(notes, "MOST_NOTES", 0)
    tools = await turn_in(database, HERE)
    assert "delete some first" in await keep(tools, "save", title="a", text="b")


async def test_memory_is_searched_in_this_chat_only(database: Database) -> None:
    """And without the words of the turn that asks."""
    await turn_in(database, THERE, "the fern is there")
    await turn_in(database, TOPIC, "the fern is here")
    tools = await turn_in(database, HERE, "search memory for fern")
    found = (await ask(tools, "memory_search", query="fern")).text.splitlines()[1:]
    assert found == ["- [1970-01-01 00:00 UTC, said to you] the fern is here"]


async def test_the_past_is_measured_and_trimmed(database: Database) -> None:
    """For this session, by whole turns."""
    for text in ("a", "b", "c"):
        await turn_in(database, HERE, text)
    tools = await turn_in(database, HERE, "d")
    assert (await ask(tools, "chat_memory_info")).text.startswith("In context: 4 turns, 4 messages")
    trimmed = await ask(tools, "chat_memory_trim", keep_latest=1)
    assert trimmed.text.startswith("2 earlier turns out of context")
    context, stored = (await ask(tools, "chat_memory_info")).text.splitlines()
    assert context.startswith("In context: 2 turns,")
    assert stored.startswith("Stored: 4 turns,")
