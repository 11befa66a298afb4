"""Performs a turn: asks `agent.loop` what to do, does it, and journals before and after.

The shell around the pure core. Calls of one answer run side by side in a nursery of its own, so
cancelling the turn cancels the model call or all the tools under way (an executor's job dies with
its connection), and the journal then says how far the turn had come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio
from attrs import define, evolve, field

from agent import context, fitting, parts
from agent.fitting import Gauge
from agent.loop import Attend, CallModel, End, Limits, Park, decide
from agent.ports import (
    Journal,
    Model,
    ModelFailed,
    Opening,
    OverBudget,
    Toolbox,
    ToolOutcome,
    TurnLost,
    TurnState,
    Watcher,
)
from agent.transcript import Answer, Assistant, Entry, ToolCall, ToolResult, replaced

MOST_AT_ONCE = 8  # tools of one turn; an answer may ask for 64
# Characters of a turn and what came before it, from which on the request is made in a thread: it
# takes 5 to 25 ms for each 100,000, in which nobody else would be served.
LARGE = 60_000


@define
class TurnDriver:
    """Drives one turn of a session to its end, or to where it must stop for now.

    `stopping` is set when the daemon is asked to end: the turn is then given back at its next
    journal point instead of going on.
    """

    journal: Journal
    model: Model
    tools: Toolbox
    limits: Limits
    system: str
    opening: Opening
    stopping: Callable[[], bool] = lambda: False
    watcher: Watcher | None = None
    gauge: Gauge = field(factory=Gauge)
    # The most tokens of a request, asked for before each: a model's window may become known late.
    limit: Callable[[], int] | None = None
    _turn: list[Entry] = field(init=False)
    _schemas: list[dict[str, Any]] = field(init=False)
    _schemas_size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turn = list(self.opening.turn)
        # Once a turn: there are many, and every step's request has them all.
        self._schemas = self.tools.schemas()
        self._schemas_size = self.tools.weight()

    @property
    def worked(self) -> bool:
        """Whether the turn has had tools do something."""
        return any(isinstance(entry, ToolResult) for entry in self._turn)

    async def run(self) -> TurnState:
        """Go on with the turn from its rows.

        ENDED when it is over, WAITING when it was parked, READY when it was given back because we
        are stopping, or because what it was parked for had come already. Raises TurnLost if it is
        taken away meanwhile.
        """
        with trio.move_on_after(max(0.0, self.limits.seconds - self.opening.ran_seconds)):
            return await self._loop()
        sentence = f"I stopped: this took more than {_duration(self.limits.seconds)}."
        await self.journal.failed(sentence, error="too_long")
        return TurnState.ENDED

    async def _loop(self) -> TurnState:
        while not self.stopping():
            if (state := await self._step()) is not None:
                return state
        await self.journal.released()
        return TurnState.READY

    async def _step(self) -> TurnState | None:
        """Do the next thing; what the turn is left as, if that was the last for now."""
        match decide(self._turn, self.limits, self.tools):
            case CallModel(remark):
                self._adjust()
                return await self._call_model(remark)
            case Attend() as attend:
                await self._attend(attend)
                return None
            case Park(child):
                return await self.journal.parked(child=child)
            case End(sentence, error):
                await self.journal.failed(sentence, error=error)
                return TurnState.ENDED

    def _adjust(self) -> None:
        """Take note of what has become known of the model's window."""
        if self.limit is not None:
            self.gauge = evolve(self.gauge, limit=self.limit())

    # --- The model ---

    async def _call_model(self, remark: str) -> TurnState | None:
        messages, estimate = await self._request(remark)
        try:
            intent = await self.journal.intend_model_call(estimate)
        except OverBudget as refusal:
            await self.journal.failed(refusal.sentence, error="over_budget")
            return TurnState.ENDED
        if intent.news:
            self._turn += intent.news
            messages, estimate = await self._request()
        try:
            on_text = self.watcher.text if self.watcher else None
            answer = await self.model.complete(messages, self._schemas, on_text=on_text)
        except ModelFailed as failure:
            await self._give_up(intent.call, failure)
            return TurnState.ENDED
        if not parts.views(messages):  # what they take is no matter of letters
            self.gauge = self.gauge.seen(estimate, answer.usage.prompt_tokens)
        return await self._take(intent.call, answer)

    async def _request(self, remark: str = "") -> tuple[list[dict[str, Any]], int]:
        """The next request, shortened where it would be too large, and its tokens as estimated."""
        if sum(len(entry.text) for entry in (*self.opening.history, *self._turn)) < LARGE:
            return self._make_request(remark)
        return await trio.to_thread.run_sync(self._make_request, remark)

    def _make_request(self, remark: str) -> tuple[list[dict[str, Any]], int]:
        opening = evolve(self.opening, turn=tuple(self._turn))
        tools, kept = self._schemas_size, len(remark)
        messages = fitting.request(self.system, opening, tools, self.gauge, kept)
        messages = context.remarked(messages, remark)
        return messages, context.tokens(context.size(messages) + tools)

    async def _take(self, model_call: int, answer: Answer) -> TurnState | None:
        if answer.calls:
            calls = await self.journal.answered(model_call, answer)
            self._turn.append(Assistant(answer.text, calls))
            return None
        news = await self.journal.concluded(model_call, answer)
        self._turn += [Assistant(answer.text), *news]
        if news and self.watcher:
            self.watcher.text("")
        return None if news else TurnState.ENDED

    async def _give_up(self, model_call: int, failure: ModelFailed) -> None:
        """End the turn; what the model had already said is kept and marked as incomplete."""
        sentence = failure.sentence
        if failure.partial:
            sentence = f"{failure.partial}\n\n[The answer breaks off here. {sentence}]"
        await self.journal.failed(
            sentence, model_call=model_call, error=failure.error, lost=failure.lost
        )

    # --- Tools ---

    async def _attend(self, attend: Attend) -> None:
        for call, text in attend.settle:
            await self._settle(call, ToolOutcome(text, failed=True))
        for call in attend.ask:
            request = call.request
            preview, scope = self.tools.preview(request), self.tools.scope(request)
            given = await self.journal.ask(call, preview, scope)
            self._turn = replaced(self._turn, evolve(call, approval=given))
        queues = self._queues(attend.run)
        if len(queues) == 1:
            await self._run_queue(queues[0], trio.CapacityLimiter(1))
        elif queues:
            await self._run_queues(queues)

    def _queues(self, calls: Iterable[ToolCall]) -> list[list[ToolCall]]:
        """The calls, by what must run in order; a call that waits for no other is alone."""
        queues: dict[object, list[ToolCall]] = {}
        for call in calls:
            queues.setdefault(self.tools.queue(call.request.name) or call.id, []).append(call)
        return list(queues.values())

    async def _run_queues(self, queues: Sequence[Sequence[ToolCall]]) -> None:
        """Run them side by side. If one finds the turn lost, all are cancelled."""
        limiter, lost = trio.CapacityLimiter(MOST_AT_ONCE), False
        try:
            async with trio.open_nursery() as nursery:
                for queue in queues:
                    nursery.start_soon(self._run_queue, queue, limiter)
        except* TurnLost:
            lost = True  # raised in here, it would be put into a group (by Python before 3.11.4)
        if lost:
            raise TurnLost

    async def _run_queue(self, calls: Sequence[ToolCall], limiter: trio.CapacityLimiter) -> None:
        for call in calls:
            async with limiter:
                if self.stopping():
                    return
                await self.journal.intend_tool_call(call)
                await self._settle(call, await self._run(call))

    async def _run(self, call: ToolCall) -> ToolOutcome:
        if self.watcher is None:
            return await self.tools.run(call.request)
        self.watcher.began(call)
        try:
            return await self.tools.run(call.request)
        finally:
            self.watcher.ended(call)

    async def _settle(self, call: ToolCall, outcome: ToolOutcome) -> None:
        result = await self.journal.tool_finished(call, outcome)
        if result is None:
            self._turn = replaced(self._turn, evolve(call, delegated=True))
        else:
            self._turn.append(result)


def _duration(seconds: float) -> str:
    """A time as a person would say it; below two minutes seconds say it better."""
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else f"{seconds:g} seconds"
