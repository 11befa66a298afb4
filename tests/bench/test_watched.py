"""Nothing blocks the loop: the daemon's steps under load, and the watch that measures them."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from tests.bench import measures
from tests.bench.measures import Load
from tests.bench.subjects import WATCHED, polling, running, scratch, servers
from tests.bench.watched import LIMIT, StepWatch, Times

BUSY = Load(burst_chats=20, burst_each=5)


async def test_no_step_of_the_busy_daemon_keeps_the_loop() -> None:
    """From its start over its first turn and a burst to its end."""
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(WATCHED, place_of_talk, place) as bot:
                await polling(bot)
                await measures.flood(bot, BUSY.burst_chats, BUSY.burst_each)
            assert (place / "steps").read_text() == ""


def _watched(step: Callable[[], None]) -> list[Times]:
    found: list[Times] = []

    async def main() -> None:
        step()

    watch = StepWatch(lambda _name, took: found.append(took))
    trio.run(main, instruments=[watch])
    assert watch.steps
    return found


def test_a_step_that_computes_for_long_is_told() -> None:
    """Processor time is what counts, so the step ends when it has used enough of it."""

    def compute() -> None:
        until = time.thread_time() + LIMIT * 1.2
        while time.thread_time() < until:
            pass

    [took] = _watched(compute)
    assert took.cpu > LIMIT


def test_a_step_that_sleeps_is_told() -> None:
    """A call that blocks is what is tested, so this one does."""
    [took] = _watched(lambda: time.sleep(LIMIT * 1.2))
    assert took.slept > LIMIT


def test_a_short_step_is_not() -> None:
    assert _watched(lambda: None) == []


def test_a_step_that_was_only_kept_from_running_is_not_at_fault() -> None:
    """Another process had the processor."""
    assert not Times(wall=1.0, cpu=0.03, queued=0.96).at_fault
    assert Times(wall=1.0, cpu=0.06, queued=0.94).at_fault
    assert Times(wall=1.0, cpu=0.03, queued=0.1).at_fault
