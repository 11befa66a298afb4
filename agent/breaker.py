"""The loop breaker: notices a turn that goes in circles. Pure, over the entries of the turn.

A round is a step, or a few steps in a row, that came again: the same calls, which brought the same
results. The results count, since asking again is right where the answer changes (a job that is
awaited, a clock). One step that repeats is a round of one; two that alternate are a round of two.

The model is told first, because it can usually help itself; if it goes on, the turn is ended. A
call that fails is given less: nothing is learnt from the same failure, whatever its words are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TypeAlias

from attrs import frozen

from agent.transcript import Assistant, Entry, ToolResult, User

MAX_SAME_FAILURES = 3  # twice is a retry, three times a habit
WARN_ROUNDS = 3
STOP_ROUNDS = 5
LONGEST_ROUND = 3  # steps

REMARK = (
    "[From the program: the same calls have brought the same results {rounds} times in a row."
    " Calling again will not change them. Answer with what you have, or try another way.]"
)


@frozen
class Warn:
    """The model is to be told that it repeats itself."""

    remark: str


@frozen
class Stop:
    """The turn is to end, with a sentence for the person and a word for the log."""

    sentence: str
    error: str


Verdict: TypeAlias = Warn | Stop


@frozen
class Step:
    """What one answer asked for, what that brought, and whether any of it failed."""

    calls: tuple[tuple[str, str], ...]
    results: tuple[str, ...]
    failed: bool


def verdict(entries: Sequence[Entry]) -> Verdict | None:
    """What is to be done about a turn with these entries, all of whose calls have results."""
    steps = list(_steps_backwards(entries))
    failures = _same_failures(steps)
    if failures >= MAX_SAME_FAILURES:
        sentence = f"I stopped: the same step failed {failures} times in a row."
        return Stop(sentence, "same_failure")
    rounds = max((_rounds(steps, length) for length in range(1, LONGEST_ROUND + 1)), default=0)
    if rounds >= STOP_ROUNDS:
        sentence = f"I stopped: I was going in circles, {rounds} times the same steps."
        return Stop(sentence, "going_in_circles")
    return Warn(REMARK.format(rounds=f"{rounds}")) if rounds >= WARN_ROUNDS else None


def _steps_backwards(entries: Sequence[Entry]) -> Iterator[Step]:
    """The steps since a person or the model has said something, the newest first."""
    results = {entry.call: entry for entry in entries if isinstance(entry, ToolResult)}
    for answer in takewhile(lambda entry: not _is_said(entry), reversed(entries)):
        if not isinstance(answer, Assistant):
            continue
        found = [results[call.id] for call in answer.calls if call.id in results]
        yield Step(
            tuple((call.request.name, call.request.arguments) for call in answer.calls),
            tuple(result.text for result in found),
            any(result.failed for result in found),
        )


def _is_said(entry: Entry) -> bool:
    return isinstance(entry, User) or (isinstance(entry, Assistant) and not entry.calls)


def _same_failures(steps: Sequence[Step]) -> int:
    """How many of the latest steps asked for the same calls, of which one failed each time."""
    same = takewhile(lambda step: step.failed and step.calls == steps[0].calls, steps)
    return sum(1 for _ in same)


def _rounds(steps: Sequence[Step], length: int) -> int:
    """How often the latest `length` steps came in a row, counting the latest."""
    latest = list(steps[:length])
    starts = range(0, len(steps) - length + 1, length)
    return sum(1 for _ in takewhile(lambda at: list(steps[at : at + length]) == latest, starts))
