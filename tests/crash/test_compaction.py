"""The real daemon sums a conversation up, and is killed meanwhile: it goes on with what it had."""

from __future__ import annotations

import re
import signal

import pytest

from daemon.chat.summing import TOLD_DONE
from daemon.demo.replies import ChatRequest, Item, Reply, text_of
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import settled
from tests.harness.rig import Rig, open_rig

MARK = re.compile(r"\bmark\d+\b")
# A request may have 4,900 tokens.
MODEL = {"context_window": 16_384}
COMPACTION = {"share": 0.4, "keep": 0.2}


def is_summary(request: ChatRequest) -> bool:
    return "replaced by a summary" in text_of(request.messages[-1])


def marks(request: ChatRequest) -> list[str]:
    """The marks of all that was said, in the order in which the request has them."""
    return MARK.findall("\n".join(text_of(each) for each in request.messages[1:]))


def answer(request: ChatRequest) -> Item:
    """At length; and a summary has every mark that was shown. Counted high, so that it is due."""
    if is_summary(request):
        return Reply(f"We spoke of {' '.join(marks(request))}.", usage=(2_000, 50))
    return Reply(f"Yes. {'y' * 6_000}", usage=(5_000, 50))


async def say(rig: Rig, text: str) -> bool:
    rig.bot.user_says(text)
    return await settled(rig)


@pytest.mark.parametrize(
    "point",
    [
        "summing.intend before",
        "summing.intend committed",
        "summing.put before",
        "summing.put done",
        "summing.put committed",
    ],
)
async def test_killed_while_it_sums_up_it_loses_and_doubles_nothing(point: str) -> None:
    """The next message is answered with all that was said, and the chat is told once."""
    async with open_rig(model=MODEL, compaction=COMPACTION) as rig:
        rig.model.script = answer
        rig.spawn([*LAUNCHER, "--kill", f"{point}@1"])
        await say(rig, "mark1")
        assert await rig.ended() == -signal.SIGKILL
        await rig.start()
        await say(rig, "mark3")
        await say(rig, "mark4")
        await rig.until(lambda: rig.bot.texts(1).count(TOLD_DONE) == 1)
        last = [each for each in rig.model.requests if not is_summary(each)][-1]
        assert sorted(set(marks(last))) == sorted(marks(last)), "twice"
        assert {"mark1", "mark3", "mark4"} <= set(marks(last))
        assert await rig.stop() == 0
        await rig.start()  # settles what the stop has cut off: a second summary, perhaps
        assert await rig.stop() == 0
        assert rig.value("SELECT count(*) FROM model_calls WHERE state = 'running'") == 0
        assert rig.value("SELECT sum(reserved_tokens) FROM usage") == 0


async def test_the_commands_speak_of_it() -> None:
    """/compact has figures for before and after, /usage has the tokens that were counted."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        await say(rig, "mark1")
        await say(rig, "/compact")
        await rig.until(lambda: rig.bot.texts(1)[-1].startswith("Summed up"))
        await say(rig, "/usage")
        await rig.until(lambda: "today (UTC)" in rig.bot.texts(1)[-1])
        assert "You, today (UTC): 7,100 tokens in 2 calls" in rig.bot.texts(1)[-1]
        assert "Everybody, today (UTC): 7,100 tokens" in rig.bot.texts(1)[-1]
        assert await rig.stop() == 0
