"""SIGTERM in the middle of things: gone in time, and nothing is lost by it."""

from __future__ import annotations

import signal
import time

from daemon.demo.faults import Fault
from daemon.demo.replies import ModelFault
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer, questions
from tests.crash.oracle import LABEL, Kills, judge, settled
from tests.harness.rig import Rig, open_rig

# Seconds beyond the grace for an interpreter to come down on a busy machine.
SLACK = 10.0
TITLE = "SIGTERM"


async def timed_stop(rig: Rig, what: str, grace: float, figures: Figures) -> float:
    began = time.perf_counter()
    code = await rig.stop()
    took = time.perf_counter() - began
    figures(
        TITLE, {"in the middle of": what, "grace": grace, "exit": code, "seconds": f"{took:.2f}"}
    )
    assert code == 0
    assert took < grace + SLACK
    return took


async def finish(rig: Rig, asked: list[Question]) -> None:
    """Start again, and find everything answered once and without a label."""
    rig.bot.faults.clear()
    rig.model.faults.clear()
    await rig.start()
    assert await settled(rig)
    assert await rig.stop() == 0
    found = judge(rig, asked, Kills())
    assert found.faults == found.labels == 0, "\n".join(found.notes)


async def test_a_model_that_does_not_answer_is_left_after_the_grace(figures: Figures) -> None:
    """The turn is cut off, and goes on at the next start."""
    async with open_rig(shutdown_grace=1.0) as rig:
        rig.model.script = answer
        rig.model.faults.add(ModelFault.stalled())
        asked = questions([1], ["sum", "plain"])
        for question in asked:
            question.ask(rig.bot)
        await rig.start()
        await rig.model.wait_for(lambda model: model.requests, timeout=20)
        await timed_stop(rig, "a model call without end", 1.0, figures)
        assert rig.bot.sent == []
        await finish(rig, asked)


async def test_turns_stop_at_their_next_journal_point(figures: Figures) -> None:
    """A turn that can reach a safe place in time does, and no further one is begun."""
    async with open_rig([1, 2, 3], latency=0.5, shutdown_grace=20.0) as rig:
        rig.model.script = answer
        asked = questions([1, 2, 3], ["both", "plain", "long"])
        for question in asked:
            question.ask(rig.bot)
        await rig.start()
        await rig.model.wait_for(lambda model: len(model.requests) == 3, timeout=20)
        took = await timed_stop(rig, "three model calls of 0.5 s", 20.0, figures)
        assert took < 20.0, "there was no need to wait for the grace to pass"
        assert rig.value("SELECT count(*) FROM turns WHERE state = 'running'") == 0
        await finish(rig, asked)


async def test_a_send_in_flight_arrives(figures: Figures) -> None:
    """A message on its way is waited for, so that it needs no label later."""
    async with open_rig(shutdown_grace=20.0) as rig:
        rig.model.script = answer
        slow = rig.bot.faults.add(Fault(method="sendMessage", delay=1.0))
        asked = questions([1], ["long", "plain"])
        for question in asked:
            question.ask(rig.bot)
        await rig.start()
        await rig.until(lambda: slow.used)
        await timed_stop(rig, "a send of 1 s", 20.0, figures)
        assert rig.value("SELECT count(*) FROM outbox WHERE state = 'sending'") == 0
        await finish(rig, asked)


async def test_a_send_without_end_is_left_after_the_grace(figures: Figures) -> None:
    """It may have arrived, so it is sent again under a label."""
    async with open_rig(shutdown_grace=1.0) as rig:
        rig.model.script = answer
        rig.bot.faults.add(Fault.stalled("sendMessage", after_effect=True))
        Question(1, 1).ask(rig.bot)
        await rig.start()
        await rig.until(lambda: rig.bot.sent)
        await timed_stop(rig, "a send without end", 1.0, figures)
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        assert rig.bot.texts(1) == ["[q1.1/1] answered", f"{LABEL}[q1.1/1] answered"]


async def test_a_turn_without_end_does_not_cut_off_a_send(figures: Figures) -> None:
    """A turn uses up its time while messages go out one after the other: the last one arrives."""
    grace = 2.0
    async with open_rig([1, 2], shutdown_grace=grace) as rig:
        rig.model.script = answer
        rig.bot.faults.add(Fault(method="sendMessage", delay=0.2, times=-1))
        rig.model.faults.add(ModelFault.stalled())
        asked = questions([1], ["plain"])
        asked[0].ask(rig.bot)
        await rig.start()
        await rig.model.wait_for(lambda model: model.requests, timeout=20)
        more = questions([2], ["long"] * 8)
        for question in more:
            question.ask(rig.bot)
        await rig.until(lambda: rig.bot.sent)
        await timed_stop(rig, "a turn without end, sends of 0.2 s", grace, figures)
        assert rig.value("SELECT count(*) FROM outbox WHERE state = 'queued'") > 0
        assert rig.value("SELECT count(*) FROM outbox WHERE state = 'sending'") == 0
        await finish(rig, [*asked, *more])


async def test_a_second_signal_ends_it_at_once() -> None:
    """Whoever asks twice means it."""
    async with open_rig(shutdown_grace=20.0) as rig:
        rig.model.script = answer
        rig.model.faults.add(ModelFault.stalled())
        asked = [Question(1, 1)]
        asked[0].ask(rig.bot)
        await rig.start()
        await rig.model.wait_for(lambda model: model.requests, timeout=20)
        polls = rig.bot.count("getUpdates")
        rig.signal(signal.SIGTERM)
        await rig.log_says("event=stopping")
        rig.signal(signal.SIGTERM)
        assert await rig.ended(SLACK) == -signal.SIGTERM
        assert rig.bot.count("getUpdates") == polls
        await finish(rig, asked)
