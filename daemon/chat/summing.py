"""The steps of a summary as transactions, and what is read to begin with.

Each that changes something makes sure that the conversation is still the one that was read, and
does all or nothing. What is said about it in the chat is queued with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from agent import compaction
from agent.budget import FREE, Tariff
from agent.context import stamped
from agent.fitting import bounded
from agent.sizes import Sizes
from agent.transcript import UNCOUNTED, Answer, Usage
from daemon.store import compactions, journal, money, outbox, turns
from daemon.store.compactions import New, Pending, Summary
from daemon.store.journal import Chapter
from daemon.store.reach import HISTORY_TURNS, Reach, count, reaching_back
from daemon.store.values import Address, Claim

if TYPE_CHECKING:
    from daemon.chat.toolset import Scope

TOLD_DONE = (
    "(To keep this conversation in mind I have summed up its older part. /new begins a new one.)"
)
TOLD_FAILED = (
    "(I could not sum up the older part of this conversation: {why}."
    " We can go on; I will try again.)"
)
REPLY_DONE = "Summed up: the context had about {before:,} tokens and has about {after:,} now."
REPLY_NOTHING = "There is nothing to sum up yet."
REPLY_FAILED = "I could not sum up: {why}. The conversation is as it was."


class Overtaken(Exception):
    """The conversation has been begun anew, trimmed or summed up, meanwhile."""


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

    def stamped(self, zone: str) -> Case:
        """With the times beside its messages, as every request shows them."""
        chapters = (evolve(each, entries=stamped(each.entries, zone)) for each in self.chapters)
        return evolve(self, chapters=tuple(chapters))


@frozen
class Terms:
    """At what prices a summary is settled, and what else begins anew with one.

    `renew(db, session_id)` is called in the transaction that puts a summary in place.
    """

    tariff: Tariff = FREE
    renew: Callable[[sqlite3.Connection, str], None] = lambda _db, _session: None


@frozen
class Failure:
    """Why there is no summary, for the chat and for the log; `lost` is as in `ModelFailed`.

    With the call that was recorded for it and the answer to that, as far as there are any.
    """

    why: str
    error: str
    lost: tuple[Usage, ...] = UNCOUNTED
    call: int | None = None
    answer: Answer | None = None


def find(db: sqlite3.Connection, session_id: str, sizes: Sizes, now: float) -> Case | None:
    """The session as a case, if it is one: it has grown too large, or a summary is wanted now.

    What lies too far back to be in any request is in no summary either.
    """
    pending = compactions.pending(db, session_id)
    if not _is_time(db, pending, sizes, now):
        return None
    summary = compactions.latest(db, session_id, pending.oldest)
    reach = reaching_back(db, session_id, max(pending.oldest, summary.through_turn + 1))
    if not (pending.wanted or _has_grown(db, reach, summary, sizes)):
        return None
    chapters = _ended(journal.read_chapters(db, reach))
    latest = chapters[-1].turn_id if chapters else turns.newest(db, session_id)
    if not latest or not (chapters or pending.wanted):
        return None
    address, ratio = journal.read_address(db, latest), bounded(compactions.ratio(db, session_id))
    return Case(session_id, address, pending, summary, chapters, ratio)


def _is_time(db: sqlite3.Connection, pending: Pending, sizes: Sizes, now: float) -> bool:
    if pending.wanted:
        # Else it is looked at again when that has ended.
        return not turns.is_busy(db, pending.session_id)
    return sizes.enabled and now >= pending.not_before


def _has_grown(db: sqlite3.Connection, reach: Reach, summary: Summary, sizes: Sizes) -> bool:
    tokens = compactions.context_tokens(db, reach.lane, summary)
    return compaction.is_due(sizes, tokens, count(db, reach, HISTORY_TURNS))


def _ended(chapters: list[Chapter]) -> tuple[Chapter, ...]:
    """The turns before the first that is still open."""
    first_open = next((i for i, each in enumerate(chapters) if not each.ended), len(chapters))
    return tuple(chapters[:first_open])


def intend(
    db: sqlite3.Connection, case: Case, request: money.Request, boot: str, now: float
) -> int:
    """Record that a summary is about to be asked for. Raises OverBudget, Overtaken."""
    if _is_overtaken(db, case):
        raise Overtaken
    claim = Claim(case.chapters[-1].turn_id, boot, first=False, seen=0)
    return money.intend(db, claim, case.address, request, now)


def put(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection, case: Case, new: New, answer: Answer, terms: Terms, now: float
) -> bool | None:
    """Let the summary stand for its turns, and say so where that is due; True if it was said.

    None if it came too late: only the call is settled then.
    """
    money.settle(db, new.model_call, answer, None, now, tariff=terms.tariff)
    if _is_overtaken(db, case):
        return None
    compactions.keep(db, new, now)
    terms.renew(db, case.session_id)
    if reply(db, case, REPLY_DONE.format(before=new.tokens_before, after=new.tokens_after), now):
        return True
    if case.pending.told_done:
        return False
    compactions.told(db, case.session_id, case.pending.conversation, done=True)
    return _say(db, case, TOLD_DONE, now)


def give_up(
    db: sqlite3.Connection, case: Case, failure: Failure, tariff: Tariff, now: float
) -> bool:
    """Settle the call, and try no more for a while; True if that was said in the chat."""
    if failure.call is not None:
        settled = failure.call, failure.answer, failure.error, now
        money.settle(db, *settled, tariff=tariff, lost=failure.lost)
    wait = compaction.backoff(case.pending.failures + 1)
    compactions.note_failure(db, case.session_id, now + wait)
    if reply(db, case, REPLY_FAILED.format(why=failure.why), now):
        return True
    # A conversation that was begun anew is not told what became of the last one.
    if case.pending.told_failed or _is_overtaken(db, case):
        return False
    compactions.told(db, case.session_id, case.pending.conversation, done=False)
    return _say(db, case, TOLD_FAILED.format(why=failure.why), now)


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


def _is_overtaken(db: sqlite3.Connection, case: Case) -> bool:
    """Whether the case is not what it was."""
    oldest = compactions.pending(db, case.session_id).oldest
    summary = compactions.latest(db, case.session_id, oldest)
    return (oldest, summary.id) != (case.pending.oldest, case.summary.id)
