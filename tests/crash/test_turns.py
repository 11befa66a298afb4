"""Turns that meet a kill, a dead executor or a row that cannot be read: only they suffer."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
import trio

from daemon.demo.replies import ChatRequest, Item, ModelFault, Reply, ToolCall, text_of
from daemon.store.hopeless import MAX_ATTEMPTS
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import MISCOUNTED_CALLS, settled
from tests.harness.processes import family, gone
from tests.harness.rig import Rig, open_rig

ENDLESS = "open('begun', 'w').close()\nimport time\ntime.sleep(25)\nopen('ended', 'w').close()"
TITLE = "killed in the middle of a job"
TIMEOUT = 30.0


def run_endless(request: ChatRequest) -> Item:
    """Begin a job that takes long; repeat what came of it."""
    last = request.messages[-1]
    if last["role"] == "tool" and request.user_text == "endless":
        return f"It said: {text_of(last)}"
    if request.user_text == "endless":
        return Reply(calls=(ToolCall("python_execute", {"code": ENDLESS}, "job"),))
    return answer(request)


async def so(look: Callable[[], object]) -> None:
    """Wait until a look at files or rows, which ring no bell, finds something."""
    with trio.fail_after(TIMEOUT):
        while True:
            if look():
                return
            await trio.sleep(0.01)


async def begun(rig: Rig) -> None:
    """Wait until the job has written its first file."""
    await so(lambda: list(rig.place.workspaces.glob("*/begun")))


@pytest.mark.executor
async def test_an_executor_killed_in_mid_job_fails_the_call(figures: Figures) -> None:
    """The turn gets a clear result and goes on; the job is dead; the next job runs."""
    async with open_rig(with_executor=True) as rig:
        rig.model.script = run_endless
        await rig.start()
        rig.bot.user_says("endless")
        await begun(rig)
        below = family(rig.pid)
        executor = next(each for each in below if "-m executor" in each.command)
        os.kill(executor.pid, signal.SIGKILL)
        await rig.until(lambda: rig.bot.texts(1))
        await gone(below)
        told = rig.bot.texts(1)[0]
        assert "executor" in told
        Question(1, 1, "code").ask(rig.bot)
        await rig.until(lambda: len(rig.bot.texts(1)) == 2)
        assert rig.bot.texts(1)[1] == "[q1.1/1] done"
        assert await settled(rig)
        assert rig.value(MISCOUNTED_CALLS) == 0
        assert await rig.stop() == 0
        assert not list(rig.place.workspaces.glob("*/ended"))
        assert rig.model.refusals == []
    figures(TITLE, {"killed": "executor", "result": told.replace("\n", " ")[:150]})


@pytest.mark.executor
async def test_a_daemon_killed_in_mid_job_does_not_run_it_again(figures: Figures) -> None:
    """The job dies with its connection, and the model is told that nobody knows."""
    async with open_rig(with_executor=True) as rig:
        rig.model.script = run_endless
        await rig.start()
        rig.bot.user_says("endless")
        await begun(rig)
        below = family(rig.pid)
        rig.kill_now()
        await gone(below)
        await rig.start()
        await rig.until(lambda: rig.bot.texts(1))
        told = rig.bot.texts(1)[0]
        assert "may or may not have taken effect" in told
        Question(1, 1, "code").ask(rig.bot)
        await rig.until(lambda: len(rig.bot.texts(1)) == 2)
        assert rig.bot.texts(1)[1] == "[q1.1/1] done"
        assert await settled(rig)
        assert rig.value(MISCOUNTED_CALLS) == 0
        assert await rig.stop() == 0
        assert not list(rig.place.workspaces.glob("*/ended"))
    figures(TITLE, {"killed": "daemon", "result": told.replace("\n", " ")[:150]})


async def test_a_stopped_turn_stays_stopped_after_a_kill() -> None:
    """Killed just after the row said so: the turn is not begun again."""
    async with open_rig() as rig:
        rig.model.script = answer
        rig.model.faults.add(ModelFault.stalled())
        rig.spawn([*LAUNCHER, "--kill", "sending.claim_next before@1"])
        Question(1, 1, "sum").ask(rig.bot)
        await rig.model.wait_for(lambda model: model.requests, timeout=TIMEOUT)
        rig.bot.user_says("/stop")
        assert await rig.ended() == -signal.SIGKILL
        rig.model.faults.clear()
        Question(1, 2).ask(rig.bot)
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        assert rig.bot.texts(1) == ["Stopped.", "[q1.2/1] answered"]
        assert rig.value("SELECT sum(reserved_tokens) FROM usage") == 0


async def test_a_text_that_was_being_gathered_is_answered_after_a_kill() -> None:
    """A client cut a text in two and the rest never came: its deadline outlives the process."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        rig.bot.user_says("q1.1 plain ".ljust(4096, "x"))
        await so(lambda: rig.value("SELECT count(*) FROM turns WHERE state = 'waiting'"))
        rig.kill_now()
        await rig.start()
        assert await settled(rig)
        assert rig.bot.texts(1) == ["[q1.1/1] answered"]
        assert await rig.stop() == 0


async def test_a_turn_that_kills_the_daemon_is_given_up(figures: Figures) -> None:
    """Five lives are enough; the chat is told, and the next message is answered."""
    async with open_rig([1, 2]) as rig:
        rig.model.script = answer
        Question(1, 1, "sum").ask(rig.bot)
        Question(1, 2).ask(rig.bot)
        for _ in range(MAX_ATTEMPTS):
            rig.spawn([*LAUNCHER, "--kill", "model before@1"])
            assert await rig.ended() == -signal.SIGKILL
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        told, then = rig.bot.texts(1)
        assert "given it up" in told
        assert then == "[q1.2/1] answered"
    figures("a turn that kills the daemon", {"lives": MAX_ATTEMPTS, "said": told})


async def test_a_turn_that_cannot_be_read_harms_only_itself() -> None:
    """Its chat is told or it is given up; all others are answered, and the daemon lives."""
    async with open_rig([1, 2]) as rig:
        rig.model.script = answer
        Question(1, 1).ask(rig.bot)
        rig.spawn([*LAUNCHER, "--kill", "model before@1"])
        assert await rig.ended() == -signal.SIGKILL
        with closing(sqlite3.connect(rig.place.state / "famulus.db")) as db, db:
            db.execute("UPDATE turns SET session_id = 'gone'")
        Question(2, 1).ask(rig.bot)
        await rig.start()
        await rig.until(lambda: rig.bot.texts(2))
        Question(2, 2).ask(rig.bot)
        await rig.until(lambda: len(rig.bot.texts(2)) == 2)
        assert await settled(rig)
        assert await rig.stop() == 0
        assert rig.log().count("turn broke") == 1
        assert rig.value("SELECT outcome FROM turns WHERE session_id = 'gone'") == "dead"
