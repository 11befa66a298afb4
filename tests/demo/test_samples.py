"""Things to send for plays and the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.sight import size_of
from daemon.demo import samples
from daemon.demo.botapi import BotApiServer
from daemon.demo.people import Person


@pytest.fixture
def ada() -> Person:
    bot = BotApiServer()
    bot.world.updates.allowed = ("message", "edited_message")
    return Person(bot, 1)


def test_the_picture_is_one() -> None:
    assert size_of(samples.picture()) == (samples.SIDE, samples.SIDE)


def test_everything_can_be_sent(ada: Person) -> None:
    """What is about another message needs one that is there."""
    chat = ada.bot.open_chat(1)
    for kind in samples.KINDS:
        if kind == "reply":
            with pytest.raises(samples.SampleError, match="no message yet"):
                samples.send(ada, kind, "why?")
            chat.add(ada.bot.world.bot, {"text": "hello"})
        samples.send(ada, kind, "words")
    assert len(ada.bot.world.updates) == len(samples.KINDS) + 1  # an album has two


def test_files_of_the_host_go_as_what_they_are(ada: Person, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(samples.picture())
    (tmp_path / "b.txt").write_text("words")
    samples.send_path(ada, tmp_path / "a.png", "look")
    samples.send_path(ada, tmp_path / "b.txt")
    first, second = ada.bot.chat(1)
    assert ("photo" in first.content, first.text) == (True, "look")
    assert second.content["document"]["file_name"] == "b.txt"
    with pytest.raises(samples.SampleError, match=r"c\.txt cannot be read"):
        samples.send_path(ada, tmp_path / "c.txt")
