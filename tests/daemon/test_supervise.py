"""The supervisor: the policy by itself, then the Trio loop on a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NoReturn

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from daemon.errors import Fatal
from daemon.supervise import (
    Escalated,
    GiveUp,
    Health,
    Policy,
    Restart,
    after_failure,
    describe,
    exit_code,
    fatal_in,
    supervise,
)

POLICY = Policy()
PATIENT = Policy(max_failures=None)


# --- The policy ---


def test_delays_double_up_to_a_minute_and_then_the_process_gives_up() -> None:
    """Ten quick failures in a row, and what is said after each."""
    decisions: list[Restart | GiveUp] = []
    failures = 0
    while not decisions or isinstance(decisions[-1], Restart):
        decisions.append(after_failure(POLICY, failures, ran_for=0.0))
        failures = decisions[-1].failures

    delays = [one.delay for one in decisions if isinstance(one, Restart)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert decisions[-1] == GiveUp(10)


def test_five_good_minutes_forgive_the_past() -> None:
    """The next failure counts as the first."""
    assert after_failure(POLICY, 9, ran_for=300.0) == Restart(1, 0.5)
    assert after_failure(POLICY, 9, ran_for=299.9) == GiveUp(10)


@given(st.integers(0, 10**9), st.floats(0, 1e9))
def test_a_patient_policy_always_tries_again(failures: int, ran_for: float) -> None:
    """Within its longest delay, whatever happened before."""
    decision = after_failure(PATIENT, failures, ran_for)

    assert isinstance(decision, Restart)
    assert 0 < decision.delay <= PATIENT.max_delay


# --- The loop ---


class Flaky:
    """A task that ends as it is told, run by run, and then runs until it is cancelled."""

    def __init__(self, *ends: BaseException | None, lasts: float = 0.0) -> None:
        self.ends = list(ends)
        self.lasts = lasts
        self.begun: list[float] = []

    async def run(self) -> None:
        self.begun.append(trio.current_time())
        if not self.ends:
            await trio.sleep_forever()
        await trio.sleep(self.lasts)
        end = self.ends.pop(0)
        if end is not None:
            raise end


async def run_for(seconds: float, start: Callable[..., Any]) -> None:
    with trio.move_on_after(seconds):
        await start()


async def test_a_failed_task_is_run_again(autojump_clock: MockClock) -> None:
    """After a delay that doubles; its health says how it is."""
    health = Health()
    task = Flaky(ValueError("one"), OSError("two"), ValueError("three"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(supervise, "poll", task.run, health=health))
        await trio.sleep(100)

        state = health.of("poll")
        assert (state.state, state.failures, state.restarts) == ("running", 3, 3)
        assert state.last_error == "ValueError: three"
        nursery.cancel_scope.cancel()

    assert [b - a for a, b in pairwise(task.begun)] == [0.5, 1.0, 2.0]
    assert health.of("poll").state == "stopped"


async def test_a_good_run_begins_the_count_anew(autojump_clock: MockClock) -> None:
    """A task that fails twice a day is never given up."""
    task = Flaky(*[ValueError("x")] * 50, lasts=301.0)
    health = Health()
    await run_for(50 * 302, partial(supervise, "poll", task.run, health=health))

    assert len(task.begun) > 49
    assert health.of("poll").failures == 1


async def test_too_many_failures_escalate(autojump_clock: MockClock) -> None:
    """With the last error as the cause, and code 1 for the process."""
    health = Health()
    with pytest.raises(Escalated, match="poll failed 10 times in a row: ValueError: x") as caught:
        await supervise("poll", Flaky(*[ValueError("x")] * 10).run, health=health)

    assert isinstance(caught.value.__cause__, ValueError)
    assert exit_code(caught.value) == 1
    assert health.of("poll").state == "failed"


async def test_returning_is_a_failure(autojump_clock: MockClock) -> None:
    """A poller that ends quietly is a dead poller."""
    task = Flaky(None, None)
    health = Health()
    await run_for(10, partial(supervise, "poll", task.run, health=health))

    assert len(task.begun) == 3
    assert "poll returned, though it should run for ever" in health.of("poll").last_error


async def test_groups_of_failures_are_failures(autojump_clock: MockClock) -> None:
    """What a nursery raises when a child fails."""
    task = Flaky(ExceptionGroup("nursery", [ValueError("a"), ExceptionGroup("x", [OSError("b")])]))
    health = Health()
    await run_for(10, partial(supervise, "poll", task.run, health=health))

    assert len(task.begun) == 2
    assert health.of("poll").last_error == "ValueError: a; OSError: b"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
async def test_what_ends_the_process_goes_through(error: BaseException) -> None:
    """It is no failure of the task."""
    with pytest.raises(type(error)):
        await supervise("poll", Flaky(error).run, health=Health())


class Misconfigured(Fatal):
    pass


async def test_a_fatal_error_goes_through_at_once() -> None:
    """No restart can cure it; the process exits with 78."""
    health = Health()
    with pytest.raises(Misconfigured) as caught:
        await supervise("db", Flaky(Misconfigured("bad", "fix it")).run, health=health)

    assert exit_code(caught.value) == 78
    assert health.of("db").state == "failed"
    assert health.of("db").last_error == "Misconfigured: bad; fix it"


async def test_a_fatal_error_within_a_group_goes_through() -> None:
    """However deep, and whatever came with it."""
    fatal = Misconfigured("bad")
    group = ExceptionGroup("a", [ValueError("x"), ExceptionGroup("b", [fatal])])
    with pytest.RaisesGroup(ValueError, pytest.RaisesGroup(Misconfigured)) as caught:
        await supervise("db", Flaky(group).run, health=Health())

    assert fatal_in(caught.value) is fatal
    assert exit_code(caught.value) == 78


async def test_cancellation_is_never_caught(autojump_clock: MockClock) -> None:
    """While the task runs, and while it waits to be run again."""
    for task in (Flaky(), Flaky(ValueError("x"))):
        with trio.move_on_after(0.1) as scope:
            await supervise("poll", task.run, health=Health())

        assert scope.cancelled_caught
        assert len(task.begun) == 1


async def test_a_failure_during_cancellation_does_not_restart(autojump_clock: MockClock) -> None:
    """A child fails while its sibling is being cancelled: the cancellation has the last word."""
    runs = 0

    async def fail_at_the_end() -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("at the end")

    async def run() -> None:
        nonlocal runs
        runs += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        await supervise("poll", run, health=Health())

    assert scope.cancelled_caught
    assert runs == 1


# --- Readiness ---


async def test_readiness_is_passed_on_once(autojump_clock: MockClock) -> None:
    """With the first value; later runs report to nobody."""
    runs = 0

    async def serve(port: int, *, task_status: trio.TaskStatus[int]) -> NoReturn:
        nonlocal runs
        runs += 1
        await trio.sleep(1)
        if runs == 1:
            raise OSError("port in use")
        task_status.started(port + runs)
        await trio.sleep(1)
        raise OSError("gone")

    health = Health()
    async with trio.open_nursery() as nursery:
        start = partial(supervise, "web", serve, 80, health=health, reports_ready=True)
        assert await nursery.start(start) == 82
        assert trio.current_time() == pytest.approx(2.5, abs=0.1)
        assert health.of("web").state == "running"
        await trio.sleep(20)
        assert runs > 3
        nursery.cancel_scope.cancel()


async def test_a_task_without_readiness_is_ready_when_it_is_run() -> None:
    """So that every task can be started in order by `nursery.start`."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(supervise, "poll", Flaky().run, health=Health()))
        nursery.cancel_scope.cancel()


