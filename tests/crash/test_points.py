"""kill -9 at every journal point: each transaction's three moments, each act's two.

The points are not listed anywhere. An undisturbed run of the conversation is recorded; then the
conversation is held again for each point that was seen in it, the daemon kills itself there, and
the one that is started next must bring everything to its proper end.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
from attrs import define, field

from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import Question, answer, questions
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import Kills, Verdict, judge, settled
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

KINDS = ("plain", "sum", "long", "both")
CODE_KINDS = ("code", "plain", "code")
CHATS = (1, 2)
SLOW = 0.4  # seconds that a slow model takes for each answer
SAMPLE = 3  # points in the short form

# Holds a conversation with a daemon that dies by these options, and with its heirs.
Converse: TypeAlias = Callable[[Sequence[str]], Awaitable[Verdict]]


def ask_everything(rig: Rig, kinds: Sequence[str]) -> list[Question]:
    """Everything waits at Telegram before the daemon starts, a command and a button among it."""
    asked = questions(CHATS, kinds)
    for question in asked:
        question.ask(rig.bot)
    rig.bot.user_says("/help", user_id=CHATS[0])
    rig.bot.press(rig.bot.chat(CHATS[0])[0], "a button of long ago")
    return asked


async def converse(options: Sequence[str], latency: float, *, code: bool = False) -> Verdict:
    """Hold the conversation with a daemon that dies by `options`, and with its heir."""
    async with open_rig(CHATS, latency=latency, with_executor=code) as rig:
        rig.model.script = answer
        asked = ask_everything(rig, CODE_KINDS if code else KINDS)
        kills = Kills()
        rig.spawn([*LAUNCHER, *options])
        while not await bring_to_end(rig):
            kills.note(rig)
            await rig.start()
        return judge(rig, asked, kills)


async def bring_to_end(rig: Rig) -> bool:
    """Let the daemon settle and stop; False if it was killed on the way."""
    code = await rig.stop() if await settled(rig) else await rig.ended()
    assert code in {0, -signal.SIGKILL}, rig.last_words()
    return code == 0


async def recorded(path: Path, hold: Converse) -> list[str]:
    """The points of an undisturbed run, in the order in which they were first reached."""
    verdict = await hold(["--record", str(path)])
    assert verdict.faults == 0, verdict.notes
    assert verdict.labels == 0, "nothing was in doubt"
    return (await trio.Path(path).read_text()).splitlines()


@define
class Survey:
    """Holds one conversation for each point that is visited."""

    hold: Converse
    total: Verdict = field(factory=Verdict)
    # Points that were not reached again, because things went in another order.
    missed: list[str] = field(factory=list)

    async def visit(self, point: str) -> None:
        verdict = await self.hold(["--kill", point])
        verdict.notes = [f"{point}: {note}" for note in verdict.notes]
        if not verdict.kills:
            self.missed.append(point)
        self.total.add(verdict)


@pytest.mark.parametrize("latency", [0.0, SLOW], ids=["fast", "slow"])
async def test_killed_at_a_sample_of_points(
    tmp_path: Path, figures: Figures, latency: float
) -> None:
    """A kill at any of a few points, drawn anew each time, loses and doubles nothing."""
    seed = choose_seed()
    hold = partial(converse, latency=latency)
    points = await recorded(tmp_path / "points", hold)
    sample = random.Random(seed).sample(points, SAMPLE)
    await survey(sample, hold, figures, model=speed(latency), seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("latency", [0.0, SLOW], ids=["fast", "slow"])
async def test_killed_at_every_point(tmp_path: Path, figures: Figures, latency: float) -> None:
    """A kill at any point of the conversation loses and doubles nothing."""
    hold = partial(converse, latency=latency)
    points = await recorded(tmp_path / "points", hold)
    await survey(points, hold, figures, model=speed(latency))


def speed(latency: float) -> str:
    return "slow" if latency else "fast"


async def survey(
    points: Sequence[str], hold: Converse, figures: Figures, *, of: str = "", **more: object
) -> None:
    watch = Survey(hold)
    await visit_all(points, watch.visit)
    found = watch.total
    title = "kill -9 at journal points" + (f" of {of}" if of else "")
    figures(title, {"points": len(points), **found.figures(), **more})
    assert found.faults == 0, "\n".join(found.notes)
    assert found.given_up == found.unknown == 0, "one kill is no reason to give up"
    # Where a conversation takes a little longer or shorter, its last points are another's.
    assert len(watch.missed) <= max(1, len(points) // 4), watch.missed


@pytest.mark.executor
@pytest.mark.slow
async def test_killed_at_every_point_of_code_tools(tmp_path: Path, figures: Figures) -> None:
    """A kill at any point while the sandbox runs code: each program runs once at most."""
    hold = partial(converse, latency=0.0, code=True)
    points = await recorded(tmp_path / "points", hold)
    await survey(points, hold, figures, of="code tools")
