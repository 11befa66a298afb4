"""In a group the model may say nothing; alone with a person it says something in any case."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.ports import ModelFailed
from agent.silence import IN_A_GROUP
from agent.transcript import Answer
from daemon.chat.drafts import WORDLESS
from daemon.store import heartbeats
from daemon.store.db import Database, open_database
from daemon.store.values import Place
from tests.daemon.chat.turnbench import HERE, Bench, bench_with

GROUP = Place("telegram", "42", "-100", "5")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def run(bench: Bench, place: Place) -> list[str]:
    """Have a turn come to its end there; what is sent."""
    turn = await bench.say("hello", place)
    await bench.runner.run(turn)
    assert (await bench.all("SELECT state FROM turns"))[-1] == ("ended",)
    return await bench.parts()


@pytest.mark.parametrize("answer", ["", "NO_REPLY", " NO_REPLY\n"])
async def test_nothing_is_sent_to_a_group(database: Database, tmp_path: Path, answer: str) -> None:
    """And the conversation remembers that nothing was said."""
    bench = await bench_with(database, tmp_path, Answer(answer))
    assert await run(bench, GROUP) == []
    said = await bench.all("SELECT content FROM messages WHERE role = 'assistant'")
    assert said == [(answer,)]


async def test_a_failure_is_told_in_a_group_as_well(database: Database, tmp_path: Path) -> None:
    """Who has asked waits for something."""
    failed = ModelFailed("The model is down.", error="down")
    bench = await bench_with(database, tmp_path, failed)
    (text,) = await run(bench, GROUP)
    assert "The model is down." in text


async def test_a_person_alone_gets_an_answer(database: Database, tmp_path: Path) -> None:
    """Also where there is none."""
    bench = await bench_with(database, tmp_path, Answer(""))
    assert await run(bench, HERE) == [WORDLESS]


@pytest.mark.parametrize("place", [HERE, GROUP])
async def test_a_heartbeat_may_say_either_word(
    database: Database, tmp_path: Path, place: Place
) -> None:
    """Nobody waits for it, wherever it is."""
    bench = await bench_with(database, tmp_path, Answer("hi"), Answer("NO_REPLY"))
    before = await run(bench, place)
    (beat,) = await database.write(heartbeats.due, 0.0, time.time())
    turn = await database.write(heartbeats.begin, beat, "look", time.time())
    assert turn is not None
    await bench.runner.run(turn)
    assert await bench.parts() == before


@pytest.mark.parametrize(("place", "told"), [(HERE, False), (GROUP, True)])
async def test_the_model_is_told_in_groups_alone(
    database: Database, tmp_path: Path, place: Place, *, told: bool
) -> None:
    """In the system prompt, which is then the same for all groups."""
    bench = await bench_with(database, tmp_path, Answer("hi"))
    await run(bench, place)
    (asked,) = bench.model.asked
    assert (IN_A_GROUP in asked[0]["content"]) is told
