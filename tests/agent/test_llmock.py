"""The model's client against llmock, a server by others that breaks answers and judges clients.

It runs as a process of its own and is told by HTTP how to fail. It sees every attempt and its time,
and its verdict says FAIL where a client asks again too soon, too often or in vain, or takes half an
answer for a whole one. It speaks both protocols, and every test here is for both.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from attrs import define

from agent import retry
from agent.model import OpenAIModel
from agent.ports import ModelFailed
from agent.request import ModelOptions
from agent.transcript import Answer

START_SECONDS = 20.0
# The first delay of a retry: its doubling is still seen, and nobody waits half a second.
FIRST_DELAY = 0.1

HELLO = [{"role": "user", "content": "hello"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": CITY}}
    for name in ("weather", "population")
]
FACES = "\U0001f600" * 20


@pytest.fixture(scope="module")
def llmock_url() -> Iterator[str]:
    """The address of a server on a port of its own choice."""
    command = [sys.executable, "-m", "llmock.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if b"running on" in line).decode()
            yield re.findall(r"http://[\d.:]+", line)[0]
        finally:
            process.terminate()
            process.stderr.read()


@define
class Mock:
    """The server's way to be told what to do and asked what it saw."""

    client: httpx.AsyncClient

    async def will(self, *behaviors: dict[str, Any]) -> None:
        answer = await self.client.post("/_llmock/scenario", json={"behaviors": behaviors})
        assert answer.status_code == 201, answer.text

    async def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get("/_llmock/requests")).json()[
            "requests"
        ]
        return found

    async def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get("/_llmock/verdict")).json()
        return found

    async def approves(self) -> None:
        """No FAIL, and every fault that was ordered has come."""
        verdict = await self.verdict()
        assert verdict["passed"], verdict["findings"]
        assert (await self.client.get("/_llmock/scenario")).json()["pending"] == []


@pytest.fixture
async def mock(llmock_url: str) -> AsyncIterator[Mock]:
    async with httpx.AsyncClient(base_url=llmock_url, trust_env=False) as client:
        await client.post("/_llmock/reset")
        yield Mock(client)


@pytest.fixture(params=["openai", "openai_responses"])
async def model(llmock_url: str, request: pytest.FixtureRequest) -> AsyncIterator[OpenAIModel]:
    options = ModelOptions(
        f"{llmock_url}/v1", "gpt-x", read_timeout=1.0, max_attempts=4, provider=request.param
    )
    model = OpenAIModel(options)
    yield model
    await model.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", FIRST_DELAY)


async def ask(model: OpenAIModel, **more: Any) -> Answer:
    return await model.complete(HELLO, [], **more)


async def failure_of(model: OpenAIModel) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await ask(model)
    return caught.value


def reply(text: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"type": "reply", "text": text, "tool_calls": list(calls)}


def broken(kind: str, after: int, **more: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": after, **more}


# --- What works ---


async def test_an_answer_comes_in_pieces(mock: Mock, model: OpenAIModel) -> None:
    """Its text is seen as it grows; and what it took."""
    await mock.will(reply("Once upon a time \U0001f600 there was a bot."))
    seen: list[str] = []
    answer = await ask(model, on_text=seen.append)
    assert answer.text == "Once upon a time \U0001f600 there was a bot." == seen[-1]
    assert all(answer.text.startswith(text) for text in seen)
    assert answer.usage.completion_tokens > 0
    await mock.approves()


async def test_parallel_calls_in_fragments(mock: Mock, model: OpenAIModel) -> None:
    """Put together, though characters of two halves are cut between the fragments."""
    weather = {"name": "weather", "arguments": {"city": FACES}}
    await mock.will(reply("Let me look.", weather, {"name": "population", "arguments": {}}))
    answer = await model.complete(HELLO, TOOLS)
    faces, nothing = answer.calls
    assert (faces.name, nothing.name) == ("weather", "population")
    assert faces.arguments.encode().decode("unicode_escape").count("\ud83d\ude00") == 20
    assert nothing.arguments == "{}"
    assert answer.text == "Let me look."
    await mock.approves()


async def test_a_model_that_may_not_call_answers_in_words(mock: Mock, model: OpenAIModel) -> None:
    """The server understands what forbids it, and would have called."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    assert (await model.complete(messages, TOOLS)).calls
    answer = await model.complete(messages, TOOLS, may_call=False)
    assert answer.calls == ()
    assert answer.text
    await mock.approves()


async def test_a_tool_is_called_and_its_result_answered(mock: Mock, model: OpenAIModel) -> None:
    """By the server's own mind: it reads our schema, then our result, as the protocol has it."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    (call,) = (await model.complete(messages, TOOLS)).calls
    assert call.arguments == '{"city": "mock-city"}'
    function = {"name": call.name, "arguments": call.arguments}
    made = {"id": "c00000001", "type": "function", "function": function}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c00000001", "content": "21 degrees"},
    ]
    answer = await model.complete(messages, TOOLS)
    assert answer.text
    assert answer.calls == ()
    await mock.approves()


