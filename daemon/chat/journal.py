"""The agent's journal, kept in our database: one turn, one object, every method a transaction."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import trio
from attrs import define, evolve, field, frozen

from agent.budget import FREE, Tariff
from agent.context import Spoken, stamped
from agent.fitting import bounded
from agent.ports import (
    Intent,
    Opening,
    OverBudget,
    ToolOutcome,
    TurnLost,
    TurnState,
)
from agent.transcript import UNCOUNTED, Answer, Approval, ToolCall, ToolResult, Usage, User
from daemon import log
from daemon.chat import questions, steps, views
from daemon.chat.drafts import Words, keep_files, keep_text, keep_words, keys_of
from daemon.schedule.limits import Limits
from daemon.spool import Spool
from daemon.store import acks, approvals, money, outbox, turns
from daemon.store import journal as rows
from daemon.store import views as view_rows
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Address, Claim, Place

T = TypeVar("T")

_log = log.get("turn")


def nobody() -> None:
    """Nobody keeps appointments here."""


@frozen
class Wakes:
    """Who must look at rows that a turn has changed; each is told after the commit."""

    outbox: Callable[[Place], None]  # something was queued for a place
    changed: Callable[[TurnRow], None]  # a turn was begun, or may go on
    dropped: Callable[[int], None]  # a turn was ended with ours
    schedule: Callable[[], None] = nobody  # what is scheduled has changed

    def ended(self, ended: turns.Ended) -> None:
        """Tell what else the end of a turn did."""
        for turn_id in ended.dropped:
            self.dropped(turn_id)
        if ended.parent is not None:
            self.changed(ended.parent)
        if ended.heir is not None:
            self.changed(ended.heir)


@define
class TurnJournal:
    """Implements `agent.ports.Journal` for the turn `turn_id` in this boot.

    Files of a tool are in the `spool` before the transaction that queues them.
    """

    database: Database
    turn_id: int
    boot: str
    model: str
    wakes: Wakes
    spool: Spool
    tariff: Tariff = FREE
    zone: str = "UTC"
    richly: bool = False  # whether tables and formulas go by rich messages
    limits: Limits = field(factory=Limits)  # for what is scheduled
    pages: rows.TurnPages | None = None
    shows: bool = False  # whether the turn has shown its model something
    _claimed: bool = False
    _claiming: trio.Lock = field(factory=trio.Lock)
    _seen: int = 0
    _begun: float = field(factory=trio.current_time)

    def charge(self, model: str, task_tokens: int, run_tokens: int = 0) -> None:
        """Another model may be asked, and a specialist, or a job, have a limit of its own."""
        budget = self.tariff.budget
        if run_tokens:  # it may be less than what is configured, and not more
            most = min(run_tokens, budget.schedule_tokens or run_tokens)
            budget = evolve(budget, schedule_tokens=most)
        self.model = model
        self.tariff = evolve(self.tariff, task_tokens=task_tokens, budget=budget)

    async def load(self) -> Opening:
        self.pages = pages = await self.database.read(rows.read_pages, self.turn_id, time.time())
        self._seen = pages.last_message
        self.zone = pages.zone or self.zone
        log.bind(chat=pages.address.place.chat)
        turn = await self._with_bytes(pages.turn)
        history, turn = (stamped(each, self.zone) for each in (pages.history, turn))
        return Opening(history, turn, pages.ran_seconds, pages.summary, bounded(pages.ratio))

    async def intend_model_call(self, reserved_tokens: int) -> Intent:
        request = money.Request(self.model, reserved_tokens, self.tariff)
        try:
            intended: tuple[int, steps.Unread, bool] = await self._step(
                self.database.write, steps.intend_model_call, self._address(), request
            )
        except money.OverBudget as refused:
            raise OverBudget(str(refused)) from None
        call, unread, settled = intended
        if settled:
            self.wakes.outbox(acks.beside(self._address().place))
        return Intent(call, await self._read(unread))

    async def answered(self, model_call: int, answer: Answer) -> tuple[ToolCall, ...]:
        calls: tuple[ToolCall, ...] = await self._step(
            self.database.finish, steps.keep_answer, model_call, answer, self.tariff
        )
        _log.debug("model answered", calls=len(calls), tokens=answer.usage.completion_tokens)
        return calls

    async def concluded(self, model_call: int, answer: Answer) -> tuple[User, ...]:
        return await self._end(steps.Ending("answered", answer, self._ran(), model_call))

    async def failed(
        self,
        sentence: str,
        *,
        model_call: int | None = None,
        error: str,
        lost: tuple[Usage, ...] = UNCOUNTED,
    ) -> None:
        _log.warning("turn failed", error=error)
        answer = Answer(f"{sentence} (id {self._address().ref})")
        await self._end(steps.Ending("failed", answer, self._ran(), model_call, error, lost))

    async def _end(self, ending: steps.Ending) -> tuple[User, ...]:
        pages, begun = self._loaded(), self._claimed
        words = steps.told(pages, ending)
        # As for the files of a tool: what is kept has to be queued, or removed.
        with trio.CancelScope(shield=words is not None and words.is_long):
            drafts = await self._drafts(words)
            ending = evolve(ending, words=words, drafts=drafts)
            unread, ended = await self._queue(pages, ending)
        self.wakes.outbox(pages.address.place)
        if not begun:
            self.wakes.outbox(acks.beside(pages.address.place))
        if unread:
            return await self._read(unread)
        _log.info("turn ended", outcome=ending.outcome, seconds=ending.ran_seconds)
        self.wakes.ended(ended)
        return ()

    async def _drafts(self, words: Words | None) -> tuple[outbox.Draft, ...]:
        """What shows the last words: made before the transaction, which others wait for."""
        if words is None:
            return ()
        if words.is_long:
            return await trio.to_thread.run_sync(
                partial(keep_words, self.spool, words, richly=self.richly)
            )
        return keep_words(self.spool, words, richly=self.richly)

    async def _queue(
        self, pages: rows.TurnPages, ending: steps.Ending
    ) -> tuple[steps.Unread, turns.Ended]:
        """End the turn, and remove the files of an answer that was not queued."""
        queued = False
        try:
            outcome: tuple[steps.Unread, turns.Ended, bool] = await self._step(
                self.database.finish, steps.end, pages, ending, self.tariff
            )
            unread, ended, queued = outcome
        finally:
            if not queued and (keys := keys_of(ending.drafts)):
                # Removing a few files; the shield is the caller's.
                await trio.to_thread.run_sync(views.discard, self.spool, keys)  # noqa: ASYNC102
        return unread, ended

    async def _read(self, unread: steps.Unread) -> tuple[User, ...]:
        """Take note of what people have said meanwhile."""
        if not unread:
            return ()
        self._seen = unread[-1][0]
        _log.info("told more meanwhile", messages=len(unread))
        shown = await self.database.read(view_rows.of_turn, self.turn_id)
        told = [User(text, at, shown.get(message, ())) for message, text, at in unread]
        return stamped(await self._with_bytes(told), self.zone)

    async def _with_bytes(self, entries: Sequence[Spoken]) -> Sequence[Spoken]:
        """The entries with the bytes of what they show."""
        if not views.any_in(entries):
            return entries
        self.shows = True
        return await trio.to_thread.run_sync(views.loaded, self.spool, entries)

    async def ask(self, call: ToolCall, what: str, scope: str | None) -> Approval:
        wish = approvals.Wish(what, call.request.name, scope)
        whole = await self._kept_whole(what)
        try:
            given: Approval = await self._step(
                self.database.write, steps.ask, self._address(), call, wish, whole
            )
        except BaseException:
            await self._discard(whole)  # noqa: ASYNC102  (it is shielded)
            raise
        if given is Approval.OPEN:
            self.wakes.outbox(self._address().place)
        else:
            await self._discard(whole)
        _log.info("permission", job=call.id, tool=call.request.name, given=given.value)
        return given

    async def _kept_whole(self, what: str) -> outbox.Draft | None:
        """A file that shows all of what has no room in a message; None if there is no need."""
        assert self.pages is not None  # noqa: S101  (as in `_address`)
        if questions.is_whole(what, questions.asked("", self.pages.label)):
            return None
        return await trio.to_thread.run_sync(keep_text, self.spool, questions.FILE_NAME, what)

    async def _discard(self, draft: outbox.Draft | None) -> None:
        """Remove the file of a draft that nobody is sent."""
        if draft is not None:
            with trio.CancelScope(shield=True):  # removing one file; the start sweeps what is left
                await trio.to_thread.run_sync(views.discard, self.spool, [draft.file or ""])

    async def parked(self, *, child: bool) -> TurnState:
        state = await self._step(self.database.finish, steps.park, self._ran(), child=child)
        _log.info("turn parked", waiting_for="others" if child else "approval")
        return TurnState(state)

    async def intend_tool_call(self, call: ToolCall) -> None:
        await self._step(self.database.write, rows.intend_tool_call, call.id)
        _log.debug("tool begun", job=call.id, tool=call.request.name)

    async def tool_finished(self, call: ToolCall, outcome: ToolOutcome) -> ToolResult | None:
        # No deadline for the files: a thread in fsync cannot be stopped. `finish` has its own.
        with trio.CancelScope(shield=True):
            kept = await trio.to_thread.run_sync(keep_files, self.spool, outcome)
            try:
                finished: tuple[ToolResult | None, TurnRow | None] = await self._step(
                    *(self.database.finish, steps.finish_tool_call, self._address(), call, kept),
                    evolve(self.limits, zone=self.zone),
                )
            except BaseException:
                # Removing a few files; the shield is the one above.
                await trio.to_thread.run_sync(views.discard, self.spool, kept.keys)  # noqa: ASYNC102
                raise
            result, child = finished
            if kept.shown and not (result and result.shown):  # more than the turn may show
                unshown = [view.key for view in kept.shown]
                await trio.to_thread.run_sync(views.discard, self.spool, unshown)
        _log.debug("tool ended", job=call.id, failed=kept.failed, files=len(kept.drafts))
        self.shows = self.shows or bool(kept.shown)
        if kept.drafts or kept.inquiry or kept.booking:
            self.wakes.outbox(self._address().place)
        if kept.booking is not None:
            self.wakes.schedule()
        if child is not None:
            _log.info("subtask begun", turn=child.ref)
            self.wakes.changed(child)
        return result

    async def released(self) -> None:
        await self.database.finish(rows.release, self._claim(), self._ran())

    def _address(self) -> Address:
        return self._loaded().address

    def _loaded(self) -> rows.TurnPages:
        assert self.pages is not None  # noqa: S101  (a turn is loaded before it is stepped)
        return self.pages

    def _ran(self) -> float:
        return trio.current_time() - self._begun

    def _claim(self) -> Claim:
        return Claim(self.turn_id, self.boot, first=not self._claimed, seen=self._seen)

    async def _step(
        self,
        how: Callable[..., Awaitable[T]],
        fn: Callable[..., T],
        *args: object,
        **kwargs: object,
    ) -> T:
        """Commit one step; `how` decides whether cancellation may still prevent it.

        Steps of tools that run side by side come at once, but only one of them claims the turn.
        """
        if not self._claimed:
            async with self._claiming:
                return await self._commit(how, fn, *args, **kwargs)
        return await self._commit(how, fn, *args, **kwargs)

    async def _commit(
        self,
        how: Callable[..., Awaitable[T]],
        fn: Callable[..., T],
        *args: object,
        **kwargs: object,
    ) -> T:
        try:
            result = await how(fn, self._claim(), *args, now=time.time(), **kwargs)
        except rows.NotOurs as error:
            raise TurnLost from error
        self._claimed = True
        return result
