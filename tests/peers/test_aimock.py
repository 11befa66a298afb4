"""The model's client against aimock, a server by others that speaks both protocols.

`@copilotkit/aimock`, from npm, is looked for in .peers/node_modules. It cuts its text into pieces
by UTF-16 units, so that here one of its pieces has half a character, and the next the other half.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define

from agent import retry
from agent.model import OpenAIModel
from agent.ports import ModelFailed
from agent.request import ModelOptions
from agent.transcript import Answer

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".peers/node_modules/@copilotkit/aimock"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(NODE is None, reason="needs node"),
    pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs aimock in .peers (make test-peers)"),
]

HELLO = [{"role": "user", "content": "hello"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": CITY}}
    for name in ("weather", "population")
]
FACES = "a\U0001f600bc\U0001f601\U0001f602"
NEVER_MATCHED = {"match": {"userMessage": "this is said by nobody"}, "response": {"content": "x"}}


@pytest.fixture(scope="module")
def aimock_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a port of its own choice, whose pieces are one unit long."""
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": [NEVER_MATCHED]}))
    options = ["--port", "0", "--chunk-size", "1", "--fixtures", str(fixtures)]
    command = [str(NODE), str(PACKAGE / "dist/cli.js"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if b"listening on" in line).decode()
            yield re.findall(r"http://[\d.:]+", line)[0]
        finally:
            process.terminate()
            process.stdout.read()


@define
class Mock:
    """The server's way to be told what to say and asked what it heard."""

    client: httpx.AsyncClient

    async def will(self, *answers: dict[str, Any]) -> None:
        """Give these answers, one for each request; of the last there is no end.

        Every request matches: there is an o in what is said to models here.
        """
        fixtures = []
        for place, answer in enumerate(answers):
            match = {} if place == len(answers) - 1 else {"sequenceIndex": place}
            fixtures.append({"match": {"userMessage": "o", **match}, **answer})
        told = await self.client.post("/__aimock/fixtures", json={"fixtures": fixtures})
        assert told.status_code == 200, told.text

    async def heard(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get("/__aimock/journal")).json()
        return found


@pytest.fixture
async def mock(aimock_url: str) -> AsyncIterator[Mock]:
    async with httpx.AsyncClient(base_url=aimock_url, trust_env=False) as client:
        await client.post("/__aimock/reset")
        yield Mock(client)


@pytest.fixture(params=["openai", "openai_responses"])
async def model(aimock_url: str, request: pytest.FixtureRequest) -> AsyncIterator[OpenAIModel]:
    options = ModelOptions(
        f"{aimock_url}/v1", "gpt-x", read_timeout=1.0, max_attempts=3, provider=request.param
    )
    model = OpenAIModel(options)
    yield model
    await model.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.05)


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"response": {"content": text}, **more}


def fails(status: int, **more: Any) -> dict[str, Any]:
    return {"response": {"error": {"message": "because"}, "status": status, **more}}


async def ask(model: OpenAIModel, **more: Any) -> Answer:
    return await model.complete(HELLO, [], **more)


async def test_characters_that_were_cut_in_two_are_whole(mock: Mock, model: OpenAIModel) -> None:
    """In the text and in the arguments of calls."""
    calls = [
        {"name": "weather", "arguments": json.dumps({"city": FACES}, ensure_ascii=False)},
        {"name": "population", "arguments": '{"city": "x"}'},
    ]
    await mock.will({"response": {"content": FACES, "toolCalls": calls}})
    seen: list[str] = []
    answer = await model.complete(HELLO, TOOLS, on_text=seen.append)
    assert answer.text == FACES == seen[-1]
    assert [call.name for call in answer.calls] == ["weather", "population"]
    assert json.loads(answer.calls[0].arguments) == {"city": FACES}


async def test_thoughts_are_not_said(mock: Mock, model: OpenAIModel) -> None:
    """They come beside the text, and stay out of it."""
    await mock.will({"response": {"content": "four", "reasoning": "two and two"}})
    assert (await ask(model)).text == "four"


async def test_what_was_used_is_counted(mock: Mock, model: OpenAIModel) -> None:
    """By the names that each protocol has for it."""
    chat, other = ("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")
    names = chat if model.options.provider == "openai" else other
    await mock.will({"response": {"content": "x", "usage": dict(zip(names, (9, 4), strict=True))}})
    usage = (await ask(model)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 4)


async def test_a_result_is_matched_to_its_call(mock: Mock, model: OpenAIModel) -> None:
    """By our id, which the server finds in what we send."""
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c00000001", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c00000001", "content": "21 degrees"},
    ]
    fixture = {"match": {"toolCallId": "c00000001"}, "response": {"content": "It is warm."}}
    await mock.client.post("/__aimock/fixtures", json={"fixtures": [fixture]})
    assert (await model.complete(messages, TOOLS)).text == "It is warm."


@pytest.mark.parametrize(
    "fault",
    [
        fails(429, retryAfter=1),
        fails(500),
        says("never", chaos={"malformedRate": 1}),
        says("never", chaos={"disconnectRate": 1}),
        says("never", truncateAfterChunks=1),
    ],
    ids=["429", "500", "malformed", "disconnect", "cut"],
)
async def test_one_fault_is_not_noticed(
    mock: Mock, model: OpenAIModel, fault: dict[str, Any]
) -> None:
    """The answer is the answer, in the second attempt."""
    await mock.will(fault, says("fine"))
    assert (await ask(model)).text == "fine"
    assert len(await mock.heard()) == 2


async def test_a_stall_is_not_sat_through(mock: Mock, model: OpenAIModel) -> None:
    """The read timeout ends it."""
    await mock.will(says("never", streamingProfile={"ttft": 20_000}), says("fine"))
    assert (await ask(model)).text == "fine"


async def test_a_cut_text_is_asked_for_again(mock: Mock, model: OpenAIModel) -> None:
    """By the same request; nothing of the half is in the answer."""
    cut = says("one two three", truncateAfterChunks=9, latency=20)  # so that some of it leaves
    await mock.will(cut, says("all of it"))
    seen: list[str] = []
    answer = await ask(model, on_text=seen.append)
    assert answer.text == "all of it" == seen[-1]
    assert any("one two three".startswith(text) for text in seen)
    first, second = (entry["body"] for entry in await mock.heard())
    assert first == second


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 1), (503, 3)])
async def test_a_lasting_fault_ends_in_a_sentence(
    mock: Mock, model: OpenAIModel, status: int, tries: int
) -> None:
    """After as many attempts as make sense."""
    await mock.will(fails(status))
    with pytest.raises(ModelFailed) as caught:
        await ask(model)
    assert caught.value.error == f"HTTP {status}: because"
    assert len(await mock.heard()) == tries


async def test_a_recording_is_written_down(mock: Mock, aimock_url: str) -> None:
    """The form is one that others read, too."""
    fixture = {
        "match": {"endpoint": "transcription"},
        "response": {"transcription": {"text": "hi"}},
    }
    await mock.client.post("/__aimock/fixtures", json={"fixtures": [fixture]})
    model = OpenAIModel(ModelOptions(f"{aimock_url}/v1", "m", transcription="whisper-1"))
    assert await model.transcribe("voice.oga", b"OggS", "en") == "hi"
    await model.aclose()