@pytest.mark.parametrize("kind", ["malformed_arguments", "unknown_tool"])
async def test_a_call_that_makes_no_sense_arrives(
    mock: Mock, model: OpenAIModel, kind: str
) -> None:
    """The registry tells the model what is wrong with it; that is not the client's to hide."""
    await mock.will({"type": "tool_fault", "kind": kind})
    (call,) = (await model.complete(HELLO, TOOLS)).calls
    assert (call.name == "weather") is (kind == "malformed_arguments")
    assert call.arguments
    await mock.approves()


# --- What fails ---


async def test_a_limit_is_waited_for(mock: Mock, model: OpenAIModel) -> None:
    """As long as Retry-After says, to the millisecond where it does."""
    await mock.will({"type": "fail", "status": 429, "retry_after": 0.4, "times": 2})
    assert (await ask(model)).text
    await mock.approves()
    first, second, third = await mock.requests()
    assert 0.4 <= second["started_at"] - first["ended_at"] < 1.0
    assert 0.4 <= third["started_at"] - second["ended_at"] < 1.0


@pytest.mark.parametrize("status", [500, 502, 408])
async def test_trouble_is_tried_again(mock: Mock, model: OpenAIModel, status: int) -> None:
    """With growing delays, and in the end with an answer."""
    await mock.will({"type": "fail", "status": status, "times": 2})
    assert (await ask(model)).text
    await mock.approves()
    assert len(await mock.requests()) == 3


async def test_an_outage_ends_in_a_sentence(mock: Mock, model: OpenAIModel) -> None:
    """After the attempts that are allowed, and no storm of them."""
    await mock.will({"type": "fail", "status": 503, "retry_after": 0.05, "times": 4})
    assert "trouble at its end" in (await failure_of(model)).sentence
    await mock.approves()
    assert len(await mock.requests()) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_final(mock: Mock, model: OpenAIModel, status: int) -> None:
    """The same request would be refused again."""
    await mock.will({"type": "fail", "status": status})
    assert (await failure_of(model)).error.startswith(f"HTTP {status}")
    assert len(await mock.requests()) == 1
    await mock.approves()


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_breaks_before_its_text_is_asked_for_again(
    mock: Mock, model: OpenAIModel, kind: str
) -> None:
    """A cut, an end in good order, or an event that is half JSON: none is an answer."""
    await mock.will(
        broken(kind, after=1, times=2),
        reply(
            "all of it",
        )
        | {"times": None},
    )
    assert (await ask(model)).text == "all of it"
    await mock.client.delete("/_llmock/scenario")
    await mock.approves()
    assert len(await mock.requests()) == 3


async def test_a_call_that_breaks_off_is_made_again(mock: Mock, model: OpenAIModel) -> None:
    """Half of it is no call, however the stream ended."""
    call = {"name": "weather", "arguments": {"city": "a city with a rather long name"}}
    for kind in ("truncate", "disconnect"):
        await mock.will(broken(kind, after=4))
    await mock.will({"type": "reply", "tool_calls": [call], "times": 3})
    (made,) = (await model.complete(HELLO, TOOLS)).calls
    assert "a city with a rather long name" in made.arguments
    await mock.approves()
    assert len(await mock.requests()) == 3


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_text_that_breaks_off_is_asked_for_again(
    mock: Mock, model: OpenAIModel, kind: str
) -> None:
    """By the same request; nothing of the half is in the answer."""
    await mock.will(broken(kind, after=8), reply("one two three four five six seven eight nine"))
    await mock.will(reply("all of it"))
    seen: list[str] = []
    answer = await ask(model, on_text=seen.append)
    assert answer.text == "all of it" == seen[-1]
    assert any(text.startswith("one two") for text in seen)
    first, second = await mock.requests()
    assert first["body"] == second["body"]
    await mock.approves()


async def test_a_text_that_always_breaks_off_is_given_up(mock: Mock, model: OpenAIModel) -> None:
    """After the attempts that are allowed; what had come is kept."""
    text = reply("one two three four five six seven eight nine") | {"times": None}
    await mock.will(broken("disconnect", after=8, times=4), text)
    assert (await failure_of(model)).partial.startswith("one two")
    assert len(await mock.requests()) == 4
    await mock.client.delete("/_llmock/scenario")
    await mock.approves()


async def test_a_stall_is_not_sat_through(mock: Mock, model: OpenAIModel) -> None:
    """The read timeout ends it, and the next attempt is answered."""
    await mock.will(broken("stall", after=1, stall_seconds=5.0))
    assert (await ask(model)).text
    first, second = await mock.requests()
    assert first["stall_waited"] < 2.0
    assert second["completed"]
    await mock.approves()
    assert (await mock.verdict())["warnings"] == 0
