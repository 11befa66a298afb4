"""Heartbeats: begun when due and asked for, silent when there is nothing to tell."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.heartbeat import parse_hours
from agent.ports import ModelFailed
from agent.transcript import Answer
from daemon.chat.heartbeat import Heartbeat
from daemon.store import heartbeats
from daemon.store.db import Database, open_database
from executor.errors import ExecutorUnavailable, FileRefused
from executor.file_client import Done
from executor.file_values import Content
from tests.daemon.chat.turnbench import HERE, Bench, bench_with


class OneFile:
    """A workspace with a heartbeat file; `asked` are the workspaces that were looked into."""

    def __init__(self, text: str | Exception) -> None:
        self.text = text
        self.asked: list[str] = []

    def __call__(self, workspace: str) -> OneFile:
        self.asked.append(workspace)
        return self

    async def read(self, path: str, offset: int = 0, limit: int = 0) -> Done[Content]:
        await trio.lowlevel.checkpoint()
        assert path == "HEARTBEAT.md"
        if isinstance(self.text, Exception):
            raise self.text
        return Done(Content(self.text.encode(), 0, len(self.text), more=False), 1)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


def long_ago(db: Any) -> None:
    db.execute("INSERT OR REPLACE INTO heartbeats VALUES ('house', 'telegram', '42', '1', 1.0)")


async def beat_once(bench: Bench, files: OneFile, *, hours: str = "") -> None:
    """A heartbeat in a chat that spoke, when its time has come."""
    await bench.database.write(long_ago)
    heart = Heartbeat(
        bench.database, files, bench.lanes.put, 1000.0, parse_hours(hours), zoneinfo.ZoneInfo("UTC")
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heart.run)
        while not files.asked:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


async def talked(database: Database, tmp_path: Path, *answers: Any) -> Bench:
    bench = await bench_with(database, tmp_path, Answer("hi"), *answers)
    await bench.say("hello")
    async with bench.running():
        await bench.answered(1)
    return bench


async def test_what_is_due_is_done_in_a_context_of_its_own(
    database: Database, tmp_path: Path
) -> None:
    """The model sees the file and nothing of the chat; the chat sees the answer, and remembers."""
    bench = await talked(database, tmp_path, Answer("The plants are dry."), Answer("You too."))
    files = OneFile("- [ ] look after the plants")
    async with bench.running():
        await beat_once(bench, files)
        await bench.answered(2)
        turn = await bench.say("thanks")
        bench.lanes.put(turn)
        await bench.answered(3)
    assert files.asked[0] == "house-42-1"
    assert await bench.parts() == ["hi", "The plants are dry.", "You too."]
    assert len(bench.model.asked[1]) == 2
    assert "look after the plants" in bench.model.asked[1][1]["content"]
    later = [each["content"] for each in bench.model.asked[2]]
    assert "The plants are dry." in later
    assert not any("HEARTBEAT_OK" in str(each) for each in later)


@pytest.mark.parametrize(
    "outcome", [Answer("HEARTBEAT_OK"), ModelFailed("No key.", "401"), ZeroDivisionError()]
)
async def test_nothing_to_tell_and_failures_are_silent(
    database: Database, tmp_path: Path, outcome: Any
) -> None:
    """Nobody has asked."""
    bench = await talked(database, tmp_path, outcome)
    async with bench.running():
        await beat_once(bench, OneFile("- [ ] look after the plants"))
        while bench.lanes.board.running or len(bench.model.asked) < 2:
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert await bench.parts() == ["hi"]
    assert await bench.all("SELECT cause, state FROM turns WHERE id > 1") == [
        ("heartbeat", "ended")
    ]


@pytest.mark.parametrize(
    "text",
    ["# Heartbeat\n- [x] done\n", FileRefused("no such file", ""), ExecutorUnavailable("down", "")],
)
async def test_nothing_to_do_is_no_model_call(
    database: Database, tmp_path: Path, text: str | Exception
) -> None:
    """An idle heartbeat costs nothing."""
    bench = await talked(database, tmp_path)
    async with bench.running():
        await beat_once(bench, OneFile(text))
    assert await bench.all("SELECT count(*) FROM turns") == [(1,)]


async def test_a_heartbeat_that_still_runs_gets_no_second(
    database: Database, tmp_path: Path
) -> None:
    """However often its time comes."""
    bench = await talked(database, tmp_path, trio.Event())
    async with bench.running():
        await beat_once(bench, OneFile("- [ ] plants"))
        await bench.model.waiting.wait()
        await beat_once(bench, OneFile("- [ ] plants"))
    assert await bench.all("SELECT count(*) FROM turns WHERE cause = 'heartbeat'") == [(1,)]


async def test_a_heartbeat_comes_when_its_time_has_come(database: Database, tmp_path: Path) -> None:
    """Not before, once, and a restart or a clock that was set back changes nothing."""
    await talked(database, tmp_path)
    now = time.time()

    async def due(at: float) -> int:
        return len(await database.write(heartbeats.take_due, 600.0, at))

    assert [await due(now + wait) for wait in (0, 599, 600, 601, 1199, 1200)] == [0, 0, 1, 0, 0, 1]
    assert await due(now) == 1, "the last one lies in the future"
    assert await due(now + 599) == 0
    assert await due(now + heartbeats.AWAKE_SECONDS * 2) == 0, "nobody is there any more"


async def test_a_group_has_one_heartbeat_for_all_its_topics(
    database: Database, tmp_path: Path
) -> None:
    """They share the file."""
    bench = await bench_with(database, tmp_path)
    for topic in ("", "7", "8"):
        await bench.say("hello", HERE.__class__("telegram", "42", "1", topic))
    due = await database.write(heartbeats.take_due, 0.0, time.time())
    assert [each.address.place.topic for each in due] == ["8"]
