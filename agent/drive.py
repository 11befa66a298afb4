"""Performs a turn: asks `agent.loop` what to do, does it, and journals before and after.

The shell around the pure core. It owns nothing but the coroutine it runs in: cancelling that
cancels the model call or the tool under way (an executor's job dies with its connection), and the
journal then says how far the turn had come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import trio
from attrs import Factory, define

from agent import context
from agent.loop import CallModel, End, Limits, RunTool, SettleTool, decide
from agent.ports import Journal, Model, ModelFailed, Opening, Toolbox
from agent.transcript import Answer, Assistant, Entry, ToolCall, ToolResult


class _Concluded(Exception):
    """The turn has ended; leaves the loop."""


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
    stopping: Callable[[], bool] = lambda: False
    on_text: Callable[[str], None] | None = None
    _history: tuple[Entry, ...] = ()
    _turn: list[Entry] = Factory(list)

    async def run(self) -> None:
        """Go on with the turn from its rows. Raises TurnLost if it is taken away meanwhile."""
        opening = await self.journal.load()
        self._history, self._turn = opening.history, list(opening.turn)
        with trio.move_on_after(self._remaining(opening)) as allowance:
            await self._loop()
        if allowance.cancelled_caught:
            minutes = self.limits.seconds / 60
            await self.journal.failed(
                f"I stopped: this took more than {minutes:g} minutes.", error="too_long"
            )

    def _remaining(self, opening: Opening) -> float:
        return max(0.0, self.limits.seconds - opening.ran_seconds)

    async def _loop(self) -> None:
        try:
            while not self.stopping():
                await self._step()
        except _Concluded:
            return
        await self.journal.released()

    async def _step(self) -> None:
        match decide(self._turn, self.limits, self.tools.rerunnable):
            case CallModel():
                await self._call_model()
            case RunTool(call):
                await self._run_tool(call)
            case SettleTool(call, text):
                await self._settle(call, text, failed=True)
            case End(sentence, error):
                await self.journal.failed(sentence, error=error)
                raise _Concluded

    async def _call_model(self) -> None:
        messages = context.build_messages(self.system, self._history, self._turn)
        call = await self.journal.intend_model_call(context.estimate_tokens(messages))
        try:
            answer = await self.model.complete(
                messages, self.tools.schemas(), on_text=self.on_text
            )
        except ModelFailed as failure:
            await self._give_up(call, failure)
        await self._take(call, answer)

    async def _take(self, model_call: int, answer: Answer) -> None:
        if not answer.calls:
            await self.journal.concluded(model_call, answer)
            raise _Concluded
        calls = await self.journal.answered(model_call, answer)
        self._turn.append(Assistant(answer.text, calls))

    async def _give_up(self, model_call: int, failure: ModelFailed) -> NoReturn:
        """End the turn; what the model had already said is kept and marked as incomplete."""
        sentence = failure.sentence
        if failure.partial:
            sentence = f"{failure.partial}\n\n[The answer breaks off here. {sentence}]"
        await self.journal.failed(sentence, model_call=model_call, error=failure.error)
        raise _Concluded

    async def _run_tool(self, call: ToolCall) -> None:
        await self.journal.intend_tool_call(call)
        outcome = await self.tools.run(call.request)
        await self._settle(call, outcome.text, failed=outcome.failed)

    async def _settle(self, call: ToolCall, text: str, *, failed: bool) -> None:
        await self.journal.tool_finished(call, text, failed=failed)
        self._turn.append(ToolResult(call.id, call.request.call_id, text, failed))
