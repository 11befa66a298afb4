"""The driver over a journal in memory: whatever interrupts a turn, its rows lead to a good end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.context import build_messages
from agent.drive import TurnDriver
from agent.loop import INTERRUPTED, Limits
from agent.ports import ModelFailed, ToolOutcome, TurnLost
from agent.transcript import Answer, Assistant, CallRequest, ToolResult
from daemon.demo.chatrules import check_messages
from tests.agent.histories import (
    LIMITS,
    READS,
    Killed,
    ListToolbox,
    MemoryJournal,
    ScriptedModel,
    check_calls,
    scripts,
)


def driver(
    journal: MemoryJournal,
    script: Iterable[Answer | ModelFailed] = (),
    tools: ListToolbox | None = None,
    *,
    limits: Limits = LIMITS,
    stopping: Callable[[], bool] = lambda: False,
    said: Callable[[str], None] | None = None,
) -> TurnDriver:
    return TurnDriver(
        journal,
        ScriptedModel(script),
        tools or ListToolbox(),
        limits,
        "system",
        journal.opening(),
        stopping,
        said,
    )


def journal_with(text: str = "hello") -> MemoryJournal:
    journal = MemoryJournal()
    journal.begin(text)
    return journal


def asks(*names: str, arguments: str = "{}") -> Answer:
    return Answer("", tuple(CallRequest(f"id-{name}", name, arguments) for name in names))


# --- One turn, step by step ---


async def test_a_plain_turn_is_intent_and_conclusion() -> None:
    """An answer without calls ends the turn in one step after the intent."""
    journal = journal_with()
    assert await driver(journal, [Answer("hi")]).run()
    assert journal.steps == ["intend_model_call", "concluded"]
    assert journal.said == "hi"


async def test_a_tool_is_intended_before_it_runs() -> None:
    """The order of rows around a tool: answer, intent, result, next model call."""
    journal, seen = journal_with(), []
    tools = ListToolbox(on_run=lambda _name: seen.append(journal.steps[-1]))
    assert await driver(journal, [asks("write"), Answer("done")], tools).run()
    assert seen == ["intend_tool_call"]
    assert journal.steps[1:4] == ["answered", "intend_tool_call", "tool_finished"]
    check_calls(journal.turn)


async def test_the_growing_answer_is_shown() -> None:
    """Text reaches whoever watches while it comes."""
    seen: list[str] = []
    await driver(journal_with(), [Answer("hello")], said=seen.append).run()
    assert seen == ["hello"]


async def test_a_model_that_failed_ends_the_turn_with_its_sentence() -> None:
    """The person hears what was wrong, the log gets the error."""
    journal = journal_with()
    assert await driver(journal, [ModelFailed("No key.", "HTTP 401")]).run()
    assert (journal.ended, journal.said, journal.error) == ("failed", "No key.", "HTTP 401")


async def test_an_answer_that_breaks_off_is_delivered_and_says_so() -> None:
    """What had been said is kept, and nobody can take it for the whole."""
    journal = journal_with()
    await driver(journal, [ModelFailed("The connection was lost.", "cut", "Once upon a")]).run()
    assert journal.said == ("Once upon a\n\n[The answer breaks off here. The connection was lost.]")
    assert journal.ended == "failed"


async def test_steps_are_capped() -> None:
    """A model that never stops asking is stopped, after exactly its steps."""
    journal, tools = journal_with(), ListToolbox()
    script = (asks(READS, arguments=f'{{"n": {n}}}') for n in range(100))
    await driver(journal, script, tools).run()
    assert len(tools.ran) == LIMITS.steps
    assert journal.error == "too_many_steps"
    assert str(LIMITS.steps) in journal.said


async def test_a_repeated_failing_call_is_broken_off() -> None:
    """Three times the same failure is enough."""
    journal, tools = journal_with(), ListToolbox()
    await driver(journal, [asks("bad")] * 10, tools).run()
    assert [request.name for request in tools.ran] == ["bad"] * 3
    assert journal.error == "same_failure"


async def test_a_turn_is_given_back_at_its_next_step_when_stopping() -> None:
    """Work under way comes to its journal point, and nothing new is begun."""
    journal, tools = journal_with(), ListToolbox()
    turn = driver(journal, [asks("write")], tools, stopping=lambda: bool(tools.ran))
    assert not await turn.run()
    assert journal.steps[-2:] == ["tool_finished", "released"]
    assert await driver(journal, [Answer("later")], tools).run()
    assert journal.said == "later"
    assert len(tools.ran) == 1


# --- Time ---


@pytest.mark.parametrize(
    ("seconds", "words"), [(600, "10 minutes"), (30, "30 seconds"), (60, "60 seconds")]
)
async def test_wall_time_ends_a_turn(
    autojump_clock: trio.testing.MockClock, seconds: float, words: str
) -> None:
    """A tool that takes too long is cancelled; its call gets a result all the same."""

    class Slow(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            await trio.sleep_forever()
            raise AssertionError

    journal = journal_with()
    journal.ran_seconds = 20
    started = trio.current_time()
    limits = Limits(steps=5, seconds=seconds)
    assert await driver(journal, [asks("write")], Slow(), limits=limits).run()
    assert trio.current_time() - started == pytest.approx(seconds - 20)
    assert journal.error == "too_long"
    assert words in journal.said
    check_calls(journal.turn)


async def test_a_turn_whose_time_is_used_up_ends_before_it_begins_anything() -> None:
    """Time that earlier runs took counts."""
    journal = journal_with()
    journal.ran_seconds = LIMITS.seconds + 1
    assert await driver(journal, [asks("write")]).run()
    assert (journal.steps, journal.error) == (["failed"], "too_long")


async def test_cancelling_from_outside_is_not_an_ending() -> None:
    """Cancelled goes through: the turn stays as its rows say."""
    journal = journal_with()
    with trio.CancelScope() as scope:
        tools = ListToolbox(on_run=lambda _name: scope.cancel())
        await driver(journal, [asks("write"), Answer("no")], tools).run()
        raise AssertionError
    assert scope.cancelled_caught
    assert journal.ended == ""
    assert journal.steps[-1] == "tool_finished", "an act that has happened is recorded"


# --- Interruptions ---


async def test_a_turn_taken_away_is_left_alone() -> None:
    """After TurnLost nothing more is written."""
    journal = journal_with()
    tools = ListToolbox(on_run=lambda _name: journal.stop())
    with pytest.raises(TurnLost):
        await driver(journal, [asks("write"), Answer("no")], tools).run()
    assert journal.ended == "stopped"
    assert journal.steps[-1] == "intend_tool_call"
    check_calls(journal.turn)


def dying(step: str, count: int = 1) -> Callable[[str], None]:
    """Fall dead the `count`th time that `step` is reached."""
    left = [count]

    def on_step(now: str) -> None:
        left[0] -= now == step
        if left[0] == 0 and now == step:
            raise Killed

    return on_step


async def test_an_interrupted_write_is_settled_not_repeated() -> None:
    """Whether it had taken effect is not known, and the model is told so."""
    journal, tools = journal_with(), ListToolbox()
    journal.on_step = dying("tool_finished")
    with pytest.raises(Killed):
        await driver(journal, [asks("write")], tools).run()
    journal.on_step = lambda _step: None
    await driver(journal, [Answer("then not")], tools).run()
    assert len(tools.ran) == 1
    assert journal.turn[2] == ToolResult(2, INTERRUPTED, failed=True)


async def test_an_interrupted_read_is_run_again() -> None:
    """Reading twice harms nobody."""
    journal, tools = journal_with(), ListToolbox()
    journal.on_step = dying("tool_finished")
    with pytest.raises(Killed):
        await driver(journal, [asks(READS)], tools).run()
    journal.on_step = lambda _step: None
    await driver(journal, [Answer("seen")], tools).run()
    assert len(tools.ran) == 2
    assert journal.turn[2] == ToolResult(2, "look was run")


STEPS = (
    "intend_model_call",
    "answered",
    "concluded",
    "intend_tool_call",
    "tool_finished",
    "failed",
)
points = st.tuples(
    st.sampled_from([*STEPS, *(f"after {step}" for step in STEPS)]), st.integers(1, 4)
)
interruptions = st.lists(st.tuples(points, st.sampled_from(["kill", "cancel", "stop"])), max_size=3)


@given(st.lists(st.tuples(scripts, interruptions), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_history_is_one_that_providers_accept(
    turns: list[tuple[list[Answer | ModelFailed], list[tuple[tuple[str, int], str]]]],
) -> None:
    """However turns are killed, cancelled and stopped, each ends, with one result for each call.

    And every request on the way obeys the rules of the Chat Completions API.
    """
    trio.run(_live_through, turns)


async def _live_through(
    turns: list[tuple[list[Answer | ModelFailed], list[tuple[tuple[str, int], str]]]],
) -> None:
    journal, tools = MemoryJournal(), ListToolbox()
    for script, interruptions in turns:
        journal.begin("do something")
        # A queued message that belongs to the same thought is one more user entry.
        model = ScriptedModel(script)
        for (step, count), how in [*interruptions, (("", 1), "")]:
            if journal.ended:
                break
            await _run_until(journal, model, tools, step, count, how)
        assert journal.ended in {"answered", "failed", "stopped"}
        check_calls([*journal.history, *journal.turn])
        assert sum(isinstance(e, Assistant) and bool(e.calls) for e in journal.turn) <= LIMITS.steps
        for messages in model.asked:
            assert check_messages(messages) is None
            assert sum(m["role"] == "user" for m in messages) <= len(turns)
    assert check_messages(build_messages("s", journal.history, journal.turn)) is None


async def _run_until(
    journal: MemoryJournal,
    model: ScriptedModel,
    tools: ListToolbox,
    step: str,
    count: int,
    how: str,
) -> None:
    """Drive the turn until it ends or the interruption comes."""
    scope, die = trio.CancelScope(), dying(step, count)

    def on_step(now: str) -> None:
        try:
            die(now)
        except Killed:
            if how == "kill":
                raise
            journal.on_step = lambda _step: None
            if how == "stop" and not journal.ended:
                journal.stop()
            else:
                scope.cancel()

    journal.on_step = on_step
    with scope, suppress(Killed, TurnLost):
        await TurnDriver(journal, model, tools, LIMITS, "s", journal.opening()).run()
    journal.on_step = lambda _step: None


async def test_a_fault_of_a_tool_goes_to_the_boundary() -> None:
    """What is not the tool's to foresee is a fault of the program, and is not hidden here."""

    class Broken(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await driver(journal_with(), [asks("write")], Broken()).run()
