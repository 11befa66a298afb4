"""kill -9 around an answer that a group is shown while it is written.

The group has one message that grows. Whatever moment the daemon is killed at, the answer is there
once in the end: in the place of the message that stood for it, or, if nobody can know whether that
arrived, as one of its own that says that it may be there twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall
from tests.crash.conftest import Figures, choose_seed
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import LABEL
from tests.crash.test_points import bring_to_end
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

GROUP = -5
IN_GROUP = {"allowed_chats": [GROUP], "groups": [{"chat": GROUP, "answer": "all"}]}
SAMPLE = 3  # points in the short form
OURS = ("previews.", "sendMessage", "editMessageText", "outbox.", "steps.end", "record_and_claim")
TEXT = "Once upon a time there was **a lamp**, and it was blue."
SUM = ToolCall("calculate_expression", {"expression": "2 + 2"})


def model(request: ChatRequest) -> Item:
    """Says something, works a sum, and then tells a story for long enough to be shown."""
    if request.messages[-1]["role"] != "tool":
        return Reply("Let me count.", calls=(SUM,), chunks=4, pause=0.3)
    return Reply(TEXT, chunks=6, pause=0.3)


async def converse(options: Sequence[str]) -> tuple[list[str], bool]:
    """Hold the conversation with a daemon that dies by `options`; faults, and if it died."""
    async with open_rig((), telegram=IN_GROUP) as rig:
        rig.model.script = model
        rig.bot.user_says("a story", chat_id=GROUP, user_id=1)
        rig.spawn([*LAUNCHER, *options])
        in_flight: list[int] = []
        killed = False
        while not await bring_to_end(rig):
            killed = True
            in_flight += [row["id"] for row in rig.rows(SENDING)]
            await rig.start()
        return faults(rig, in_doubt=bool(in_flight)), killed


# What takes the place of a message that is there is an edit, of which there is no doubt.
SENDING = (
    "SELECT id FROM outbox AS o WHERE state = 'sending' AND method = 'sendMessage' AND NOT EXISTS"
    " (SELECT 1 FROM outbox WHERE ref = o.edits AND state = 'sent')"
)


def faults(rig: Rig, *, in_doubt: bool) -> list[str]:
    """Everything that may not be."""
    problems = [*rig.model.refusals, *map(str, rig.bot.violations)]
    problems += [line for line in rig.log().splitlines() if "level=error" in line]
    texts = rig.bot.texts(GROUP)
    whole = TEXT.replace("**", "")
    told = [text for text in texts if text.removeprefix(LABEL) == whole]
    unlabelled = [text for text in texts if not text.startswith(LABEL)]
    if not told:
        problems.append(f"lost: {texts}")
    if len(unlabelled) > 1 or len(texts) > 1 + in_doubt:
        problems.append(f"more than one: {texts}")
    if any(text.startswith(LABEL) for text in texts) and not in_doubt:
        problems.append(f"a label that no kill explains: {texts}")
    if not in_doubt and texts != [whole]:
        problems.append(f"unfinished: {texts}")
    return problems


async def recorded(path: Path) -> list[str]:
    found, _ = await converse(["--record", str(path)])
    assert found == []
    points = (await trio.Path(path).read_text()).splitlines()
    ours = [point for point in points if any(name in point for name in OURS)]
    assert any(point.startswith("editMessageText") for point in ours), "it is shown by edits"
    assert any("previews.begin" in point for point in ours)
    return ours


async def survey(points: Sequence[str], figures: Figures, **more: object) -> None:
    wrong, died = list[str](), list[bool]()

    async def visit(point: str) -> None:
        found, killed = await converse(["--kill", point])
        died.append(killed)
        wrong.extend(f"{point}: {each}" for each in found)

    await visit_all(points, visit)
    kills = sum(died)
    figures("kill -9 around a live answer", {"points": len(points), "kills": kills, **more})
    assert wrong == []
    assert kills > len(points) // 2


async def test_killed_at_a_sample_of_points(tmp_path: Path, figures: Figures) -> None:
    """A kill at any of a few points, drawn anew each time, loses and doubles nothing."""
    seed = choose_seed()
    points = await recorded(tmp_path / "points")
    await survey(random.Random(seed).sample(points, SAMPLE), figures, seed=seed)


@pytest.mark.slow
async def test_killed_at_every_point(tmp_path: Path, figures: Figures) -> None:
    """A kill at any point around the message that grows loses and doubles nothing."""
    await survey(await recorded(tmp_path / "points"), figures)