# --- Health ---


def test_the_report_is_plain_values() -> None:
    """Fit for JSON, in order of start."""
    health = Health()
    health.of("b").become("running")
    health.note("a", "unreachable")

    first, second = health.report()
    assert (first["name"], first["state"]) == ("b", "running")
    assert (second["name"], second["note"]) == ("a", "unreachable")
    assert isinstance(first["since"], float)


def test_errors_are_described_on_one_line() -> None:
    """Each kind once, without line breaks."""
    group = ExceptionGroup("g", [ValueError("a\nb"), ValueError("a\nb"), KeyError("k")])

    assert describe(group) == "ValueError: a b; KeyError: 'k'"


async def test_a_task_that_waits_says_for_how_long(autojump_clock: trio.testing.MockClock) -> None:
    """None while it runs, and before it has ever failed."""
    health = Health()

    async def fail() -> None:
        await trio.sleep(1)
        raise OSError("gone")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(supervise, "web", fail, health=health))
        await trio.sleep(0.5)
        assert health.retry_in("web", 0.0) is None
        await trio.sleep(0.6)
        since = health.of("web").since
        assert health.retry_in("web", since + 0.2) == pytest.approx(0.3)
        assert health.retry_in("web", since + 9.0) == 0.0
        await trio.sleep(0.6)
        assert health.retry_in("web", since) is None
        nursery.cancel_scope.cancel()
