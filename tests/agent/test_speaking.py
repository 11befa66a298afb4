"""Texts spoken by the provider, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from attrs import define, field

from agent import retry, sound
from agent.model import OpenAIModel
from agent.ports import ModelFailed
from agent.request import ModelOptions
from daemon.demo.http import Request, Response, serve
from daemon.demo.sound import silence


@define
class Mouth:
    """A server that keeps what it was asked and answers by a list."""

    answers: list[Response]
    asked: list[dict[str, Any]] = field(factory=list)
    paths: list[str] = field(factory=list)

    async def handle(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        self.paths.append(request.path)
        return self.answers.pop(0)


@pytest.fixture
async def mouth() -> AsyncIterator[tuple[Mouth, OpenAIModel]]:
    mouth = Mouth([])
    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, mouth.handle)
        voice = {"speech": "tts", "speech_voice": "alloy"}
        model = OpenAIModel(ModelOptions(root, "m", "key", max_attempts=2, **voice))
        yield mouth, model
        await model.aclose()
        nursery.cancel_scope.cancel()


async def test_a_text_is_asked_for_as_opus(mouth: tuple[Mouth, OpenAIModel]) -> None:
    """In the voice that is configured; the bytes are what comes back."""
    server, model = mouth
    said = silence(1.0)
    server.answers = [Response(200, said, "audio/ogg")]
    assert await model.speak("Gr\u00fc\u00dfe") == said
    assert server.asked == [
        {
            "model": "tts",
            "voice": "alloy",
            "input": "Gr\u00fc\u00dfe",
            "response_format": "opus",
        }
    ]
    assert server.paths == ["/audio/speech"]


async def test_trouble_is_tried_again_and_refusals_are_told(
    mouth: tuple[Mouth, OpenAIModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same policy as answers; what is no sound is never passed on as one."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.0)
    server, model = mouth
    server.answers = [Response(503, b"{}"), Response(200, silence(0.1), "audio/ogg")]
    assert (await model.speak("a")).startswith(b"OggS")
    server.answers = [Response(400, b'{"error": {"message": "no such voice"}}')]
    with pytest.raises(ModelFailed) as caught:
        await model.speak("a")
    assert "no such voice" in caught.value.sentence
    for nothing in (b"<html>", b"", b'{"audio": "no"}'):
        server.answers = [Response(200, nothing)]
        with pytest.raises(ModelFailed, match="not a sound"):
            await model.speak("a")


async def test_without_a_model_for_it_the_sentence_names_the_key() -> None:
    """Nothing is sent anywhere."""
    with pytest.raises(ModelFailed) as caught:
        await OpenAIModel(ModelOptions("http://127.0.0.1:1", "m")).speak("a")
    assert "model.speech" in caught.value.sentence


@pytest.mark.parametrize(
    ("begin", "suffix"),
    [(b"OggS", "ogg"), (b"ID3\x04", "mp3"), (b"\xff\xfb\x90", "mp3"), (b"RIFF", "wav"), (b"{", "")],
)
def test_a_sound_is_known_by_its_first_bytes(begin: bytes, suffix: str) -> None:
    """A server that knows one format only has not failed."""
    assert sound.suffix(begin + bytes(100)) == suffix
