"""docs/inputs.md as text: each case is performed, and what became of it is written down.

The daemon is the real one, against the demo's servers; the workspace is a directory. The model says
what it was asked first, so that the chat's column shows which words were answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import trio
from attrs import frozen

from daemon.demo.people import Person
from daemon.demo.replies import ChatRequest, Item, Reply
from tests.crash.launcher import LAUNCHER
from tests.harness.rig import Rig, open_rig
from tests.inputs.cases import CASES, GROUP, SLOW, Case, settled

PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "inputs.md"

HEAD: Final = """\
# What can be sent

Each kind of message, what the model saw of it, and what the chat got. `python -m tests.inputs`
writes this file from what the real daemon did with each, and a test sees that it is as it was
written. The workspace of a chat is where its tools work; *(picture)* and *(document)* are shown to
the model itself. The model here answers with the first of the words that it was told last.

"""
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "sees": {"images": "yes", "documents": "yes"},
    "blind": {"images": "no", "documents": "no"},
    "hears": {"images": "yes", "documents": "yes", "transcription": "whisper-1"},
}
FIRST_USER: Final = 100
LONGEST: Final = 200  # characters of a cell
_SENT = re.compile(r"\n\n\[Sent [0-9: -]+ \([^()\n]+\)\]")
_RUN = re.compile(r"(?:word ){10,}")


@frozen
class Seen:
    """What became of a case: what the model was told, by request, and what the chat got."""

    name: str
    asked: tuple[str, ...]
    got: tuple[str, ...]

    def line(self) -> str:
        asked = "<br>then:<br>".join(map(_cell, self.asked)) or "nothing"
        return f"| {self.name} | {asked} | {'<br>'.join(map(_cell, self.got)) or 'nothing'} |"


def _cell(text: str) -> str:
    """A text as a cell: what is long in words that repeat is shortened."""
    short = _RUN.sub("word ... ", text)
    plain = short.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return plain.replace("\n", "<br>")


def model(request: ChatRequest) -> Item:
    """Answers with the first words of what it was told last."""
    told = said(request)
    answer = f"You said: {told.splitlines()[0][:60] if told else ''}"
    first = sum(message["role"] == "user" for message in request.messages) == 1
    return Reply(answer, delay=SLOW if first and told.startswith("slow") else 0.0)


def said(request: ChatRequest) -> str:
    """What people said since the last answer, as the model reads it."""
    texts: list[str] = []
    for message in reversed(request.messages):
        if message["role"] != "user":
            break
        texts.append(_words(message["content"]))
    return "\n".join(reversed(texts))


def _words(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return _SENT.sub("", content)
    shown = [_part(part) for part in content]
    return "\n".join(text for text in shown if text)


def _part(part: dict[str, Any]) -> str:
    """A text, or what stands for a picture; the name before one is not repeated."""
    match part["type"]:
        case "image_url":
            return "*(picture)*"
        case "file":
            return "*(document)*"
        case _:
            text = _SENT.sub("", part["text"])
            return "" if re.fullmatch(r"[\w.-]+:", text) else text


async def perform(setting: str, cases: Sequence[Case]) -> list[Seen]:
    """What became of these cases, with a model of such abilities."""
    people = range(FIRST_USER, FIRST_USER + len(cases))
    async with open_rig(people, model=SETTINGS[setting]) as rig:
        rig.configure(people, model=SETTINGS[setting], telegram=_groups(rig, people))
        rig.model.script = model
        workspace = rig.place.root / "workspace"
        await trio.Path(workspace).mkdir()
        await rig.start([*LAUNCHER, "--inbox", str(workspace)])
        seen = []
        for user, case in zip(people, cases, strict=True):
            seen.append(await _one(rig, Person(rig.bot, user), case))
            _empty(workspace)
        assert rig.bot.violations == []
        assert [line for line in rig.log().splitlines() if "level=error" in line] == []
        await rig.stop()
    return seen


def _groups(rig: Rig, people: Sequence[int]) -> dict[str, Any]:
    return {
        "token": {"file": str(rig.place.token)},
        "api_base_url": rig.bot.base_url,
        "allowed_users": list(people),
        "allowed_chats": [GROUP],
    }


def _empty(workspace: Path) -> None:
    """Each chat has a workspace of its own; here one directory is all of them."""
    for file in workspace.glob("inbox/*"):
        file.unlink()


async def _one(rig: Rig, person: Person, case: Case) -> Seen:
    asked, sent = len(rig.model.requests), len(rig.bot.sent)
    await case.act(rig, person)
    await settled(rig)
    told = tuple(said(request) for request in rig.model.requests[asked:])
    return Seen(case.name, told, tuple(each.text for each in rig.bot.sent[sent:]))


async def text() -> str:
    """The whole document."""
    found = {
        seen.name: seen
        for setting in SETTINGS
        for seen in await perform(setting, [case for case in CASES if case.setting == setting])
    }
    return HEAD + "\n".join(_lines([found[case.name] for case in CASES])) + "\n"


def _lines(seen: Sequence[Seen]) -> Iterator[str]:
    yield "| sent | the model saw | the chat got |"
    yield "|---|---|---|"
    for each in seen:
        yield each.line()
