"""The retry policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.retry import FIRST_DELAY, LONGEST_DELAY, LONGEST_RETRY_AFTER, Failure, delay
from agent.transcript import Usage


def failure(status: int | None = None, retry_after: float | None = None) -> Failure:
    return Failure("sentence", "error", status, retry_after)


@pytest.mark.parametrize("status", [None, 408, 409, 425, 429, 500, 502, 503, 529, 599])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    """Throttled, failed at the server, or lost on the way."""
    assert delay(failure(status), 1, 4, 0.0) is not None


@pytest.mark.parametrize("status", [300, 302, 400, 401, 402, 403, 404, 413, 422])
def test_what_was_refused_is_not(status: int) -> None:
    """It would be refused again."""
    assert delay(failure(status), 1, 4, 0.0) is None


def test_a_final_failure_is_not_tried_again() -> None:
    """Whatever its status."""
    assert delay(Failure("s", "e", final=True), 1, 4, 0.0) is None
    assert delay(Failure("s", "e", status=500, final=True), 1, 4, 0.0) is None


def test_delays_double_up_to_a_bound() -> None:
    """The upper edge of each attempt's delay."""
    longest = [delay(failure(), attempt, 99, 1.0) for attempt in range(1, 9)]
    assert longest == [0.5, 1, 2, 4, 8, 16, LONGEST_DELAY, LONGEST_DELAY]


def test_the_server_may_ask_for_longer_but_not_for_a_day() -> None:
    """A time that has passed does not make us hurry, and one that is too far ends the call."""
    assert delay(failure(429, 7.0), 1, 4, 0.5) == 7.0
    assert delay(failure(429, 0.0), 1, 4, 0.0) == FIRST_DELAY / 2
    assert delay(failure(503, LONGEST_RETRY_AFTER), 1, 4, 0.0) == LONGEST_RETRY_AFTER
    assert delay(failure(429, LONGEST_RETRY_AFTER + 1), 1, 4, 0.0) is None
    assert delay(failure(429, float("inf")), 1, 4, 0.0) is None


@given(
    st.none() | st.integers(100, 599),
    st.none() | st.floats(0, 1e9),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0, 1, exclude_max=True),
)
def test_attempts_are_capped_and_delays_sane(
    status: int | None, retry_after: float | None, attempt: int, most: int, chance: float
) -> None:
    """Never beyond the cap, never at once, never for longer than a person waits."""
    wait = delay(failure(status, retry_after), attempt, most, chance)
    if attempt >= most:
        assert wait is None
    if wait is not None:
        assert FIRST_DELAY / 2 <= wait <= LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("failed", "unpaid"),
    [
        (Failure("s", "e", status=401), True),
        (Failure("s", "e", status=429), True),
        (Failure("s", "e", status=302), True),
        (Failure("s", "e", status=500), True),
        (Failure("s", "e", status=500, worked=True), False),
        (Failure("s", "e"), False),
        (Failure("s", "e", unsent=True), True),
        (Failure("s", "e", status=400, said="Once upon a"), False),
        (Failure("s", "e", status=400, usage=Usage(9, 0, 1)), False),
    ],
)
def test_only_what_certainly_cost_nothing_is_unpaid(failed: Failure, unpaid: bool) -> None:
    """An error in place of a stream, or a request that never left.

    Whatever has begun, said or counted something was at work, and of a lost connection who knows.
    """
    assert failed.unpaid is unpaid
