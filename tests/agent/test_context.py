"""The request that a model is sent."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.context import build_messages, estimate_tokens, recent, system_prompt
from agent.transcript import Assistant, CallRequest, Entry, ToolCall, ToolResult, User
from daemon.demo.chatrules import check_messages
from tests.agent.histories import arguments, check_calls
from tests.agent.histories import names as odd_names

CALL = ToolCall(7, CallRequest("given", "bash", '{"command": "ls"}'))


def turn(text: str, *, size: int = 10, calls: int = 0) -> list[Entry]:
    """A whole turn: a question, some calls with results of `size` characters, an answer."""
    made = tuple(ToolCall(n, CallRequest("", "bash", "{}")) for n in range(calls))
    work: list[Entry] = [Assistant("", made)] if made else []
    return [
        User(text),
        *work,
        *(ToolResult(call.id, "r" * size) for call in made),
        Assistant(f"answer to {text}"),
    ]


def test_a_step_is_system_history_and_turn() -> None:
    """Each entry is one message, in order."""
    messages = build_messages("be good", [User("a"), Assistant("b")], [User("c")])
    assert messages == [
        {"role": "system", "content": "be good"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]


def test_calls_and_results_are_joined_by_our_id() -> None:
    """Ids that models make up are repeated, empty or too long; the journal's are not."""
    made = build_messages("s", [], [User("a"), Assistant("", (CALL,)), ToolResult(7, "out")])
    function = {"name": "bash", "arguments": '{"command": "ls"}'}
    calls = [{"id": "c00000007", "type": "function", "function": function}]
    assert made[2] == {"role": "assistant", "content": None, "tool_calls": calls}
    assert made[3] == {"role": "tool", "tool_call_id": "c00000007", "content": "out"}


@pytest.mark.parametrize(
    ("written", "sent"),
    [("functions.bash", "functions_bash"), ("", "unnamed"), ("é b", "__b"), ("x" * 99, "x" * 64)],
)
def test_odd_names_are_sent_as_names(written: str, sent: str) -> None:
    """A provider refuses the whole request over one name that it does not take."""
    call = ToolCall(1, CallRequest("", written, "{}"))
    message = build_messages("s", [], [User("a"), Assistant("", (call,)), ToolResult(1, "no")])[2]
    assert message["tool_calls"][0]["function"]["name"] == sent


@pytest.mark.parametrize(
    "written", ["", "{not json", "[1]", "null", '"x"', '{"a": NaN}', "[" * 100_000, '{"a":' * 9999]
)
def test_arguments_that_are_no_object_are_sent_as_an_empty_one(written: str) -> None:
    """Their result says what was wrong with them."""
    call = ToolCall(1, CallRequest("", "bash", written))
    message = build_messages("s", [], [User("a"), Assistant("", (call,)), ToolResult(1, "no")])[2]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_system_prompt_changes_once_a_day() -> None:
    """It names the date, where that is the date, and what the owner wants; empty parts are left."""
    prompt = system_prompt("  Be brief. ", dt.date(2025, 11, 22), "Asia/Tokyo")
    assert prompt.endswith("\n\nBe brief.\n\nToday is Saturday, 2025-11-22 (Asia/Tokyo).")
    assert "\n\n\n" not in system_prompt("", dt.date(2025, 11, 22), "UTC")


def test_history_is_cut_before_a_turn() -> None:
    """The newest turns stay, whole."""
    history = [*turn("one"), *turn("two"), *turn("three")]
    size = len("twothreeanswer to twoanswer to three")
    assert recent(history, size) == [*turn("two"), *turn("three")]
    assert recent(history, size - 1) == turn("three")
    assert recent(history, 10**6) == history
    assert recent([], 10) == []


def test_a_turn_too_long_is_reduced_to_what_was_said() -> None:
    """One long piece of work does not wipe out what was talked about before it."""
    history = [*turn("one"), *turn("work", size=1000, calls=3), *turn("two")]
    assert recent(history, 500) == [*turn("one"), *turn("work"), *turn("two")]


def test_texts_that_came_together_stay_together() -> None:
    """A comment and its forward are one turn."""
    history = [*turn("one"), User("look:"), *turn("the forward")]
    assert recent(history, 40) == [User("look:"), *turn("the forward")]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300), st.booleans()), max_size=6),
    st.integers(0, 1000),
)
def test_no_cut_parts_a_call_from_its_result(
    shapes: list[tuple[int, int, bool]], budget: int
) -> None:
    """Whatever the budget, what is left obeys the rules and fits."""
    whole = [turn(f"q{n}", size=size, calls=calls) for n, (calls, size, _) in enumerate(shapes)]
    # A turn that was stopped has no last answer.
    turns = [t if ended else t[:-1] for t, (_, _, ended) in zip(whole, shapes, strict=True)]
    kept = recent([entry for each in turns for entry in each], budget)
    check_calls(kept)
    assert not kept or isinstance(kept[0], User)
    assert check_messages(build_messages("s", kept, [User("now")])) is None
    assert sum(len(entry.text) for entry in kept) <= budget


@given(odd_names, arguments, st.sampled_from(["", "text"]))
def test_whatever_a_model_wrote_can_be_sent_back(name: str, written: str, text: str) -> None:
    """Names and arguments as bad as they come make a request that is in order, and is JSON."""
    calls = tuple(ToolCall(n, CallRequest("same", name, written)) for n in (1, 2))
    made = [User("a"), Assistant(text, calls), ToolResult(1, "r"), ToolResult(2, "r")]
    messages = build_messages("s", [], made)
    assert check_messages(messages) is None
    assert json.loads(json.dumps(messages, allow_nan=False)) == messages


def test_tokens_are_reserved_by_length() -> None:
    """Roughly a token for four characters."""
    assert estimate_tokens([{"role": "user", "content": "x" * 4000}]) in range(1000, 1020)
