"""`transcribe_audio` and `speak`: recordings and voice messages, by the provider's endpoints."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Protocol

from agent import sound
from agent.ports import ModelFailed, OutFile, ToolOutcome
from agent.tools.files import PATH, fetch, inside, told
from agent.tools.registry import WORKSPACE, Kind, Tool, ToolError, tool
from executor.client import FileClient

MOST_SPOKEN = 4096  # characters; what providers say at once
MOST_BYTES = 25 * 1024 * 1024  # what providers take


class Transcriber(Protocol):
    """Whatever turns speech into text. Raises ModelFailed."""

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str: ...


class Speaker(Protocol):
    """Whatever turns text into speech. Raises ModelFailed."""

    async def speak(self, text: str) -> bytes: ...


def audio_tools(files: FileClient, transcriber: Transcriber) -> list[Tool]:
    """The tool for recordings in one workspace."""

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def transcribe_audio(
        path: Annotated[str, PATH],
        language: Annotated[str | None, "ISO code such as de, if it is known"] = None,
    ) -> str:
        """Write down what is said in an audio file."""
        data = await fetch(files, path, MOST_BYTES)
        try:
            text = await transcriber.transcribe(PurePosixPath(inside(path)).name, data, language)
        except ModelFailed as failure:
            raise ToolError(failure.sentence) from failure
        return text.strip() or "[nothing was said]"

    return [transcribe_audio]


def speech_tools(speaker: Speaker) -> list[Tool]:
    """The tool that answers by voice."""

    # The recording is queued with the result, in one transaction: an interrupted call did nothing.
    @tool(kind=Kind.READ)
    async def speak(
        text: Annotated[str, "Words to say, without Markdown, at most 4,096 characters"],
    ) -> ToolOutcome:
        """Send a voice message to the chat that says a text."""
        words = text.strip()
        if not 0 < len(words) <= MOST_SPOKEN:
            size = f"{len(words):,} characters cannot be said at once"
            raise ToolError(f"{size}; give 1 to {MOST_SPOKEN:,}, and the rest by another call")
        try:
            data = await speaker.speak(words)
        except ModelFailed as failure:
            raise ToolError(failure.sentence) from failure
        return ToolOutcome("", files=(OutFile(f"voice.{sound.suffix(data)}", data),))

    return [speak]
