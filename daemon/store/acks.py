"""Reactions that tell "seen, and queued" at messages whose turn has to wait for another.

A reaction is a row of the outbox that belongs to its turn, and is taken back by a second one when
the turn begins, or ends without having begun. Reactions have a destination of their own beside each
chat, so that no message ever waits for one; and the first waits a moment, so that there is none for
a turn that begins at once.
"""

from __future__ import annotations

import json
import sqlite3

from attrs import evolve

from daemon.store import outbox
from daemon.store.outbox import Draft
from daemon.store.values import Place

REACT = "setMessageReaction"
SEEN = "\U0001f440"  # eyes; one of the few that bots may set
PATIENCE = 1.0  # seconds
# Of one conversation. Who has written more than that knows; and each takes a part of what Telegram
# lets a bot do in a chat, which the answers need.
MOST = 3


def beside(place: Place) -> Place:
    """Where the reactions to what is said in a place are queued."""
    return evolve(place, chat=f"{outbox.BESIDE}{place.chat}", topic="")


def react(db: sqlite3.Connection, turn_id: int, place: Place, message_id: str, now: float) -> None:
    """Show, if it lasts, that a message waits for its turn."""
    where = {"chat_id": int(place.chat), "message_id": int(message_id)}
    seen = Draft(REACT, {**where, "reaction": [{"type": "emoji", "emoji": SEEN}]})
    outbox.enqueue(db, beside(place), [seen], now, turn_id=turn_id)
    # Unless it waits already: a stream of messages must not put the first one off for ever.
    db.execute(
        "UPDATE destinations SET not_before = ?1 + ?2 WHERE channel = ? AND account = ?"
        " AND chat = ? AND not_before < ?1",
        (now, PATIENCE, place.channel, place.account, beside(place).chat),
    )


def settle(db: sqlite3.Connection, turn_id: int, now: float) -> bool:
    """The turn has begun, or never will: take its reaction back. True if that was queued.

    In a group that has become another chat, messages have other numbers: it stays in the old one.
    """
    made = db.execute(
        "SELECT o.id, o.channel, o.account, o.chat, o.params, o.state = 'queued' AND o.attempts = 0"
        " AS unsent FROM outbox AS o JOIN turns AS t ON t.id = o.turn_id JOIN sessions AS s"
        " ON s.id = t.session_id WHERE o.turn_id = ?1 AND o.method = ?2 AND o.chat = ?3 || s.chat"
        " ORDER BY o.id",
        (turn_id, REACT, outbox.BESIDE),
    ).fetchall()
    if len(made) != 1:
        return False  # there is none, or it was taken back already
    (row,) = made
    if row["unsent"]:
        db.execute("DELETE FROM outbox WHERE id = ?", (row["id"],))
        return False
    taken_back = Draft(REACT, {**json.loads(row["params"]), "reaction": []})
    place = Place(row["channel"], row["account"], row["chat"])
    outbox.enqueue(db, place, [taken_back], now, turn_id=turn_id)
    return True
