"""`speak`: words become a voice message, or the model is told why they do not."""

from __future__ import annotations

import json

import pytest
import trio
from attrs import define, field

from agent.ports import ModelFailed, OutFile, ToolOutcome
from agent.tools.audio import MOST_SPOKEN, speech_tools
from agent.tools.registry import Registry
from agent.transcript import CallRequest


@define
class Voice:
    """Says the same to everything, or fails."""

    sound: bytes | ModelFailed
    said: list[str] = field(factory=list)

    async def speak(self, text: str) -> bytes:
        await trio.lowlevel.checkpoint()
        self.said.append(text)
        if isinstance(self.sound, ModelFailed):
            raise self.sound
        return self.sound


async def call(voice: Voice, text: str) -> ToolOutcome:
    request = CallRequest("", "speak", json.dumps({"text": text}))
    return await Registry.of(speech_tools(voice)).run(request)


async def test_a_text_becomes_a_file_for_the_chat() -> None:
    """What it is as a message is told by its bytes, later."""
    voice = Voice(b"OggS...")
    outcome = await call(voice, " Good morning. ")
    assert outcome == ToolOutcome("", files=(OutFile("voice.ogg", b"OggS..."),))
    assert voice.said == ["Good morning."]


@pytest.mark.parametrize("text", ["", "  ", "x" * (MOST_SPOKEN + 1)])
async def test_what_cannot_be_said_at_once_is_not_asked_for(text: str) -> None:
    """The sentence says how much can."""
    voice = Voice(b"OggS")
    outcome = await call(voice, text)
    assert outcome.failed
    assert "4,096" in outcome.text
    assert voice.said == []


async def test_a_provider_that_fails_is_a_sentence() -> None:
    """For the model, which can answer in writing."""
    outcome = await call(Voice(ModelFailed("The key is refused.", "401")), "hello")
    assert (outcome.failed, outcome.text, outcome.files) == (True, "Error: The key is refused.", ())
