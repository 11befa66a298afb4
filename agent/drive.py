"""Performs a turn: asks `agent.loop` what to do, does it, and journals before and after.

The shell around the pure core. It owns nothing but the coroutine it runs in: cancelling that
cancels the model call or the tool under way (an executor's job dies with its connection), and the
journal then says how far the turn had come.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import define, field

from agent import context
from agent.loop import CallModel, End, Limits, RunTool, SettleTool, decide
from agent.ports import Journal, Model, ModelFailed, Opening, Toolbox, ToolOutcome
from agent.transcript import Answer, Assistant, Entry, ToolCall, ToolResult


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
    on_text: Callable[[str], None] | None = None
    _turn: list[Entry] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turn = list(self.opening.turn)

    async def run(self) -> bool:
        """Go on with the turn from its rows.

        Returns True when it ended, False when it was given back because we are stopping. Raises
        TurnLost if it is taken away meanwhile.
        """
        with trio.move_on_after(max(0.0, self.limits.seconds - self.opening.ran_seconds)):
            return await self._loop()
        sentence = f"I stopped: this took more than {_duration(self.limits.seconds)}."
        await self.journal.failed(sentence, error="too_long")
        return True

    async def _loop(self) -> bool:
        while not self.stopping():
            if await self._step():
                return True
        await self.journal.released()
        return False

    async def _step(self) -> bool:
        """Do the next thing; True if that ended the turn."""
        match decide(self._turn, self.limits, self.tools.rerunnable):
            case CallModel():
                return await self._call_model()
            case RunTool(call):
                await self._run_tool(call)
            case SettleTool(call, text):
                await self._settle(call, ToolOutcome(text, failed=True))
            case End(sentence, error):
                await self.journal.failed(sentence, error=error)
                return True
        return False

    async def _call_model(self) -> bool:
        messages = context.build_messages(self.system, self.opening.history, self._turn)
        call = await self.journal.intend_model_call(context.estimate_tokens(messages))
        try:
            answer = await self.model.complete(messages, self.tools.schemas(), on_text=self.on_text)
        except ModelFailed as failure:
            await self._give_up(call, failure)
            return True
        return await self._take(call, answer)

    async def _take(self, model_call: int, answer: Answer) -> bool:
        if not answer.calls:
            await self.journal.concluded(model_call, answer)
            return True
        calls = await self.journal.answered(model_call, answer)
        self._turn.append(Assistant(answer.text, calls))
        return False

    async def _give_up(self, model_call: int, failure: ModelFailed) -> None:
        """End the turn; what the model had already said is kept and marked as incomplete."""
        sentence = failure.sentence
        if failure.partial:
            sentence = f"{failure.partial}\n\n[The answer breaks off here. {sentence}]"
        await self.journal.failed(sentence, model_call=model_call, error=failure.error)

    async def _run_tool(self, call: ToolCall) -> None:
        await self.journal.intend_tool_call(call)
        await self._settle(call, await self.tools.run(call.request))

    async def _settle(self, call: ToolCall, outcome: ToolOutcome) -> None:
        text = await self.journal.tool_finished(call, outcome)
        self._turn.append(ToolResult(call.id, text, outcome.failed))


def _duration(seconds: float) -> str:
    """A time as a person would say it; below two minutes seconds say it better."""
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else f"{seconds:g} seconds"
