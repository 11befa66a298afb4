"""Heartbeats: begun when due and asked for, silent when there is nothing to tell."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.heartbeat import CUT, parse_hours
from agent.ports import ModelFailed
from agent.transcript import Answer
from daemon.chat import heartbeat as beating
from daemon.chat.heartbeat import Heartbeat
from daemon.store import heartbeats
from daemon.store.db import Database, open_database
from executor.errors import ExecutorUnavailable, FileRefused
from executor.file_client import Done
from executor.file_values import Content
from tests.daemon.chat.turnbench import HERE, Bench, bench_with


class OneFile:
    """A workspace with a heartbeat file; `asked` are the workspaces that were looked into.

    None for the text: a job holds the workspace.
    """

    def __init__(self, text: str | Exception | None, *, more: bool = False) -> None:
        self.text, self.more = text, more
        self.asked: list[str] = []

    def __call__(self, workspace: str) -> OneFile:
        self.asked.append(workspace)
        return self

    async def read(self, path: str, offset: int = 0, limit: int = 0) -> Done[Content]:
        await trio.lowlevel.checkpoint()
        assert path == "HEARTBEAT.md"
        if isinstance(self.text, Exception):
            raise self.text
        if self.text is None:
            await trio.sleep_forever()
        return Done(Content((self.text or "").encode(), 0, 0, more=self.more), 1)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


def long_ago(db: Any) -> None:
    db.execute("INSERT OR REPLACE INTO heartbeats VALUES ('house', 'telegram', '42', '1', 1.0)")


def heart_of(bench: Bench, files: OneFile, hours: str = "", *, permits: bool = True) -> Heartbeat:
    return Heartbeat(
        bench.database,
        files,
        bench.lanes.put,
        lambda _place: permits,
        1000.0,
        parse_hours(hours),
        zoneinfo.ZoneInfo("UTC"),
    )


async def beat_once(bench: Bench, files: OneFile) -> None:
    """A heartbeat in a chat that spoke, when its time has come."""
    await bench.database.write(long_ago)
    heart = heart_of(bench, files)
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
        found = await database.write(heartbeats.due, 600.0, at)
        for beat in found:
            assert await database.write(heartbeats.due, 600.0, at) == found, "until it was had"
            await database.write(heartbeats.passed, beat, at)
        return len(found)

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
    due = await database.write(heartbeats.due, 0.0, time.time())
    assert [each.address.place.topic for each in due] == ["8"]


async def looked(bench: Bench, files: OneFile, **how: Any) -> list[str]:
    """The workspaces that one round looks into."""
    await bench.database.write(long_ago)
    await heart_of(bench, files, **how)._round()
    return files.asked


async def is_due(bench: Bench) -> bool:
    return bool(await bench.database.write(heartbeats.due, 1000.0, time.time()))


@pytest.mark.parametrize("text", [ExecutorUnavailable("down", ""), None])
async def test_what_could_not_be_read_is_still_due(
    database: Database, tmp_path: Path, text: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor may be starting, or busy for longer than others should wait."""
    monkeypatch.setattr(beating, "PATIENCE", 0.01)
    bench = await talked(database, tmp_path)
    assert await looked(bench, OneFile(text)) == ["house-42-1"]
    assert await is_due(bench)
    assert await looked(bench, OneFile("")) == ["house-42-1"]
    assert not await is_due(bench)


async def test_downtime_is_made_up_for_once(database: Database, tmp_path: Path) -> None:
    """However many heartbeats would have come meanwhile."""
    bench = await talked(database, tmp_path)
    files = OneFile("- [ ] plants")
    await looked(bench, files)
    await heart_of(bench, files)._round()
    assert await bench.all("SELECT count(*) FROM turns WHERE cause = 'heartbeat'") == [(1,)]


async def test_nobody_hears_of_us_who_would_get_no_answer(
    database: Database, tmp_path: Path
) -> None:
    """A chat that was taken off the list costs nothing more, and neither do quiet hours."""
    bench = await talked(database, tmp_path)
    assert await looked(bench, OneFile("- [ ] plants"), permits=False) == []
    now = time.gmtime()
    quiet = f"{now.tm_hour:02}:00-{(now.tm_hour + 2) % 24:02}:00"
    assert await looked(bench, OneFile("- [ ] plants"), hours=quiet) == []
    assert await looked(bench, OneFile("- [ ] plants")) == ["house-42-1"]


async def test_a_file_that_is_cut_is_said_to_go_on(database: Database, tmp_path: Path) -> None:
    bench = await talked(database, tmp_path)
    await looked(bench, OneFile("- [ ] plants", more=True))
    ((text,),) = await bench.all("SELECT content FROM messages ORDER BY id DESC LIMIT 1")
    assert f"- [ ] plants\n{CUT}\n" in text


async def test_topics_do_not_begin_a_second_one_either(database: Database, tmp_path: Path) -> None:
    """The chat has one file, and one at work on it."""
    bench = await talked(database, tmp_path)
    await looked(bench, OneFile("- [ ] plants"))
    await bench.say("hello", HERE.__class__("telegram", "42", "1", "7"))
    await looked(bench, OneFile("- [ ] plants"))
    assert await bench.all("SELECT count(*) FROM turns WHERE cause = 'heartbeat'") == [(1,)]
