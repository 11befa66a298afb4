"""The pure loop: what comes next, for turns in any state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop import (
    INTERRUPTED,
    MAX_SAME_FAILURES,
    CallModel,
    End,
    Limits,
    RunTool,
    SettleTool,
    decide,
    repeated_failures,
)
from agent.transcript import (
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    User,
    open_calls,
)
from tests.agent.histories import LIMITS, READS, check_calls


def reads(name: str) -> bool:
    return name == READS


def call(
    number: int,
    name: str = "write",
    arguments: str = "{}",
    state: CallState = CallState.PENDING,
) -> ToolCall:
    return ToolCall(number, CallRequest("x", name, arguments), state)


def step(
    number: int, *names: str, failed: tuple[str, ...] = (), arguments: str = "{}"
) -> list[Entry]:
    """An answer that asked for tools, and their results."""
    calls = tuple(call(number * 10 + place, name, arguments) for place, name in enumerate(names))
    results = [ToolResult(each.id, "r", each.request.name in failed) for each in calls]
    return [Assistant("", calls), *results]


def test_a_turn_begins_with_the_model() -> None:
    """There is nothing to do for a person's text but to ask."""
    assert decide([User("hi")], LIMITS, reads) == CallModel()


def test_calls_run_in_the_order_asked_for() -> None:
    """One after the other, and the model only when all have results."""
    first, second = call(1), call(2)
    turn = [User("hi"), Assistant("", (first, second))]
    assert decide(turn, LIMITS, reads) == RunTool(first)
    assert decide([*turn, ToolResult(1, "r")], LIMITS, reads) == RunTool(second)
    assert decide([*turn, ToolResult(1, "r"), ToolResult(2, "r")], LIMITS, reads) == CallModel()


@pytest.mark.parametrize(
    ("name", "state", "runs"),
    [
        ("write", CallState.PENDING, True),
        ("write", CallState.RUNNING, False),
        (READS, CallState.PENDING, True),
        (READS, CallState.RUNNING, True),
    ],
)
def test_only_what_reads_is_run_again(name: str, state: CallState, runs: bool) -> None:
    """A call that had begun is settled unless its tool only reads."""
    interrupted = call(1, name, state=state)
    expected = RunTool(interrupted) if runs else SettleTool(interrupted, INTERRUPTED)
    assert decide([User("hi"), Assistant("", (interrupted,))], LIMITS, reads) == expected


def test_the_same_failure_in_a_row_ends_the_turn() -> None:
    """Twice is a retry, three times a habit."""
    turn: list[Entry] = [User("hi")]
    for count in range(MAX_SAME_FAILURES):
        assert decide(turn, LIMITS, reads) == CallModel()
        assert repeated_failures(turn) == count
        turn += step(count, "bad", failed=("bad",))
    ending = decide(turn, LIMITS, reads)
    assert isinstance(ending, End)
    assert ending.error == "same_failure"


def test_a_failing_call_among_others_is_noticed() -> None:
    """The same answer again and again is a loop, also when one of its calls succeeds."""
    turn = [User("hi"), *(e for n in range(3) for e in step(n, "ok", "bad", failed=("bad",)))]
    assert repeated_failures(turn) == 3


@pytest.mark.parametrize(
    "between",
    [
        step(5, "edit"),
        step(5, "bad"),
        step(5, "bad", failed=("bad",), arguments='{"other": 1}'),
        [Assistant("a thought")],
    ],
    ids=["another call", "a success", "other arguments", "no call"],
)
def test_what_changes_between_failures_counts(between: list[Entry]) -> None:
    """A test that is run again after each change may fail as often as it likes."""
    fails = [step(n, "bad", failed=("bad",)) for n in range(4)]
    turn = [User("hi"), *fails[0], *fails[1], *between, *fails[2], *fails[3]]
    assert repeated_failures(turn) == 2


def test_steps_are_counted_by_answers() -> None:
    """However many calls an answer makes, it is one step."""
    turn = [User("hi"), *step(1, "a", "b", "c"), *step(2, "d")]
    assert decide(turn, Limits(steps=3), reads) == CallModel()
    ending = decide(turn, Limits(steps=2), reads)
    assert isinstance(ending, End)
    assert "2 steps" in ending.sentence


def test_calls_are_settled_before_a_turn_is_given_up() -> None:
    """A cap never leaves a call without its result."""
    waiting = call(1)
    turn = [User("hi"), Assistant("", (waiting,))]
    assert decide(turn, Limits(steps=1), reads) == RunTool(waiting)


names = st.sampled_from([READS, "write", "bad"])
states = st.sampled_from([CallState.PENDING, CallState.RUNNING])


@given(
    st.lists(st.lists(st.tuples(names, states), max_size=3), max_size=8),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_any_turn_is_led_to_an_end(
    answers: list[list[tuple[str, CallState]]], done: int, steps: int
) -> None:
    """From any interrupted turn, obeying the commands ends it within its steps, nothing open.

    The model here says what `answers` hold; of the first one's calls `done` have results already,
    and those that count as begun were interrupted.
    """
    counter = iter(range(1000))
    script = [
        Assistant("", tuple(call(next(counter), n, state=s) for n, s in asked)) for asked in answers
    ]
    turn: list[Entry] = [User("hi")]
    if script and script[0].calls:
        turn.append(first := script.pop(0))
        turn += [ToolResult(each.id, "r") for each in first.calls[:done]]
    limits = Limits(steps=steps)
    for _ in range(100):
        match decide(turn, limits, reads):
            case CallModel():
                assert not open_calls(turn)
                if not script or not script[0].calls:
                    break
                turn.append(script.pop(0))
            case RunTool(todo) | SettleTool(todo, _):
                assert todo == open_calls(turn)[0]
                turn.append(ToolResult(todo.id, "r", failed=todo.request.name == "bad"))
            case End():
                break
    else:
        raise AssertionError("no end")
    check_calls(turn)
    assert sum(isinstance(entry, Assistant) for entry in turn) <= max(steps, 1)
