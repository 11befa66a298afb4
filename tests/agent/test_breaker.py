"""The loop breaker: circles are seen, and work that gets on is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breaker import STOP_ROUNDS, WARN_ROUNDS, Stop, Warn, verdict
from agent.transcript import Assistant, CallRequest, Entry, ToolCall, ToolResult, User

Step = tuple[str, str]  # what is asked for, and what it brings


def entries(steps: Sequence[Step], *, failed: bool = False) -> list[Entry]:
    """A turn in which each step makes one call."""
    made: list[Entry] = [User("go")]
    for number, (asked, brought) in enumerate(steps):
        call = ToolCall(number, CallRequest(f"id{number}", "look", asked))
        made += [Assistant(f"step {number}", (call,)), ToolResult(number, brought, failed)]
    return made


A, B, C = ("a", "same"), ("b", "same too"), ("c", "and this")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([A], None),
        ([A] * 2, None),
        ([A] * 3, Warn),
        ([A] * 4, Warn),
        ([A] * 5, Stop),
        ([A] * 4 + [B], None),
        ([B] + [A] * 3, Warn),
        ([A, B] * 2, None),
        ([A, B] * 3, Warn),
        ([A, B] * 3 + [A], Warn),
        ([A, B] * 5, Stop),
        ([A, B, C] * 3, Warn),
        ([A, B, C] * 5, Stop),
        ([A, A, B] * 3, Warn),
    ],
)
def test_the_same_rounds_are_remarked_on_and_then_end_the_turn(
    steps: list[Step], expected: type | None
) -> None:
    """One step over and over, two that alternate, three in a circle."""
    found = verdict(entries(steps))
    assert found is None if expected is None else isinstance(found, expected)


def test_asking_again_is_no_circle_while_the_answer_changes() -> None:
    """A job that is awaited is looked at many times."""
    assert verdict(entries([("status", f"{n} %") for n in range(20)])) is None


def test_a_failure_is_given_less_and_its_words_do_not_count() -> None:
    """Three times the same call that fails is enough, however it says so."""
    steps = [("a", f"error {n}") for n in range(3)]
    assert verdict(entries(steps[:2], failed=True)) is None
    stop = verdict(entries(steps, failed=True))
    assert isinstance(stop, Stop)
    assert stop.error == "same_failure"


def test_both_say_what_is_the_matter() -> None:
    """The model is told how often, the person that it is over."""
    warn, stop = verdict(entries([A] * WARN_ROUNDS)), verdict(entries([A] * STOP_ROUNDS))
    assert isinstance(warn, Warn)
    assert isinstance(stop, Stop)
    assert f"{WARN_ROUNDS} times in a row" in warn.remark
    assert stop.error == "going_in_circles"
    assert "circles" in stop.sentence


some = st.sampled_from([A, B, C])


@given(st.lists(some, max_size=5), st.lists(some, min_size=1, max_size=3))
def test_whatever_came_before_a_circle_is_stopped(before: list[Step], circle: list[Step]) -> None:
    """Any round of up to three steps, begun at any time."""
    assert isinstance(verdict(entries([*before, *circle * STOP_ROUNDS])), Stop)


@given(st.lists(st.integers(), unique=True, max_size=25))
def test_steps_that_are_all_different_are_never_stopped(asked: list[int]) -> None:
    """Work that gets on is left alone."""
    assert verdict(entries([(str(n), "same") for n in asked])) is None
