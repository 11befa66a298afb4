"""Which parameters a model is sent, and which refusals are about one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from agent.model import OpenAIModel
from agent.parameters import Parameters, accepted, instead, refused
from agent.ports import ModelFailed
from agent.providers import OPENAI_URL, PRESETS, Style, default_url, preset
from agent.request import ModelOptions
from daemon.demo.model import ModelServer
from daemon.demo.replies import ModelFault

ALL = Parameters(temperature=0.5, reasoning_effort="low", max_output_tokens=99)
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {},
            "required": [],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        ("openai", "gpt-4o", {"temperature": 0.5, "max_completion_tokens": 99}),
        ("openai", "gpt-5-mini", {"reasoning_effort": "low", "max_completion_tokens": 99}),
        ("openai", "gpt-5.1-chat-latest", {"temperature": 0.5, "max_completion_tokens": 99}),
        ("openai_responses", "o3", {"reasoning": {"effort": "low"}, "max_output_tokens": 99}),
        (
            "ollama",
            "qwen3",
            {"temperature": 0.5, "reasoning_effort": "low", "max_tokens": 99},
        ),
    ],
)
def test_a_model_is_sent_what_it_takes(provider: str, model: str, sent: dict[str, Any]) -> None:
    """OpenAI's by their families; others say themselves what they do not take."""
    assert accepted(ALL, PRESETS[provider], model) == sent
    assert accepted(Parameters(), PRESETS[provider], model) == {}


@pytest.mark.parametrize(
    ("param", "words", "found"),
    [
        (
            "temperature",
            "Unsupported value: 'temperature' does not support 0.5 here.",
            "temperature",
        ),
        ("", "Unsupported parameter: temperature", "temperature"),
        ("reasoning.effort", "Unsupported parameter: 'reasoning.effort'.", "reasoning"),
        ("", "stream_options: Extra inputs are not permitted", "stream_options"),
        ("messages", "unknown role in messages, temperature aside", ""),
        ("temperature", "temperature must be at most 2", ""),
        ("", "unknown field my_temperature_scale", ""),
        ("", "we do not support this", ""),
        ("tool_choice", "Invalid value: 'none'. Supported values are: 'auto'.", "tool_choice"),
        ("", "tool_choice must be auto", "tool_choice"),
        ("messages", "Unsupported value in messages", ""),
    ],
)
def test_a_refusal_names_the_parameter(param: str, words: str, found: str) -> None:
    """By its field, or in words; a value out of range, or another fault, is none such.

    But where the value is always the same, it is the parameter itself that the model does not take.
    """
    sent = ["messages", "temperature", "reasoning", "stream_options", "tool_choice"]
    assert refused(sent, param, words) == found


REFUSES_MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model."
    " Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (REFUSES_MAX_TOKENS, "max_completion_tokens"),
        ("max_tokens is deprecated in favour of max_completion_tokens", "max_completion_tokens"),
        ("Unsupported parameter: 'max_tokens'", ""),
    ],
)
def test_a_refusal_may_name_what_is_wanted_instead(words: str, found: str) -> None:
    """One of two names for the same; another parameter takes no other's place."""
    assert refused(["max_tokens", "temperature"], "", words) == "max_tokens"
    assert instead("max_tokens", words) == found
    assert instead("temperature", words) == ""


def test_only_what_was_sent_can_have_been_refused() -> None:
    """A parameter that was left out already is not left out twice."""
    assert refused([], "temperature", "Unsupported parameter: temperature") == ""


def test_an_address_of_ones_own_is_no_openai() -> None:
    """It speaks the same protocol, and is neither as strict nor in want of a key."""
    own = preset("openai_responses", "http://127.0.0.1:1/v1")
    assert (own.style, own.needs_key, own.checked) == (Style.RESPONSES, False, False)
    assert preset("openai", OPENAI_URL).checked
    assert preset("vllm", "http://elsewhere/v1") is PRESETS["vllm"]
    assert default_url("ollama") == "http://127.0.0.1:11434/v1"
    assert default_url("nobody") == ""


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    server = ModelServer(lambda _request: "fine")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


def choosing(server: ModelServer, remarks: list[str]) -> OpenAIModel:
    """A model that is tried once, with everything asked of it."""
    options = ModelOptions(server.base_url, "m", max_attempts=1, parameters=ALL)
    return OpenAIModel(options, remarks.append)


