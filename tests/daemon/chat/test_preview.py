"""`famulus prompt` shows what is sent, to the byte."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from agent.transcript import Answer, CallRequest
from daemon.chat.memory import MemoryKeeper
from daemon.chat.preview import NoSession
from daemon.store import people, turns
from daemon.store.db import Database, open_database
from daemon.store.turnrow import TurnRow
from tests.daemon.chat.fakefiles import FakeFiles
from tests.daemon.chat.turnbench import HERE, Bench, FakeModel, bench_with


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


class Recorder(FakeModel):
    """Keeps the tools of each request, too."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(*answers)
        self.tools: list[Sequence[dict[str, Any]]] = []

    async def complete(self, messages: Any, tools: Any, *, on_text: Any = None) -> Answer:
        self.tools.append(tools)
        return await super().complete(messages, tools, on_text=on_text)


async def remembering(database: Database, tmp_path: Path, *answers: Any) -> tuple[Bench, Recorder]:
    """A bench whose chat has a memory file."""
    bare, model = await bench_with(database, tmp_path), Recorder(*answers)
    bench = Bench(database, bare.boot, model, bare.runner.toolset)
    files = FakeFiles()
    files.write("memory/MEMORY.md", "Ada likes sums.")
    mind = evolve(bench.runner.mind, keeper=MemoryKeeper(database, files))
    bench.runner = evolve(bench.runner, mind=mind)
    return bench, model


async def shown(bench: Bench, session: str) -> dict[str, Any]:
    return await bench.runner.preview().verb({"session": session})


async def test_what_is_shown_of_an_open_turn_is_what_is_sent(
    database: Database, tmp_path: Path
) -> None:
    """Memory, history with its calls, the question and the tools; in the first request of it."""
    calls = (CallRequest("x", "calculate_expression", '{"expression": "1+1"}'),)
    answers = Answer("", calls), Answer("Two."), Answer("Bye.")
    bench, model = await remembering(database, tmp_path, *answers)
    turn = await bench.say("What is 1+1?")
    first = await shown(bench, turn.session_id)
    async with bench.running():
        await bench.answered(1)
    assert (first["messages"], first["tools"]) == (model.asked[0], model.tools[0])
    await bench.say("Thanks.")
    second = await shown(bench, turn.session_id)
    async with bench.running():
        await bench.answered(2)
    assert (second["messages"], second["tools"]) == (model.asked[2], model.tools[2])
    assert len(second["messages"]) == 6
    assert "Ada likes sums." in second["messages"][0]["content"]


async def test_a_session_that_rests_is_shown_up_to_its_last_word(
    database: Database, tmp_path: Path
) -> None:
    """The next question will stand behind it."""
    bench, model = await remembering(database, tmp_path, Answer("hi"), Answer("again"))
    turn = await bench.say("hello")
    async with bench.running():
        await bench.answered(1)
    before = await shown(bench, turn.session_id)
    await bench.say("once more")
    async with bench.running():
        await bench.answered(2)
    assert model.asked[1][:-1] == before["messages"]


async def test_times_are_those_of_the_zone_that_a_person_has_chosen(
    database: Database, tmp_path: Path
) -> None:
    """Beside messages, and the day in the prompt, which is another there at some hours."""
    bench, model = await remembering(database, tmp_path, Answer("hi"))

    def begin(db: Any) -> TurnRow:
        session = people.ensure_session(db, HERE, 0.0)
        user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
        people.set_zone(db, user, "Pacific/Kiritimati")
        return turns.create(db, session, text="hello", asked_at=1.0, now=time.time(), payer_id=user)

    turn = await database.write(begin)
    before = await shown(bench, turn.session_id)
    async with bench.running():
        await bench.answered(1)
    assert before["messages"] == model.asked[0]
    assert "Kiritimati" in str(before["messages"][0]["content"])


async def test_no_session_is_said(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path)
    with pytest.raises(NoSession, match="there is no session 'x'"):
        await shown(bench, "x")
