"""What the rows of the outbox become by what came of a request: transactions."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from attrs import frozen

from daemon.store import buttons, closed, holding, outbox_files, people, sending
from daemon.store import outbox as rows
from daemon.store import previews as shown
from daemon.store.outbox import Destination, Draft
from daemon.store.sending import Part
from daemon.store.values import Place
from daemon.telegram import album
from daemon.telegram.failure import (
    Again,
    AsDocument,
    AsMessage,
    Close,
    Decision,
    Doubt,
    Move,
    OneByOne,
    OutsideTopics,
    Plainly,
)


@frozen
class Sent:
    part_id: int
    message_id: str | None


@frozen
class Failed:
    part: Part
    decision: Decision
    error: str


Record: TypeAlias = Sent | Failed
Claimed: TypeAlias = Part | sending.LastTry | sending.Shut | float | None


def record_and_claim(
    db: sqlite3.Connection, record: Record, to: Destination, boot: str | None, now: float
) -> Claimed:
    """Record how a send ended, and claim the destination's next part.

    Without a `boot` nothing is claimed: the answer is that one may go on now.
    """
    if isinstance(record, Sent):
        sending.sent(db, record.part_id, record.message_id, now)
    elif record.part.is_placeholder and not isinstance(record.decision, Move):
        _drop_placeholder(db, record.part, record.decision, record.error, now)
    else:
        _record_failure(db, record, now)
    return now if boot is None else sending.claim_next(db, to, boot, now, careful=True)


def _record_failure(db: sqlite3.Connection, failed: Failed, now: float) -> None:
    part, error = failed.part, failed.error
    match failed.decision:
        case Again(delay, cut):
            sending.not_sent(db, part, now + delay, error, cut=cut)
        case Doubt(delay):
            sending.doubtful(db, part, now + delay, error)
        case AsDocument():
            sending.as_document(db, part.id, error)
        case OutsideTopics() if part.place.topic:
            sending.outside_topics(db, part.id, error)
        case Plainly():
            sending.plainly(db, part, now)
        case AsMessage():
            sending.as_message(db, part.id, error)
        case OneByOne():
            outbox_files.one_by_one(db, part.id, album.one_by_one(part), error)
        case Close(why):
            sending.failed(db, part.id, error)
            closed.close(db, part.place, why, now)
        case Move(chat) if chat != part.place.chat:
            _follow(db, part.place, chat)
        case _:
            sending.failed(db, part.id, error)
            _tell_of_refusal(db, part, error, now)


def _drop_placeholder(
    db: sqlite3.Connection, part: Part, decision: Decision, error: str, now: float
) -> None:
    """A placeholder is not sent again; its chat waits as for any other message."""
    if isinstance(decision, Again | Doubt):
        shown.pause(db, rows.destination_of(part.place), now + decision.delay)
    arrived = {Again: False, Doubt: None}.get(type(decision), True)
    shown.fail(db, part.id, error, sent=arrived)


def _tell_of_refusal(db: sqlite3.Connection, part: Part, error: str, now: float) -> None:
    """Tell the chat that a part of an answer is missing."""
    if part.turn_id is not None:
        text = f"A part of my answer was refused by Telegram and is missing here: {error}"
        if part.files:
            names = ", ".join(kept.name for kept in part.files)
            text = f"I could not send the file{'s' * bool(part.more)} {names}: {error}"
        rows.enqueue(db, part.place, [Draft("sendMessage", {"text": text})], now)


def _follow(db: sqlite3.Connection, old: Place, chat: str) -> None:
    people.move_chat(db, old, chat)
    holding.move(db, old, chat)
    rows.move_chat(db, rows.destination_of(old), chat)


def fold_old(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, str]]:
    """Put one line with a button in the place of parts that waited for more than two days."""
    held = holding.hold_old(db, now)
    for place, count, ref in held:
        text = f"Held back, because I could not send for over two days: {count} message(s)."
        shows = buttons.offer(db, place, "show held", ref, now, life=holding.KEEP_HELD)
        button = {"text": "Show", "callback_data": shows}
        keyboard = {"inline_keyboard": [[button]]}
        params = {"text": text, "reply_markup": keyboard}
        rows.enqueue(db, place, [Draft("sendMessage", params)], now)
    return held


def drop_held(db: sqlite3.Connection, now: float) -> list[str]:
    """End what was held back for too long, and say so; gives the keys of the files in it."""
    found = []
    for place, count, files in holding.drop_held(db, now):
        days = holding.KEEP_HELD // 86400
        text = f"Dropped, because nobody asked to see them for {days:g} days: {count} message(s)."
        rows.enqueue(db, place, [Draft("sendMessage", {"text": text})], now)
        found += files
    return found
