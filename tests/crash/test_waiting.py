"""kill -9 at every journal point of turns that wait: for a person, and for other turns.

In each chat somebody asks for something that needs permission, for something that a specialist
needs permission for, for something in the background, and for something of which the agent has to
know more. Permission comes once for each question: for what the turn asks itself by a button in one
chat and by a command in the other, at the control socket for what the specialist asks. The agent's
own questions are answered by a button in one chat, and in words in the other.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from attrs import Factory, define

from daemon import control_client
from daemon.demo.calls import Sent
from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import SPECIALIST, answer, questions
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import SETTLE_INTERVAL, Kills, Verdict, judge
from tests.crash.test_points import bring_to_end, recorded, survey
from tests.harness.rig import Rig, open_rig

KINDS = ("pay", "choose", "dine", "brew", "plain")
CHATS = (1, 2)
BY_BUTTON = 1  # the chat whose person presses buttons
SAMPLE = 4  # points in the short form
QUESTION = re.compile(
    r"May I run this\?\n\npay\nbill: (q\S+)( of the cook)?.*/approve (\w+)", re.DOTALL
)
WHICH = re.compile(r"(q\S+) wants to know which\n\nChoose")
PAID = re.compile(r"\[(q\d+\.\d+)/1\] .*paid")


@define
class Person:
    """Allows whatever is asked for, and chooses, once; who is not heard tries again."""

    rig: Rig
    answered: dict[str, str] = Factory(dict)  # the bill, by the question
    told: set[str] = Factory(set)  # what the agent has asked, and heard
    pressed: int = 0

    async def attend(self) -> NoReturn:
        while True:
            for sent in list(self.rig.bot.sent):
                asked = QUESTION.search(sent.text)
                if asked and asked[3] not in self.answered:
                    await self._allow(sent, asked)
                which = WHICH.search(sent.text)
                if which and which[1] not in self.told:
                    self._choose(sent)
                    self.told.add(which[1])
            await trio.sleep(SETTLE_INTERVAL)

    def _press(self, sent: Sent, label: str) -> None:
        """Twice, as people do who see nothing happen."""
        keys = [key for row in sent.params["reply_markup"]["inline_keyboard"] for key in row]
        (data,) = (key["callback_data"] for key in keys if key["text"] == label)
        for _ in range(2):
            self.rig.bot.press(sent, data)
            self.pressed += 1

    def _choose(self, sent: Sent) -> None:
        if sent.chat_id == BY_BUTTON:
            self._press(sent, "that one")
        else:
            self.rig.bot.user_says("that one", user_id=sent.chat_id)

    async def _allow(self, sent: Sent, asked: re.Match[str]) -> None:
        bill, cook, ref = asked.groups()
        if cook is None and sent.chat_id == BY_BUTTON:
            self._press(sent, "Allow once")
        elif cook is None:
            self.rig.bot.user_says(f"/approve {ref}", user_id=sent.chat_id)
        else:
            try:
                await trio.to_thread.run_sync(self._at_the_console, ref)
            except control_client.ControlError:
                return  # it has died, or does not listen yet
        self.answered[ref] = f"{bill}{cook or ''}"

    def _at_the_console(self, ref: str) -> None:
        control_client.ask(self.rig.place.state, "answer", {"ref": ref, "granted": True})


async def wait_for_others(options: Sequence[str]) -> Verdict:
    """Hold the conversation with a daemon that dies by `options`, and with its heir."""
    async with open_rig(CHATS) as rig, trio.open_nursery() as nursery:
        agents, bills = rig.place.root / "agent" / "agents", rig.place.root / "bills"
        agents.mkdir(parents=True)
        (agents / "cook.md").write_text(SPECIALIST, encoding="ascii")
        rig.configure(CHATS, agent={"dir": str(agents.parent)})
        rig.model.script = answer
        asked = questions(CHATS, KINDS)
        for question in asked:
            question.ask(rig.bot)
        kills, person = Kills(), Person(rig)
        nursery.start_soon(person.attend)
        daemon = [*LAUNCHER, "--bills", str(bills)]
        rig.spawn([*daemon, *options])
        while not await bring_to_end(rig):
            kills.note(rig)
            await rig.start(daemon)
        nursery.cancel_scope.cancel()
        verdict = judge(rig, asked, kills)
        judge_waiting(verdict, rig, bills, person)
    return verdict


def judge_waiting(verdict: Verdict, rig: Rig, bills: Path, person: Person) -> None:
    """What was allowed was asked once and run once at most; what others did came back once."""
    lines = bills.read_text(encoding="ascii").splitlines() if bills.exists() else []
    paid, allowed = Counter(lines), Counter(person.answered.values())
    said = {match[1] for sent in rig.bot.sent if (match := PAID.search(sent.text))}
    asked = {question.removesuffix(" of the cook") for question in paid}
    wrong = {
        "paid again": [bill for bill, times in paid.items() if times > 1],
        "not paid in peace": [] if verdict.kills else sorted(allowed.keys() - paid.keys()),
        "not asked": [] if len(allowed) == 2 * len(CHATS) else [str(allowed)],
        "paid without leave": sorted(paid.keys() - allowed.keys()),
        "asked again": [bill for bill, times in allowed.items() if times > 1],
        "said to be paid": sorted(said - asked),
        "children begun twice": rig.rows(
            "SELECT c.label FROM turns AS c JOIN turns AS p ON p.id = c.parent_id"
            " WHERE c.lane <> c.session_id GROUP BY c.parent_id HAVING count(*) > 1"
        ),
        "told twice in the conversation": rig.rows(
            "SELECT parent_id FROM turns WHERE cause = 'child' AND lane = session_id"
            " GROUP BY parent_id HAVING count(*) > 1"
        ),
        "told to another chat": rig.rows(
            "SELECT c.id FROM turns AS c JOIN turns AS p ON p.id = c.parent_id"
            " WHERE c.session_id <> p.session_id"
        ),
        "questions left open": rig.rows("SELECT ref FROM approvals WHERE state = 'open'"),
        "not chosen as the person did": rig.rows(
            "SELECT ref FROM questions WHERE answer IS NOT 'that one' OR state <> 'answered'"
        ),
        "asked again, or not at all": []
        if rig.value("SELECT count(*) FROM questions") == len(CHATS)
        else rig.rows("SELECT ref FROM questions"),
        "messages that still ask": [
            message.text
            for chat in CHATS
            for message in rig.bot.chat(chat)
            if message.buttons and not verdict.labels
        ],
        "presses without an answer": sorted(rig.bot.world.open_queries),
        "answers to presses": []
        if len(rig.bot.world.answers) == person.pressed
        else list(rig.bot.world.answers.values()),
    }
    for what, found in wrong.items():
        verdict.other_faults += len(found)
        verdict.notes += [f"{what}: {list(map(str, found))}"] if found else []


async def test_killed_at_a_sample_of_points_while_turns_wait(
    tmp_path: Path, figures: Figures
) -> None:
    """A kill at any of a few points, drawn anew each time: nothing is lost, asked or done twice."""
    seed = choose_seed()
    points = await recorded(tmp_path / "points", wait_for_others)
    sample = random.Random(seed).sample(points, SAMPLE)
    await survey(sample, wait_for_others, figures, of="turns that wait", seed=seed)


@pytest.mark.slow
async def test_killed_at_every_point_while_turns_wait(tmp_path: Path, figures: Figures) -> None:
    """A kill at any point: nothing is lost, asked or done twice."""
    points = await recorded(tmp_path / "points", wait_for_others)
    await survey(points, wait_for_others, figures, of="turns that wait")
