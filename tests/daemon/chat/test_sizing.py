"""How large requests may be while a provider has not said yet what its model takes in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve, field

from agent.sizes import Sizes
from agent.transcript import Answer, CallRequest
from daemon.chat.sizing import settle
from daemon.store.db import Database, open_database
from tests.daemon.chat.turnbench import bench_with

SMALL, LARGE = Sizes(window=20_000), Sizes(window=200_000)
SUM = CallRequest("c1", "calculate_expression", '{"expression": "2 + 2"}')


@define
class Provider:
    """Implements `Sizing`: what is known changes when somebody has waited, or a test says so."""

    known: Sizes = SMALL
    asked: list[str] = field(factory=list)

    def so_far(self, _model: str = "") -> Sizes:
        return self.known

    async def sure(self, model: str = "") -> Sizes:
        await trio.lowlevel.checkpoint()
        self.asked.append(model)
        self.known = LARGE
        return LARGE


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def test_only_who_has_much_to_say_waits() -> None:
    """Half of the room is what instructions, tools and results come into."""
    provider = Provider()
    await settle(provider, "m", SMALL.limit // 2)
    assert provider.asked == []
    await settle(provider, "m", SMALL.limit // 2 + 1)
    assert provider.asked == ["m"]
    await settle(provider, "m", SMALL.limit)
    assert provider.asked == ["m"], "what is known is not asked for"


async def test_a_short_turn_waits_for_nobody_and_a_long_one_does(
    database: Database, tmp_path: Path
) -> None:
    """The long one would lose what it was told, for want of a number."""
    provider = Provider()
    bench = await bench_with(database, tmp_path, Answer("hi"), Answer("read"))
    bench.runner = evolve(bench.runner, sizing=provider)
    async with bench.running():
        bench.lanes.put(await bench.say("hello"))
        await bench.answered(1)
        assert provider.asked == []
        bench.lanes.put(await bench.say("x" * 100_000))
        await bench.answered(2)
    assert provider.asked == [""]
    assert "x" * 100_000 in str(bench.model.asked[-1])


async def test_a_window_that_becomes_known_in_the_midst_of_a_turn_counts(
    database: Database, tmp_path: Path
) -> None:
    """From its next request on: what had to be shortened before is whole then."""
    provider, held = Provider(known=Sizes(window=2000)), trio.Event()
    long = Answer("y" * 60_000, (SUM,))
    bench = await bench_with(database, tmp_path, held, long, Answer("", (SUM,)), Answer("4"))
    bench.runner = evolve(bench.runner, sizing=provider)
    bench.lanes.put(await bench.say("add up"))
    async with bench.running():
        await bench.model.waiting.wait()
        held.set()
        while len(bench.model.asked) < 2:
            await trio.lowlevel.checkpoint()
        provider.known = LARGE
        await bench.answered(1)
    shortened, whole = (_characters(messages) for messages in list(bench.model.asked)[1:3])
    assert shortened < 30_000
    assert whole > 60_000


def _characters(messages: Any) -> int:
    return sum(len(each["content"] or "") for each in messages)
