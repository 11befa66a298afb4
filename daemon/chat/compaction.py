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
from agent.context import stamped
from agent.fitting import Gauge, bounded
from agent.ports import Model, ModelFailed
from agent.sizes import Sizes
from agent.transcript import UNCOUNTED, Answer, Usage
from daemon import log
from daemon.store import compactions, journal, money, outbox, turns
from daemon.store.compactions import New, Pending, Summary
from daemon.store.db import Database
from daemon.store.journal import Chapter
from daemon.store.values import Address, Claim, Place

if TYPE_CHECKING:
    from daemon.chat.sticky import Sticky
    from daemon.chat.toolset import Scope

AT_ONCE = 2  # summaries that are being made; people's turns come first

TOLD_DONE = (
    "(To keep this conversation in mind I have summed up its older part. /new begins a new one.)"
)
TOLD_FAILED = (
    "(I could not sum up the older part of this conversation: {why}."
    " We can go on; I will try again.)"
)
OUR_FAULT = "something went wrong inside me"
REPLY_DONE = "Summed up: the context had about {before:,} tokens and has about {after:,} now."
REPLY_NOTHING = "There is nothing to sum up yet."
REPLY_FAILED = "I could not sum up: {why}. The conversation is as it was."

_log = log.get("compaction")


class Prompter(Protocol):
    """Makes what every request of a conversation begins with: `daemon.chat.turn.TurnRunner`."""

    async def frame(self, scope: Scope, session_id: str) -> Frame:
        """System message and tools of such a turn; the summary is left empty."""
        ...


@frozen
class Means:
    """What a summary is made with; `renew` is called in the transaction that puts one in place.

    `renew(db, session_id)` is for what else begins anew with a summary.
    """

    model: Model
    model_name: str
    prompter: Prompter
    tariff: Tariff = FREE
    zone: str = "UTC"  # that times beside messages are told in
    renew: Callable[[sqlite3.Connection, str], None] = lambda _db, _session: None
    sticky: Sticky | None = None  # the model as each session sees it


@frozen
class Case:
    """A session that is to be summed up, as it was found."""

    session_id: str
    address: Address
    pending: Pending
    summary: Summary
    chapters: tuple[Chapter, ...]
    ratio: float

    @property
    def scope(self) -> Scope:
        """That of the session's latest turn; the conversation as `journal.read_pages` names it."""
        from daemon.chat.toolset import Scope  # noqa: PLC0415  (loaded with what turns need)

        conversation = f"{self.session_id}-{self.pending.conversation}"
        latest = self.chapters[-1].turn_id if self.chapters else 0
        return Scope(self.address, conversation, latest)


