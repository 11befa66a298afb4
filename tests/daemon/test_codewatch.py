"""When the daemon asks its executor how it is: an off one may be started by each question."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field

from daemon.codegate import CodeGate
from daemon.codewatch import MAX_DELAY, CodeWatch, next_delay
from executor.client import ExecutorUnavailable, Job, Result, Status

JOB = Job("python", "print(1)", "mine")


@define
class Executor:
    """Answers after `takes` seconds; refuses while `why` says why. `asked` are the moments."""

    why: str = ""
    takes: float = 0.0
    asked: list[float] = field(factory=list)
    reason: str = "exit"

    async def status(self) -> Status:
        self.asked.append(trio.current_time())
        await trio.sleep(self.takes)
        if self.why:
            raise ExecutorUnavailable(self.why)
        return Status(layers=("namespaces",), capabilities=(), soft=("memory",))

    async def run(self, _job: Job, *, on_output: object = None) -> Result:
        if self.why:
            raise ExecutorUnavailable(self.why)
        return Result(reason=self.reason)

    async def connect(self) -> None:
        if self.why:
            raise ExecutorUnavailable(self.why)


@asynccontextmanager
async def watched(executor: Executor) -> AsyncIterator[CodeWatch]:
    watch = CodeWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, executor.status)
        yield watch
        nursery.cancel_scope.cancel()


def words(watch: CodeWatch) -> str:
    assert watch.answer is not None
    return watch.answer.words


# --- The decision ---


def test_an_executor_that_works_is_not_asked_again() -> None:
    assert next_delay(works=True, last=0) == math.inf


def test_one_that_does_not_is_asked_more_and_more_seldom() -> None:
    """A dozen times in the first hour, and then four times an hour."""
    delays = [0.0]
    while sum(delays) < 3600:
        delays.append(next_delay(works=False, last=delays[-1]))
    assert delays[1:5] == [3, 6, 12, 24]
    assert len(delays) - 1 == 12
    assert delays[-1] == next_delay(works=False, last=delays[-1]) == MAX_DELAY


# --- The task ---


async def test_an_executor_that_refuses_is_not_started_again_and_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor("no sandbox works here")
    async with watched(executor) as watch:
        began = trio.current_time()
        await trio.sleep(50)
        assert [at - began for at in executor.asked] == [0, 3, 9, 21, 45]
        assert words(watch) == "off: no sandbox works here"


async def test_an_executor_that_was_stopped_stays_so_until_somebody_wants_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor()
    async with watched(executor) as watch:
        await trio.sleep(86400)
        assert len(executor.asked) == 1
        assert words(watch) == "in a sandbox of namespaces (soft: memory)"


async def test_one_that_was_mended_is_found_at_once_by_whoever_asks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor("no sandbox works here")
    async with watched(executor) as watch:
        await trio.sleep(3000)
        executor.why = ""
        before = trio.current_time()
        await watch.fresh()
        assert trio.current_time() == before
        assert words(watch).startswith("in a sandbox")


async def test_who_has_asked_in_vain_is_told_soon_of_the_next_try(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Between two tries at mending it, seconds and not minutes."""
    executor = Executor("no sandbox works here")
    async with watched(executor) as watch:
        await trio.sleep(3000)
        await watch.fresh()
        executor.why = ""
        await trio.sleep(4)
        assert words(watch).startswith("in a sandbox")


async def test_a_wish_while_a_question_is_open_is_met_by_its_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor(takes=5)
    async with watched(executor) as watch:
        await trio.sleep(1)
        for _ in range(3):
            watch.want()
        await watch.fresh()
        await trio.sleep(60)
        assert len(executor.asked) == 1


# --- Jobs ---


async def test_a_job_that_runs_after_all_makes_it_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor("no sandbox works here")
    async with watched(executor) as watch:
        await trio.sleep(3000)
        executor.why = ""
        await CodeGate(executor, watch).run(JOB)  # type: ignore[arg-type]  # a fake
        await trio.sleep(0.1)
        assert words(watch).startswith("in a sandbox")


@pytest.mark.parametrize(("why", "reason"), [("it hung up", ""), ("", "executor_error")])
async def test_a_job_that_is_not_run_makes_it_known(
    autojump_clock: trio.testing.MockClock, why: str, reason: str
) -> None:
    executor = Executor()
    async with watched(executor) as watch:
        await trio.sleep(3000)
        executor.why, executor.reason = why, reason
        with trio.move_on_after(1):
            try:
                await CodeGate(executor, watch).run(JOB)  # type: ignore[arg-type]  # a fake
            except ExecutorUnavailable:
                assert why
        await trio.sleep(0.1)
        assert len(executor.asked) == 2


async def test_jobs_that_end_as_expected_cause_no_question(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Executor()
    async with watched(executor) as watch:
        await trio.sleep(1)
        for _ in range(3):
            await CodeGate(executor, watch).run(JOB)  # type: ignore[arg-type]  # a fake
        await trio.sleep(60)
        assert len(executor.asked) == 1


@pytest.mark.parametrize(("why", "asked"), [("it hung up", 2), ("", 1)])
async def test_files_that_cannot_be_reached_make_it_known(
    autojump_clock: trio.testing.MockClock, why: str, asked: int
) -> None:
    """As a job that is not run; those that can be are no news, nor proof that jobs run."""
    executor = Executor()
    async with watched(executor) as watch:
        await trio.sleep(3000)
        executor.why = why
        with trio.move_on_after(1):
            try:
                await CodeGate(executor, watch).connect()  # type: ignore[arg-type]  # a fake
            except ExecutorUnavailable:
                assert why
        await trio.sleep(0.1)
        assert len(executor.asked) == asked
