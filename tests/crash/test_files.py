"""kill -9 around pictures and files: none that has a row is lost, none comes twice unlabelled.

The jobs are stood in for, so that this needs no sandbox; all that follows a job is real.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
import trio
from attrs import frozen

from agent.loop import INTERRUPTED
from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall
from daemon.demo.world import Message
from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import Question, asked
from tests.crash.daemon_under_test import PICTURE
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import LABEL, Kills
from tests.crash.test_points import bring_to_end
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

QUESTIONS = [Question(1, number, "file") for number in (1, 2)]
DOCUMENT_BYTES = 700_000  # so that it takes several reads and writes
FOREIGN = "lost+found"
SAMPLE = 3  # points in the short form
OURS = re.compile(r"spool|sendMediaGroup|sendDocument|finish_tool_call|record_and_claim")


def model(request: ChatRequest) -> Item:
    """Each question wants a job, which is named by it; then there is an answer."""
    name, _kind = asked(request)
    if request.messages[-1]["role"] == "tool":
        return f"[{name}] answered"
    return Reply(calls=(ToolCall("python_execute", {"code": name}, f"job-{name}"),))


@frozen
class Seen:
    """A message in the chat: the name of its (first) file, or its text without the label."""

    name: str
    labelled: bool
    sizes: tuple[int, ...] = ()


@frozen
class Found:
    """What became of one conversation."""

    seen: list[Seen]
    interrupted: set[str]  # questions whose job's end was not recorded: nobody knows its files
    in_flight: Counter[str]  # by name, how often it was on its way at a kill
    left: list[str]  # in the spool
    wrong: list[str]


async def converse(path: Path, *options: str) -> Found:
    """Hold the conversation with a daemon that dies by `options`, and with its heir."""
    async with open_rig() as rig:
        rig.model.script = model
        document = rig.place.root / "document"
        document.write_bytes(bytes(DOCUMENT_BYTES))
        leave_behind(rig.place.state / "spool")
        for question in QUESTIONS:
            question.ask(rig.bot)
        command = [*LAUNCHER, "--jobs", str(document)]
        kills, in_flight = Kills(), Counter[str]()
        rig.spawn([*command, *options])
        while not await bring_to_end(rig):
            kills.note(rig)
            in_flight.update(names_in_flight(rig, kills))
            await rig.start(command)
        return look(rig, in_flight)


def leave_behind(spool: Path) -> None:
    """What an earlier kill may have left for the start to remove, and what is not ours to touch."""
    spool.mkdir(mode=0o700, parents=True)
    (spool / ("0" * 32)).write_bytes(b"a file without a row")
    (spool / ("1" * 32 + ".new")).write_bytes(b"half of a f")
    (spool / FOREIGN).mkdir()


def names_in_flight(rig: Rig, kills: Kills) -> list[str]:
    if not kills.in_flight:
        return []
    rows = rig.rows(
        "SELECT coalesce(nullif(file_name, ''), json_extract(params, '$.text')) AS name"
        " FROM outbox WHERE state = 'sending'"
    )
    return [row["name"] for row in rows]


def look(rig: Rig, in_flight: Counter[str]) -> Found:
    calls = rig.rows(
        "SELECT json_extract(c.arguments, '$.code') AS name FROM tool_calls AS c"
        " JOIN messages AS m ON m.tool_call_id = c.id WHERE m.content = ?",
        INTERRUPTED,
    )
    spool = rig.place.state / "spool"
    left = [path.name for path in spool.iterdir() if path.name != FOREIGN]
    errors = [line for line in rig.log().splitlines() if "level=error" in line]
    wrong = [*map(str, rig.bot.violations), *errors]
    mine = [message for message in rig.bot.chat(1) if message.from_bot]
    shown = [seen(rig, list(group)) for _, group in groupby(mine, album)]
    return Found(shown, {row["name"] for row in calls}, in_flight, left, wrong)


def album(message: Message) -> object:
    """What is shown as one."""
    return message.content.get("media_group_id", message.message_id)


def seen(rig: Rig, group: Sequence[Message]) -> Seen:
    """A message, or an album, whose first has the label for all."""
    text, *others = (message.text for message in group)
    if not group[0].file:
        return Seen(text.removeprefix(LABEL), text.startswith(LABEL))
    stored = [rig.bot.world.files[message.file["file_id"]] for message in group]
    sizes = tuple(len(each.data) for each in stored)
    assert not any(others)
    return Seen(stored[0].name, text == LABEL.strip(), sizes)


def faults(found: Found) -> list[str]:
    """Everything that may not be."""
    expected = [name for question in QUESTIONS for name in names(question, found.interrupted)]
    first = list(dict.fromkeys(each.name for each in found.seen))
    problems = [*found.wrong, *(f"left in the spool: {name}" for name in found.left)]
    if first != expected:
        problems.append(f"shown: {first} in place of {expected}")
    for name, count in Counter(each.name for each in found.seen if not each.labelled).items():
        if count > 1:
            problems.append(f"{name} was shown {count} times without a label")
    for name, count in Counter(each.name for each in found.seen if each.labelled).items():
        if count > found.in_flight[name]:
            problems.append(f"{name} has a label that no kill explains")
    problems += [f"{each} is not whole" for each in found.seen if not is_whole(each)]
    return problems


def is_whole(shown: Seen) -> bool:
    """Two pictures, or a document, with all their bytes; or a text."""
    if shown.name.endswith(".png"):
        return shown.sizes == (len(PICTURE) + 1,) * 2
    return shown.sizes == ((DOCUMENT_BYTES,) if shown.name.endswith(".txt") else ())


def names(question: Question, interrupted: set[str]) -> list[str]:
    files = [f"{question.name}-1.png", f"{question.name}.txt"]
    return [*([] if question.name in interrupted else files), f"[{question.name}] answered"]


async def points_of(path: Path) -> list[str]:
    """The points around files of an undisturbed run, in which nothing goes wrong."""
    found = await converse(path, "--record", str(path / "points"))
    assert faults(found) == []
    assert not any(each.labelled for each in found.seen)
    points = (await trio.Path(path / "points").read_text()).splitlines()
    return [point for point in points if OURS.search(point)]


async def survey(path: Path, points: Sequence[str], figures: Figures) -> None:
    every, problems = list[Found](), list[str]()

    async def visit(point: str) -> None:
        found = await converse(path, "--kill", point)
        every.append(found)
        problems.extend(f"{point}: {problem}" for problem in faults(found))

    await visit_all(points, visit)
    labelled = sum(each.labelled for found in every for each in found.seen)
    interrupted = sum(len(found.interrupted) for found in every)
    row = {"points": len(points), "labels": labelled, "jobs interrupted": interrupted}
    figures("kill -9 around files", {**row, "faults": len(problems)})
    assert problems == []


async def test_killed_at_a_sample_of_points_around_files(tmp_path: Path, figures: Figures) -> None:
    """A few, drawn anew each time."""
    points = await points_of(tmp_path)
    await survey(tmp_path, random.Random(choose_seed()).sample(points, SAMPLE), figures)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_while_an_album_is_on_its_way(
    tmp_path: Path, figures: Figures, moment: str
) -> None:
    """Between its claim and its outcome: it comes once more under a label, each picture in it."""
    await survey(tmp_path, [f"sendMediaGroup {moment}@1"], figures)


@pytest.mark.slow
async def test_killed_at_every_point_around_files(tmp_path: Path, figures: Figures) -> None:
    """Before, in and after each transaction, each step of the spool and each send."""
    await survey(tmp_path, await points_of(tmp_path), figures)