async def test_what_is_refused_is_left_out_from_then_on(server: ModelServer) -> None:
    """The call goes on without it, though it had one attempt; the log is told once."""
    remarks: list[str] = []
    model = choosing(server, remarks)
    for name in ("temperature", "stream_options"):
        words = f"Unsupported parameter: {name}"
        server.faults.add(ModelFault(status=400, message=words))
    assert (await model.complete(HELLO, [])).text == "fine"
    assert (await model.complete(HELLO, [])).text == "fine"
    keys = [request.body.keys() & {"temperature", "stream_options"} for request in server.requests]
    assert keys == [{"temperature", "stream_options"}, {"stream_options"}, set(), set()]
    assert server.requests[-1].body["max_tokens"] == 99
    assert len(remarks) == 2
    assert remarks[0] == "m does not take temperature, which is left out from now on"
    await model.aclose()


async def test_calls_that_find_it_out_at_once_both_go_on(server: ModelServer) -> None:
    """Both were refused over it, and the log is told once."""
    remarks: list[str] = []
    model = choosing(server, remarks)
    words = "Unsupported parameter: temperature"
    server.faults.add(ModelFault(status=400, message=words, times=2))
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await model.complete(HELLO, [])).text)

    server.latency = 0.05
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert answers == ["fine", "fine"]
    assert len(remarks) == 1
    await model.aclose()


async def test_a_provider_that_always_complains_is_not_asked_for_ever(server: ModelServer) -> None:
    """Each parameter can be left out once; then the refusal is what it is."""
    model = choosing(server, [])
    words = "Unsupported parameter: temperature"
    server.faults.add(ModelFault(status=400, message=words, times=-1))
    with pytest.raises(ModelFailed, match="temperature"):
        await model.complete(HELLO, [])
    assert len(server.requests) == 2
    await model.aclose()


async def test_a_limit_is_sent_under_the_name_that_is_wanted(server: ModelServer) -> None:
    """From then on, and its value is kept: without it an answer could have any length."""
    remarks: list[str] = []
    model = choosing(server, remarks)
    server.faults.add(ModelFault(status=400, message=REFUSES_MAX_TOKENS))
    for _ in range(2):
        assert (await model.complete(HELLO, [])).text == "fine"
    names = [
        request.body.keys() & {"max_tokens", "max_completion_tokens"} for request in server.requests
    ]
    assert names == [{"max_tokens"}, {"max_completion_tokens"}, {"max_completion_tokens"}]
    assert server.requests[-1].body["max_completion_tokens"] == 99
    assert remarks == [
        "m does not take max_tokens, which is called max_completion_tokens from now on"
    ]
    await model.aclose()


async def test_a_server_that_wants_neither_name_is_sent_neither(server: ModelServer) -> None:
    """Though it sends us from one to the other and back."""
    model = choosing(server, [])
    server.faults.add(ModelFault(status=400, message=REFUSES_MAX_TOKENS))
    words = "max_completion_tokens is not supported, use max_tokens"
    server.faults.add(ModelFault(status=400, message=words))
    assert (await model.complete(HELLO, [])).text == "fine"
    assert not server.requests[-1].body.keys() & {"max_tokens", "max_completion_tokens"}
    assert len(server.requests) == 3
    await model.aclose()


async def test_calls_that_find_out_a_name_at_once_both_use_it(server: ModelServer) -> None:
    """The second refusal of the old name says nothing against the new one."""
    model = choosing(server, [])
    server.faults.add(ModelFault(status=400, message=REFUSES_MAX_TOKENS, times=2))
    server.latency = 0.05
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(model.complete, HELLO, [])
    limits = [request.body.get("max_completion_tokens") for request in server.requests]
    assert limits == [None, None, 99, 99]
    await model.aclose()


async def test_calls_are_forbidden_until_a_model_refuses_that(server: ModelServer) -> None:
    """The tools stay in the request; the refusal is learnt, and other calls never say it."""
    remarks: list[str] = []
    model = choosing(server, remarks)
    answer = await model.complete(HELLO, [TOOL], may_call=False)
    server.faults.add(ModelFault(status=400, message="tool_choice: only 'auto' is known here"))
    for may_call in (False, False, True):
        answer = await model.complete(HELLO, [TOOL], may_call=may_call)
        assert answer.text == "fine"
    await model.complete(HELLO, [], may_call=False)
    chosen = [request.body.get("tool_choice") for request in server.requests]
    assert chosen == ["none", "none", None, None, None, None]
    offered = [request.tool_names for request in server.requests]
    assert offered == [{"look"}] * 5 + [set()]
    assert remarks == ["m does not take tool_choice, which is left out from now on"]
    await model.aclose()
