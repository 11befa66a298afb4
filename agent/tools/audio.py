"""`transcribe_audio`: what is said in a recording, by the model provider's audio endpoint."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Protocol

from agent.ports import ModelFailed
from agent.tools.files import PATH, fetch, inside, told
from agent.tools.registry import WORKSPACE, Kind, Tool, ToolError, tool
from executor.client import FileClient

MOST_BYTES = 25 * 1024 * 1024  # what providers take


class Transcriber(Protocol):
    """Whatever turns speech into text. Raises ModelFailed."""

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str: ...


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
