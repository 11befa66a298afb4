"""A list of models that stand in for each other: the first that answers does.

Each has its own retries, and its own circuit (`agent.circuit`), which says whether to ask it at
all. The next is asked the same, whole. If none answers, the longest text that was cut is what there
is to tell, whoever it is by.

Another model may be named to be asked before the ones that stand in. If it is none of the list, it
is one more of the first's provider.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import attrs
import trio
from attrs import define, field

from agent import circuit, retry
from agent.circuit import Circuit
from agent.model import OpenAIModel
from agent.outcomes import error_of
from agent.parts import Takes
from agent.request import Request
from agent.retry import Failure, GaveUp
from agent.sizes import DEFAULT_WINDOW
from agent.transcript import Answer

PATIENCE = 5.0  # seconds between two attempts, while another model may be asked instead


@define
class Models:
    """One model or several, as one. Owns them; `aclose` ends their connections.

    `remark` is told, in a sentence for the log, when one steps in for another.
    """

    models: Sequence[OpenAIModel]
    remark: Callable[[str], None] = lambda _text: None
    _named: dict[str, OpenAIModel] = field(factory=dict)  # others of the first's provider
    _curious: trio.Event = field(factory=trio.Event)
    _unknown: set[str] = field(factory=set)  # the names of those whose windows are wanted

    async def warm(self) -> None:
        await self.models[0].warm()

    async def aclose(self) -> None:
        for model in (*self.models, *self._named.values()):
            await model.aclose()

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        may_call: bool = True,
    ) -> Answer:
        """The next answer, of whichever model; raises ModelFailed when none has one."""
        return await self.ask(Request(messages, tools, on_text, may_call))

    async def ask(self, request: Request, name: str = "") -> Answer:
        """The next answer, of the model `name` ('' for the first) or of one that stands in for it.

        Raises ModelFailed when none has one. The failure that is told is that of the first which
        was asked: its model is the one that people chose.
        """
        told: list[Failure] = []
        attempts: list[Failure] = []
        leader, asked = self._leader(name), self._order(name)
        for model in asked:
            patience = PATIENCE if model is not asked[-1] else float("inf")
            outcome = await self._ask(model, attrs.evolve(request, patience=patience))
            outcome = _signed(outcome, "" if model is leader else model.options.name)
            if isinstance(outcome, Answer):
                return attrs.evolve(outcome, lost=retry.lost(attempts) + outcome.lost)
            told.append(outcome.failure)
            attempts += outcome.attempts
            if not circuit.falls_back(outcome.failure):
                break
        raise error_of(told[0], attempts)

    def sees(self, name: str = "") -> Takes:
        """What the model takes besides text. One that stands in is told what it cannot take."""
        return self._leader(name).sees

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str:
        """What is said in a recording, by the first model's provider."""
        return await self.models[0].transcribe(name, data, language)

    async def speak(self, text: str) -> bytes:
        """A recording of a text, by the first model's provider."""
        return await self.models[0].speak(text)

    # --- How much they take in ---

    def window_so_far(self, name: str = "") -> int:
        """That of the model, or of any model if it is not known; `learn` then finds it out."""
        known = self._leader(name).known_window
        if not known:
            self._unknown.add(name)
            self._curious.set()
        return known or DEFAULT_WINDOW

    async def window(self, name: str = "") -> int:
        """That of the model. A request that a smaller one cannot take is passed over it."""
        return await self._leader(name).window()

    async def learn(self) -> NoReturn:
        """Find out, for ever, what somebody would have liked to know and did not wait for."""
        while True:
            await self._curious.wait()
            self._curious = trio.Event()
            wanted, self._unknown = self._unknown, set()
            for name in wanted:
                await self.window(name)

    # --- Whom to ask ---

    def _leader(self, name: str) -> OpenAIModel:
        """The model of this name, which is made if there is none yet; '' is the first."""
        if not name:
            return self.models[0]
        known = (*self.models, *self._named.values())
        named = (model for model in known if model.options.name == name)
        return next(named, None) or self._another(name)

    def _another(self, name: str) -> OpenAIModel:
        """One more model of the first's provider. What is known of the first alone is not of it."""
        first = self.models[0]
        options = attrs.evolve(
            first.options, name=name, context_window=0, images="auto", documents="auto"
        )
        model = self._named[name] = OpenAIModel(options, first.remark)
        return model

    def _order(self, name: str) -> list[OpenAIModel]:
        """The models to ask, in turn: the one that is wanted, and those that stand in for it."""
        leader = self._leader(name)
        models = [leader, *(each for each in self.models[1:] if each is not leader)]
        places = circuit.order([each.circuit for each in models], trio.current_time())
        return [models[place] for place in places]

    async def _ask(self, model: OpenAIModel, request: Request) -> Answer | GaveUp:
        model.circuit = model.circuit.asked(trio.current_time())
        outcome = await model.answer(request)
        if isinstance(outcome, GaveUp):
            self._note(model, outcome)
        else:
            model.circuit = Circuit()
        return outcome

    def _note(self, model: OpenAIModel, outcome: GaveUp) -> None:
        before, now = model.circuit, trio.current_time()
        model.circuit = after = before.failed(outcome.failure, now)
        if len(self.models) == 1:
            return  # it is asked whatever its circuit says
        name = model.options.name
        self.remark(f"{name} gave no answer: {outcome.failure.error}")
        if after.is_open and not before.is_open:
            self.remark(f"{name} is not asked for the next {after.open_until - now:.0f} s")


def _signed(outcome: Answer | GaveUp, by: str) -> Answer | GaveUp:
    """The outcome with the name of the model that it is of: what was lost has a price, too."""
    if isinstance(outcome, Answer):
        lost = tuple(attrs.evolve(each, model=by) for each in outcome.lost)
        return attrs.evolve(outcome, model=by, lost=lost)
    usages = (attrs.evolve(each.usage, model=by) for each in outcome.attempts)
    pairs = zip(outcome.attempts, usages, strict=True)
    return GaveUp(tuple(attrs.evolve(each, usage=usage) for each, usage in pairs))
