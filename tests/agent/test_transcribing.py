"""Recordings written down by the provider, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

import pytest
import trio
from attrs import define, field

from agent import retry
from agent.model import OpenAIModel
from agent.ports import ModelFailed
from agent.request import ModelOptions
from daemon.demo.http import Request, Response, serve

SOUND = bytes(range(256)) * 3


@define
class Scribe:
    """A server that keeps what it was sent and answers by a list."""

    answers: list[Response]
    forms: list[dict[str, tuple[str | None, bytes]]] = field(factory=list)
    paths: list[str] = field(factory=list)

    async def handle(self, request: Request) -> Response:
        head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + await request.body())
        self.forms.append(dict(map(read, form.iter_parts())))  # type: ignore[attr-defined]  # of EmailMessage
        self.paths.append(request.path)
        return self.answers.pop(0)


def read(part: Message) -> tuple[str, tuple[str | None, bytes]]:
    name = part.get_param("name", header="content-disposition")
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return str(name), (part.get_filename(), data)


@pytest.fixture
async def scribe() -> AsyncIterator[tuple[Scribe, OpenAIModel]]:
    scribe = Scribe([])
    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, scribe.handle)
        options = ModelOptions(root, "m", "key", max_attempts=2, transcription="whisper-1")
        model = OpenAIModel(options)
        yield scribe, model
        await model.aclose()
        nursery.cancel_scope.cancel()


async def test_a_recording_is_sent_as_a_form(scribe: tuple[Scribe, OpenAIModel]) -> None:
    """File, model and language; the text is what comes back."""
    server, model = scribe
    server.answers = [
        Response(200, b'{"text": "Gr\xc3\xbc\xc3\x9fe"}'),
        Response(200, b'{"text": ""}'),
    ]
    assert await model.transcribe("voice.oga", SOUND, "de") == "Grüße"
    assert await model.transcribe("voice.oga", SOUND, None) == ""
    with_language, without = server.forms
    assert with_language == {
        "file": ("voice.oga", SOUND),
        "model": (None, b"whisper-1"),
        "language": (None, b"de"),
    }
    assert without.keys() == {"file", "model"}
    assert server.paths == ["/audio/transcriptions"] * 2


async def test_trouble_is_tried_again_and_refusals_are_told(
    scribe: tuple[Scribe, OpenAIModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same policy as answers."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.0)
    server, model = scribe
    server.answers = [Response(503, b"{}"), Response(200, b'{"text": "words"}')]
    assert await model.transcribe("a.mp3", SOUND, None) == "words"
    server.answers = [Response(400, b'{"error": {"message": "no sound in it"}}')]
    with pytest.raises(ModelFailed) as caught:
        await model.transcribe("a.mp3", SOUND, None)
    assert "no sound in it" in caught.value.sentence
    server.answers = [Response(200, b"<html>")]
    with pytest.raises(ModelFailed, match="not a transcript"):
        await model.transcribe("a.mp3", SOUND, None)


async def test_without_a_model_for_it_the_sentence_names_the_key() -> None:
    """Nothing is sent anywhere."""
    with pytest.raises(ModelFailed) as caught:
        await OpenAIModel(ModelOptions("http://127.0.0.1:1", "m")).transcribe("a", b"", None)
    assert "model.transcription" in caught.value.sentence
