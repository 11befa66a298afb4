"""What a turn does next: a pure function of its transcript.

`decide` looks at the entries of the turn and returns one command. Performing the command appends
to the entries, and the question is asked again, until the command is an `End` or a `Park`. There is
no other state: a turn read back from its rows after a crash is decided exactly like one that was
never interrupted. The cases, in order:

1. calls of the last answer have no result: attend to all of them at once. One that may run is run,
   one that needs permission is asked about, and one that was refused gets a result that says so.
   One that had begun when we were interrupted is run again only if its tool just reads, and else
   gets a result that says what is not known;
2. all that is left are calls that wait for a person or for another turn: park;
3. the turn goes in circles (`agent.breaker`): end, or have the model told first;
4. the turn has used its steps: end;
5. otherwise it is the model's turn to speak.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from attrs import frozen

from agent import breaker
from agent.ports import Policy
from agent.transcript import (
    Approval,
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    open_calls,
)

INTERRUPTED = "interrupted by a restart; it may or may not have taken effect"
DENIED = "not run: the person did not allow it; do not try it in another way"
LAPSED = "not run: nobody answered whether it may"
FORBIDDEN = "not run: it needs somebody's permission, and nobody can be asked in this turn"

REFUSALS = {Approval.DENIED: DENIED, Approval.LAPSED: LAPSED}


@frozen
class Limits:
    """What one turn may use: answers of the model, and seconds of running time."""

    steps: int = 25
    seconds: float = 600.0


@frozen
class CallModel:
    """Ask the model to go on; `remark` is for its eyes, beside what it is shown last."""

    remark: str = ""


@frozen
class Attend:
    """Run these calls, side by side; ask about these; give these a result without running them."""

    run: tuple[ToolCall, ...] = ()
    ask: tuple[ToolCall, ...] = ()
    settle: tuple[tuple[ToolCall, str], ...] = ()


@frozen
class Park:
    """Let go of the turn until somebody has answered.

    A person who is to allow something; or, if `child`, whoever has begun calls in their hands: a
    child turn, or a person who was asked a question.
    """

    child: bool


@frozen
class End:
    """Give the turn up, with a sentence for the person and a word for the log."""

    sentence: str
    error: str


Command: TypeAlias = CallModel | Attend | Park | End


class Rules(Protocol):
    """What is known of tools: the part of `agent.ports.Toolbox` that decisions need."""

    def rerunnable(self, name: str) -> bool: ...

    def policy(self, request: CallRequest) -> Policy: ...


def decide(turn: Sequence[Entry], limits: Limits, rules: Rules) -> Command:
    """The next command for a turn with these entries."""
    if waiting := open_calls(turn):
        attend = _attend(waiting, rules)
        return Park(child=_for_child(waiting)) if attend == Attend() else attend
    circling = breaker.verdict(turn)
    if isinstance(circling, breaker.Stop):
        return End(circling.sentence, circling.error)
    steps = sum(isinstance(entry, Assistant) for entry in turn)
    if steps >= limits.steps:
        return End(f"I stopped after {steps} steps without reaching an answer.", "too_many_steps")
    return CallModel(circling.remark if circling else "")


def _for_child(waiting: Iterable[ToolCall]) -> bool:
    """A person's answer comes first: only they can be kept waiting by it."""
    return not any(call.approval is Approval.OPEN for call in waiting)


def _attend(calls: Iterable[ToolCall], rules: Rules) -> Attend:
    run, ask, settle = [], [], []
    for call in calls:
        match _what_about(call, rules):
            case Policy.ALLOW:
                run.append(call)
            case Policy.ASK:
                ask.append(call)
            case str(text):
                settle.append((call, text))
    return Attend(tuple(run), tuple(ask), tuple(settle))


def _what_about(call: ToolCall, rules: Rules) -> Policy | str | None:
    """Run a call, ask about it, or give it this result; None if it waits for somebody."""
    if call.delegated or call.approval is Approval.OPEN:
        return None
    if call.state is CallState.RUNNING:
        return Policy.ALLOW if rules.rerunnable(call.request.name) else INTERRUPTED
    if call.approval is not None:
        return REFUSALS.get(call.approval, Policy.ALLOW)
    policy = rules.policy(call.request)
    return FORBIDDEN if policy is Policy.DENY else policy
