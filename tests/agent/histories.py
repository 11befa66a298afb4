"""Histories as they arise: turns that are driven, crash anywhere, are stopped or fail.

The journal here is a fake that keeps rows in memory and obeys the port: it is what the tests of the
loop, the driver and the context share. It can fall dead before or after any of its steps, and a new
run then goes on from its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import trio
from attrs import Factory, define
from hypothesis import strategies as st

from agent.loop import Limits
from agent.ports import (
    Intent,
    ModelFailed,
    Opening,
    Policy,
    Subtask,
    ToolOutcome,
    TurnLost,
    TurnState,
)
from agent.transcript import (
    UNCOUNTED,
    Answer,
    Approval,
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    Usage,
    User,
    View,
    open_calls,
    replaced,
)

READS = "look"  # the one tool that only reads
WRITES = "write"  # its calls run one after another
ASKS = "pay"  # needs permission
FORBIDDEN = "launch"
DELEGATES = "delegate"
LOOKS = "view_file"  # shows the model a picture
PICTURE = View("a.png", "image/png", "8x6", 255, b"\x89PNG")
NOT_RUN = "not run: the turn was ended first"


def _unseen(entry: Entry) -> Entry:
    """An entry of an earlier turn, which shows nothing any more."""
    return entry if isinstance(entry, Assistant) else attrs.evolve(entry, shown=())


class Killed(BaseException):
    """The process is gone: nobody catches this but the test."""


@define
class MemoryJournal:
    """Implements `agent.ports.Journal` over lists.

    `on_step` is called with the name of each method before it has effect, and again, with "after "
    in front, once it has: it may raise Killed or TurnLost, or cancel.
    """

    turn: list[Entry] = Factory(list)
    history: list[Entry] = Factory(list)
    ended: str = ""
    said: str = ""
    error: str = ""
    ran_seconds: float = 0.0
    steps: list[str] = Factory(list)
    on_step: Callable[[str], None] = lambda _step: None
    unread: list[User] = Factory(list)
    granted: set[str] = Factory(set)  # arguments of calls that may run without a question
    told: int = 0
    _next_id: int = 1

    def opening(self) -> Opening:
        return Opening(tuple(self.history), tuple(self.turn), self.ran_seconds)

    def begin(self, text: str) -> None:
        """Close the books of the turn before, and open one with a person's text."""
        self.history += [_unseen(entry) for entry in self.turn]
        self.turn = [User(text)]
        self.ended = self.said = self.error = ""

    def stop(self) -> None:
        """What /stop does: the turn ends, and its open calls get results."""
        self._settle_all()
        self.ended = "stopped"

    def tell(self, text: str) -> None:
        """A person says something while the turn runs."""
        self.unread.append(User(text))
        self.told += 1

    async def intend_model_call(self, reserved_tokens: int) -> Intent:
        assert reserved_tokens > 0
        await self._before("intend_model_call")
        news = self._take_unread()
        self._after("intend_model_call")
        return Intent(7, news)

    async def answered(self, model_call: int, answer: Answer) -> tuple[ToolCall, ...]:
        assert model_call == 7
        await self._finish("answered")
        calls = tuple(self._record(request) for request in answer.calls)
        self.turn.append(Assistant(answer.text, calls))
        self._after("answered")
        return calls

    async def concluded(self, model_call: int, answer: Answer) -> tuple[User, ...]:
        await self._finish("concluded")
        if self.unread:
            self.turn.append(Assistant(answer.text))
        else:
            self._end("answered", answer.text)
        news = self._take_unread()
        self._after("concluded")
        return news

    def _take_unread(self) -> tuple[User, ...]:
        news, self.unread = tuple(self.unread), []
        self.turn += news
        return news

    async def ask(self, call: ToolCall, what: str, scope: str | None) -> Approval:
        assert what
        await self._before("ask")
        given = Approval.GRANTED if scope in self.granted else Approval.OPEN
        self._change(call.id, approval=given)
        self._after("ask")
        return given

    def answer(self, approval: Approval) -> None:
        """A person answers every question that is open."""
        for call in open_calls(self.turn):
            if call.approval is Approval.OPEN:
                self._change(call.id, approval=approval)

    async def parked(self, *, child: bool) -> TurnState:
        await self._finish("parked")
        waits = [c for c in open_calls(self.turn) if c.delegated or c.approval is Approval.OPEN]
        self._after("parked")
        return TurnState.WAITING if waits else TurnState.READY

    def answer_child(self, text: str) -> None:
        """Every child turn that is waited for ends."""
        for call in open_calls(self.turn):
            if call.delegated:
                self._mark(call.id, CallState.DONE)
                self.turn.append(ToolResult(call.id, text))

    async def failed(
        self,
        sentence: str,
        *,
        model_call: int | None = None,
        error: str,
        lost: tuple[Usage, ...] = UNCOUNTED,
    ) -> None:
        await self._finish("failed")
        self.error = error
        self._settle_all()
        self._end("failed", sentence)
        self._after("failed")

    async def intend_tool_call(self, call: ToolCall) -> None:
        await self._before("intend_tool_call")
        self._mark(call.id, CallState.RUNNING)
        self._after("intend_tool_call")

    async def tool_finished(self, call: ToolCall, outcome: ToolOutcome) -> ToolResult | None:
        await self._finish("tool_finished")
        result = None
        if outcome.subtask is not None and outcome.subtask.waits:
            self._change(call.id, delegated=True)
        else:
            self._mark(call.id, CallState.DONE)
            result = ToolResult(call.id, outcome.text, outcome.failed, outcome.shown)
            self.turn.append(result)
        self._after("tool_finished")
        return result

    async def released(self) -> None:
        await self._finish("released")
        self._after("released")

    async def _before(self, step: str) -> None:
        await trio.lowlevel.checkpoint()
        self._at(step)

    async def _finish(self, step: str) -> None:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        self._at(step)

    def _at(self, step: str) -> None:
        self.on_step(step)
        if self.ended:
            raise TurnLost
        self.steps.append(step)

    def _after(self, step: str) -> None:
        self.on_step(f"after {step}")

    def _record(self, request: CallRequest) -> ToolCall:
        self._next_id += 1
        return ToolCall(self._next_id, request)

    def _mark(self, call_id: int, state: CallState) -> None:
        self._change(call_id, state=state)

    def _change(self, call_id: int, **changes: Any) -> None:
        calls = [c for e in self.turn if isinstance(e, Assistant) for c in e.calls]
        (call,) = (each for each in calls if each.id == call_id)
        self.turn = replaced(self.turn, attrs.evolve(call, **changes))

    def _settle_all(self) -> None:
        for entry in list(self.turn):
            for call in entry.calls if isinstance(entry, Assistant) else ():
                if call.state is not CallState.DONE:
                    self._mark(call.id, CallState.DONE)
                    self.turn.append(ToolResult(call.id, NOT_RUN, failed=True))

    def _end(self, outcome: str, text: str) -> None:
        self.turn.append(Assistant(text))
        self.ended, self.said = outcome, text