class Overtaken(Exception):
    """The conversation has been begun anew, or summed up, meanwhile."""


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
        sizes = await self.sizes()
        case = await self.database.read(find, session_id, sizes, time.time())
        if case is None:
            return False
        try:
            return await self._work_on(case, sizes)
        except Overtaken:
            _log.info("overtaken; looking again", session=session_id)
            return True
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001  (the supervision boundary of a summary)
            _log.error("summing up broke", exc_info=error)
            await self._give_up(case, _Failed(OUR_FAULT), FREE)
        return False

    async def _work_on(self, case: Case, sizes: Sizes) -> bool:
        means, gauge = await self.means(), Gauge(sizes.limit, case.ratio)
        frame = await means.prompter.frame(case.scope, case.session_id)
        frame = attrs.evolve(frame, summary=case.summary.text)
        case = _stamped(case, means.zone)  # as every request shows it
        draft = await trio.to_thread.run_sync(_draft, case, frame, sizes, gauge)
        if draft is None:
            await self._decline(case)
            return False
        try:
            call, answer = await self._ask(case, draft, frame, means)
            text = self._read(call, answer, sizes, gauge)
        except _Failed as failed:
            await self._give_up(case, failed, means.tariff)
            return False
        # No network and no lock in between: what was paid for is kept.
        new = _new(case, draft, text, call, gauge)
        queued = await self.database.finish(put, case, new, answer, means, time.time())
        _log.info("summed up", turns=new.turns, before=new.tokens_before, after=new.tokens_after)
        self._queued(case, queued)
        return True

    async def _ask(
        self, case: Case, draft: Draft, frame: Frame, means: Means
    ) -> tuple[int, Answer]:
        request = money.Request(means.model_name, draft.estimate, means.tariff, "compaction")
        try:
            call = await self.database.write(intend, case, request, self.boot, time.time())
        except money.OverBudget as refused:
            raise _Failed(str(refused).rstrip(".")) from None
        try:
            model = await means.sticky.of(case.session_id) if means.sticky else means.model
            return call, await model.complete(draft.messages, frame.tools)
        except ModelFailed as failure:
            why = failure.sentence.rstrip(".")
            raise _Failed(why, call, error=failure.error, lost=failure.lost) from None
        except Exception as error:  # noqa: BLE001  (the supervision boundary of a summary)
            _log.error("asking for a summary broke", exc_info=error)
            raise _Failed(OUR_FAULT, call, error=repr(error)) from None

    def _read(self, call: int, answer: Answer, sizes: Sizes, gauge: Gauge) -> str:
        try:
            return compaction.read_summary(answer, sizes, gauge)
        except NoSummary as why:
            raise _Failed(str(why), call, answer) from None

    async def _give_up(self, case: Case, failed: _Failed, tariff: Tariff) -> None:
        _log.warning("not summed up", why=failed.why, error=failed.error)
        self._queued(case, await self.database.finish(give_up, case, failed, tariff, time.time()))

    async def _decline(self, case: Case) -> None:
        if case.pending.wanted:
            self._queued(case, await self.database.write(reply, case, REPLY_NOTHING, time.time()))

    def _queued(self, case: Case, queued: bool) -> None:
        if queued:
            self.wake_outbox(case.address.place)


class _Failed(Exception):
    """Why there is no summary, in words; with the call and the answer, as far as there are any."""

    def __init__(
        self,
        why: str,
        call: int | None = None,
        answer: Answer | None = None,
        *,
        error: str = "",
        lost: tuple[Usage, ...] = UNCOUNTED,
    ) -> None:
        super().__init__(why)
        self.why, self.call, self.answer = why, call, answer
        self.error, self.lost = error or why, lost


def _stamped(case: Case, zone: str) -> Case:
    chapters = (attrs.evolve(c, entries=stamped(c.entries, zone)) for c in case.chapters)
    return attrs.evolve(case, chapters=tuple(chapters))


def _draft(case: Case, frame: Frame, sizes: Sizes, gauge: Gauge) -> Draft | None:
    entries = [chapter.entries for chapter in case.chapters]
    return compaction.draft(frame, entries, sizes, gauge, whole=case.pending.wanted)


def _new(case: Case, draft: Draft, text: str, call: int, gauge: Gauge) -> New:
    summary = compaction.summary_tokens(text, gauge)
    return New(
        case.session_id,
        case.chapters[draft.covered - 1].turn_id,
        draft.covered,
        text,
        call,
        draft.before,
        draft.without + summary,
    )


# --- Transactions, and one that only reads ---


def find(db: sqlite3.Connection, session_id: str, sizes: Sizes, now: float) -> Case | None:
    """The session as a case, if it is one: it has grown too large, or a summary is wanted now."""
    pending = compactions.pending(db, session_id)
    newest = _newest_turn(db, session_id)
    summary = compactions.before(db, session_id, newest + 1, pending.oldest)
    after = max(pending.oldest - 1, summary.through_turn)
    if not _is_due(db, pending, summary, sizes, now):
        return None
    chapters = _ended(journal.read_chapters(db, session_id, after))
    if newest == 0 or not (chapters or pending.wanted):
        return None
    address = journal.read_address(db, chapters[-1].turn_id if chapters else newest)
    ratio = bounded(compactions.ratio(db, session_id))
    return Case(session_id, address, pending, summary, chapters, ratio)


