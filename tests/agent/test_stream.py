"""Streams as providers send them, and as nobody should."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.stream import (
    DONE,
    MAX_ANSWER,
    MAX_CALLS,
    MAX_EVENT,
    BadStream,
    Completion,
    Endless,
    Events,
    ReportedError,
)
from agent.transcript import Answer, CallRequest, Usage


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def piece(arguments: str = "", **fields: Any) -> dict[str, Any]:
    """A fragment of a tool call; `name` goes where names go."""
    function = {"arguments": arguments}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return delta(tool_calls=[{**fields, "function": function}])


def read(chunks: Iterable[bytes]) -> Completion:
    """What a body that comes in these chunks amounts to."""
    events, completion = Events(), Completion()
    payloads = [payload for chunk in chunks for payload in events.feed(chunk)]
    for payload in (*payloads, *events.end()):
        if payload == DONE:
            break
        completion.feed(payload)
    return completion


def fold(*values: object) -> Completion:
    return read([event(value) for value in values])


def calls_of(*values: object) -> list[tuple[str, str, str]]:
    calls = fold(*values).answer().calls
    return [(call.call_id, call.name, call.arguments) for call in calls]


BODY = (
    b": keep-alive\r\n\r\n"
    + event(delta(role="assistant", content=None))
    + event(delta(content="Gr\u00fc\u00dfe \U0001f600 "))
    + event({"choices": []})
    + event(piece("", index=0, id="a", name="bash")).replace(b"data: ", b"data:")
    + event(piece('{"command": ', index=0)).replace(b"\n", b"\r\n")
    + b"event: message\nid: 7\n\n"
    + event(piece('"ls"}', index=0))
    + event(delta(content="und Küsse"))
    + event(delta("tool_calls"))
    + event({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}})
    + b"data: [DONE]\n\n"
)
ANSWER = Answer(
    "Grüße 😀 und Küsse",
    (CallRequest("a", "bash", '{"command": "ls"}'),),
    Usage(12, 0, 3),
)


@given(st.lists(st.integers(0, len(BODY)), max_size=30))
def test_any_cut_of_the_bytes_is_the_same_answer(cuts: list[int]) -> None:
    """Chunks end where the network likes, in the middle of a character too."""
    edges = [0, *sorted(cuts), len(BODY)]
    completion = read(BODY[a:b] for a, b in pairwise(edges))
    assert (completion.answer(), completion.finish_reason) == (ANSWER, "tool_calls")


def test_byte_by_byte() -> None:
    """The finest cut of all."""
    assert read(BODY[n : n + 1] for n in range(len(BODY))).answer() == ANSWER


def test_a_last_line_without_an_end_counts() -> None:
    """Some servers close right after the last byte."""
    assert read([BODY.rstrip()]).answer() == ANSWER
    assert read([event(delta("stop", content="x")).rstrip()]).finish_reason == "stop"


# --- Any bytes at all ---

FIELDS = (
    *("choices", "delta", "message", "content", "refusal", "text", "finish_reason", "error"),
    *("tool_calls", "index", "id", "function", "name", "arguments", "code"),
    *("usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"),
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
shaped = st.builds(
    lambda inner, usage: {"choices": [inner], "usage": usage},
    st.fixed_dictionaries({"delta": junk | st.fixed_dictionaries({"tool_calls": junk})}),
    junk,
)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"\n", b"{", b"[DONE]"])))
def test_garbage_is_a_bad_stream_or_nothing(chunks: list[bytes]) -> None:
    """Bytes that are no events raise nothing else."""
    try:
        completion = read(chunks)
    except BadStream:
        return
    completion.answer()


@given(st.lists(junk | shaped, max_size=6))
def test_events_of_any_shape_are_taken_or_bad(values: list[Any]) -> None:
    """JSON in which everything has the wrong type is ignored or a bad stream; text can be kept."""
    completion = Completion()
    try:
        said = [completion.feed(json.dumps(value)) for value in values]
    except BadStream:
        return
    answer = completion.answer()
    assert "".join(said) == answer.text
    answer.text.encode()
    for call in answer.calls:
        f"{call.call_id}{call.name}{call.arguments}".encode()
    assert max(answer.usage.prompt_tokens, answer.usage.completion_tokens) < 2**63


@pytest.mark.parametrize(
    "payload",
    ["{", "nonsense", "1" * 5000, "[" * 100_000, '{"a":' * 50_000, "\x00", ""],
    ids=ascii,
)
def test_what_is_no_json_is_named(payload: str) -> None:
    """The error says what was found."""
    with pytest.raises(BadStream, match="not JSON"):
        Completion().feed(payload)


# --- Text ---


@given(st.text(max_size=12), st.data())
def test_a_character_cut_in_two_is_one_again(text: str, data: st.DataObject) -> None:
    """JSON escapes half a character at a time; each piece that is shown can be kept."""
    units = text.encode("utf-16-le", "surrogatepass")
    cut = 2 * data.draw(st.integers(0, len(units) // 2))
    halves = [part.decode("utf-16-le", "surrogatepass") for part in (units[:cut], units[cut:])]
    completion = Completion()
    said = [completion.feed(json.dumps(delta(content=half))) for half in halves]
    assert completion.text == "".join(said) == text
    assert "".join(said).encode().decode() == text


@pytest.mark.parametrize(
    ("pieces", "text"),
    [(["a\ud83d", "b"], "a\ufffdb"), (["\ude00"], "\ufffd"), (["a\ud83d"], "a"), (["", "x"], "x")],
)
def test_half_a_character_alone_is_replaced(pieces: list[str], text: str) -> None:
    """What can be neither stored nor sent does not get in."""
    assert fold(*(delta(content=each) for each in pieces)).text == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "thinking"}, "x", {"text": "b"}], "ab"),
        (5, ""),
        ({"text": "no"}, ""),
    ],
    ids=["null", "parts", "a number", "an object"],
)
def test_content_of_other_shapes(content: object, text: str) -> None:
    """Some send content in parts; what is no text is no text."""
    assert fold(delta(content=content)).text == text


def test_thinking_is_not_the_answer() -> None:
    """Reasoning is not said to the person; a refusal is."""
    assert fold(delta(reasoning_content="hm", reasoning="hm")).text == ""
    assert fold(delta(refusal="I will not.")).text == "I will not."


# --- Calls ---


def test_fragments_are_joined_by_index() -> None:
    """Two calls that come interleaved."""
    assert calls_of(
        piece("", index=0, id="a", name="one"),
        piece("", index=1, id="b", name="two"),
        piece("{1", index=0),
        piece("{2", index=1),
        piece("}", index=0),
    ) == [("a", "one", "{1}"), ("b", "two", "{2")]


@pytest.mark.parametrize("index", [{}, {"index": None}, {"index": 0}, {"index": "0"}])
def test_an_id_begins_a_call_without_a_usable_index(index: dict[str, Any]) -> None:
    """Servers that send whole calls leave the index out, or give all the same one."""
    assert calls_of(
        piece("{}", id="a", name="one", **index),
        piece("{", id="b", name="two", **index),
        piece("}", **index),
        piece("", id="b", **index),
    ) == [("a", "one", "{}"), ("b", "two", "{}")]


def test_a_call_may_lack_everything() -> None:
    """It is kept as it came, and is answered with what is wrong with it."""
    assert calls_of(delta(tool_calls=[{}])) == [("", "", "")]
    assert calls_of(piece(index=0, name="\ud83d")) == [("", "\ufffd", "")]
    assert calls_of(delta(tool_calls=[{"function": None, "index": 0}, None])) == [("", "", "")] * 2


@pytest.mark.parametrize("calls", [None, 5, "abc", {"a": 1}, []])
def test_calls_that_are_no_list_are_none(calls: object) -> None:
    """What is no list of calls holds no calls."""
    assert calls_of(delta(content="x", tool_calls=calls)) == []


# --- One object in place of a stream ---


@pytest.mark.parametrize("indent", [None, 2])
def test_a_server_that_does_not_stream_is_understood(indent: int | None) -> None:
    """The whole answer in one object, in one line or many, after white space."""
    call = {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hi", "tool_calls": [call, {**call, "id": "b"}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    body = b" \r\n" + json.dumps(whole, indent=indent).encode()
    for chunks in ([body], [body[n : n + 1] for n in range(len(body))]):
        completion = read(chunks)
        made = (CallRequest("a", "bash", "{}"), CallRequest("b", "bash", "{}"))
        assert completion.answer() == Answer("hi", made, Usage(5, 0, 2))
        assert completion.finish_reason == "tool_calls"


# --- Errors and bounds ---


@pytest.mark.parametrize(
    ("error", "words", "status"),
    [
        ({"message": "overloaded", "code": 502}, "overloaded", 502),
        ({"message": "no", "code": "server_error"}, "no", None),
        ({"message": "no", "code": 200}, "no", None),
        ("model not found", "model not found", None),
        ({"message": "x" * 1000}, "x" * 300, None),
        ({"message": "\ud83d"}, "\ufffd", None),
    ],
)
def test_an_error_within_the_stream(error: object, words: str, status: int | None) -> None:
    """The provider's words, and the status if it names one."""
    with pytest.raises(ReportedError) as caught:
        fold(delta(content="so far"), {"error": error})
    assert (str(caught.value), caught.value.status) == (words, status)


