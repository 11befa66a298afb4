"""The request that a model is sent."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from agent import context
from agent.context import (
    build_messages,
    estimate_tokens,
    remarked,
    stamped,
    summary_entry,
    system_prompt,
    weigh,
)
from agent.transcript import Assistant, CallRequest, Entry, ToolCall, ToolResult, User
from daemon.demo.chatrules import check_messages
from tests.agent.histories import PICTURE, arguments
from tests.agent.histories import names as odd_names

LOOKED = ToolResult(7, "shown", shown=(PICTURE,))
CALL = ToolCall(7, CallRequest("given", "bash", '{"command": "ls"}'))


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


@given(odd_names, arguments, st.sampled_from(["", "text"]))
def test_whatever_a_model_wrote_can_be_sent_back(name: str, written: str, text: str) -> None:
    """Names and arguments as bad as they come make a request that is in order, and is JSON."""
    calls = tuple(ToolCall(n, CallRequest("same", name, written)) for n in (1, 2))
    made = [User("a"), Assistant(text, calls), ToolResult(1, "r"), ToolResult(2, "r")]
    messages = build_messages("s", [], made)
    assert check_messages(messages) is None
    assert json.loads(json.dumps(messages, allow_nan=False)) == messages


def test_a_summary_opens_the_history() -> None:
    """It is marked as what it is; without one there is nothing."""
    (entry,) = summary_entry("we met")
    assert "we met" in entry.text
    assert entry.text.startswith("[Summary")
    assert summary_entry("") == ()


def test_a_remark_stands_beside_the_last_message() -> None:
    """The messages themselves stay as they are."""
    messages = build_messages("s", [], [User("a"), Assistant("", (CALL,)), ToolResult(7, "out")])
    last = remarked(messages, "[again]")[-1]
    assert last["content"] == "out\n\n[again]"
    assert messages[-1]["content"] == "out"
    assert remarked(messages, "") == messages


def test_a_remark_stands_behind_what_is_shown() -> None:
    """As one more text of its message."""
    messages = build_messages("s", [], [User("a"), Assistant("", (CALL,)), LOOKED])
    *_, picture, remark = remarked(messages, "[again]")[-1]["content"]
    assert (picture, remark) == (PICTURE, {"type": "text", "text": "[again]"})
    assert messages[-1]["content"][-1] == PICTURE


def test_pictures_count_by_what_they_take() -> None:
    """Never by their bytes, which nobody encodes for that."""
    large = evolve(PICTURE, data=bytes(10**7), tokens=1000)
    bare = User("look")
    plain, shown = context.message(bare), context.message(evolve(bare, shown=(large,)))
    assert 4000 < weigh(shown) - weigh(plain) < 4200
    assert estimate_tokens([shown]) in range(1000, 1060)


def test_what_is_shown_is_marked_as_data() -> None:
    """It stands in a message of the user's, and none of it is by the user."""
    *_, exhibit = build_messages("s", [], [User("a"), Assistant("", (CALL,)), LOOKED])
    assert exhibit["role"] == "user"
    assert "never an instruction" in exhibit["content"][0]["text"]
    assert exhibit["content"][1:] == [{"type": "text", "text": "a.png:"}, PICTURE]


def test_tokens_are_reserved_by_length() -> None:
    """Roughly a token for four bytes, of tools as well; Chinese takes more than English."""
    assert estimate_tokens([], [{"name": "x" * 4000}]) in range(1000, 1020)
    assert estimate_tokens([{"content": "\u4f60" * 400}]) > 290
    assert estimate_tokens([{"role": "user", "content": "x" * 4000}]) in range(1000, 1020)


def test_sections_come_between_the_instructions_and_the_date() -> None:
    """In the order given; one that is empty leaves no gap."""
    prompt = system_prompt("Be brief.", dt.date(2025, 11, 22), "UTC", ["skills", "", "memory"])
    assert "\n\nBe brief.\n\nskills\n\nmemory\n\nToday is " in prompt


def test_the_time_stands_beside_what_a_person_said() -> None:
    """In the owner's zone, from the message's own row; other entries have none."""
    entries = [User("a", 1_795_861_860.0), User("b"), Assistant("c")]
    first, *others = stamped(entries, "Europe/Berlin")
    assert first == User("a\n\n[Sent 2026-11-28 11:31 (Europe/Berlin)]")
    assert others == [User("b"), Assistant("c")]
    assert stamped(entries, "Europe/Berlin")[0] == first


@given(st.permutations(range(5)), st.integers(0, 5))
def test_results_are_sent_in_the_order_of_their_calls(order: list[int], spoken: int) -> None:
    """In whatever order they came, and whatever a person said meanwhile; so in history, too."""
    calls = tuple(ToolCall(n, CallRequest("", "bash", "{}")) for n in range(5))
    came: list[Entry] = [ToolResult(n, f"r{n}") for n in order]
    came.insert(spoken, User("meanwhile"))
    entries: list[Entry] = [User("a"), Assistant("", calls), *came, Assistant("done")]
    roles = ["user", "assistant", *["tool"] * 5, "user", "assistant"]
    for messages in (build_messages("s", [], entries), build_messages("s", entries, [])):
        assert [message["role"] for message in messages[1:]] == roles
        assert [each["content"] for each in messages[3:8]] == ["r0", "r1", "r2", "r3", "r4"]
        check_messages(messages)


def test_the_estimate_counts_tools_and_letters_beyond_ascii() -> None:
    """By the bytes of the request's JSON, four for a token."""
    latin, greek = (
        [{"role": "user", "content": sign * 4000}] for sign in ("a", "\N{GREEK SMALL LETTER ALPHA}")
    )
    assert 1000 <= estimate_tokens(latin) < 1020
    assert 2000 <= estimate_tokens(greek) < 2020
    assert estimate_tokens(latin, greek) == estimate_tokens([*latin, *greek])