def _newest_turn(db: sqlite3.Connection, session_id: str) -> int:
    row = db.execute(
        "SELECT coalesce(max(id), 0) FROM turns WHERE session_id = ?1 AND lane = ?1", (session_id,)
    ).fetchone()
    return int(row[0])


def _is_due(
    db: sqlite3.Connection, pending: Pending, summary: Summary, sizes: Sizes, now: float
) -> bool:
    session_id = pending.session_id
    if pending.wanted:
        return not turns.is_busy(db, session_id)  # else it is looked at again when that has ended
    after = max(pending.oldest - 1, summary.through_turn)
    (count,) = db.execute(
        "SELECT count(*) FROM turns WHERE session_id = ?1 AND id > ? AND lane = ?1",
        (session_id, after),
    ).fetchone()
    tokens = compactions.context_tokens(db, session_id, summary)
    return now >= pending.not_before and compaction.is_due(sizes, tokens, count)


def _ended(chapters: list[Chapter]) -> tuple[Chapter, ...]:
    """The turns before the first that is still open."""
    first_open = next((i for i, each in enumerate(chapters) if not each.ended), len(chapters))
    return tuple(chapters[:first_open])


def intend(
    db: sqlite3.Connection, case: Case, request: money.Request, boot: str, now: float
) -> int:
    """Record that a summary is about to be asked for. Raises OverBudget, Overtaken."""
    _make_sure(db, case)
    claim = Claim(case.chapters[-1].turn_id, boot, first=False, seen=0)
    return money.intend(db, claim, case.address, request, now)


def put(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection, case: Case, new: New, answer: Answer, means: Means, now: float
) -> bool:
    """Let the summary stand for its turns, and say so where that is due; True if it was said.

    If it came too late, only the call is settled.
    """
    money.settle(db, new.model_call, answer, None, now, tariff=means.tariff)
    try:
        _make_sure(db, case)
    except Overtaken:
        return False
    compactions.keep(db, new, now)
    means.renew(db, case.session_id)
    if reply(db, case, REPLY_DONE.format(before=new.tokens_before, after=new.tokens_after), now):
        return True
    if case.pending.told_done:
        return False
    compactions.told(db, case.session_id, case.pending.conversation, done=True)
    return _say(db, case, TOLD_DONE, now)


def give_up(
    db: sqlite3.Connection, case: Case, failed: _Failed, tariff: Tariff, now: float
) -> bool:
    """Settle the call, and try no more for a while; True if that was said in the chat."""
    if failed.call is not None:
        money.settle(
            db,
            failed.call,
            failed.answer,
            failed.error,
            now,
            tariff=tariff,
            lost=failed.lost,
        )
    wait = compaction.backoff(case.pending.failures + 1)
    compactions.note_failure(db, case.session_id, now + wait)
    if reply(db, case, REPLY_FAILED.format(why=failed.why), now):
        return True
    if case.pending.told_failed:
        return False
    compactions.told(db, case.session_id, case.pending.conversation, done=False)
    return _say(db, case, TOLD_FAILED.format(why=failed.why), now)


def reply(db: sqlite3.Connection, case: Case, text: str, now: float) -> bool:
    """Answer who has asked for the summary, if somebody has."""
    if not compactions.pending(db, case.session_id).wanted:
        return False
    compactions.answered(db, case.session_id)
    return _say(db, case, text, now)


def _say(db: sqlite3.Connection, case: Case, text: str, now: float) -> bool:
    """Queue a line that makes no sound."""
    draft = outbox.Draft("sendMessage", {"text": text, "disable_notification": True})
    outbox.enqueue(db, case.address.place, [draft], now)
    return True


def _make_sure(db: sqlite3.Connection, case: Case) -> None:
    """Raise Overtaken if the case is not what it was."""
    pending = compactions.pending(db, case.session_id)
    after = case.chapters[-1].turn_id + 1
    summary = compactions.before(db, case.session_id, after, pending.oldest)
    if (pending.oldest, summary.id) != (case.pending.oldest, case.summary.id):
        raise Overtaken
