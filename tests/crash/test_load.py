"""Many messages at once: all answered, in the order of their chats, in a time that is printed."""

from __future__ import annotations

import time

import pytest

from tests.crash.conftest import Figures
from tests.crash.conversation import answer, questions
from tests.crash.oracle import Kills, judge, settled
from tests.harness.rig import Rig, open_rig

TIMEOUT = 120.0  # seconds; a test of promises, not of speed


async def answer_all(rig: Rig, chats: int, each: int, figures: Figures, *, running: bool) -> None:
    """Ask `each` questions in each of `chats` chats, before the daemon starts or after."""
    rig.model.script = answer
    asked = questions(range(1, chats + 1), ["plain"] * each)
    if running:
        await rig.start()
    for question in asked:
        question.ask(rig.bot)
    began = time.perf_counter()
    if not running:
        await rig.start()
    await rig.until(lambda: len(rig.bot.sent) >= len(asked), TIMEOUT)
    took = time.perf_counter() - began
    assert await settled(rig)
    memory = rig.memory()["VmHWM"] // 1024
    assert await rig.stop() == 0
    found = judge(rig, asked, Kills())
    row = {
        "messages": len(asked),
        "chats": chats,
        "asked": "at once" if running else "before start",
    }
    row |= {"seconds": f"{took:.2f}", "messages/s": f"{len(asked) / took:.1f}", "peak MB": memory}
    figures("many messages", {**row, "lost": found.lost, "out of order": found.out_of_order})
    assert found.faults == found.labels == 0, "\n".join(found.notes)


@pytest.mark.parametrize("each", [15, pytest.param(50, marks=pytest.mark.slow)])
async def test_messages_that_waited(figures: Figures, each: int) -> None:
    """What was said while the daemon was down is answered in order once it is up."""
    async with open_rig(range(1, 21)) as rig:
        await answer_all(rig, 20, each, figures, running=False)


async def test_five_hundred_messages_over_fifty_chats(figures: Figures) -> None:
    """What comes all at once is answered in the order of each chat."""
    async with open_rig(range(1, 51)) as rig:
        await answer_all(rig, 50, 10, figures, running=True)