@pytest.mark.parametrize(
    ("found", "usage"),
    [
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(5, 4, 0)),
        ({"prompt_tokens": -5, "completion_tokens": "3", "prompt_tokens_details": 1}, Usage()),
        ({"prompt_tokens": 10**30, "completion_tokens": 1.5}, Usage()),
        ("many", Usage()),
        (None, Usage()),
    ],
)
def test_counts_are_believed_if_they_can_be(found: object, usage: Usage) -> None:
    """A count that no row could hold is no count."""
    assert fold({"choices": [], "usage": found}).usage == usage


def test_an_event_is_bounded_however_it_comes() -> None:
    """At once or in pieces, as a line or as an object."""
    for start in (b"data: ", b"{", b": "):
        body = start + b"x" * (MAX_EVENT + 1) + b"\n"
        for size in (len(body), 64 * 1024):
            with pytest.raises(BadStream, match="1 MiB"):
                read(body[n : n + size] for n in range(0, len(body), size))


@pytest.mark.parametrize("value", [delta(content="x" * 100_000), piece("x" * 100_000, index=0)])
def test_an_answer_is_bounded(value: object) -> None:
    """Text and arguments alike: a model that cannot stop is stopped."""
    with pytest.raises(Endless):
        fold(*[value] * (MAX_ANSWER // 100_000 + 1))


def test_calls_are_bounded() -> None:
    """No answer needs more tools than that."""
    with pytest.raises(Endless):
        fold(*(piece(index=n) for n in range(MAX_CALLS + 1)))
