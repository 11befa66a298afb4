"""What time changes in rows: turns that a new run takes over or gives up, waits that are over."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.text import shorten
from agent.transcript import Answer
from daemon.chat import settling
from daemon.chat.drafts import text_drafts
from daemon.store import (
    acks,
    approvals,
    attachments,
    children,
    hopeless,
    journal,
    money,
    outbox,
    previews,
    questions,
    turnrow,
    turns,
)
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

GIVEN_UP = "I could not finish this in the time and the tries that I may take, and have given it up"
CUT = 1000  # characters of what was not run; the question has shown it all


@frozen
class Inheritance:
    """The open turns, the turns that were given up just now, and where that was said."""

    open: list[TurnRow]
    dead: list[TurnRow]
    told: list[Place]


def take_over(db: sqlite3.Connection, now: float) -> Inheritance:
    """Make orphaned turns ready again and end the hopeless ones, with a sentence to their chats.

    Called while no turn runs.
    """
    turns.recover(db)
    attachments.renew(db, now)
    turnrow.gather_again(db, now)
    money.abandon(db, "interrupted by a restart", now)
    dead = hopeless.give_up_hopeless(db, now)
    told = [place for each in dead if (place := _tell(db, each, now)) is not None]
    told += [acks.beside(place) for place in told]  # their reactions are taken back
    told += settling.settle(db, now)
    return Inheritance(turns.open_turns(db), [each.turn for each in dead], told)


@frozen
class Passed:
    """The turns whose wait was over or has another end, and where something was said about it."""

    changed: list[TurnRow]
    told: list[Place]


def pass_deadlines(db: sqlite3.Connection, now: float) -> Passed:
    """End the waits whose time has come: for the rest of an album, or for a person's permission."""
    lapsed = approvals.lapse(db, now)
    for question, _ in lapsed:
        text = (
            f"Nobody answered within a day, so I did not run this:\n\n{shorten(question.what, CUT)}"
        )
        outbox.enqueue(db, question.place, text_drafts(text), now, turn_id=question.turn_id)
    unasked = questions.lapse(db, now)
    changed = [*turns.ripen(db, now), *(turn for _, turn in lapsed if turn is not None), *unasked]
    told = [*(question.place for question, _ in lapsed), *settling.settle(db, now)]
    return Passed(changed, told)


def _tell(db: sqlite3.Connection, dead: hopeless.Dead, now: float) -> Place | None:
    """Tell the chat; None if nobody there waits: for a heartbeat, or for what a call waits for.

    The scheduler tells of an appointment.
    """
    turn = dead.turn
    if dead.awaited or turn.cause in {"heartbeat", "schedule"}:
        journal.add_answer(db, turn.id, Answer(GIVEN_UP), now)
        return None
    address = journal.read_address(db, turn.id)
    text = f'{GIVEN_UP}: "{address.about[:80]}". (id {turn.ref})'
    journal.add_answer(db, turn.id, Answer(text), now)
    if turn.cause == "child":
        children.report(db, turn.id, text, now)
    drafts = previews.in_place(db, turn.id, text_drafts(text))
    outbox.enqueue(db, address.place, drafts, now, turn_id=turn.id)
    return address.place
