"""Pictures and documents in messages, for models that take them and models that do not."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
import trio
from attrs import evolve

from agent import parts, responses
from agent.model import OpenAIModel
from agent.parts import Takes, content, fitted, takes
from agent.payload import Payload
from agent.providers import COMPATIBLE, PRESETS, Style
from agent.refusals import concerns, corrected
from agent.request import ModelOptions
from agent.sight import PDF
from agent.transcript import View
from daemon.demo.http import Request, Response, serve
from daemon.demo.model import ModelServer
from daemon.demo.replies import ModelFault

IMAGE = View("cat.png", "image/png", "2x3", 255, b"\x89PNG...")
FILE = View("a.pdf", PDF, "1 page", 3000, b"%PDF")
URL = "data:image/png;base64," + base64.b64encode(IMAGE.data).decode()
PDF_URL = "data:application/pdf;base64," + base64.b64encode(FILE.data).decode()
LOOK = {"role": "user", "content": content("What is this?", [IMAGE, FILE])}
HELLO = {"role": "user", "content": "hello"}
ALL = Takes(images=True, documents=True)


def test_parts_are_what_the_apis_take() -> None:
    """Data in the request itself, each after its name, in the words of either protocol."""
    (sent,) = fitted([LOOK], ALL)
    assert sent["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "text", "text": "cat.png:"},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "text", "text": "a.pdf:"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}},
    ]
    assert responses.body([sent], [])["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_text", "text": "cat.png:"},
                {"type": "input_image", "image_url": URL},
                {"type": "input_text", "text": "a.pdf:"},
                {"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL},
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


def test_the_owner_knows_better() -> None:
    """Of each by itself."""
    assert takes(COMPATIBLE[Style.CHAT], "llama3", "no", "yes") == Takes(documents=True)
    assert takes(PRESETS["openai"], "gpt-5", "auto", "no") == Takes(images=True)


def test_what_is_not_taken_is_told_in_its_place() -> None:
    """One text, where nothing else is left; and the model can say what is missing."""
    (blind,) = fitted([LOOK], Takes())
    assert blind["content"].split("\n\n") == [
        "What is this?",
        "cat.png:",
        "[There is an image here, but this model cannot look at images.]",
        "a.pdf:",
        "[There is a document here, a.pdf, but this model cannot read documents.]",
    ]
    (seeing,) = fitted([LOOK], Takes(images=True))
    kinds = [part["type"] for part in seeing["content"]]
    assert kinds == ["text", "text", "image_url", "text", "text"]


def test_people_are_shown_no_data() -> None:
    """A line says what stands there."""
    (named,) = parts.named([LOOK])
    assert "[picture cat.png, 2x3 is shown here]" in named["content"]
    assert "[document a.pdf, 1 page is shown here]" in named["content"]


@pytest.mark.parametrize(
    ("status", "words", "left"),
    [
        (400, "Invalid content type. image_url is only supported by certain models.", "documents"),
        (404, "No endpoints found that support image input", "documents"),
        (422, "messages[0]: unknown variant `image_url`, expected `text`", "documents"),
        (400, "At most 0 image(s) may be provided in one request.", "documents"),
        (
            500,
            "image input is not supported - hint: you may need to provide the mmproj",
            "documents",
        ),
        (400, "This model does not support file content types.", "images"),
        (400, "Invalid value: 'file'. Supported values are: 'text' and 'image_url'.", "images"),
        (400, "You uploaded an unsupported image: its format is not supported.", "both"),
        (400, "Could not process image", "both"),
        (413, "without a reason", "both"),
    ],
)
def test_refusals_are_about_models_or_about_what_was_sent(
    status: int, words: str, left: str
) -> None:
    """The first are learned, and not tried again; the others are about one picture."""
    assert concerns(status, f"HTTP {status}: {words}")
    found = corrected(ALL, [IMAGE, FILE], words)
    assert (
        found
        == {
            "documents": Takes(documents=True),
            "images": Takes(images=True),
            "both": ALL,
        }[left]
    )
    if left != "both":
        assert corrected(ALL, [FILE], words) == Takes(images=True)
        assert corrected(ALL, [IMAGE], words) == Takes(documents=True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "connection: no such file"),
        (401, "the key may see no images"),
        (429, "Rate limit reached for image input tokens"),
        (500, "an image of a server in trouble"),
        (400, "Invalid 'temperature'"),
    ],
)
def test_other_failures_are_not_about_pictures(status: int | None, words: str) -> None:
    """What passes by waiting, or never, is left to who knows it."""
    assert not concerns(status, words)


def test_plain_messages_are_left_as_they_are() -> None:
    """The same list, without a copy: nearly every request is that."""
    call = {"role": "assistant", "content": None, "tool_calls": []}
    messages = [HELLO, call]
    assert fitted(messages, Takes()) is messages


@pytest.mark.parametrize(
    ("status", "words", "again"),
    [
        (400, "Invalid content type. image_url is only supported by certain models.", False),
        (400, "You uploaded an unsupported image. Please check its format.", True),
        (413, "", True),
    ],
)
async def test_a_refused_picture_does_not_end_the_turn(
    status: int, words: str, again: bool
) -> None:
    """The same is asked without it; a model that takes none at all is shown none again."""
    model, remarks = ModelServer(script=lambda _: "I cannot see it."), []
    async with trio.open_nursery() as nursery:
        url = await nursery.start(model.serve)
        client = OpenAIModel(ModelOptions(url, "llava"), remarks.append)
        assert client.sees == Takes(images=True)
        for _ in range(2):
            if client.sees.images:
                model.faults.add(ModelFault(status=status, message=words))
            answer = await client.complete([{**LOOK, "content": LOOK["content"][:3]}], [])
            assert (answer.text, answer.lost) == ("I cannot see it.", ())
        await client.aclose()
        nursery.cancel_scope.cancel()
    sent = ["image_url" in str(each.messages) for each in model.requests]
    assert sent == ([True, False, True, False] if again else [True, False, False])
    assert client.sees.images is again
    assert len(remarks) == (0 if again else 1)
    last = str(model.requests[-1].messages)
    assert ("could not be shown" in last) is again
    assert model.refusals == []


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


async def test_large_pictures_are_sent_whole_and_hold_up_nothing() -> None:
    """The same JSON as if it were written at once; whoever guesses at a mark gains nothing."""
    large = evolve(IMAGE, data=bytes(range(256)) * 6000)
    message = {"role": "user", "content": content("What? \u4f60", [large, FILE, large])}
    payload = Payload()
    body = {"messages": fitted([message], ALL, payload.mark), "model": "m"}
    sent = await payload.of(body)
    assert isinstance(sent, bytes)
    assert json.loads(sent) == {"messages": fitted([message], ALL), "model": "m"}
    assert await Payload().of(body) is body


@pytest.mark.parametrize(("name", "images", "shown"), [("llava", "auto", True), ("m", "no", False)])
async def test_the_client_sends_what_its_model_takes(
    server: tuple[str, list[bytes]], name: str, images: str, shown: bool
) -> None:
    """The picture, or the sentence in its place."""
    url, bodies = server
    model = OpenAIModel(ModelOptions(url, name, images=images))
    assert (await model.complete([LOOK], [])).text == "a cat"
    await model.aclose()
    assert (URL.encode() in bodies[0]) is shown
    assert (parts.NO_IMAGES.encode() in bodies[0]) is not shown
