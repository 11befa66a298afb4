"""Pictures and documents in messages, for models that take them and models that do not."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from agent import parts, responses
from agent.model import ModelOptions, OpenAIModel
from agent.parts import Takes, document, fitted, image, takes, text
from agent.providers import COMPATIBLE, PRESETS, Style
from daemon.demo.http import Request, Response, serve

PNG = b"\x89PNG..."
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF").decode()
LOOK = {
    "role": "user",
    "content": [
        text("What is this?"),
        image(PNG, "image/png"),
        document("a.pdf", b"%PDF", "application/pdf"),
    ],
}
HELLO = {"role": "user", "content": "hello"}


def test_parts_are_what_the_apis_take() -> None:
    """Data in the request itself, in the words of either protocol."""
    assert LOOK["content"][1:] == [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
    ]
    assert responses.body([LOOK], [])["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": URL},
                {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("model", "sees"),
    [
        ("gpt-4o-mini", True),
        ("gpt-5-mini", True),
        ("o3", True),
        ("openai/o4-mini", True),
        ("anthropic/claude-sonnet-4.5", True),
        ("gemma-3-27b", True),
        ("qwen2.5-vl-7b", True),
        ("llama3.2-vision", True),
        ("gpt-3.5-turbo", False),
        ("llama3.1", False),
        ("qwen3-32b", False),
        ("deepseek-chat", False),
        ("phi-4", False),
        ("proto3", False),
    ],
)
def test_names_say_who_sees(model: str, sees: bool) -> None:
    """Unless the owner knows better."""
    preset = PRESETS["openai"]
    assert takes(preset, model, "auto") == Takes(sees, sees)
    assert takes(preset, model, "yes") == Takes(images=True, documents=True)
    assert takes(preset, model, "no") == Takes()


def test_documents_are_for_those_who_have_them() -> None:
    """Most servers of one's own see pictures and no files."""
    for preset in (PRESETS["ollama"], COMPATIBLE[Style.CHAT]):
        assert takes(preset, "llava", "auto") == Takes(images=True)


def test_what_is_not_taken_is_told_in_its_place() -> None:
    """One text, where nothing else is left; and the model can say what is missing."""
    (blind,) = fitted([LOOK], Takes())
    assert blind["content"].split("\n\n") == [
        "What is this?",
        "[There is an image here, but this model cannot look at images.]",
        "[There is a document here, a.pdf, but this model cannot read documents.]",
    ]
    (seeing,) = fitted([LOOK], Takes(images=True))
    assert [part["type"] for part in seeing["content"]] == ["text", "image_url", "text"]
    assert fitted([LOOK], Takes(images=True, documents=True)) == [LOOK]


def test_plain_messages_are_left_as_they_are() -> None:
    """The same list, without a copy: nearly every request is that."""
    call = {"role": "assistant", "content": None, "tool_calls": []}
    messages = [HELLO, call]
    assert fitted(messages, Takes()) is messages


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request: its address, and the bodies that came."""
    bodies: list[bytes] = []

    async def handle(request: Request) -> Response:
        bodies.append(await request.body())
        choice = b'{"message": {"content": "a cat"}, "finish_reason": "stop"}'
        return Response(200, b'{"choices": [' + choice + b"]}")

    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve, handle), bodies
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("name", "images", "shown"), [("llava", "auto", True), ("m", "no", False)])
async def test_the_client_sends_what_its_model_takes(
    server: tuple[str, list[bytes]], name: str, images: str, shown: bool
) -> None:
    """The picture, or the sentence in its place."""
    url, bodies = server
    model = OpenAIModel(ModelOptions(url, name, images=images))
    messages: list[dict[str, Any]] = [LOOK]
    assert (await model.complete(messages, [])).text == "a cat"
    await model.aclose()
    assert (URL.encode() in bodies[0]) is shown
    assert (parts.NO_IMAGES.encode() in bodies[0]) is not shown
