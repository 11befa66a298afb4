"""Sums up conversations that grow too large: a task of its own, which no message waits for.

It is told when a turn has ended, which is after its answer was queued. If the session's context has
grown too large, the model is asked for a summary, as a journalled call of that turn, and one
transaction lets the summary stand for the turns that it covers. These have ended, so a turn that
runs meanwhile is not disturbed: what it was shown stays true, and the next one is shown less. What
is killed before that transaction has changed nothing, and is done after the next turn.

What goes wrong costs the conversation nothing: it goes on, and it is tried again after a while.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

import attrs
import trio
from attrs import Factory, define, field, frozen

from agent import compaction
from agent.budget import FREE, Tariff
from agent.compaction import Draft, Frame, NoSummary
from agent.fitting import Gauge
from agent.ports import Model, ModelFailed
from agent.sizes import Sizes
from agent.transcript import Answer
from daemon import log
from daemon.chat import summing
from daemon.chat.summing import Case, Failure, Overtaken, Terms
from daemon.store import compactions, money
from daemon.store.compactions import New
from daemon.store.db import Database, StoreError
from daemon.store.values import Place

if TYPE_CHECKING:
    from daemon.chat.sticky import Sticky
    from daemon.chat.toolset import Scope

AT_ONCE = 2  # summaries that are being made; people's turns come first
OUR_FAULT = "something went wrong inside me"

_log = log.get("compaction")


class Prompter(Protocol):
    """Makes what every request of a conversation begins with: `daemon.chat.turn.TurnRunner`."""

    async def frame(self, scope: Scope, session_id: str) -> Frame:
        """System message and tools of such a turn; the summary is left empty."""
        ...


@frozen
class Means:
    """What a summary is made with; `tariff` and `renew` are as in `Terms`."""

    model: Model
    model_name: str
    prompter: Prompter
    tariff: Tariff = FREE
    zone: str = "UTC"  # that times beside messages are told in
    renew: Callable[[sqlite3.Connection, str], None] = lambda _db, _session: None
    sticky: Sticky | None = None  # the model as each session sees it


@frozen
class Task:
    """A case, with what it is summed up by, and within which sizes."""

    case: Case
    means: Means
    sizes: Sizes

    @property
    def gauge(self) -> Gauge:
        return Gauge(self.sizes.limit, self.case.ratio)


@define
class Attempt:
    """How far a try has come, for when it fails: with which task, recorded call, and answer."""

    task: Task | None = None
    call: int | None = None
    answer: Answer | None = None


@define
class Compactor:
    """Sums up sessions, a few at a time. `look` may be called at any time; `run` does the work.

    `means` and `sizes` are asked for when there is something to do.
    """

    database: Database
    boot: str
    means: Callable[[], Awaitable[Means]]
    sizes: Callable[[], Awaitable[Sizes]]
    wake_outbox: Callable[[Place], None]
    _waiting: set[str] = Factory(set)
    _busy: set[str] = Factory(set)
    _woken: trio.Event = Factory(trio.Event)
    _places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(AT_ONCE))

    def look(self, session_id: str) -> None:
        """A turn of the session has ended, or somebody asks for a summary of it."""
        self._waiting.add(session_id)
        self._wake()

    async def idle(self) -> None:
        """Return when nothing waits and nothing is being summed up."""
        while self._waiting or self._busy:
            await self._woken.wait()

    async def run(self) -> NoReturn:
        """Work for ever; first on what people had asked an earlier run for."""
        self._busy.clear()
        self._waiting.update(await self.database.read(compactions.wanted))
        async with trio.open_nursery() as nursery:
            while True:
                for session_id in self._waiting - self._busy:
                    self._waiting.discard(session_id)
                    self._busy.add(session_id)
                    nursery.start_soon(self._attend, session_id)
                await self._woken.wait()

    async def _attend(self, session_id: str) -> None:
        try:
            async with self._places:
                while await self._sum_up(session_id):
                    pass
        finally:
            self._busy.discard(session_id)
            self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = trio.Event()

    async def _sum_up(self, session_id: str) -> bool:
        """Sum up once, if that is due; True if there may be more to do."""
        attempt = Attempt()
        try:
            return await self._try(session_id, attempt)
        except Overtaken:
            _log.info("overtaken; looking again", session=session_id)
            return True
        except (sqlite3.Error, StoreError):
            raise  # no fault of the session; what it has under way is settled by the next start
        except Exception as error:  # noqa: BLE001  (the supervision boundary of a summary)
            await self._give_up(attempt, _failure(error))
            return False

    async def _try(self, session_id: str, attempt: Attempt) -> bool:
        sizes = await self.sizes()
        case = await self.database.read(summing.find, session_id, sizes, time.time())
        if case is None:
            return False
        means = await self.means()
        attempt.task = task = Task(case.stamped(means.zone), means, sizes)
        frame = await means.prompter.frame(case.scope, session_id)
        frame = attrs.evolve(frame, summary=case.summary.text)
        draft = await trio.to_thread.run_sync(_draft, task, frame)
        if draft is None:
            await self._decline(case)
            return False
        call, answer = await self._ask(attempt, task, draft, frame)
        text = compaction.read_summary(answer, sizes, task.gauge)
        # No network and no lock in between: what was paid for is kept.
        await self._put(task, _new(task, draft, text, call), answer)
        return True

    async def _ask(
        self, attempt: Attempt, task: Task, draft: Draft, frame: Frame
    ) -> tuple[int, Answer]:
        """Ask for the summary. Raises Overtaken, OverBudget, ModelFailed."""
        case, means = task.case, task.means
        request = money.Request(means.model_name, draft.estimate, means.tariff, "compaction")
        call = await self.database.write(summing.intend, case, request, self.boot, time.time())
        attempt.call = call
        model = await means.sticky.of(case.session_id) if means.sticky else means.model
        attempt.answer = answer = await model.complete(draft.messages, frame.tools, may_call=False)
        return call, answer

    async def _put(self, task: Task, new: New, answer: Answer) -> None:
        terms = Terms(task.means.tariff, task.means.renew)
        queued = await self.database.finish(summing.put, task.case, new, answer, terms, time.time())
        if queued is None:
            raise Overtaken
        _log.info("summed up", turns=new.turns, before=new.tokens_before, after=new.tokens_after)
        self._queued(task.case, queued)

    async def _give_up(self, attempt: Attempt, failure: Failure) -> None:
        _log.warning("not summed up", why=failure.why, error=failure.error)
        task = attempt.task
        if task is None:
            return  # nobody knows where to tell it, or that there was anything to sum up
        failure = attrs.evolve(failure, call=attempt.call, answer=attempt.answer)
        settle = task.case, failure, task.means.tariff, time.time()
        self._queued(task.case, await self.database.finish(summing.give_up, *settle))

    async def _decline(self, case: Case) -> None:
        if case.pending.wanted:
            text = summing.REPLY_NOTHING
            queued = await self.database.write(summing.reply, case, text, time.time())
            self._queued(case, queued)

    def _queued(self, case: Case, queued: bool) -> None:
        if queued:
            self.wake_outbox(case.address.place)


def _failure(error: Exception) -> Failure:
    """Why there is no summary, from what was raised on the way to one."""
    match error:
        case ModelFailed():
            return Failure(error.sentence.rstrip("."), error.error, error.lost)
        case money.OverBudget() | NoSummary():
            return Failure(str(error).rstrip("."), str(error))
        case _:
            _log.error("summing up broke", exc_info=error)
            return Failure(OUR_FAULT, repr(error))


def _draft(task: Task, frame: Frame) -> Draft | None:
    turns, wanted = [each.entries for each in task.case.chapters], task.case.pending.wanted
    return compaction.draft(frame, turns, task.sizes, task.gauge, whole=wanted)


def _new(task: Task, draft: Draft, text: str, call: int) -> New:
    summary = compaction.summary_tokens(text, task.gauge)
    return New(
        task.case.session_id,
        task.case.chapters[draft.covered - 1].turn_id,
        draft.covered,
        text,
        call,
        draft.before,
        draft.without + summary,
    )
