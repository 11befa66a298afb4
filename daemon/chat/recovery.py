"""What a new run takes over from the one before it: turns to go on with, and turns to give up."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.transcript import Answer
from daemon.chat.journal import text_drafts
from daemon.store import journal, money, outbox, turns
from daemon.store.turns import TurnRow
from daemon.store.values import Place


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
    money.abandon(db, "interrupted by a restart", now)
    dead = turns.give_up_hopeless(db, now)
    told = [_tell(db, turn, now) for turn in dead]
    return Inheritance(turns.open_turns(db), dead, told)


def _tell(db: sqlite3.Connection, turn: TurnRow, now: float) -> Place:
    address = journal.read_address(db, turn.id)
    text = (
        "I could not finish this in the time and the tries that I may take, and have given it up:"
        f' "{address.about[:80]}". (id {turn.ref})'
    )
    journal.add_answer(db, turn.id, Answer(text), now)
    outbox.enqueue(db, address.place, text_drafts(text), now, turn_id=turn.id)
    return address.place
