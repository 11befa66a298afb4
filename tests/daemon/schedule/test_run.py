"""The scheduler as a task: it sleeps until the earliest time, and wakes for what changes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import Factory, define, evolve

from daemon.schedule.recurrence import Interval, Recurrence
from daemon.schedule.run import Scheduler
from daemon.store import jobs, occurrences
from daemon.store.db import Database, open_database
from daemon.store.jobs import Plan
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from tests.daemon.schedule.jobs_of import HOUR, HOURLY, NOON, PLAN, add, end_turn


@define
class Clock:
    """A wall clock that a test sets, and the alarm that hangs on it."""

    now: float = NOON - 60
    until: list[float] = Factory(list)
    _rung: trio.Event = Factory(trio.Event)

    def __call__(self) -> float:
        return self.now

    async def wait(self, until: float) -> None:
        self.until.append(until)
        await self._rung.wait()

    def set(self, now: float) -> None:
        self.now = now
        self._rung.set()
        self._rung = trio.Event()


@define
class Bench:
    """A scheduler with its clock, and what it has begun and told."""

    database: Database
    clock: Clock = Factory(Clock)
    begun: list[TurnRow] = Factory(list)
    told: list[Place] = Factory(list)
    scheduler: Scheduler = Factory(
        lambda self: Scheduler(
            self.database, self.begun.append, self.told.append, lambda _: True, self.clock
        ),
        takes_self=True,
    )

    async def settle(self) -> None:
        """Until nothing goes on but the wait, nor any thread that writes."""
        while True:
            await trio.testing.wait_all_tasks_blocked(0.01)
            if not self.database._writing.borrowed_tokens:
                return

    async def add(self, plan: Plan = PLAN, first: float = NOON) -> jobs.Job:
        return await self.database.write(add, plan, first)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_database(tmp_path / "famulus.db") as database, trio.open_nursery() as nursery:
        made = Bench(database)
        nursery.start_soon(made.scheduler.keep, made.clock)
        await made.settle()
        yield made
        nursery.cancel_scope.cancel()


async def test_it_sleeps_until_the_earliest(bench: Bench) -> None:
    """Nothing is looked at before that; then the turn is handed on."""
    assert bench.clock.until == []
    await bench.add()
    await bench.add(first=NOON + 30)
    bench.scheduler.wake()
    await bench.settle()
    assert bench.clock.until == [NOON]
    bench.clock.set(NOON)
    await bench.settle()
    assert len(bench.begun) == 1
    assert bench.clock.until[-1] == NOON + 30


async def test_an_alarm_before_its_time_begins_nothing(bench: Bench) -> None:
    """It rings when the clock is set, too."""
    await bench.add()
    bench.scheduler.wake()
    await bench.settle()
    bench.clock.set(NOON - 59)
    await bench.settle()
    assert bench.begun == []
    assert bench.clock.until == [NOON, NOON]


async def test_a_jump_forward_loses_nothing(bench: Bench) -> None:
    """A machine that was asleep for five hours keeps the appointment, and skips what may be."""
    await bench.add()
    hourly = await bench.add(HOURLY)
    bench.scheduler.wake()
    await bench.settle()
    bench.clock.set(NOON + 5 * HOUR + 100)
    await bench.settle()
    found = await bench.database.read(occurrences.history, hourly.id, 9)
    assert len(bench.begun) == 1
    assert [(each.state, each.stands_for) for each in found] == [("missed", 5)]


async def test_a_run_that_is_over_is_settled_when_that_is_told(bench: Bench) -> None:
    """By the turn that has ended, or by the last of its parts."""
    job = await bench.add(HOURLY)
    bench.scheduler.wake()
    bench.clock.set(NOON)
    await bench.settle()
    (turn,) = bench.begun
    await bench.database.write(end_turn, turn.id, "answered", "NO", NOON)
    bench.scheduler.over(turn.id + 1)
    await bench.settle()
    assert await bench.database.read(states, job.id) == ["open"]
    bench.scheduler.over(turn.id)
    await bench.settle()
    assert await bench.database.read(states, job.id) == ["done"]


async def test_what_was_over_before_a_start_is_settled_by_it(bench: Bench) -> None:
    """A new task looks at everything; so does one that is told that anything may be over."""
    job = await bench.add(HOURLY)
    bench.scheduler.wake()
    bench.clock.set(NOON)
    await bench.settle()
    await bench.database.write(end_turn, bench.begun[0].id, "answered", "NO", NOON)
    bench.scheduler.over(None)
    await bench.settle()
    assert await bench.database.read(states, job.id) == ["done"]


async def test_many_at_once_come_in_batches(bench: Bench) -> None:
    """Without a wait between them."""
    rule = Recurrence(Interval(HOUR, NOON - HOUR))
    for _ in range(120):
        await bench.add(evolve(HOURLY, recurrence=rule))
    bench.scheduler.wake()
    bench.clock.set(NOON)
    with trio.fail_after(20):
        while len(bench.begun) < 120:
            await bench.settle()
    assert len({turn.id for turn in bench.begun}) == 120


async def test_a_look_is_of_the_time_at_which_it_writes(bench: Bench) -> None:
    """Not of that at which it began to wait for others: what they have made is later than that."""
    await bench.add()
    free = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.database.write, hold, free)
        await trio.testing.wait_all_tasks_blocked(0.01)
        bench.scheduler.wake()
        await trio.testing.wait_all_tasks_blocked(0.01)
        bench.clock.now = NOON
        free.set()
    await bench.settle()
    assert len(bench.begun) == 1


def hold(_db: sqlite3.Connection, free: threading.Event) -> None:
    assert free.wait(20)


def states(db: sqlite3.Connection, job_id: int) -> list[str]:
    return [each.state for each in occurrences.history(db, job_id, 9)]
