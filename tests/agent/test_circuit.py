"""When a model that failed is asked again, and when another is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.circuit import (
    COOL_DOWN,
    FAILURES_TO_OPEN,
    LONGEST_COOL_DOWN,
    Circuit,
    falls_back,
    means_down,
    order,
)
from agent.retry import Failure

DOWN = Failure("s", "e", status=503)
REFUSED = Failure("s", "e", status=400)


def failing(times: int, now: float = 0.0, failure: Failure = DOWN) -> Circuit:
    circuit = Circuit()
    for _ in range(times):
        circuit = circuit.failed(failure, now)
    return circuit


@pytest.mark.parametrize(
    ("failure", "down", "next_one"),
    [
        (Failure("s", "timeout"), True, True),
        (Failure("s", "connection"), True, True),
        (Failure("s", "e", status=408), True, True),
        (Failure("s", "e", status=429), True, True),
        (Failure("s", "e", status=500), True, True),
        (Failure("s", "e", status=401), True, True),
        (Failure("s", "e", status=402), True, True),
        (Failure("s", "e", status=403), True, True),
        (Failure("s", "e", status=404), True, True),
        (Failure("s", "e", status=400), False, False),
        (Failure("s", "e", status=422), False, False),
        (Failure("s", "e", status=400, too_long=True), False, True),
        (Failure("s", "empty (content_filter)", final=True), False, False),
    ],
)
def test_what_a_failure_says(failure: Failure, down: bool, next_one: bool) -> None:
    """A model that is down, a model that is too small, and a request that is at fault."""
    assert means_down(failure) is down
    assert falls_back(failure) is next_one


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    """And not before."""
    assert failing(FAILURES_TO_OPEN - 1).admits(0.0)
    circuit = failing(FAILURES_TO_OPEN)
    assert not circuit.admits(COOL_DOWN - 1)
    assert circuit.admits(COOL_DOWN)


def test_an_answer_of_any_kind_closes_it() -> None:
    """A refusal of one request says that the provider is there."""
    circuit = failing(FAILURES_TO_OPEN - 1).failed(REFUSED, 0.0)
    assert circuit == Circuit()
    assert circuit.failed(DOWN, 0.0).admits(0.0)


def test_one_call_tries_a_model_that_was_down() -> None:
    """Others wait for what becomes of it, or for as long again if it tells nothing."""
    circuit = failing(FAILURES_TO_OPEN).asked(COOL_DOWN)
    assert not circuit.admits(COOL_DOWN)
    assert circuit.admits(2 * COOL_DOWN)
    again = circuit.failed(DOWN, COOL_DOWN + 5)
    assert not again.admits(2 * COOL_DOWN)
    assert again.admits(2 * COOL_DOWN + 5)


def test_asking_a_sound_model_holds_nobody_back() -> None:
    """Calls run side by side while all is well."""
    assert Circuit().asked(5.0).admits(5.0)


@pytest.mark.parametrize(
    ("named", "failures", "wait"),
    [
        (5.0, 1, 5.0),
        (5.0, FAILURES_TO_OPEN, COOL_DOWN),
        (90.0, 1, 90.0),
        (90.0, FAILURES_TO_OPEN, 90.0),
        (1e9, 1, LONGEST_COOL_DOWN),
    ],
)
def test_a_named_wait_is_kept(named: float, failures: int, wait: float) -> None:
    """From the first failure that names one, within reason."""
    limited = Failure("s", "e", status=429, retry_after=named)
    circuit = failing(failures, 100.0, limited)
    assert not circuit.admits(100.0 + wait - 0.1)
    assert circuit.admits(100.0 + wait)


def test_models_are_asked_in_their_order() -> None:
    """Without those whose circuit is open; when all are, the one that is due first is asked."""
    opened = failing(FAILURES_TO_OPEN)
    later = failing(FAILURES_TO_OPEN, 5.0)
    assert order([Circuit(), Circuit()], 1.0) == [0, 1]
    assert order([opened, Circuit()], 1.0) == [1]
    assert order([later, opened], 6.0) == [1]
    assert order([], 0.0) == []


FAILURES = st.builds(
    Failure,
    st.just("s"),
    st.just("e"),
    status=st.sampled_from([None, 400, 401, 429, 500]),
    retry_after=st.none() | st.floats(0, 1e6),
    final=st.booleans(),
    too_long=st.booleans(),
)


@given(
    st.lists(st.tuples(st.sampled_from(["asked", "failed", "fine"]), FAILURES, st.floats(0, 60)))
)
def test_no_circuit_stays_open_for_ever(steps: list[tuple[str, Failure, float]]) -> None:
    """Whatever happens, after the longest wait a model is asked again."""
    circuit, now = Circuit(), 0.0
    for what, failure, passed in steps:
        now += passed
        if what == "asked":
            circuit = circuit.asked(now)
        else:
            circuit = circuit.failed(failure, now) if what == "failed" else Circuit()
    assert circuit.admits(now + LONGEST_COOL_DOWN)
