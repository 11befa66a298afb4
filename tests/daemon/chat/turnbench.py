"""Turns in our own hands: lanes, runner and journal over a real database, and a model of lists."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from agent.loop import Limits
from agent.ports import TurnState
from agent.tools.code import Runner
from agent.transcript import Answer, CallRequest, ToolCall
from daemon.chat.journal import TurnJournal, Wakes
from daemon.chat.lanes import Lanes
from daemon.chat.mind import Mind
from daemon.chat.toolset import Toolset
from daemon.chat.turn import TurnRunner
from daemon.spool import Spool
from daemon.store import boots, people, turns
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from executor.client import ExecutorClient

HERE = Place("telegram", "42", "1")


class FakeModel:
    """Answers from a list; each answer may be an exception, or an event to wait for first."""

    def __init__(self, *answers: Answer | Exception | trio.Event) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[dict[str, Any]]] = []
        self.waiting = trio.Event()

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        may_call: bool = True,
    ) -> Answer:
        self.asked.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, trio.Event):
            self.waiting.set()
            await answer.wait()
            answer = self.answers.pop(0)
        if isinstance(answer, Answer):
            return answer
        assert isinstance(answer, Exception)
        raise answer


class Bench:
    def __init__(self, database: Database, boot: str, model: FakeModel, toolset: Toolset) -> None:
        self.database, self.boot, self.model = database, boot, model
        self.woken = trio.Event()
        self.places: list[Place] = []
        self.spool = Spool(database.path.parent / "spool")
        self.lanes = Lanes(database, 4, self._run, self._wake)
        wakes = Wakes(self._wake, self.lanes.put, self.lanes.dropped)
        self.runner = TurnRunner(
            database,
            boot,
            model,
            "fake",
            toolset,
            Mind(database, shelf=toolset.shelf),
            Limits(),
            Limits(),
            wakes,
            lambda: self.lanes.closing,
            self.spool,
        )

    async def _run(self, turn: TurnRow) -> TurnState:
        return await self.runner.run(turn)

    def _wake(self, place: Place) -> None:
        self.places.append(place)
        self.woken.set()

    async def say(self, text: str, place: Place = HERE) -> TurnRow:
        def create(db: Any) -> TurnRow:
            session = people.ensure_session(db, place, 0.0)
            now = time.time()
            return turns.create(db, session, text=text, asked_at=now, now=now)

        return await self.database.write(create)

    async def all(self, statement: str) -> list[tuple[Any, ...]]:
        def read(db: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in db.execute(statement).fetchall()]

        return await self.database.read(read)

    async def parts(self) -> list[str]:
        found = await self.all(
            "SELECT json_extract(params, '$.text') FROM outbox"
            " WHERE method <> 'setMessageReaction' ORDER BY id"
        )
        return [row[0] for row in found]

    async def answered(self, turns: int) -> None:
        """Wait until so many answers were queued."""
        while len(await self.parts()) < turns:
            await self.woken.wait()
            self.woken = trio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.lanes.run)
            yield
            nursery.cancel_scope.cancel()


async def bench_with(
    database: Database, tmp_path: Path, *answers: Any, executor: Runner | None = None
) -> Bench:
    boot = await database.write(boots.begin, "test", 0.0)
    nobody = ExecutorClient(str(tmp_path / "none.sock"))
    toolset = Toolset(executor or nobody, database)
    return Bench(database, boot, FakeModel(*answers), toolset)


async def begun(bench: Bench, request: CallRequest) -> tuple[TurnJournal, ToolCall]:
    """A turn whose tool is under way, in the hands of the test."""
    turn = await bench.say("go on")
    wakes = Wakes(bench._wake, bench.lanes.put, bench.lanes.dropped)
    ours = TurnJournal(bench.database, turn.id, bench.boot, "fake", wakes, bench.spool)
    await ours.load()
    intent = (await ours.intend_model_call(1)).call
    (call,) = await ours.answered(intent, Answer("", (request,)))
    await ours.intend_tool_call(call)
    return ours, call
