"""Recordings and speech as single requests to a provider, and what their answers mean; pure.

`agent.model` makes the requests, with its one policy for what goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from attrs import field, frozen

from agent import outcomes
from agent.ports import ModelFailed
from agent.request import ModelOptions
from agent.retry import Failure

T = TypeVar("T")

NO_TRANSCRIPTION: Final = (
    "No model is configured that writes down recordings (model.transcription)."
)
NO_SPEECH: Final = "No model is configured that speaks (model.speech)."
# What sounds begin with, and how such files are named. Asked for is Opus in OGG, which chats show
# as a voice message; some servers have one format, whatever is asked for.
SOUNDS: Final = {
    b"OggS": "ogg",
    b"ID3": "mp3",
    b"\xff\xfb": "mp3",
    b"\xff\xf3": "mp3",
    b"RIFF": "wav",
}


@frozen
class Question(Generic[T]):
    """A request by POST: where to, by which model, its body, and how its answer is read."""

    path: str
    model: str
    body: dict[str, Any] = field(repr=False)
    read: Callable[[bytes], T | Failure]
    how: dict[str, Any] = field(factory=dict, repr=False)


def transcription(
    options: ModelOptions, file: tuple[str, bytes], language: str | None
) -> Question[str]:
    """Write down a file (name, bytes). Raises ModelFailed if no model for that is configured."""
    if not options.transcription:
        raise ModelFailed(NO_TRANSCRIPTION, "no transcription model")
    model = options.transcription
    fields = {"model": model} | ({"language": language} if language else {})
    form = {"headers": {"Content-Type": "multipart/form-data"}}
    how = {"files": {"file": file}, "options": form}
    return Question("/audio/transcriptions", model, fields, outcomes.transcript, how)


def speech(options: ModelOptions, text: str) -> Question[bytes]:
    """Say a text. Raises ModelFailed if no model for that is configured."""
    if not options.speech:
        raise ModelFailed(NO_SPEECH, "no speech model")
    body = {
        "model": options.speech,
        "voice": options.speech_voice,
        "input": text,
        "response_format": "opus",
    }
    return Question("/audio/speech", options.speech, body, recording)


def recording(body: bytes) -> bytes | Failure:
    """What a provider said, if it is a sound."""
    return body if suffix(body) else Failure(outcomes.NO_COMPLETION, "not a sound", final=True)


def suffix(data: bytes) -> str:
    """How a file with such a sound is named; '' for what is none."""
    return next((end for begin, end in SOUNDS.items() if data.startswith(begin)), "")
