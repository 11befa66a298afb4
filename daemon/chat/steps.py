"""The steps of a turn as transactions: each makes sure of the turn, and does all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from agent import heartbeat, schedule, silence
from agent.budget import Tariff
from agent.ports import Inquiry
from agent.sight import MOST_IN_A_TURN
from agent.transcript import UNCOUNTED, Answer, Approval, ToolCall, ToolResult, Usage
from daemon.chat import asking, bookings, settling
from daemon.chat.drafts import Finish, Words
from daemon.schedule import recurrence
from daemon.schedule.deciding import lateness
from daemon.schedule.limits import Limits
from daemon.store import (
    acks,
    approvals,
    children,
    errands,
    money,
    outbox,
    previews,
    questions,
    turns,
    views,
)
from daemon.store import journal as rows
from daemon.store.turnrow import TurnRow
from daemon.store.values import Address, Claim

Unread: TypeAlias = list[tuple[int, str, float]]  # messages of people: (id, text, when)


@frozen
class Ending:
    """How a turn ended, and the words with which it did; `error` is None for an answer.

    `words` are what of it the chat is told, None for nothing, and `drafts` show them.
    """

    outcome: str
    answer: Answer
    ran_seconds: float
    model_call: int | None = None
    error: str | None = None
    lost: tuple[Usage, ...] = UNCOUNTED
    words: Words | None = None
    drafts: tuple[outbox.Draft, ...] = ()


def told(pages: rows.TurnPages, ending: Ending) -> Words | None:
    """What the chat is told of the end of a turn.

    A heartbeat speaks only when it has something to tell; nobody has asked for its failures, and
    those of an appointment are told when it is not tried again. In a
    group the model may have nothing to say; a person alone with it waits for something.
    """
    text, silent = ending.answer.text, silence.is_silent(ending.answer.text)
    if pages.cause == "heartbeat":
        text = heartbeat.worth_telling(text) if ending.error is None and not silent else ""
        return Words(text) if text else None
    if pages.cause == "schedule":
        return _reported(pages, ending)
    if ending.error is None and silent and pages.address.place.in_group:
        return None
    return Words(text, f"[{pages.label}]" if pages.cause == "child" else "")


def _reported(pages: rows.TurnPages, ending: Ending) -> Words | None:
    """What an appointment tells; a late one says so, whatever the model does."""
    text, errand = ending.answer.text, pages.errand
    may_be_silent = pages.address.place.in_group
    if errand is not None and errand.silent:
        text, may_be_silent = schedule.worth_telling(text), True
    if ending.error is not None or (may_be_silent and silence.is_silent(text)):
        return None
    return Words(text, _late(errand))


def _late(errand: errands.Errand | None) -> str:
    if errand is None:
        return ""
    late = lateness(errand.began - errand.due)
    due = recurrence.moment(errand.due, errand.zone)
    return f"[{late} late: this was due on {due} ({errand.zone})]" if late else ""


def intend_model_call(
    db: sqlite3.Connection, claim: Claim, address: Address, request: money.Request, now: float
) -> tuple[int, Unread, bool]:
    """The call's row, what was said meanwhile, and whether a reaction is to be taken back."""
    rows.hold(db, claim, now)
    settled = claim.first and acks.settle(db, claim.turn_id, now)
    call = money.intend(db, claim, address, request, now)
    # Behind what the model has been shown, so that its rows say what it was shown, in that order.
    unread = turns.unread(db, claim.turn_id, claim.seen)
    return call, turns.say_again(db, claim.turn_id, unread), settled


def keep_answer(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    model_call: int,
    answer: Answer,
    tariff: Tariff,
    now: float,
) -> tuple[ToolCall, ...]:
    rows.hold(db, claim, now)
    money.settle(db, model_call, answer, None, now, tariff=tariff)
    return rows.add_answer(db, claim.turn_id, answer, now)


CROWD = f"Error: not begun: {children.MOST} tasks of this chat are under way; wait for one to end"

ENOUGH = (
    f"Error: not shown: all that one message leads to may show {MOST_IN_A_TURN:,} bytes, and has;"
    " make smaller pictures, or go on after the person's next message"
)


def ask(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    call: ToolCall,
    wish: approvals.Wish,
    whole: outbox.Draft | None,
    now: float,
) -> Approval:
    """Open the question about a call, and put it to the chat, unless it was allowed for good.

    `whole` is the file that shows all of what has no room in a message.
    """
    rows.hold(db, claim, now)
    if approvals.allowed_before(db, claim.turn_id, call.id, wish, now):
        return Approval.GRANTED
    ref = approvals.ask(db, claim.turn_id, call.id, wish, now)
    draft = asking.permission(db, asking.Asked(ref, address, claim.turn_id, now), wish, whole)
    drafts = replying([draft] if whole is None else [whole, draft], address)
    approvals.shown_as(db, ref, _enqueue(db, claim, address, drafts, now)[-1])
    return Approval.OPEN


def park(
    db: sqlite3.Connection, claim: Claim, ran_seconds: float, *, child: bool, now: float
) -> str:
    rows.hold(db, claim, now)
    return turns.park(db, claim, ran_seconds, child=child)


