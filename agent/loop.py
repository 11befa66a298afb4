"""What a turn does next: a pure function of its transcript.

`decide` looks at the entries of the turn and returns one command. Performing the command appends
to the entries, and the question is asked again, until the command is an `End`. There is no other
state: a turn read back from its rows after a crash is decided exactly like one that was never
interrupted. The cases, in order:

1. a call of the last answer has no result: run it; but if it had begun when we were interrupted,
   only a tool that reads is run again, and any other gets a result that says what is not known;
2. the same calls were asked for `MAX_SAME_FAILURES` times in a row, and failed: end;
3. the turn has used its steps: end;
4. otherwise it is the model's turn to speak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeAlias

from attrs import frozen

from agent.transcript import Assistant, CallState, Entry, ToolCall, ToolResult, open_calls

# Twice is a retry, three times a habit.
MAX_SAME_FAILURES = 3

INTERRUPTED = "interrupted by a restart; it may or may not have taken effect"


@frozen
class Limits:
    """What one turn may use: answers of the model, and seconds of running time."""

    steps: int = 25
    seconds: float = 600.0


@frozen
class CallModel:
    """Ask the model to go on."""


@frozen
class RunTool:
    call: ToolCall


@frozen
class SettleTool:
    """Give a call its result without running it."""

    call: ToolCall
    text: str


@frozen
class End:
    """Give the turn up, with a sentence for the person and a word for the log."""

    sentence: str
    error: str


Command: TypeAlias = CallModel | RunTool | SettleTool | End


def decide(turn: Sequence[Entry], limits: Limits, rerunnable: Callable[[str], bool]) -> Command:
    """The next command for a turn with these entries."""
    waiting = open_calls(turn)
    if waiting:
        return _attend(waiting[0], rerunnable)
    failures = repeated_failures(turn)
    if failures >= MAX_SAME_FAILURES:
        return End(f"I stopped: the same step failed {failures} times in a row.", "same_failure")
    steps = sum(isinstance(entry, Assistant) for entry in turn)
    if steps >= limits.steps:
        return End(f"I stopped after {steps} steps without reaching an answer.", "too_many_steps")
    return CallModel()


def _attend(call: ToolCall, rerunnable: Callable[[str], bool]) -> Command:
    if call.state is CallState.RUNNING and not rerunnable(call.request.name):
        return SettleTool(call, INTERRUPTED)
    return RunTool(call)


def repeated_failures(turn: Sequence[Entry]) -> int:
    """How many of the latest answers asked for the same calls, of which one failed each time."""
    failed = {entry.call for entry in turn if isinstance(entry, ToolResult) and entry.failed}
    answers = [entry for entry in reversed(turn) if isinstance(entry, Assistant)]
    same = takewhile(lambda answer: _asked(answer) == _asked(answers[0]), answers)
    failures = takewhile(lambda answer: any(call.id in failed for call in answer.calls), same)
    return sum(1 for _ in failures)


def _asked(answer: Assistant) -> list[tuple[str, str]]:
    return [(call.request.name, call.request.arguments) for call in answer.calls]
