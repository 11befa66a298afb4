"""The driver over a journal in memory: whatever interrupts a turn, its rows lead to a good end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.context import build_messages, estimate_tokens
from agent.drive import MOST_AT_ONCE, TurnDriver
from agent.fitting import MOST_RATIO, Gauge
from agent.loop import DENIED, INTERRUPTED, LAPSED, Limits
from agent.parts import Takes, fitted, views
from agent.ports import ModelFailed, OverBudget, ToolOutcome, TurnLost, TurnState, Watcher
from agent.transcript import (
    Answer,
    Approval,
    Assistant,
    CallRequest,
    CallState,
    ToolCall,
    ToolResult,
    Usage,
    User,
    open_calls,
)
from daemon.demo.chatrules import check_messages
from tests.agent.histories import (
    ASKS,
    DELEGATES,
    LIMITS,
    LOOKS,
    PICTURE,
    READS,
    WRITES,
    Killed,
    ListToolbox,
    MemoryJournal,
    ScriptedModel,
    check_calls,
    scripts,
)

EVERYTHING = Takes(images=True, documents=True)


def driver(
    journal: MemoryJournal,
    script: Iterable[Answer | ModelFailed] = (),
    tools: ListToolbox | None = None,
    *,
    limits: Limits = LIMITS,
    stopping: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
) -> TurnDriver:
    return TurnDriver(
        journal,
        ScriptedModel(script),
        tools or ListToolbox(),
        limits,
        "system",
        journal.opening(),
        stopping,
        watcher,
    )


def journal_with(text: str = "hello") -> MemoryJournal:
    journal = MemoryJournal()
    journal.begin(text)
    return journal


def asks(*names: str, arguments: str = "{}") -> Answer:
    return Answer("", tuple(CallRequest(f"id-{name}", name, arguments) for name in names))


# --- One turn, step by step ---


async def test_a_large_request_is_not_made_on_the_loop() -> None:
    """Nobody else waits for it, however much was said before."""
    journal = journal_with("and now?")
    journal.history = [User(f"{number} {'x' * 20_000}") for number in range(100)]
    driving = driver(journal)
    began = time.thread_time()
    driving._make_request("")
    here = time.thread_time() - began
    began = time.thread_time()
    await driving.run()
    assert time.thread_time() - began < here / 2
    assert journal.ended == "answered"


async def test_a_plain_turn_is_intent_and_conclusion() -> None:
    """An answer without calls ends the turn in one step after the intent."""
    journal = journal_with()
    assert await driver(journal, [Answer("hi")]).run() is TurnState.ENDED
    assert journal.steps == ["intend_model_call", "concluded"]
    assert journal.said == "hi"


async def test_a_tool_is_intended_before_it_runs() -> None:
    """The order of rows around a tool: answer, intent, result, next model call."""
    journal, seen = journal_with(), []
    tools = ListToolbox(on_run=lambda _name: seen.append(journal.steps[-1]))
    assert await driver(journal, [asks("write"), Answer("done")], tools).run() is TurnState.ENDED
    assert seen == ["intend_tool_call"]
    assert journal.steps[1:4] == ["answered", "intend_tool_call", "tool_finished"]
    check_calls(journal.turn)


class Notes:
    """A watcher that writes down what it is told, and calls `on_text` with every text."""

    def __init__(self, on_text: Callable[[str], None] = lambda _text: None) -> None:
        self.lines: list[str] = []
        self.on_text = on_text

    def text(self, text: str) -> None:
        self.lines.append(f"text {text}")
        self.on_text(text)

    def began(self, call: ToolCall) -> None:
        self.lines.append(f"began {call.request.name}")

    def ended(self, call: ToolCall) -> None:
        self.lines.append(f"ended {call.request.name}")


async def test_who_watches_sees_words_and_tools() -> None:
    """Text and the calls under way reach whoever watches while they come."""
    notes = Notes()
    await driver(journal_with(), [asks("write"), Answer("hello")], watcher=notes).run()
    assert notes.lines == ["text ", "began write", "ended write", "text hello"]


async def test_a_tool_that_breaks_is_not_seen_for_ever() -> None:
    """Whatever ends a call, who watches is told."""

    def break_down(_name: str) -> None:
        raise OSError("broken")

    notes, tools = Notes(), ListToolbox(on_run=break_down)
    with pytest.raises(OSError, match="broken"):
        await driver(journal_with(), [asks("write")], tools, watcher=notes).run()
    assert notes.lines[-1] == "ended write"


async def test_a_model_that_failed_ends_the_turn_with_its_sentence() -> None:
    """The person hears what was wrong, the log gets the error."""
    journal = journal_with()
    assert await driver(journal, [ModelFailed("No key.", "HTTP 401")]).run() is TurnState.ENDED
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
    assert await turn.run() is TurnState.READY
    assert journal.steps[-2:] == ["tool_finished", "released"]
    assert await driver(journal, [Answer("later")], tools).run() is TurnState.ENDED
    assert journal.said == "later"
    assert len(tools.ran) == 1


# --- Budgets, circles and room ---


async def test_a_call_over_budget_ends_the_turn_with_its_sentence() -> None:
    """The model is not asked, and the person hears why."""
    journal = journal_with()

    def refuse(step: str) -> None:
        if step == "intend_model_call":
            raise OverBudget("The budget is used up.")

    journal.on_step = refuse
    turn = driver(journal, [Answer("hi")])
    assert await turn.run() is TurnState.ENDED
    assert (journal.ended, journal.said, journal.error) == (
        "failed",
        "The budget is used up.",
        "over_budget",
    )
    assert isinstance(turn.model, ScriptedModel)
    assert turn.model.asked == []


async def test_a_model_that_repeats_itself_is_told_and_then_stopped() -> None:
    """The remark stands beside the latest result, and is in no row."""
    journal, tools = journal_with(), ListToolbox()
    turn = driver(journal, [asks(READS)] * 9, tools)
    assert await turn.run() is TurnState.ENDED
    assert len(tools.ran) == 5
    assert journal.error == "going_in_circles"
    assert isinstance(turn.model, ScriptedModel)
    remarked = ["times in a row" in str(asked[-1]) for asked in turn.model.asked]
    assert remarked == [False, False, False, True, True]
    assert "times in a row" not in str(journal.turn)


async def test_a_request_is_made_to_fit_and_learns_from_what_was_counted() -> None:
    """Tools bring more than the limit holds; a model that counts more is sent less."""

    class Wordy(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            return ToolOutcome("word " * 10_000)

    journal = journal_with()
    journal.history = [User("before"), Assistant("yes")]
    dear = Usage(prompt_tokens=10**6)
    asking = [evolve(asks(READS, arguments=f'{{"n": {n}}}'), usage=dear) for n in range(3)]
    turn = driver(journal, [*asking, Answer("done")], Wordy())
    turn.gauge = Gauge(limit=8_000)
    await turn.run()
    assert isinstance(turn.model, ScriptedModel)
    first, *others = [estimate_tokens(asked) for asked in turn.model.asked]
    assert first < 8_000
    assert all(300 < size <= 2_000 for size in others), "four times as many as estimated"
    assert all("before" in str(asked) for asked in turn.model.asked)


async def test_the_summary_is_in_every_request() -> None:
    """Before the history, whatever has to give way."""
    journal = journal_with()
    turn = driver(journal, [asks(READS), Answer("done")])
    turn.opening = evolve(journal.opening(), summary="we met in May")
    await turn.run()
    assert isinstance(turn.model, ScriptedModel)
    assert all("we met in May" in asked[1]["content"] for asked in turn.model.asked)


async def test_the_tools_are_described_once_in_a_turn() -> None:
    """There are many, and a turn has many steps; each request has them all the same."""

    class Counting(ListToolbox):
        asked = 0

        def schemas(self) -> list[dict[str, Any]]:
            Counting.asked += 1
            return super().schemas()

    journal = journal_with()
    turn = driver(journal, [asks(READS), asks(READS), Answer("done")], Counting())
    await turn.run()
    assert isinstance(turn.model, ScriptedModel)
    assert (len(turn.model.asked), Counting.asked) == (3, 1)


# --- Side by side ---


class Meeting(ListToolbox):
    """Tools that come to an end only when as many as are expected run at once."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected, self.met = expected, trio.Event()

    async def run(self, request: CallRequest) -> ToolOutcome:
        self.ran.append(request)
        if len(self.ran) == self.expected:
            self.met.set()
        await self.met.wait()
        return ToolOutcome(f"{request.arguments} was run")


