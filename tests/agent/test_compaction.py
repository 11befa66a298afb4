"""When a conversation is summed up, how much of it, and with which request."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compaction import (
    LONGEST_BACKOFF,
    MANY_TURNS,
    Frame,
    NoSummary,
    backoff,
    draft,
    is_due,
    read_summary,
)
from agent.context import build_messages, estimate_tokens
from agent.fitting import Gauge, weight
from agent.sizes import Sizes
from agent.transcript import Answer, Assistant, CallRequest, Entry, ToolCall, ToolResult, User
from daemon.demo.chatrules import check_messages

SIZES = Sizes(window=20_000, answer=4_000, share=0.5, keep=0.25)  # limit 8,000; 2,000 kept
GAUGE = Gauge(SIZES.limit)
FRAME = Frame("system", [{"type": "function", "function": {"name": "look"}}])


def turn(number: int, size: int = 400, calls: int = 0) -> list[Entry]:
    """A turn of about `size` characters, or with so many results of that size."""
    made = tuple(
        ToolCall(number * 100 + n, CallRequest("", "look", '{"at": 1}')) for n in range(calls)
    )
    work: list[Entry] = [Assistant("", made)] if made else []
    results = [ToolResult(call.id, "r" * size) for call in made]
    return [User(f"question {number} {'q' * size}"), *work, *results, Assistant(f"answer {number}")]


def test_the_sizes_follow_from_the_window() -> None:
    """A request leaves room for the answer, and for what the estimate may be wrong by."""
    assert (SIZES.limit, SIZES.due, SIZES.kept) == (8_000, 6_400, 2_000)
    assert Sizes().limit == int(0.7 * (32_768 - 4096))
    assert Sizes(window=8192, answer=100_000).limit > 0, "an allowance that no window holds"


@pytest.mark.parametrize(
    ("tokens", "turns", "due"),
    [(6_400, 3, False), (6_401, 3, True), (10, MANY_TURNS - 1, False), (10, MANY_TURNS, True)],
)
def test_it_is_due_by_size_or_when_the_turns_are_many(tokens: int, turns: int, due: bool) -> None:
    """And never where it is turned off."""
    assert is_due(SIZES, tokens, turns) is due
    assert not is_due(Sizes(enabled=False), tokens, turns)


def test_the_request_is_the_beginning_of_those_before_it_and_a_question() -> None:
    """So that the provider has it in its cache; the latest turns are not in it."""
    turns = [turn(n, 2_000) for n in range(14)]
    made = draft(FRAME, turns, SIZES, GAUGE, whole=False)
    assert made is not None
    entries = [entry for each in turns for entry in each]
    sent = build_messages("system", entries, [])
    assert made.messages[:-1] == sent[: len(made.messages) - 1]
    assert made.messages[-1]["role"] == "user"
    assert "replaced by a summary" in made.messages[-1]["content"]
    kept = turns[made.covered :]
    assert weight([entry for each in kept for entry in each]) <= SIZES.kept * 4
    assert 0 < len(kept) < 14
    assert made.without < made.before


def test_on_demand_everything_is_summed_up() -> None:
    """However little it is; without a turn there is nothing."""
    made = draft(FRAME, [turn(1), turn(2)], SIZES, GAUGE, whole=True)
    assert made is not None
    assert made.covered == 2
    assert draft(FRAME, [], SIZES, GAUGE, whole=True) is None


def test_a_summary_that_would_win_little_is_not_made() -> None:
    """Where system and tools fill the context, each would cost more than it saves."""
    assert draft(FRAME, [turn(1), turn(2)], SIZES, GAUGE, whole=False) is None
    many = [turn(n, 1) for n in range(MANY_TURNS)]
    assert draft(FRAME, many, SIZES, GAUGE, whole=False) is not None


def test_a_context_that_is_small_already_is_let_alone() -> None:
    """The last request was larger, but was not yet shown a summary that was made meanwhile."""
    turns = [turn(n, 2_000) for n in range(9)]
    frame = attrs.evolve(FRAME, summary="what was before")
    assert draft(frame, turns, SIZES, GAUGE, whole=False) is None
    assert draft(frame, turns, SIZES, GAUGE, whole=True) is not None
    assert draft(frame, turns, SIZES, Gauge(SIZES.limit, 2.0), whole=False) is not None


def test_more_than_a_request_holds_is_summed_up_from_its_beginning() -> None:
    """Summaries have failed for long: the oldest turns that fit come first."""
    turns = [turn(n, 4_000) for n in range(40)]
    made = draft(FRAME, turns, SIZES, GAUGE, whole=False)
    assert made is not None
    assert 0 < made.covered < 10
    assert made.estimate <= SIZES.limit


def test_a_single_turn_that_is_too_large_is_shortened() -> None:
    """Its results are; what was said stays."""
    made = draft(FRAME, [turn(1, 90_000, calls=3), turn(2)], SIZES, GAUGE, whole=True)
    assert made is not None
    assert made.estimate <= SIZES.limit
    assert "answer 1" in str(made.messages)


@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 3)), min_size=1, max_size=12),
    st.booleans(),
    st.floats(0.5, 4.0),
    st.sampled_from(["", "an earlier summary"]),
)
def test_every_request_fits_and_obeys_the_rules(
    shapes: list[tuple[int, int]], whole: bool, ratio: float, summary: str
) -> None:
    """Whatever was said, and however many tokens the model makes of it."""
    turns = [turn(n, size, calls) for n, (size, calls) in enumerate(shapes)]
    frame, gauge = Frame("s", FRAME.tools, summary), Gauge(SIZES.limit, ratio)
    made = draft(frame, turns, SIZES, gauge, whole=whole)
    if made is None:
        assert not whole
        return
    assert gauge.tokens(estimate_tokens(made.messages, frame.tools)) <= SIZES.limit
    assert check_messages(made.messages) is None
    assert 1 <= made.covered <= len(turns)
    assert (summary in str(made.messages)) or not summary


def test_an_answer_with_calls_or_without_words_is_no_summary() -> None:
    """Nothing is replaced by nothing."""
    call = CallRequest("", "look", "{}")
    for answer in (Answer(" \n"), Answer("summary", (call,))):
        with pytest.raises(NoSummary):
            read_summary(answer, SIZES, GAUGE)
    assert read_summary(Answer(" we met \n"), SIZES, GAUGE) == "we met"


@given(st.text(max_size=3000), st.integers(1, 30))
def test_a_summary_that_is_too_long_is_cut(text: str, times: int) -> None:
    """A model that copies everything does not fill the room that was made."""
    try:
        summary = read_summary(Answer(text * times), SIZES, GAUGE)
    except NoSummary:
        return
    assert weight([User(summary)]) <= SIZES.summary * 4 * 2.5
    if weight([User(text * times)]) <= SIZES.summary * 4:
        assert summary == (text * times).strip()


def test_failures_are_tried_again_ever_more_seldom() -> None:
    """Two minutes, four, eight; a quarter of a day at most."""
    assert [backoff(n) for n in (1, 2, 3)] == [120.0, 240.0, 480.0]
    assert backoff(1000) == LONGEST_BACKOFF
