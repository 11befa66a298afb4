"""The pure loop: what comes next, for turns in any state."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breaker import MAX_SAME_FAILURES
from agent.loop import (
    DENIED,
    INTERRUPTED,
    LAPSED,
    Attend,
    CallModel,
    Command,
    End,
    Limits,
    Park,
    decide,
)
from agent.loop import (
    FORBIDDEN as NOBODY_TO_ASK,
)
from agent.transcript import (
    Approval,
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    User,
    open_calls,
)
from tests.agent.histories import ASKS, FORBIDDEN, LIMITS, READS, ListToolbox, check_calls

RULES = ListToolbox()


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
    assert decide([User("hi")], LIMITS, RULES) == CallModel()


def test_all_calls_of_an_answer_are_attended_to_at_once() -> None:
    """Side by side, and the model only when all have results."""
    first, second = call(1), call(2)
    turn = [User("hi"), Assistant("", (first, second))]
    assert decide(turn, LIMITS, RULES) == Attend(run=(first, second))
    assert decide([*turn, ToolResult(1, "r")], LIMITS, RULES) == Attend(run=(second,))
    assert decide([*turn, ToolResult(1, "r"), ToolResult(2, "r")], LIMITS, RULES) == CallModel()


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
    settled = Attend(settle=((interrupted, INTERRUPTED),))
    expected = Attend(run=(interrupted,)) if runs else settled
    assert decide([User("hi"), Assistant("", (interrupted,))], LIMITS, RULES) == expected


def test_the_same_failure_in_a_row_ends_the_turn() -> None:
    """Twice is a retry, three times a habit."""
    turn: list[Entry] = [User("hi")]
    for count in range(MAX_SAME_FAILURES):
        assert decide(turn, LIMITS, RULES) == CallModel()
        turn += step(count, "bad", failed=("bad",))
    ending = decide(turn, LIMITS, RULES)
    assert isinstance(ending, End)
    assert ending.error == "same_failure"


def test_a_failing_call_among_others_is_noticed() -> None:
    """The same answer again and again is a loop, also when one of its calls succeeds."""
    turn = [User("hi"), *(e for n in range(3) for e in step(n, "ok", "bad", failed=("bad",)))]
    assert isinstance(decide(turn, LIMITS, RULES), End)


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
    fails = [step(n, "bad", failed=("bad",)) for n in range(5)]
    turn = [User("hi"), *fails[0], *fails[1], *between, *fails[2], *fails[3]]
    assert decide(turn, LIMITS, RULES) == CallModel()
    assert isinstance(decide([*turn, *fails[4]], LIMITS, RULES), End)


def test_the_model_is_told_that_it_goes_in_circles_before_the_turn_ends() -> None:
    """It may still help itself."""
    turn = [User("hi"), *(entry for n in range(3) for entry in step(n, "look"))]
    told = decide(turn, LIMITS, RULES)
    assert isinstance(told, CallModel)
    assert "3 times in a row" in told.remark
    turn += [entry for n in (3, 4) for entry in step(n, "look")]
    ending = decide(turn, LIMITS, RULES)
    assert isinstance(ending, End)
    assert ending.error == "going_in_circles"


def test_steps_are_counted_by_answers() -> None:
    """However many calls an answer makes, it is one step."""
    turn = [User("hi"), *step(1, "a", "b", "c"), *step(2, "d")]
    assert decide(turn, Limits(steps=3), RULES) == CallModel()
    ending = decide(turn, Limits(steps=2), RULES)
    assert isinstance(ending, End)
    assert "2 steps" in ending.sentence


def test_calls_are_settled_before_a_turn_is_given_up() -> None:
    """A cap never leaves a call without its result."""
    waiting = call(1)
    turn = [User("hi"), Assistant("", (waiting,))]
    assert decide(turn, Limits(steps=1), RULES) == Attend(run=(waiting,))


# --- Permission ---


@pytest.mark.parametrize(
    ("approval", "then"),
    [
        (None, "ask"),
        (Approval.OPEN, "park"),
        (Approval.GRANTED, "run"),
        (Approval.DENIED, DENIED),
        (Approval.LAPSED, LAPSED),
    ],
)
def test_what_needs_permission_waits_for_it(approval: Approval | None, then: str) -> None:
    """Asked once, parked until there is an answer, and run only if that is yes."""
    asking = attrs.evolve(call(1, ASKS), approval=approval)
    expected: dict[str, Command] = {
        "ask": Attend(ask=(asking,)),
        "park": Park(child=False),
        "run": Attend(run=(asking,)),
    }
    command = decide([User("hi"), Assistant("", (asking,))], LIMITS, RULES)
    assert command == expected.get(then, Attend(settle=((asking, then),)))


def test_what_is_denied_by_policy_is_settled() -> None:
    """Where nobody can be asked, the model hears so."""
    launching = call(1, FORBIDDEN)
    command = decide([User("hi"), Assistant("", (launching,))], LIMITS, RULES)
    assert command == Attend(settle=((launching, NOBODY_TO_ASK),))


def test_an_allowed_call_that_was_interrupted_is_not_run_twice() -> None:
    """The permission was for one run, of which nobody knows how it ended."""
    paid = attrs.evolve(call(1, ASKS, state=CallState.RUNNING), approval=Approval.GRANTED)
    command = decide([User("hi"), Assistant("", (paid,))], LIMITS, RULES)
    assert command == Attend(settle=((paid, INTERRUPTED),))


def test_the_rest_is_done_before_a_turn_is_parked() -> None:
    """What needs no permission does not wait for what does."""
    asking = attrs.evolve(call(1, ASKS), approval=Approval.OPEN)
    reading = call(2, READS)
    turn = [User("hi"), Assistant("", (asking, reading))]
    assert decide(turn, LIMITS, RULES) == Attend(run=(reading,))
    assert decide([*turn, ToolResult(2, "r")], LIMITS, RULES) == Park(child=False)


def test_a_delegated_call_parks_its_turn() -> None:
    """A call whose result comes from another turn is neither run again nor settled."""
    waiting = attrs.evolve(call(1, state=CallState.RUNNING), delegated=True)
    turn = [User("hi"), Assistant("", (waiting,))]
    assert decide(turn, LIMITS, RULES) == Park(child=True)
    asking = attrs.evolve(call(2, ASKS), approval=Approval.OPEN)
    both = [User("hi"), Assistant("", (waiting, asking))]
    assert decide(both, LIMITS, RULES) == Park(child=False)


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
        match decide(turn, limits, RULES):
            case CallModel():
                assert not open_calls(turn)
                if not script or not script[0].calls:
                    break
                turn.append(script.pop(0))
            case Attend(run, ask, settle):
                todo = [*run, *(each for each, _ in settle)]
                assert not ask
                assert {each.id for each in todo} == {each.id for each in open_calls(turn)}
                turn += [ToolResult(c.id, "r", failed=c.request.name == "bad") for c in todo]
            case _:
                break
    else:
        raise AssertionError("no end")
    check_calls(turn)
    assert sum(isinstance(entry, Assistant) for entry in turn) <= max(steps, 1)