def many(name: str, count: int) -> Answer:
    return Answer("", tuple(CallRequest("", name, f'{{"n": {n}}}') for n in range(count)))


async def test_calls_of_one_answer_run_side_by_side() -> None:
    """Each waits here for all the others, and the model sees the results in the order asked for."""
    journal, tools = journal_with(), Meeting(MOST_AT_ONCE)
    model = ScriptedModel([many(READS, MOST_AT_ONCE), Answer("done")])
    with trio.fail_after(20):
        await TurnDriver(journal, model, tools, LIMITS, "s", journal.opening()).run()
    shown = [each["content"] for each in model.asked[1] if each["role"] == "tool"]
    assert shown == [f'{{"n": {n}}} was run' for n in range(MOST_AT_ONCE)]


async def test_no_more_tools_than_a_few_run_at_once() -> None:
    """An answer may ask for 64 calls; they share the places."""
    running, most = 0, 0

    class Counting(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.testing.wait_all_tasks_blocked()
            running -= 1
            return await super().run(request)

    tools = Counting()
    await driver(journal_with(), [many(READS, 30), Answer("done")], tools).run()
    assert (most, len(tools.ran)) == (MOST_AT_ONCE, 30)


async def test_calls_of_one_queue_run_in_the_order_asked_for() -> None:
    """What changes the same files is not left to chance."""
    running: list[str] = []

    class Alone(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            assert not running
            running.append(request.arguments)
            await trio.testing.wait_all_tasks_blocked()
            running.clear()
            return await super().run(request)

    tools = Alone()
    await driver(journal_with(), [many(WRITES, 5), Answer("done")], tools).run()
    assert [each.arguments for each in tools.ran] == [f'{{"n": {n}}}' for n in range(5)]


async def test_cancelling_a_turn_ends_all_its_tools(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """None outlives the turn, and the rows say that they had begun."""
    journal, ended = journal_with(), []

    class Endless(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(request)
            raise AssertionError

    with trio.move_on_after(1):
        await driver(journal, [many(READS, 5)], Endless()).run()
    assert len(ended) == 5
    assert {call.state for call in open_calls(journal.turn)} == {CallState.RUNNING}


async def test_a_turn_lost_by_one_tool_is_lost_by_all() -> None:
    """The others are cancelled, and what comes out is TurnLost itself."""
    journal = journal_with()
    tools = ListToolbox(on_run=lambda _name: None if journal.ended else journal.stop())
    with pytest.raises(TurnLost):
        await driver(journal, [many(READS, 3)], tools).run()


# --- Waiting ---


async def test_a_turn_that_needs_permission_is_parked_and_goes_on_with_it() -> None:
    """The rest of the answer's calls is done first; after yes, the call is run once."""
    journal, tools = journal_with(), ListToolbox()
    assert await driver(journal, [asks(ASKS, READS)], tools).run() is TurnState.WAITING
    assert [each.name for each in tools.ran] == [READS]
    assert await driver(journal, [], tools).run() is TurnState.WAITING, "asked once"
    assert journal.steps.count("ask") == 1
    journal.answer(Approval.GRANTED)
    assert await driver(journal, [Answer("paid")], tools).run() is TurnState.ENDED
    assert [each.name for each in tools.ran] == [READS, ASKS]


async def test_what_was_allowed_for_good_runs_without_a_question() -> None:
    """The journal says so, in the transaction that would have asked."""
    journal, tools = journal_with(), ListToolbox()
    (call,) = asks(ASKS).calls
    journal.granted.add(call.arguments)
    assert await driver(journal, [asks(ASKS), Answer("paid")], tools).run() is TurnState.ENDED
    assert [each.name for each in tools.ran] == [ASKS]


@pytest.mark.parametrize(
    ("approval", "words"), [(Approval.DENIED, DENIED), (Approval.LAPSED, LAPSED)]
)
async def test_what_was_not_allowed_is_not_run(approval: Approval, words: str) -> None:
    """The model hears why."""
    journal, tools = journal_with(), ListToolbox()
    await driver(journal, [asks(ASKS)], tools).run()
    journal.answer(approval)
    await driver(journal, [Answer("a pity")], tools).run()
    assert tools.ran == []
    assert ToolResult(2, words, failed=True) in journal.turn


async def test_a_delegated_call_gets_its_result_from_elsewhere() -> None:
    """The turn is parked, and goes on when the other one has answered."""
    journal, tools = journal_with(), ListToolbox()
    assert await driver(journal, [asks(DELEGATES)], tools).run() is TurnState.WAITING
    assert await driver(journal, [], tools).run() is TurnState.WAITING
    assert len(tools.ran) == 1, "begun once"
    journal.answer_child("soup")
    assert await driver(journal, [Answer("eat")], tools).run() is TurnState.ENDED
    check_calls(journal.turn)


# --- What people say meanwhile ---


async def test_what_is_said_meanwhile_is_read_before_the_next_step() -> None:
    """After the results of the calls under way."""
    journal = journal_with()
    tools = ListToolbox(on_run=lambda _name: journal.tell("in blue, please"))
    model = ScriptedModel([asks(READS), Answer("blue it is")])
    await TurnDriver(journal, model, tools, LIMITS, "s", journal.opening()).run()
    assert [each["role"] for each in model.asked[1][1:]] == ["user", "assistant", "tool", "user"]
    assert journal.said == "blue it is"


async def test_what_is_said_during_the_answer_is_answered_too() -> None:
    """The answer is kept, and the turn goes on."""
    journal = journal_with()
    model = ScriptedModel([Answer("one"), Answer("two")])
    notes = Notes(told_once(journal))
    turn = TurnDriver(journal, model, ListToolbox(), LIMITS, "s", journal.opening(), watcher=notes)
    assert await turn.run() is TurnState.ENDED
    assert [each["role"] for each in model.asked[1][1:]] == ["user", "assistant", "user"]
    assert (journal.said, journal.steps.count("concluded")) == ("two", 2)
    assert notes.lines == ["text one", "text ", "text two"], "what is in the chat is shown no more"


def told_once(journal: MemoryJournal) -> Callable[[str], None]:
    return lambda _text: None if journal.told else journal.tell("and?")


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
    assert await driver(journal, [asks("write")], Slow(), limits=limits).run() is TurnState.ENDED
    assert trio.current_time() - started == pytest.approx(seconds - 20)
    assert journal.error == "too_long"
    assert words in journal.said
    check_calls(journal.turn)


async def test_a_turn_whose_time_is_used_up_ends_before_it_begins_anything() -> None:
    """Time that earlier runs took counts."""
    journal = journal_with()
    journal.ran_seconds = LIMITS.seconds + 1
    assert await driver(journal, [asks("write")]).run() is TurnState.ENDED
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


async def test_what_tools_show_stands_behind_all_results() -> None:
    """With calls side by side, in one message; and in every later request of the turn."""
    journal = journal_with()
    model = ScriptedModel([asks(LOOKS, READS, LOOKS), asks(READS), Answer("two cats")])
    ours = driver(journal)
    ours.model = model
    assert await ours.run() is TurnState.ENDED
    _, second, third = model.asked
    assert [each["role"] for each in second][3:] == ["tool", "tool", "tool", "user"]
    assert [each["role"] for each in third][3:-1] == ["tool", "tool", "tool", "user", "assistant"]
    assert views(second) == views(third) == [PICTURE, PICTURE]


async def test_what_pictures_take_does_not_bend_the_gauge() -> None:
    """What a provider counts for them says nothing about letters."""
    blind = evolve(asks(LOOKS), usage=Usage(10_000, 0, 1))
    ours = driver(journal_with(), [blind, evolve(asks(READS), usage=Usage(1, 0, 1))])
    await ours.run()
    assert ours.gauge.ratio == MOST_RATIO


STEPS = (
    "intend_model_call",
    "answered",
    "concluded",
    "ask",
    "parked",
    "intend_tool_call",
    "tool_finished",
    "failed",
)
points = st.tuples(
    st.sampled_from([*STEPS, *(f"after {step}" for step in STEPS)]), st.integers(1, 4)
)
interruptions = st.lists(
    st.tuples(points, st.sampled_from(["kill", "cancel", "stop", "tell"])), max_size=3
)


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
        for (step, count), how in interruptions:
            if not journal.ended:
                await _run_until(journal, model, tools, step, count, how)
        while not journal.ended:
            await _answer_whatever(journal, tools)
            await _run_until(journal, model, tools, "", 1, "")
        assert journal.ended in {"answered", "failed", "stopped"}
        check_calls([*journal.history, *journal.turn])
        assert sum(isinstance(e, Assistant) and bool(e.calls) for e in journal.turn) <= LIMITS.steps
        for messages in model.asked:
            assert check_messages(fitted(messages, EVERYTHING)) is None
            said = [m for m in messages if m["role"] == "user" and isinstance(m["content"], str)]
            assert len(said) <= journal.told + len(turns)
    whole = build_messages("s", journal.history, journal.turn)
    assert check_messages(fitted(whole, EVERYTHING)) is None


async def _answer_whatever(journal: MemoryJournal, tools: ListToolbox) -> None:
    """Whatever the turn waits for comes: permission for every other question, and children."""
    granted = len(tools.ran) % 2 == 0
    journal.answer(Approval.GRANTED if granted else Approval.DENIED)
    journal.answer_child("done")


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
            if how == "tell":
                journal.tell("one thing more")
                return
            if how == "stop" and not journal.ended:
                journal.stop()
            else:
                scope.cancel()

    journal.on_step = on_step
    with scope:
        try:
            await TurnDriver(journal, model, tools, LIMITS, "s", journal.opening()).run()
        except* (Killed, TurnLost):
            pass
    journal.on_step = lambda _step: None


async def test_a_fault_of_a_tool_goes_to_the_boundary() -> None:
    """What is not the tool's to foresee is a fault of the program, and is not hidden here."""

    class Broken(ListToolbox):
        async def run(self, request: CallRequest) -> ToolOutcome:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await driver(journal_with(), [asks("write")], Broken()).run()