def finish_tool_call(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    call: ToolCall,
    finish: Finish,
    limits: Limits,
    now: float,
) -> tuple[ToolResult | None, TurnRow | None]:
    """Keep the result, and queue the files: before the answer, since that is queued later.

    What it shows is in the result only if the turn may show that much. With a subtask: begin its
    turn; the call that waits for it has no result yet. With a booking: make it.
    """
    rows.hold(db, claim, now)
    text, failed, child = finish.text, finish.failed, None
    shown = finish.shown
    if shown and not views.fit(db, claim.turn_id, shown):
        text, failed, shown = ENOUGH, True, ()
    if finish.subtask is not None:
        try:
            child = children.begin(db, claim.turn_id, call.id, finish.subtask, now)
        except children.TooMany:
            text, failed = CROWD, True
        else:
            if finish.subtask.waits:
                return None, child
    if finish.inquiry is not None:
        _inquire(db, claim, address, call, finish.inquiry, now)
        return None, None
    drafts = finish.drafts
    if finish.booking is not None:
        booked = bookings.carry_out(db, claim.turn_id, address, finish.booking, limits, now)
        text, failed, drafts = booked.text, booked.failed, (*drafts, *booked.drafts)
    rows.finish_tool_call(db, claim, call.id, text, now, failed=failed)
    if shown:
        views.add_to_result(db, call.id, shown)
    if drafts:
        _enqueue(db, claim, address, drafts, now)
    return ToolResult(call.id, text, failed, shown), child


def _inquire(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    call: ToolCall,
    inquiry: Inquiry,
    now: float,
) -> None:
    """Put a question of the model's to the chat; the call waits for its answer."""
    ref = questions.ask(db, claim.turn_id, call.id, inquiry, now)
    draft = asking.inquiry(db, asking.Asked(ref, address, claim.turn_id, now), inquiry)
    drafts = replying([draft], address)
    questions.shown_as(db, ref, _enqueue(db, claim, address, drafts, now)[-1])


def _enqueue(
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    drafts: Sequence[outbox.Draft],
    now: float,
) -> list[str]:
    """Queue what the turn has to say, in the place of what the chat was shown of it as yet."""
    return outbox.enqueue(
        db,
        address.place,
        previews.in_place(db, claim.turn_id, drafts),
        now,
        turn_id=claim.turn_id,
        about=address.about,
        asked_at=address.asked_at,
    )


def end(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    pages: rows.TurnPages,
    ending: Ending,
    tariff: Tariff,
    now: float,
) -> tuple[Unread, turns.Ended, bool]:
    """Keep the last words after the results of all calls, queue them, and end the turn.

    An answer ends it only if everything that people have said was read; the rest is returned. What
    a turn that failed has not read is put into a turn of its own. The last value says whether the
    drafts were queued: not if another turn waits for the words.
    """
    rows.hold(db, claim, now)
    _settle(db, ending, tariff, now)
    unread = turns.unread(db, claim.turn_id, claim.seen)
    delegated = children.is_waited_for(db, claim.turn_id)
    goes_on = bool(unread) and ending.error is None
    ended = turns.Ended() if goes_on else _close(db, claim, ending, now)
    rows.add_answer(db, claim.turn_id, ending.answer, now)
    if not delegated:
        _deliver(db, claim, pages, ending, now)
    settling.settle(db, now)  # in this chat alone, which is woken for the answer
    if goes_on:
        return turns.say_again(db, claim.turn_id, unread), ended, not delegated
    heir = turns.bequeath(db, claim.turn_id, unread, now)
    return [], evolve(ended, heir=heir), not delegated


def _settle(db: sqlite3.Connection, ending: Ending, tariff: Tariff, now: float) -> None:
    """Record what the last model call came to, if the turn ended with one."""
    if ending.model_call is None:
        return
    answer = ending.answer if ending.error is None else None
    money.settle(
        db,
        ending.model_call,
        answer,
        ending.error,
        now,
        tariff=tariff,
        lost=ending.lost,
    )


def _close(db: sqlite3.Connection, claim: Claim, ending: Ending, now: float) -> turns.Ended:
    return turns.end(
        db,
        claim.turn_id,
        ending.outcome,
        now,
        error=ending.error,
        ran_seconds=ending.ran_seconds,
        said=ending.answer.text,
    )


def _deliver(
    db: sqlite3.Connection, claim: Claim, pages: rows.TurnPages, ending: Ending, now: float
) -> None:
    """Queue the last words. Those of a task in the background enter the conversation, too."""
    if ending.words is None:
        _enqueue(db, claim, pages.address, (), now)  # what was shown of it goes
        return
    if pages.cause in {"heartbeat", "child", "schedule"}:
        children.report(db, claim.turn_id, ending.words.text, now)
    _enqueue(db, claim, pages.address, replying(ending.drafts, pages.address), now)


def replying(drafts: Sequence[outbox.Draft], address: Address) -> list[outbox.Draft]:
    """The drafts, the first of which shows what it answers, where several people speak."""
    if address.reply_to is None:
        return list(drafts)
    first, *others = drafts
    answered = outbox.in_reply_to(address.reply_to)
    instead = tuple(
        {**each, **answered} if not at else each for at, each in enumerate(first.instead)
    )
    return [evolve(first, params={**first.params, **answered}, instead=instead), *others]
