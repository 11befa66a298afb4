"""The Responses API: what requests become, and streams as providers send them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import responses, wire
from agent.context import build_messages
from agent.providers import COMPATIBLE, Style
from agent.responses import Response
from agent.stream import MAX_ANSWER, MAX_CALLS, BadStream, Endless, Events, ReportedError
from agent.transcript import (
    Answer,
    Assistant,
    CallRequest,
    Entry,
    ToolCall,
    ToolResult,
    Usage,
    User,
)

USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 2},
}
FUNCTION = {"name": "bash", "description": "Runs it.", "parameters": {"type": "object"}}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def said(text: str) -> dict[str, Any]:
    return event("output_text.delta", output_index=0, content_index=0, delta=text)


def call(place: int, arguments: str, call_id: str = "a") -> dict[str, Any]:
    item = {"type": "function_call", "call_id": call_id, "name": "bash", "arguments": arguments}
    return event("output_item.done", output_index=place, item=item)


def end(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return event(status, response={"status": status, "usage": USAGE, "output": [], **fields})


def encoded(events: Iterable[dict[str, Any]]) -> bytes:
    lines = (f"event: {each.get('type')}\ndata: {json.dumps(each)}\n\n" for each in events)
    return "".join(lines).encode()


def read(*events: dict[str, Any]) -> Response:
    """What these events amount to."""
    response = Response()
    for each in events:
        response.feed(json.dumps(each))
    return response


# --- Requests ---


def test_a_conversation_becomes_items() -> None:
    """Each message once and in order, calls and results by our ids, nothing kept there."""
    function = {"name": "bash", "arguments": '{"a": 1}'}
    made = responses.body(
        [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [{"id": "c00000001", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c00000001", "content": "42"},
            {"role": "assistant", "content": "It is 42."},
        ],
        [{"type": "function", "function": {**FUNCTION, "strict": True}}],
    )
    assert made == {
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Let me look."},
            {
                "type": "function_call",
                "call_id": "c00000001",
                "name": "bash",
                "arguments": '{"a": 1}',
            },
            {"type": "function_call_output", "call_id": "c00000001", "output": "42"},
            {"role": "assistant", "content": "It is 42."},
        ],
        "tools": [{"type": "function", **FUNCTION, "strict": True}],
        "store": False,
    }


def test_nothing_is_sent_that_is_not_there() -> None:
    """No tools, no instructions, no text beside a call; and no answer that this builds on."""
    tool_call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    made = responses.body([{"role": "assistant", "content": None, "tool_calls": [tool_call]}], [])
    assert made.keys() == {"input", "store"}
    assert [item["type"] for item in made["input"]] == ["function_call"]


def test_a_tool_that_is_not_strict_says_so() -> None:
    """Left out, this API would take it to be strict and refuse its schema."""
    made = responses.body([], [{"type": "function", "function": FUNCTION}])
    assert made["tools"][0]["strict"] is False


TEXTS = st.text(max_size=8)
REQUESTS = st.builds(CallRequest, TEXTS, TEXTS, TEXTS)


@st.composite
def conversations(draw: st.DrawFn) -> list[Entry]:
    """Turns of people's words, calls that were answered in any order, and answers."""
    entries: list[Entry] = []
    number = 0
    for _turn in range(draw(st.integers(1, 4))):
        entries.append(User(draw(TEXTS)))
        for requests in draw(st.lists(st.lists(REQUESTS, min_size=1, max_size=3), max_size=3)):
            calls = [ToolCall(number + place, each) for place, each in enumerate(requests)]
            number += len(calls)
            entries.append(Assistant(draw(TEXTS), tuple(calls)))
            entries += [ToolResult(each.id, draw(TEXTS)) for each in draw(st.permutations(calls))]
        entries.append(Assistant(draw(TEXTS)))
    return entries


@given(conversations())
def test_every_conversation_is_one_that_the_api_takes(entries: list[Entry]) -> None:
    """Each call has one output, after it and before anything else; no message is empty."""
    waiting: list[str] = []
    seen: list[str] = []
    for item in responses.body(build_messages("be good", (), entries), [])["input"]:
        match item.get("type"):
            case "function_call":
                assert item["call_id"] not in seen
                assert isinstance(json.loads(item["arguments"]), dict)
                waiting.append(item["call_id"])
                seen.append(item["call_id"])
            case "function_call_output":
                waiting.remove(item["call_id"])
            case _:
                assert waiting == []
                assert item["content"]
    assert waiting == []
    assert len(seen) == sum(len(e.calls) for e in entries if isinstance(e, Assistant))


# --- Streams ---


def test_an_answer_with_thoughts_text_and_calls() -> None:
    """Thoughts are dropped; of text, calls and usage nothing is."""
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    response = read(
        event("created", response={"status": "in_progress"}),
        event("output_item.done", output_index=0, item=thought),
        event("reasoning_summary_text.delta", delta="hm"),
        said("Let me "),
        said("look."),
        event("output_text.done", text="Let me look."),
        event("function_call_arguments.delta", output_index=2, delta='{"x'),
        call(2, '{"x": 1}', "a"),
        call(3, "{not json", "b"),
        end(),
    )
    assert response.over
    assert response.answer() == Answer(
        "Let me look.",
        (CallRequest("a", "bash", '{"x": 1}'), CallRequest("b", "bash", "{not json")),
        Usage(12, 8, 3),
    )


