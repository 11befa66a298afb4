"""kill -9 at random moments, one after the other, while work keeps coming in.

The moments are drawn from a seed that is printed; FAMULUS_CRASH_SEED takes one back. What the
processes do at each is up to the machine, which is why there are many of them.

A turn that is killed five times without a step kept is given up, by design and with a word to the
chat. That would prove nothing here, so a daemon with a turn that has been killed three times is
spared until it has done everything.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
from collections import Counter

import pytest
import trio
from attrs import define, field

from daemon.demo.replies import ChatRequest, Item
from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import Question, answer
from tests.crash.oracle import Kills, Verdict, judge, settled
from tests.harness.processes import Process, family, gone
from tests.harness.rig import Rig, open_rig

CHATS = (1, 2, 3, 4)
KINDS = ("plain", "plain", "sum", "long", "both")
WITH_CODE = (*KINDS, "code", "code", "code")

SHORT, SHORT_SLOW, LONG = 4, 2, 200  # kills
SLOW = (0.3, 1.0)  # seconds that a slow model takes
# What a killed daemon had asked for may have been billed, and counts whole.
UNLIMITED = {"user_day_tokens": 0, "agent_day_tokens": 0}
MOST_ATTEMPTS = 3  # at a turn, before the daemon is spared
RAN = re.compile(r"\[(q\d+\.\d+)/1\] done")


@define(eq=False)
class Storm:
    """One long conversation in which processes die again and again."""

    rig: Rig
    dice: random.Random
    kinds: tuple[str, ...]
    longest_life: float  # seconds
    ask_every: float  # seconds, about
    asked: list[Question] = field(factory=list)
    kills: Kills = field(factory=Kills)
    executor_kills: int = 0
    orphans: set[Process] = field(factory=set)

    def ask(self) -> None:
        chat = self.dice.choice(CHATS)
        number = sum(each.chat == chat for each in self.asked) + 1
        question = Question(chat, number, self.dice.choice(self.kinds))
        self.asked.append(question)
        question.ask(self.rig.bot)

    async def rage(self, kills: int) -> None:
        """Kill that often; then let everything come to its end."""
        while self.kills.count + self.executor_kills < kills:
            await self._live()
            self._strike()
        if not self.rig.runs:
            await self.rig.start()
        assert await settled(self.rig), self.rig.last_words()
        self.orphans.update(family(self.rig.pid))
        assert await self.rig.stop() == 0, self.rig.last_words()
        await gone(self.orphans)

    async def _live(self) -> None:
        """One life of the daemon, or a piece of it: a few questions in a random time."""
        if not self.rig.runs:
            self.rig.spawn()
        end = trio.current_time() + self.dice.uniform(0.0, self.longest_life)
        while (left := end - trio.current_time()) > 0:
            self.ask()
            await trio.sleep(min(left, self.dice.uniform(0.0, 2 * self.ask_every)))
        if self._has_worn_turn():
            assert await settled(self.rig), self.rig.last_words()

    def _has_worn_turn(self) -> bool:
        try:
            attempts = self.rig.value("SELECT max(attempts) FROM turns WHERE state <> 'ended'")
        except sqlite3.OperationalError:  # it did not live to make the tables
            return False
        return (attempts or 0) >= MOST_ATTEMPTS

    def _strike(self) -> None:
        """Kill the daemon or, where there is one, every other time the executor."""
        below = family(self.rig.pid)
        self.orphans.update(below)
        executor = next((each for each in below if "-m executor" in each.command), None)
        if executor is not None and self.dice.random() < 1 / 2:
            self.executor_kills += 1
            os.kill(executor.pid, signal.SIGKILL)
        else:
            self.rig.kill_now()
            self.kills.note(self.rig)


async def weather(kills: int, figures: Figures, *, slow: bool = False, code: bool = False) -> None:
    """Hold a conversation through `kills` kills, and judge it."""
    seed = choose_seed()
    dice = random.Random(seed)

    def taking_time(request: ChatRequest) -> Item:
        rig.model.latency = dice.uniform(*SLOW) if slow else 0.0
        return answer(request)

    async with open_rig(CHATS, with_executor=code, budget=UNLIMITED) as rig:
        rig.model.script = taking_time
        pace = (5.0, 0.5) if slow else (2.5, 0.15)
        storm = Storm(rig, dice, WITH_CODE if code else KINDS, *pace)
        await storm.rage(kills)
        found = judge(rig, storm.asked, storm.kills)
        more: dict[str, object] = {"seed": seed}
        if code:
            more |= {"executor kills": storm.executor_kills, **judge_code(found, rig)}
    figures(
        "kill -9 at random moments",
        {"model": "slow" if slow else "fast", "code": code, **found.figures(), **more},
    )
    assert found.faults == 0, "\n".join(found.notes)


def judge_code(verdict: Verdict, rig: Rig) -> dict[str, object]:
    """Every program ran once at most, and once where its result says that it ran."""
    files = rig.place.workspaces.glob("*/ran")
    ran = Counter(name for file in files for name in file.read_text(encoding="ascii").split())
    said = {match[1] for sent in rig.bot.sent if (match := RAN.search(sent.text))}
    again = [name for name, times in ran.items() if times > 1]
    never = sorted(said - ran.keys())
    verdict.other_faults += len(again) + len(never)
    verdict.notes += [f"{name} ran again" for name in again]
    verdict.notes += [f"{name} is said to have run" for name in never]
    return {"programs run": len(ran), "run and not known": len(ran.keys() - said)}


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
async def test_killed_at_a_few_random_moments(figures: Figures, slow: bool) -> None:
    """Nothing is lost, doubled or disordered by a few kills in a row."""
    await weather(SHORT_SLOW if slow else SHORT, figures, slow=slow)


@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
async def test_killed_at_many_random_moments(figures: Figures, slow: bool) -> None:
    """Nothing is lost, doubled or disordered by hundreds of kills in a row."""
    await weather(LONG, figures, slow=slow)


@pytest.mark.executor
async def test_code_and_executor_killed_at_a_few_random_moments(figures: Figures) -> None:
    """The same with code that runs, and kills that meet the executor as well."""
    await weather(SHORT, figures, code=True)


@pytest.mark.executor
@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
async def test_code_and_executor_killed_at_many_random_moments(
    figures: Figures, slow: bool
) -> None:
    """The same with code that runs, hundreds of times."""
    await weather(LONG, figures, slow=slow, code=True)
