"""kill -9 while files come in: each is in the workspace once, and each message is answered once.

The workspace is a directory of the test, so that this needs no sandbox; all that comes before it is
real.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from daemon.demo.people import Person
from daemon.demo.replies import ChatRequest, Item, text_of
from tests.crash.conftest import Figures, choose_seed
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import LABEL
from tests.crash.test_points import bring_to_end
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

SAMPLE = 3  # points in the short form
OURS = re.compile(
    r"attachments\.|spool|getFile|put |route_batch|inbox\.receive|pass_deadlines|take_over|steps\."
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x09" * 2
LARGE = bytes(range(256)) * 10_000  # so that it takes several writes
WANTED = {"photo.jpg": PNG, "report.pdf": LARGE, "report-2.pdf": LARGE + b"2", "voice.ogg": b"O"}
ANSWERS = ["answered picture", "answered album", "answered voice", "answered words"]


def model(request: ChatRequest) -> Item:
    """Answers with the name of what it was sent, if all of that is there."""
    text = text_of([each for each in request.messages if each["role"] == "user"][-1])
    texts = "\n".join(text_of(each) for each in request.messages if each["role"] == "user")
    if "words" in text:
        return "answered words"
    if "voice.ogg" in text:
        return "answered voice"
    if "report" in text:
        album = [name for name in ("report.pdf", "report-2.pdf") if f"inbox/{name}]" in texts]
        return "answered album" if len(album) == 2 else f"only {album}"
    shown = isinstance(request.messages[-1]["content"], list)
    return "answered picture" if shown and "inbox/photo.jpg]" in text else f"blind: {text}"


def send(rig: Rig) -> None:
    """Everything waits at Telegram before the daemon starts."""
    ada = Person(rig.bot, 1)
    ada.sends_photo(PNG, caption="picture")
    more = {"media_group_id": "7"}
    ada.sends_document(LARGE, "report.pdf", caption="album", **more)
    ada.sends_document(LARGE + b"2", "report.pdf", **more)
    ada.sends_voice(b"O")
    ada.says("words")


async def converse(path: Path, *options: str) -> list[str]:
    """Hold the conversation with a daemon that dies by `options`, and its heir; the faults."""
    async with open_rig() as rig:
        rig.configure([1], model={"images": "yes"})
        rig.model.script = model
        workspace = rig.place.root / "workspace"
        workspace.mkdir()
        command = [*LAUNCHER, "--inbox", str(workspace)]
        send(rig)
        rig.spawn([*command, *options])
        while not await bring_to_end(rig):
            await rig.start(command)
        return faults(rig, workspace)


def faults(rig: Rig, workspace: Path) -> list[str]:
    """Everything that may not be."""
    problems = [*rig.model.refusals, *map(str, rig.bot.violations)]
    problems += [line for line in rig.log().splitlines() if "level=error" in line]
    problems += [f"left in the spool: {each}" for each in (rig.place.state / "spool").iterdir()]
    found = {each.name: each.read_bytes() for each in (workspace / "inbox").iterdir()}
    if found != WANTED:
        problems.append(f"in the workspace: {sorted(found)}")
    states = [row[0] for row in rig.rows("SELECT state FROM attachments")]
    if states != ["placed"] * len(WANTED):
        problems.append(f"files: {states}")
    texts = [message.text for message in rig.bot.chat(1) if message.from_bot]
    said = dict.fromkeys(text.removeprefix(LABEL) for text in texts)
    unlabelled = [text for text in texts if not text.startswith(LABEL)]
    if [*said] != ANSWERS or len(set(unlabelled)) != len(unlabelled):
        problems.append(f"said: {texts}")
    return problems


async def points_of(path: Path) -> list[str]:
    """The points of an undisturbed run, in which nothing goes wrong."""
    assert await converse(path, "--record", str(path / "points")) == []
    recorded = (await trio.Path(path / "points").read_text()).splitlines()
    return [point for point in recorded if OURS.search(point)]


async def survey(path: Path, points: Sequence[str], figures: Figures) -> None:
    problems: list[str] = []

    async def visit(point: str) -> None:
        problems.extend(f"{point}: {each}" for each in await converse(path, "--kill", point))

    await visit_all(points, visit)
    figures("kill -9 around what comes in", {"points": len(points), "faults": len(problems)})
    assert problems == []


async def test_killed_at_a_sample_of_points_around_what_comes_in(
    tmp_path: Path, figures: Figures
) -> None:
    """A few, drawn anew each time."""
    points = await points_of(tmp_path)
    await survey(tmp_path, random.Random(choose_seed()).sample(points, SAMPLE), figures)


@pytest.mark.slow
async def test_killed_at_every_point_around_what_comes_in(tmp_path: Path, figures: Figures) -> None:
    """Before, in and after each transaction, each step of the spool and each request."""
    await survey(tmp_path, await points_of(tmp_path), figures)
