"""kill -9 around pictures that the model looks at: it is shown what it was shown before, or anew.

The workspace is stood in for, and holds another picture each time that one is looked at: whatever
was kept with the result of a look is what every later request of the turn must have.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall, text_of
from tests.crash.conftest import Figures, choose_seed
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import LABEL
from tests.crash.test_points import bring_to_end
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

SAMPLE = 3  # points in the short form
OURS = re.compile(r"spool|model |tool view_file|finish_tool_call|keep_answer|steps.end|views\.")
LOOK = ToolCall("view_file", {"path": "a.png"})
SUM = ToolCall("calculate_expression", {"expression": "2 + 2"})


def model(request: ChatRequest) -> Item:
    """Looks at two pictures at once, works a sum, and answers; the second time it just answers."""
    if request.user_text.startswith("later"):
        return "later answered"
    answers = sum(message["role"] == "assistant" for message in request.messages)
    return [Reply(calls=(LOOK, LOOK)), Reply(calls=(SUM,)), "answered"][min(answers, 2)]


async def converse(path: Path, *options: str) -> list[str]:
    """Hold the conversation with a daemon that dies by `options`, and its heirs; the faults."""
    async with open_rig() as rig:
        rig.configure([1], model={"images": "yes"})
        rig.model.script = model
        looks = rig.place.root / "looks"
        looks.touch()
        command = [*LAUNCHER, "--looks", str(looks)]
        rig.bot.user_says("look", user_id=1)
        rig.spawn([*command, *options])
        while not await bring_to_end(rig):
            await rig.start(command)
        rig.bot.user_says("later", user_id=1)
        await rig.start(command)
        while not await bring_to_end(rig):
            await rig.start(command)
        return faults(rig)


def shown(request: ChatRequest) -> tuple[str, ...]:
    parts = [
        part
        for message in request.messages
        if isinstance(message["content"], list)
        for part in message["content"]
    ]
    return tuple(part["image_url"]["url"] for part in parts if part["type"] == "image_url")


def faults(rig: Rig) -> list[str]:
    """Everything that may not be."""
    problems = [*rig.model.refusals, *map(str, rig.bot.violations)]
    problems += [line for line in rig.log().splitlines() if "level=error" in line]
    problems += [f"left in the spool: {each}" for each in (rig.place.state / "spool").iterdir()]
    turn = [each for each in rig.model.requests if "later" not in str(each.messages)]
    after = [shown(each) for each in turn if each.messages[-1]["role"] != "user" or shown(each)]
    if len(set(after)) != 1 or len(set(after[0])) != 2:
        problems.append(f"shown: {after}")
    later = [each for each in rig.model.requests if "later" in str(each.messages)]
    named = [text_of(message) for each in later for message in each.messages]
    if any(map(shown, later)) or sum("was shown" in text for text in named) != 2 * len(later):
        problems.append("a later turn was shown more than a line for each")
    texts = [message.text for message in rig.bot.chat(1) if message.from_bot]
    # A kill may have come while an answer was being sent, which then comes once more, and says so.
    said = dict.fromkeys(text.removeprefix(LABEL) for text in texts)
    unlabelled = [text for text in texts if not text.startswith(LABEL)]
    if [*said] != ["answered", "later answered"] or len(set(unlabelled)) != len(unlabelled):
        problems.append(f"said: {texts}")
    return problems


async def points_of(path: Path) -> list[str]:
    """The points of an undisturbed run, in which nothing goes wrong."""
    assert await converse(path, "--record", str(path / "points")) == []
    return [point for point in (path / "points").read_text().splitlines() if OURS.search(point)]


async def survey(path: Path, points: Sequence[str], figures: Figures) -> None:
    problems: list[str] = []

    async def visit(point: str) -> None:
        problems.extend(f"{point}: {each}" for each in await converse(path, "--kill", point))

    await visit_all(points, visit)
    figures("kill -9 around pictures", {"points": len(points), "faults": len(problems)})
    assert problems == []


async def test_killed_at_a_sample_of_points_around_pictures(
    tmp_path: Path, figures: Figures
) -> None:
    """A few, drawn anew each time."""
    points = await points_of(tmp_path)
    await survey(tmp_path, random.Random(choose_seed()).sample(points, SAMPLE), figures)


@pytest.mark.slow
async def test_killed_at_every_point_around_pictures(tmp_path: Path, figures: Figures) -> None:
    """Before, in and after each transaction, each step of the spool and each request."""
    await survey(tmp_path, await points_of(tmp_path), figures)
