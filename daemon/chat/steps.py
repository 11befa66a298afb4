"""The steps of a turn as transactions: each makes sure of the turn, and does all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from agent import heartbeat
from agent.budget import Tariff
from agent.sight import MOST_IN_A_TURN
from agent.transcript import UNCOUNTED, Answer, ToolCall, ToolResult, Usage
from daemon.chat.drafts import Finish, text_drafts
from daemon.store import approvals, children, money, outbox, turnrow, turns, views
from daemon.store import journal as rows
from daemon.store.turnrow import TurnRow
from daemon.store.values import Address, Claim

Unread: TypeAlias = list[tuple[int, str, float]]  # messages of people: (id, text, when)


@frozen
class Ending:
    """How a turn ended, and the words with which it did; `error` is None for an answer."""

    outcome: str
    answer: Answer
    ran_seconds: float
    model_call: int | None = None
    error: str | None = None
    lost: tuple[Usage, ...] = UNCOUNTED


def intend_model_call(
    db: sqlite3.Connection, claim: Claim, address: Address, request: money.Request, now: float
) -> tuple[int, Unread]:
    rows.hold(db, claim, now)
    call = money.intend(db, claim, address, request, now)
    # Behind what the model has been shown, so that its rows say what it was shown, in that order.
    unread = turns.unread(db, claim.turn_id, claim.seen)
    return call, turns.say_again(db, claim.turn_id, unread)


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

QUESTION = """\
May I run this?

{what}

/approve {ref} lets me, /deny {ref} does not. I wait for a day."""


def ask(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection, claim: Claim, address: Address, call: ToolCall, what: str, now: float
) -> None:
    """Open the question about a call, and put it to the chat."""
    rows.hold(db, claim, now)
    ref = approvals.ask(db, claim.turn_id, call.id, what, now)
    label = turnrow.label(db, claim.turn_id)
    text = QUESTION.format(what=what, ref=ref)
    _enqueue(db, claim, address, text_drafts(f"[{label}]\n{text}" if label else text), now)


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
    now: float,
) -> tuple[ToolResult | None, TurnRow | None]:
    """Keep the result, and queue the files: before the answer, since that is queued later.

    What it shows is in the result only if the turn may show that much. With a subtask: begin its
    turn; the call that waits for it has no result yet.
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
    rows.finish_tool_call(db, claim, call.id, text, now, failed=failed)
    if shown:
        views.add_to_result(db, call.id, shown)
    if finish.drafts:
        _enqueue(db, claim, address, finish.drafts, now)
    return ToolResult(call.id, text, failed, shown), child


def _enqueue(
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    drafts: Sequence[outbox.Draft],
    now: float,
) -> None:
    outbox.enqueue(
        db,
        address.place,
        drafts,
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
) -> tuple[Unread, turns.Ended]:
    """Keep the last words after the results of all calls, queue them, and end the turn.

    An answer ends it only if everything that people have said was read; the rest is returned. What
    a turn that failed has not read is put into a turn of its own.
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
    if goes_on:
        return turns.say_again(db, claim.turn_id, unread), ended
    return [], evolve(ended, heir=turns.bequeath(db, claim.turn_id, unread, now))


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
    """Queue the last words. Those of a task in the background enter the conversation, too.

    A heartbeat speaks only when it has something to tell; nobody has asked for its failures.
    """
    text = ending.answer.text
    if pages.cause == "heartbeat":
        text = heartbeat.worth_telling(text) if ending.error is None else ""
        if text:
            children.report(db, claim.turn_id, text, now)
    elif pages.cause == "child":
        text = f"[{pages.label}]\n{text}"
        children.report(db, claim.turn_id, text, now)
    if text or pages.cause != "heartbeat":
        _enqueue(db, claim, pages.address, text_drafts(text), now)
