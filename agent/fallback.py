"""A list of models that stand in for each other: the first that answers does.

Each has its own retries, and its own circuit (`agent.circuit`), which says whether to ask it at
all. The next is asked the same, whole. If none answers, the longest text that was cut is what there
is to tell, whoever it is by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio
from attrs import define, field

from agent import circuit
from agent.circuit import Circuit
from agent.cookies import Jar
from agent.model import OpenAIModel, Request
from agent.outcomes import error_of
from agent.retry import Failure, GaveUp, lost
from agent.transcript import Answer

PATIENCE = 5.0  # seconds between two attempts, while another model may be asked instead


@define
class Models:
    """One model or several, as one. Owns them; `aclose` ends their connections.

    `remark` is told, in a sentence for the log, when one steps in for another.
    """

    models: Sequence[OpenAIModel]
    remark: Callable[[str], None] = lambda _text: None
    _circuits: list[Circuit] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._circuits = [Circuit() for _ in self.models]

    async def warm(self) -> None:
        await self.models[0].warm()

    async def aclose(self) -> None:
        for model in self.models:
            await model.aclose()

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        jar: Jar | None = None,
    ) -> Answer:
        """The next answer, of whichever model; raises ModelFailed when none has one.

        The failure that is told is that of the first which was asked: its model is the one that
        people chose. `jar` holds the cookies of the conversation.
        """
        request = Request(messages, tools, on_text, jar=jar)
        told: list[Failure] = []
        attempts: list[Failure] = []
        places = circuit.order(self._circuits, trio.current_time())
        for place in places:
            patience = PATIENCE if place != places[-1] else float("inf")
            outcome = await self._ask(place, attrs.evolve(request, patience=patience))
            if isinstance(outcome, Answer):
                return attrs.evolve(outcome, lost=lost(attempts) + outcome.lost)
            told.append(outcome.failure)
            attempts += outcome.attempts
            if not circuit.falls_back(outcome.failure):
                break
        raise error_of(told[0], attempts)

    async def window(self) -> int:
        """That of the first model. A request that a smaller one cannot take is passed over it."""
        return await self.models[0].window()

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str:
        """What is said in a recording, by the first model's provider."""
        return await self.models[0].transcribe(name, data, language)

    async def _ask(self, place: int, request: Request) -> Answer | GaveUp:
        model = self.models[place]
        self._circuits[place] = self._circuits[place].asked(trio.current_time())
        outcome = await model.answer(request)
        if isinstance(outcome, GaveUp):
            self._note(place, outcome)
            return outcome
        self._circuits[place] = Circuit()
        return attrs.evolve(outcome, model=model.options.name if place else "")

    def _note(self, place: int, outcome: GaveUp) -> None:
        before, now = self._circuits[place], trio.current_time()
        after = before.failed(outcome.failure, now)
        self._circuits[place] = after
        name = self.models[place].options.name
        if len(self.models) > 1:
            self.remark(f"{name} gave no answer: {outcome.failure.error}")
        if after.is_open and not before.is_open:
            self.remark(f"{name} is not asked for the next {after.open_until - now:.0f} s")