@define
class ScriptedModel:
    """Implements `agent.ports.Model`: gives the answers of a script, or raises its ModelFailed."""

    script: Iterable[Answer | ModelFailed]
    asked: list[list[dict[str, Any]]] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.script = iter(self.script)

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        may_call: bool = True,
    ) -> Answer:
        await trio.lowlevel.checkpoint()
        self.asked.append(list(messages))
        item = next(iter(self.script), Answer("that is all"))
        if isinstance(item, ModelFailed):
            raise item
        if on_text is not None:
            on_text(item.text)
        return item


@define
class ListToolbox:
    """Implements `agent.ports.Toolbox`; every run is in `ran`, tools named "bad..." fail."""

    ran: list[CallRequest] = Factory(list)
    on_run: Callable[[str], None] = lambda _name: None

    def schemas(self) -> list[dict[str, Any]]:
        return []

    def weight(self) -> int:
        return 0

    def rerunnable(self, name: str) -> bool:
        return name == READS

    def policy(self, request: CallRequest) -> Policy:
        return {ASKS: Policy.ASK, FORBIDDEN: Policy.DENY}.get(request.name, Policy.ALLOW)

    def preview(self, request: CallRequest) -> str:
        return f"{request.name} {request.arguments}"

    def scope(self, request: CallRequest) -> str | None:
        return request.arguments if request.name == ASKS else None

    def queue(self, name: str) -> str:
        return WRITES if name == WRITES else ""

    async def run(self, request: CallRequest) -> ToolOutcome:
        self.ran.append(request)
        await trio.lowlevel.checkpoint()
        self.on_run(request.name)
        if request.name == DELEGATES:
            return ToolOutcome("", subtask=Subtask("task", "label", "chef", waits=True))
        if request.name == LOOKS:
            return ToolOutcome("[picture a.png, 8x6, was shown]", shown=(PICTURE,))
        failed = request.name.startswith("bad") or not request.arguments.startswith("{")
        return ToolOutcome(f"{request.name} was run", failed)


LIMITS = Limits(steps=6, seconds=1000.0)

names = st.sampled_from(
    [
        READS,
        WRITES,
        ASKS,
        FORBIDDEN,
        DELEGATES,
        LOOKS,
        "bad",
        "",
        "functions.bash",
        "two words",
        "é" * 70,
    ]
)
arguments = st.sampled_from(["{}", '{"a": 1}', "", "{not json", "[1]", '{"a": NaN}', '{"x": "\\'])
requests = st.builds(CallRequest, st.sampled_from(["", "a", "b", "call_1"]), names, arguments)
texts = st.sampled_from(["", "hm", "a longer text", "\ud83d", "ünï\x00"])
asking = st.builds(Answer, texts, st.lists(requests, min_size=1, max_size=4).map(tuple))
speaking = st.builds(Answer, st.sampled_from(["yes", "no, and long " * 30]))
failing = st.builds(
    ModelFailed, st.just("No model."), st.just("down"), st.sampled_from(["", "half a sent"])
)
scripts = st.lists(st.one_of(asking, asking, speaking, failing), max_size=8)


def check_calls(entries: Sequence[Entry]) -> None:
    """Every call has exactly one result, after the answer that made it and before the next."""
    open_calls: set[int] = set()
    for entry in entries:
        if isinstance(entry, ToolResult):
            assert entry.call in open_calls, "a result without a call, or a second one"
            open_calls.remove(entry.call)
            continue
        assert not open_calls, "a call without a result"
        if isinstance(entry, Assistant):
            open_calls = {call.id for call in entry.calls}
    assert not open_calls, "a call without a result at the end"