def test_a_refusal_is_what_the_model_says() -> None:
    """People read it as its answer."""
    response = read(event("refusal.delta", delta="I will "), event("refusal.delta", delta="not."))
    assert response.text == "I will not."
    assert not response.over


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        (None, "length"),
    ],
)
def test_an_incomplete_answer_says_why(why: dict[str, str] | None, reason: str) -> None:
    """In the words of the other API, so that people are told the same."""
    assert read(said("As"), end("incomplete", incomplete_details=why)).finish_reason == reason


@pytest.mark.parametrize(
    ("failed", "status", "words"),
    [
        (end("failed", error={"code": "server_error", "message": "oh"}), 500, "oh"),
        (end("failed", error={"code": "rate_limit_exceeded", "message": "slow"}), 429, "slow"),
        (end("failed"), None, "it failed without a reason"),
        ({"type": "error", "code": "insufficient_quota", "message": "pay"}, 402, "pay"),
        ({"type": "error", "error": {"code": 503, "message": "busy"}}, 503, "busy"),
        ({"error": {"message": "no"}}, None, "no"),
    ],
)
def test_a_failure_is_reported(failed: dict[str, Any], status: int | None, words: str) -> None:
    """With the status that decides whether it is tried again, and the provider's words."""
    with pytest.raises(ReportedError, match=words) as caught:
        read(said("some"), failed)
    assert caught.value.status == status


def test_a_stream_without_an_end_is_not_complete() -> None:
    """Whatever had been done before it was cut."""
    response = read(said("some"), event("output_text.done", text="some"), call(1, "{}"))
    assert (response.finish_reason, response.begun) == ("", True)


def test_a_server_that_does_not_stream() -> None:
    """One object in place of the stream is an answer; so is one that is only in the last event."""
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "whole"}]},
        {"type": "function_call", "call_id": "a", "name": "bash", "arguments": "{}"},
    ]
    whole = {"object": "response", "status": "completed", "output": output, "usage": USAGE}
    expected = Answer("whole", (CallRequest("a", "bash", "{}"),), Usage(12, 8, 3))
    assert read(whole).answer() == expected
    assert read(event("created"), end(output=output)).answer() == expected


def test_what_was_told_is_not_told_again_at_the_end() -> None:
    """The last event repeats the whole output."""
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "Look."}]},
        {"type": "function_call", "call_id": "a", "name": "bash", "arguments": "{}"},
    ]
    answer = read(said("Look."), call(1, "{}"), end(output=output)).answer()
    assert (answer.text, len(answer.calls)) == ("Look.", 1)


def test_halves_of_a_character_meet() -> None:
    """Though they come in two events; one that stays alone is replaced."""
    response = read(said("a\ud83d"), said("\ude00b"), said("c\ud83d"), said("d"))
    assert response.text == "a\U0001f600bc\ufffdd"


def test_an_answer_without_end_is_refused() -> None:
    """Text, arguments, and the number of calls have bounds."""
    with pytest.raises(Endless):
        read(*[said("x" * (MAX_ANSWER // 4))] * 5)
    argument = event("function_call_arguments.delta", delta="x" * (MAX_ANSWER // 4))
    with pytest.raises(Endless):
        read(*[argument] * 5)
    with pytest.raises(Endless):
        read(*(call(place, "{}", str(place)) for place in range(MAX_CALLS + 1)))


EVENTS = [
    event("created", response={"status": "in_progress"}),
    said("Grüße \U0001f600"),
    call(1, '{"command": "ls"}'),
    end(),
]


@given(st.lists(st.integers(0, len(encoded(EVENTS))), max_size=8))
def test_chunks_of_any_size_are_the_same_answer(cuts: list[int]) -> None:
    """A body is cut where the network likes."""
    data, places = encoded(EVENTS), sorted({0, *cuts, len(encoded(EVENTS))})
    events, response = Events(), Response()
    for start, stop in pairwise(places):
        for payload in events.feed(data[start:stop]):
            response.feed(payload)
    assert response.answer().text == "Grüße \U0001f600"
    assert [each.arguments for each in response.answer().calls] == ['{"command": "ls"}']


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "delta", "item", "response", "output", "error", "status", "call"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from([each["type"] for each in EVENTS] + ["error", "response.failed", ""])


CALLS = st.fixed_dictionaries({"type": st.just("function_call"), "name": VALUES})


@given(st.lists(st.tuples(KINDS, VALUES | CALLS, VALUES, VALUES, VALUES), max_size=4))
def test_nonsense_raises_nothing_else(found: list[tuple[str, Any, Any, Any, Any]]) -> None:
    """Every event is either understood, ignored, or BadStream."""
    response = Response()
    keys = ("type", "item", "response", "delta", "output_index")
    for event in found:
        try:
            response.feed(json.dumps(dict(zip(keys, event, strict=True))))
        except BadStream:
            return
    response.answer()


@pytest.mark.parametrize("style", Style)
def test_calls_are_forbidden_in_the_same_words(style: Style) -> None:
    """In both protocols, beside the tools; where there are none, there is nothing to forbid."""
    messages, tool = [{"role": "user", "content": "hello"}], {"function": {"name": "look"}}
    forbidden = wire.body(COMPATIBLE[style], messages, [tool], may_call=False)
    free = wire.body(COMPATIBLE[style], messages, [tool])
    assert forbidden == {**free, "tool_choice": "none"}
    assert forbidden["tools"]
    assert "tool_choice" not in wire.body(COMPATIBLE[style], messages, [], may_call=False)
